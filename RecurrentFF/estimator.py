"""A classifier with the interface of scikit-learn.

    from RecurrentFF import RecurrentFFClassifier

    classifier = RecurrentFFClassifier(random_state=0).fit(X_train, y_train)
    classifier.score(X_test, y_test)

It needs scikit-learn: pip install "RecurrentFF[sklearn]".
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.model_selection import train_test_split
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError:
    raise ImportError('RecurrentFFClassifier needs scikit-learn 1.6 or newer: pip install "scikit-learn>=1.6"') from None

from RecurrentFF.data.arguments import whole_number
from RecurrentFF.data.tensor_task import TensorTask
from RecurrentFF.data.transforms import Standardize, Transform
from RecurrentFF.errors import DataError, InputError, RecurrentFFError, SettingsError
from RecurrentFF.messages import shown
from RecurrentFF.model.network import Network
from RecurrentFF.model.prediction import Scores, checked_scores, probabilities_of
from RecurrentFF.registry import make
from RecurrentFF.settings import Settings
from RecurrentFF.training.build import build
from RecurrentFF.training.fit import fit

Array = NDArray[Any]
Component = Any
"""A component, its registered name, or a dictionary of its name and options."""

LEAST_VALIDATION_SAMPLES = 100
"""The smallest number of validation samples. The best of many epochs is chosen by them, and fewer choose by chance."""

DEFAULTS: dict[str, Any] = {
    "objective": {"name": "pairwise", "alpha": 16.0},
    "negatives": {"name": "readout", "optimizer": {"name": "adam", "learning_rate": 1e-3}},
    "optimizer": {"name": "adam", "learning_rate": 2e-3},
    "schedule": "cosine",
    "prelabel_timesteps": 2,
    "label_timesteps": 3,
    "prediction_window": (1, 2),
    "input_dropout": 0.2,
    "weight_averaging": 0.99,
    "train_accuracy_samples": 0,
    "precision": "float32",
}
"""The settings of a classifier, by key or component, where they are not those of `Settings()`."""


class EstimatorError(RecurrentFFError, ValueError):
    """An argument or data that the classifier can't use. It is a ValueError too, as scikit-learn expects."""


class RecurrentFFClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A Recurrent Forward-Forward network as a classifier of scikit-learn.

    The defaults suit tables and small images of some hundred to some ten thousand samples.

    Args:
        hidden_sizes: the number of units of each hidden layer, from bottom to top.
        epochs: the number of passes over the training samples.
        batch_size: the number of samples of a training batch.
        learning_rate: the learning rate of the layers; None for that of the optimizer, which is 2e-3 by default.
        objective: the loss of a layer; None for the pairwise objective with alpha = 16.
        negatives: the source of negative data; None for one wrong label, drawn from the readout's guesses.
        optimizer: the optimizer of the layers; None for adam.
        input_transform: the fixed conversion of a sample to network inputs. None for `Pixels` if X has images; for a table,
            `Standardize`, with a mean and a standard deviation for each column, or one for all of them if they seem to have the
            same unit, like pixels: none is negative, and most have the same maximum.
        validation_fraction: the fraction of the samples that is not trained on, but selects the best epoch and the scale of
            the probabilities; drawn at random, by class. With 0, or if they are fewer than 100 samples, which would select by
            chance, all samples are trained on, and the weights of the last epoch are kept.
        prediction: the method of prediction: "badness" (the label of lowest badness), "readout" (a linear softmax on the activity
            before a label is shown, several times faster) or "propose_and_verify" (the lowest badness among the labels that the
            readout finds likeliest).
        proposals: the number of labels that "propose_and_verify" tries, at least 2; with as many as classes it is "badness".
        random_state: the seed of the draw of validation samples, initial weights, sample order, negative labels and dropout; an
            int, a numpy RandomState, or None for another seed at every call of `fit`.
        device: "auto" (the first one available of cuda, mps and cpu), "cpu", "cuda", "cuda:N" or "mps".
        verbose: print the progress.
        settings: further keys and components of the configuration, as in `rff.build`, for instance
            {"activation": "gelu", "dropout": 0.1}. They override all other arguments.

    An objective, source of negatives, optimizer or transform is a component, its registered name, or a dictionary of its name
    and its options.

    Attributes:
        classes_: (classes,) the labels, sorted.
        network_: the trained network, for `rff.save`. Its `predict` takes the same samples as the classifier.
        history_: the metrics of each epoch.
        scale_: the scale of badness in the probabilities; not fitted if the readout alone predicts.
        n_features_in_: the number of features.
        feature_names_in_: (n_features_in_,) the names of the columns, if X was a frame with names.

    Examples:
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> RecurrentFFClassifier(random_state=0).fit(X, y).predict(X[:2])
        array([0, 0])
    """

    def __init__(
        self,
        hidden_sizes: Sequence[int] = (200, 200),
        *,
        epochs: int = 30,
        batch_size: int = 50,
        learning_rate: float | None = None,
        objective: Component = None,
        negatives: Component = None,
        optimizer: Component = None,
        input_transform: Component = None,
        validation_fraction: float = 0.0,
        prediction: str = "badness",
        proposals: int = 2,
        random_state: Any = None,
        device: str = "auto",
        verbose: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.hidden_sizes = hidden_sizes
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.objective = objective
        self.negatives = negatives
        self.optimizer = optimizer
        self.input_transform = input_transform
        self.validation_fraction = validation_fraction
        self.prediction = prediction
        self.proposals = proposals
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.settings = settings

    def fit(self, X: Any, y: Any) -> RecurrentFFClassifier:
        """Train a new network.

        Args:
            X: (n, features), or images (n, height, width) or (n, channels, height, width), of uint8 or of floating-point numbers
                from 0 to 1; an array, list or frame.
            y: (n,) labels, texts or numbers.

        Returns:
            The classifier itself.

        Raises:
            EstimatorError: an argument is invalid, or the data don't fit it.
            DivergenceError: the loss or the weights are NaN or infinite.
        """
        X, y = validate_data(self, X, y, allow_nd=True)
        check_classification_targets(y)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise EstimatorError(f"y has one class, {self.classes_.tolist()[0]!r}: a classifier needs samples of two or more")
        try:
            seed = self._seed()
            task = self._task(X, numbers, seed)
            self.network_ = build(self._settings(seed), task=task)
            self.history_ = fit(self.network_, task, quiet=not self.verbose)
        except (SettingsError, InputError, DataError) as error:
            raise EstimatorError(str(error)) from error
        self.scale_ = self._fit_scale(task)
        return self

    def predict(self, X: Any) -> Array:
        """Predict labels, by the method that the argument `prediction` names.

        Args:
            X: samples of the shape and type that `fit` was given.

        Returns:
            (n,) labels.

        Raises:
            EstimatorError: the samples don't fit the network.
        """
        numbers = self._scores(X).numbers.numpy()
        return np.asarray(self.classes_[numbers])

    def decision_function(self, X: Any) -> Array:
        """Compute a number for each label, which is highest for the predicted one.

        By badness it is minus the badness, by readout the logit, and by "propose_and_verify" the logarithm of the probability.

        Args:
            X: as for `predict`.

        Returns:
            (n, classes); for two classes (n,), the difference of the second label and the first.
        """
        scores = self._scores(X)
        if scores.badness is None or scores.logits is None:
            decision = _numbers(scores.logits) if scores.badness is None else -_numbers(scores.badness)
        else:
            decision = np.log(np.maximum(_numbers(probabilities_of(scores, self.scale_)), np.finfo(float).tiny))
        return decision[:, 1] - decision[:, 0] if decision.shape[1] == 2 else decision

    def predict_proba(self, X: Any) -> Array:
        """Compute the probability of each label, as `Network.predict_proba` does for the method of prediction.

        By badness it is softmax(−scale · badness). The scale is one number for the network, fitted by maximum likelihood to the
        validation samples. If there are none, it is fitted to the training samples, and the probabilities are somewhat too close
        to 0 and 1. The most probable label is the predicted one.

        Args:
            X: as for `predict`.

        Returns:
            (n, classes), in the order of `classes_`. Each row sums to 1.
        """
        return _numbers(probabilities_of(self._scores(X), self.scale_))

    def _scores(self, X: Any) -> Scores:
        """The prediction of every sample, and the numbers that it rests on, in float64 on the CPU."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, allow_nd=True)
        try:
            return checked_scores(self.network_, *self.network_.prepare(X)).to("cpu").to(torch.float64)
        except InputError as error:
            raise EstimatorError(str(error)) from error

    def _seed(self) -> int:
        """The seed of a training."""
        if isinstance(self.random_state, Integral):
            return whole_number(self.random_state, "random_state")
        try:
            return int(check_random_state(self.random_state).randint(2**31 - 1))
        except ValueError:
            raise SettingsError(f"random_state = {shown(self.random_state)}: expected a number, a RandomState or None") from None

    def _settings(self, seed: int) -> Settings:
        """The configuration that the arguments describe.

        Raises:
            SettingsError: an argument is invalid.
        """
        given = {"objective": self.objective, "negatives": self.negatives, "optimizer": self.optimizer}
        chosen = DEFAULTS | {kind: component for kind, component in given.items() if component is not None}
        optimizer = make("optimizer", chosen["optimizer"], "optimizer")
        if self.learning_rate is not None:
            optimizer = replace(optimizer, learning_rate=self.learning_rate)
        basis = Settings.from_arguments(
            **chosen | {"optimizer": optimizer},
            hidden_sizes=self.hidden_sizes,
            epochs=self.epochs,
            prediction=self.prediction,
            proposals=self.proposals,
            batch_size=self.batch_size,
            seed=seed,
            device={"device": self.device},
        )
        further = {} if self.settings is None else self.settings
        if not isinstance(further, Mapping) or not all(isinstance(key, str) for key in further):
            raise SettingsError(f"settings = {shown(further)}: expected a dictionary of keys and values")
        return basis.with_arguments(**further)

    def _task(self, X: Array, numbers: Array, seed: int) -> TensorTask:
        """The samples as a task, with validation samples if there are enough."""
        names = [_class_name(label) for label in self.classes_.tolist()]
        chosen, fraction = self.input_transform, self.validation_fraction
        transform: Transform | None = None if chosen is None else make("transform", chosen, "input_transform")
        if not isinstance(fraction, Real) or not 0 <= fraction < 1:
            raise SettingsError(f"validation_fraction = {shown(fraction)}: expected a number from 0 to below 1, for instance 0.1")
        count, smallest = round(fraction * len(X)), np.bincount(numbers).min()
        train, validation = np.arange(len(X)), None
        if count >= LEAST_VALIDATION_SAMPLES and smallest > 1:
            train, held_out = train_test_split(train, test_size=count, random_state=seed % 2**32, stratify=numbers)
            validation = (X[held_out], [names[number] for number in numbers[held_out]])
        labels = [names[number] for number in numbers[train]]
        if transform is None and X.ndim == 2 and _columns_share_unit(X[train]):
            transform = _one_scale(X[train])
        return TensorTask(X[train], labels, transform=transform, classes=names, validation=validation, name="samples", seed=seed)

    def _fit_scale(self, task: TensorTask) -> float:
        """The scale of the probabilities, of maximum likelihood on the validation samples, or on the training samples."""
        if self.network_.settings.network.prediction == "readout":
            return self.network_.settings.objective.probability_scale
        splits = task.splits(device=self.network_.device, timesteps=self.network_.settings.timesteps)
        batches = list((splits.validation or splits.train).batches(self.batch_size))
        badness = torch.cat([self.network_.badness_of(*_in_layout(self.network_, batch)) for batch in batches])
        labels = torch.cat([batch.labels for batch in batches])
        return _best_scale(badness.double().cpu().numpy(), labels.cpu().numpy())

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for pickling and copying, with the network on the CPU, which every machine has."""
        state: dict[str, Any] = super().__getstate__()
        if "network_" in state and self.network_.device.type != "cpu":
            state = state | {"network_": copy.deepcopy(self.network_).cpu()}
        return state

    def __sklearn_tags__(self) -> Any:
        """Describe the classifier to scikit-learn: it accepts images, too."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


