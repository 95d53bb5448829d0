"""The classifier with the interface of scikit-learn: its own checks of estimators, and what they don't cover."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import RecurrentFF as rff
from RecurrentFF.data.image_transforms import Pixels
from RecurrentFF.data.transforms import Standardize
from RecurrentFF.errors import RecurrentFFError
from RecurrentFF.estimator import EstimatorError, RecurrentFFClassifier, _best_scale
from RecurrentFF.model.objectives import Pairwise, Threshold

ROUNDING = "matrix products in float32 round otherwise for other batch sizes and orders, by about 1e-6; see test_batches_agree"
NOT_APPLICABLE = {"check_methods_subset_invariance": ROUNDING, "check_methods_sample_order_invariance": ROUNDING}
"""The checks of scikit-learn that need not pass, each with the reason."""


SMALL = RecurrentFFClassifier((50, 50), epochs=15)
"""A classifier that trains faster than the default one, which passes the same checks."""


@parametrize_with_checks([SMALL], expected_failed_checks=lambda estimator: NOT_APPLICABLE)  # type: ignore[untyped-decorator]
def test_the_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def iris() -> tuple[Any, ...]:
    X, y = load_iris(return_X_y=True)
    return tuple(train_test_split(X, y, test_size=0.25, random_state=0, stratify=y))


@pytest.fixture(scope="module")
def fitted(iris: tuple[Any, ...]) -> RecurrentFFClassifier:
    return small(random_state=0).fit(iris[0], iris[2])


def small(**arguments: Any) -> RecurrentFFClassifier:
    """A classifier that is trained in a fraction of a second."""
    defaults: dict[str, Any] = {"hidden_sizes": (50, 30), "batch_size": 20, "epochs": 15, "device": "cpu"}
    return RecurrentFFClassifier(**defaults | arguments)


def test_the_digits_are_learned() -> None:
    X_train, X_test, y_train, y_test = train_test_split(*load_digits(return_X_y=True), test_size=0.25, random_state=0)
    assert RecurrentFFClassifier(random_state=1, epochs=10).fit(X_train, y_train).score(X_test, y_test) >= 0.97


def test_iris_is_learned(fitted: RecurrentFFClassifier, iris: tuple[Any, ...]) -> None:
    assert fitted.score(iris[1], iris[3]) > 0.85


def test_probabilities_agree_with_predictions_and_badness(fitted: RecurrentFFClassifier, iris: tuple[Any, ...]) -> None:
    probabilities, scores = fitted.predict_proba(iris[1]), fitted.decision_function(iris[1])
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-12)
    assert (probabilities.argmax(1) == fitted.predict(iris[1])).all()
    assert (scores.argmax(1) == fitted.predict(iris[1])).all()
    np.testing.assert_allclose(scores, -fitted.network_.badness(iris[1]).numpy(), rtol=1e-6)
    ratio = np.log(probabilities[:, 0] / probabilities[:, 1]) / (scores[:, 0] - scores[:, 1])
    np.testing.assert_allclose(ratio, fitted.scale_, rtol=1e-6)
    assert fitted.scale_ > 2


def test_the_scale_is_that_of_maximum_likelihood() -> None:
    generator = np.random.default_rng(0)
    badness = generator.normal(size=(20000, 3))
    probabilities = np.exp(-3.0 * badness)
    probabilities /= probabilities.sum(1, keepdims=True)
    labels = (probabilities.cumsum(1) < generator.random((20000, 1))).sum(1)
    assert _best_scale(badness, labels) == pytest.approx(3, rel=0.08)
    assert _best_scale(badness, badness.argmin(1)) < 1e4  # finite where all are right


def test_batches_agree(fitted: RecurrentFFClassifier, iris: tuple[Any, ...]) -> None:
    together = fitted.decision_function(iris[1])
    single = np.concatenate([fitted.decision_function(sample[None]) for sample in iris[1]])
    np.testing.assert_allclose(together, single, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(together[::-1], fitted.decision_function(iris[1][::-1]), rtol=1e-5, atol=1e-5)


def test_a_pickled_classifier_and_a_saved_network_predict_the_same(
    fitted: RecurrentFFClassifier, iris: tuple[Any, ...], tmp_path: Path
) -> None:
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.predict_proba(iris[1]), fitted.predict_proba(iris[1]))
    rff.save(fitted.network_, tmp_path / "iris.pt")
    assert rff.load(tmp_path / "iris.pt", device="cpu").predict(iris[1]).tolist() == fitted.predict(iris[1]).tolist()


def test_the_seed_determines_everything(iris: tuple[Any, ...]) -> None:
    first, second, other = (small(random_state=seed).fit(iris[0], iris[2]) for seed in (3, np.int64(3), 4))
    assert np.array_equal(first.decision_function(iris[1]), second.decision_function(iris[1]))
    assert not np.array_equal(first.decision_function(iris[1]), other.decision_function(iris[1]))
    assert first.network_.settings.training.seed == 3
    state = np.random.RandomState(0)
    seeds = [small(random_state=state, epochs=1).fit(iris[0], iris[2]).network_.settings.training.seed for _ in range(2)]
    assert seeds[0] != seeds[1]


@pytest.mark.parametrize("labels", [["a", "b", "c"], [10, 20, 30], [-1.0, 0.0, 5.0], [True, False, True]], ids=str)
def test_labels_of_every_type(labels: list[Any], iris: tuple[Any, ...]) -> None:
    y = np.array(labels)[iris[2]]
    classifier = small(epochs=5).fit(iris[0], y)
    predicted = classifier.predict(iris[1])
    assert predicted.dtype == y.dtype and set(predicted) <= set(y)
    assert classifier.predict_proba(iris[1]).shape == (len(predicted), len(set(labels)))


def test_frames_and_lists(iris: tuple[Any, ...]) -> None:
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(iris[0], columns=["a", "b", "c", "d"])
    names = pandas.Series(["setosa", "versicolor", "virginica"])
    y = names[iris[2]]
    framed = small(random_state=0).fit(X, y)
    assert framed.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    listed = small(random_state=0).fit(iris[0].tolist(), y.tolist())
    assert framed.predict(X).tolist() == listed.predict(iris[0].tolist()).tolist()
    assert framed.network_.predict(X) == framed.predict(X).tolist()  # a list, since the labels are texts
    with pytest.raises(ValueError, match="feature names"):
        framed.predict(X[["b", "a", "c", "d"]])


def test_images_are_pixels_and_tables_are_standardized(iris: tuple[Any, ...]) -> None:
    digits = load_digits()
    of_images = small(epochs=2).fit(digits.images[:300] / 16, digits.target[:300])
    assert isinstance(of_images.network_.task.transform, Pixels)  # type: ignore[union-attr]
    assert of_images.predict(digits.images[:5] / 16).shape == (5,)
    of_table = small(epochs=1).fit(iris[0], iris[2]).network_.task
    assert of_table is not None and isinstance(of_table.transform, Standardize)
    np.testing.assert_allclose(np.array(of_table.transform.std), iris[0].std(0), rtol=1e-6)
    of_pixels = small(epochs=1).fit(digits.data[:300], digits.target[:300]).network_.task
    assert of_pixels is not None and isinstance(of_pixels.transform, Standardize)
    np.testing.assert_allclose(np.array(of_pixels.transform.std), [digits.data[:300].std()] * 64, rtol=1e-6)


def test_arguments_reach_the_settings(iris: tuple[Any, ...]) -> None:
    transform = Standardize(mean=(0.0,) * 4, std=(1.0,) * 4)
    classifier = small(
        objective=Threshold(theta=2.0),
        negatives="uniform",
        optimizer={"name": "rmsprop", "momentum": 0.5},
        learning_rate=3e-4,
        input_transform=transform,
        epochs=1,
        settings={"activation": "gelu", "dropout": 0.1, "hidden_sizes": [7]},
    ).fit(iris[0], iris[2])
    settings = classifier.network_.settings
    assert settings.objective == Threshold(theta=2.0) and settings.negatives.count == 1
    assert settings.optimizer == type(settings.optimizer)(learning_rate=3e-4, momentum=0.5)  # type: ignore[call-arg]
    assert settings.network.hidden_sizes == (7,) and settings.network.dropout == 0.1
    assert settings.transform == transform
    default = small(epochs=1).fit(iris[0], iris[2]).network_.settings
    assert default.objective == Pairwise(alpha=16.0) and default.optimizer.learning_rate == 2e-3


def test_validation_samples_are_held_back_if_there_are_enough() -> None:
    X, y = load_digits(return_X_y=True)
    held = small(validation_fraction=0.1, epochs=2).fit(X, y)
    assert all(metrics.validation_accuracy is not None for metrics in held.history_)
    few = small(validation_fraction=0.1, epochs=2).fit(X[:900], y[:900])
    assert all(metrics.validation_accuracy is None for metrics in few.history_)


def test_pipelines_searches_and_clones(iris: tuple[Any, ...]) -> None:
    pipeline = make_pipeline(MinMaxScaler(), small(random_state=0, epochs=3))
    assert len(cross_val_score(pipeline, iris[0], iris[2], cv=2)) == 2
    search = GridSearchCV(small(random_state=0, epochs=2), {"objective": [Pairwise(alpha=4.0), "threshold"]}, cv=2)
    search.fit(iris[0], iris[2])
    assert search.best_params_["objective"] in (Pairwise(alpha=4.0), "threshold")
    assert clone(small(epochs=7, settings={"dropout": 0.1})).get_params()["settings"] == {"dropout": 0.1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "training.epochs = 0"),
        ({"objective": "pairwize"}, "pairwise"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"settings": {"drop": 0.1}}, "dropout"),
        ({"validation_fraction": 1.0}, "validation_fraction = 1.0"),
        ({"input_transform": "edges"}, "input_transform"),
        ({"device": "gpu"}, "device"),
    ],
    ids=str,
)
def test_a_wrong_argument_is_named_in_one_line(arguments: dict[str, Any], message: str, iris: tuple[Any, ...]) -> None:
    with pytest.raises(EstimatorError, match=message) as caught:
        small(**arguments).fit(iris[0], iris[2])
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, RecurrentFFError) and isinstance(caught.value, ValueError)


def test_wrong_data_are_refused(fitted: RecurrentFFClassifier, iris: tuple[Any, ...]) -> None:
    with pytest.raises(EstimatorError, match="one class"):
        small().fit(iris[0], np.zeros(len(iris[0])))
    with pytest.raises(ValueError, match="3 features"):
        fitted.predict(iris[1][:, :3])
    with pytest.raises(EstimatorError, match="pixels from 0 to 16"):
        small().fit(load_digits().images[:100], load_digits().target[:100])
    with pytest.raises(NotFittedError):
        small().predict(iris[1])
