"""The numbers of the analysis against values that were computed by hand, with true and wrong labels that differ."""

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import RecurrentFF as rff
from RecurrentFF import analysis
from RecurrentFF.analysis.records import opposed_layers
from RecurrentFF.errors import InputError
from RecurrentFF.model.recording import Recorded
from tests.helpers import CLASSES, clusters, hidden_layers, small_settings
from tests.test_analysis import network_of, task_of_images, texts_of

# The drives (samples, units) at the last timestep from below, and from above under true and under wrong labels: the cosines are
# -1, 0, 1 and 0, 1, 0. At the first timestep, which is before the label, all drives are 1.
UP, TRUE, WRONG = (
    [[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]],
    [[-3.0, -4.0], [1.0, 0.0], [1.0, 0.0]],
    [[4.0, -3.0], [0.0, 1.0], [0.0, 1.0]],
)


def recorded(down: list[list[float]], source: str = "y", direction: str = "label") -> Recorded:
    """A record of one layer, with two timesteps, two units and three samples."""
    up, above = (torch.stack([torch.ones(2, 3), torch.tensor(rows).T]) for rows in (UP, down))
    drives, ways = {"h1": {"x": up, source: above}}, {"h1": {"x": "forward", source: direction}}
    return Recorded({"h1": torch.ones(2, 2, 3)}, {"h1": torch.ones(1, 3)}, drives, ways)


def compared(ends: list[bool] | None = None, **names: str) -> analysis.Comparison:
    """A comparison of three samples, of which some may end before the label is shown."""
    last = [True] * 3 if ends is None else [not end for end in ends]
    valid = torch.tensor([[True] * 3, last])
    return analysis.Comparison(recorded(TRUE, **names), recorded(WRONG, **names), torch.zeros(3), torch.ones(3), valid)