def _numbers(values: torch.Tensor | None) -> Array:
    """A tensor as an array."""
    assert values is not None
    return np.asarray(values.numpy())


def _in_layout(network: Network, batch: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The inputs and the mask of a batch as `Network.badness_of` takes them."""
    return network.input_sequence(batch.inputs), batch.mask


def _columns_share_unit(X: Array) -> bool:
    """True if the columns of a table (n, features) are pixels, counts or indicators: none is negative, most have one maximum."""
    highest = X.max(0)
    return X.shape[1] > 1 and X.dtype != np.uint8 and float(X.min()) >= 0 and bool(np.median(highest) == highest.max())


def _one_scale(X: Array) -> Standardize:
    """The transform of a table (n, features) by the mean and the standard deviation of all its values together."""
    mean, std = float(X.mean(dtype=np.float64)), float(X.std(dtype=np.float64))
    return Standardize(mean=(mean,) * X.shape[1], std=(std or 1.0,) * X.shape[1])


def _class_name(label: Any) -> str | int:
    """The name of a class in a task: a whole number of 64 bits, or the text of anything else, such as a date."""
    is_number = isinstance(label, Real)
    return int(label) if is_number and -(2**63) <= label < 2**63 else str(label)


def _best_scale(badness: Array, labels: Array) -> float:
    """The scale s of maximum likelihood of softmax(−s · badness), for smoothed labels (Platt 1999), so that it stays finite.

    Args:
        badness: (n, classes).
        labels: (n,) class numbers.
    """
    samples, classes = badness.shape
    smoothing = 1 / (samples + 2)
    targets = np.full(badness.shape, smoothing / (classes - 1))
    targets[np.arange(samples), labels] = 1 - smoothing
    scales = np.geomspace(1e-2, 1e4, 241)  # 10 % apart
    losses = [-(targets * _log_softmax(-scale * badness)).sum() for scale in scales]
    return float(scales[int(np.argmin(losses))])


def _log_softmax(logits: Array) -> Array:
    """The logarithm of the softmax of each row."""
    shifted = logits - logits.max(1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))