def test_true_and_wrong_labels_are_told_apart() -> None:
    (found,) = analysis.cancellation(compared())
    assert found.cosine_true == pytest.approx(0, abs=1e-6) and found.cosine_wrong == pytest.approx(1 / 3)
    assert found.ratio_true == pytest.approx((0 + 5**0.5 / 2 + 2) / 3)
    assert found.ratio_wrong == pytest.approx((2**0.5 + 1.5 + 2**0.5) / 3)
    assert found.error == pytest.approx(2 / 3)  # the differences are -1, -1 and 1
    cosines = analysis.drive_cosines(compared())["h1"]
    torch.testing.assert_close(cosines.true, torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(cosines.wrong, torch.tensor([1.0, 1 / 3]))
    lines = str(found).splitlines()
    assert lines[0].startswith(
        "h1: cosine 0.00 under the true and 0.33 under wrong labels (difference −0.33, standard error 0.667)"
    )
    assert max(map(len, lines)) <= 100


def test_samples_that_end_before_the_label_do_not_count() -> None:
    (found,) = analysis.cancellation(compared([False, True, False]))
    assert found.samples == 2 and max(abs(found.cosine_true), abs(found.cosine_wrong)) < 1e-6
    assert "timestep of 2 samples" in " ".join(str(found).split())
    assert analysis.cancellation(compared([True] * 3)) == []


@pytest.mark.parametrize(("source", "direction"), [("y+h2", "label+backward"), ("h2+y", "backward+label")])
def test_blocks_above_that_are_read_together_oppose_the_input_in_any_order(source: str, direction: str) -> None:
    both = compared(source=source, direction=direction)
    assert opposed_layers(both) == ["h1"] and analysis.cancellation(both) == analysis.cancellation(compared())
    assert opposed_layers(compared(source="x+h2", direction="forward+backward")) == []


def test_the_confusion_picture_has_true_classes_in_rows() -> None:
    network, inputs = rff.build(small_settings()), clusters(20)[0]
    predicted = network.predict(inputs)
    predicted[:3], labels = predicted[0], predicted.clone()
    labels[0] = (predicted[0] + 1) % CLASSES
    found = rff.evaluate(network, (inputs[:1], labels[:1]))
    cells: Any = analysis.plot_confusion(found).axes[0].images[0].get_array()
    assert cells[int(labels[0]), int(predicted[0])] == 1 and cells[int(predicted[0]), int(labels[0])] == 0


def test_neighbors_are_those_of_the_smallest_angle() -> None:
    latent = torch.tensor([[1.0, 0.0], [3.0, 0.1], [9.0, 9.0], [1.0, 1.1]])
    assert analysis.neighbors_of_the_same_class(latent, torch.tensor([0, 0, 1, 1])) == 1  # by the dot product, 0.25
    assert analysis.neighbors_of_the_same_class(latent, torch.tensor([0, 1, 1, 1])) == 0.5


# ---------------------------------------------------------------- maps


@pytest.fixture
def tsne(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is passed to t-SNE, whose place is taken by its first two columns."""
    calls: list[Any] = []

    def make(_: int, **options: Any) -> Any:
        def fit_transform(values: Any) -> Any:
            calls.append((values, options))
            return values[:, :2]

        return SimpleNamespace(fit_transform=fit_transform)

    monkeypatch.setitem(sys.modules, "sklearn", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "sklearn.manifold", SimpleNamespace(TSNE=make))
    return calls


def test_tsne_begins_with_the_largest_components_of_any_scale(tsne: list[Any]) -> None:
    latent = torch.randn(60, 55, generator=torch.Generator().manual_seed(0)) * torch.linspace(3, 1, 55)
    first = analysis.project(latent)
    for scale in (1.0, 1e-20):
        analysis.project(latent.double() * scale, "tsne", seed=2**32 + 5)
        values, options = tsne.pop()
        assert values.shape == (60, 50) and options["init"] == "pca" and options["random_state"] == 5
        np.testing.assert_allclose(values[:, :2], first / first[:, 0].std(), rtol=1e-3, atol=1e-4)


def test_samples_of_the_same_activity_have_no_map(tsne: list[Any]) -> None:
    row = torch.rand(7, generator=torch.Generator().manual_seed(0))
    equal = row.expand(9, 7)
    rounded = equal * (1 + 1e-7 * torch.randn(9, 7, generator=torch.Generator().manual_seed(1)))
    for latent, method in ((equal, "tsne"), (equal, "pca"), (rounded, "tsne"), (torch.zeros(9, 7), "tsne")):
        with pytest.raises(InputError, match="all samples have the same activity"):
            analysis.project(latent, method)
    with pytest.raises(InputError, match="an activity is not finite"):
        analysis.project(torch.full((9, 7), torch.inf), "tsne")
    assert not tsne
    copies = torch.cat([equal, equal[:1] + 1])
    assert analysis.project(copies, "tsne").shape == (10, 2) and tsne[0][1]["init"] == "random"


# ---------------------------------------------------------------- pictures


def test_the_yellow_area_is_the_prediction_window_whatever_the_method() -> None:
    network = rff.build(small_settings(negatives={"name": "readout"}, label_timesteps=6))
    network.readout.weight.normal_(generator=torch.Generator().manual_seed(0))
    first, last = network.settings.prediction_window
    samples = analysis.choose(network, clusters(3))
    texts = {"badness": "a prediction", "propose_and_verify": "a prediction", "readout": "the lowest badness"}
    for method, text in texts.items():
        network.prediction = method  # type: ignore[assignment]
        figure = analysis.plot_badness(network, samples, np.int64(1))  # type: ignore[arg-type]
        (span,) = [patch for patch in figure.axes[0].patches if "averaged" in str(patch.get_label())]
        assert span.get_label() == f"timesteps averaged for {text}" and "averaged" in texts_of(figure)
        extent = span.get_extents().transformed(figure.axes[0].transData.inverted())
        assert (extent.x0, extent.x1) == (pytest.approx(first - 0.2), pytest.approx(last + 0.2)) and first > 0
    with pytest.raises(InputError, match="expected a position from 0 to 2"):
        analysis.plot_badness(network, samples, True)


def test_receptive_fields_are_those_of_units_from_the_first_to_the_last() -> None:
    network = network_of(task_of_images()[0])
    found = analysis.receptive_fields(network, "h1", 3)
    assert found is not None and found.units == [0, 4, 7]
    first: Any = hidden_layers(network)[0].connections[0]
    assert torch.equal(found.images.flatten(1), first.weights()["x"][[0, 4, 7]].float())


# ---------------------------------------------------------------- samples


def test_a_choice_changes_no_random_numbers_and_takes_validation_samples_of_a_task() -> None:
    network = rff.build(small_settings())
    loader = DataLoader(TensorDataset(*clusters(12)), batch_size=4, shuffle=True)
    before = torch.get_rng_state()
    first, second = (analysis.choose(network, loader) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before) and torch.equal(first.x, second.x)
    inputs, labels = clusters(30)
    task = rff.TensorTask(inputs, labels, validation=0.5, test=0.1)
    assert len(analysis.choose(network_of(task), task)) == 15
    task = rff.TensorTask(inputs, labels, validation=None, test=0.1)
    assert len(analysis.choose(network_of(task), task)) == 3
    with pytest.raises(InputError, match="choose: the task has neither validation nor test samples"):
        analysis.choose(network_of(task), rff.TensorTask(inputs, labels, validation=None))
