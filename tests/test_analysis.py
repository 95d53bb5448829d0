"""The analysis: samples, records, frames, numbers and pictures."""

import sys
from typing import Any

import pytest
import torch
from matplotlib import pyplot
from matplotlib.figure import Figure
from torch import Tensor

import RecurrentFF as rff
from RecurrentFF import analysis
from RecurrentFF.analysis.images import arranged, side_by_side
from RecurrentFF.data.image_transforms import OrientedGradients, Pixels
from RecurrentFF.data.task import Task
from RecurrentFF.data.tensor_task import TensorTask
from RecurrentFF.errors import InputError
from RecurrentFF.model.recording import Recorded
from tests.helpers import CLASSES, DATA_SIZE, clusters, float64_network, hidden_layers, small_settings, video

HOSTILE = "$x^2$ <b>&\"'"


def task_of_images(classes: int = 3, **options: Any) -> tuple[TensorTask, Tensor, list[str]]:
    """A task of images of 6 × 6 pixels whose classes are texts."""
    images = torch.randint(0, 256, (30, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    names = [f"{HOSTILE}{number % classes}" for number in range(30)]
    return TensorTask(images, names, **options), images, names


def network_of(task: Task, **arguments: Any) -> rff.Network:
    """An untrained network for a task."""
    return rff.build(small_settings(input_size=None, num_classes=None, **({"hidden_sizes": [8, 6]} | arguments)), task=task)


def compared(network: rff.Network, samples: int = 12) -> analysis.Comparison:
    """A record of random inputs."""
    return analysis.record_both(network, analysis.choose(network, clusters(samples)))


# ---------------------------------------------------------------- samples


def test_samples_are_drawn_reproducibly_and_keep_their_data() -> None:
    network = rff.build(small_settings())
    inputs, labels = clusters(40)
    batches = [(inputs[:25], labels[:25]), (inputs[25:], labels[25:])]
    for data in ((inputs, labels), batches):
        chosen = analysis.choose(network, data, 10, seed=3)
        assert len(chosen) == 10 == len(set(chosen.index.tolist()))
        assert torch.equal(chosen.x[0, :, 0].T, inputs[chosen.index]) and torch.equal(chosen.labels, labels[chosen.index])
        assert torch.equal(chosen.index, analysis.choose(network, data, 10, seed=3).index)
        assert not torch.equal(chosen.index, analysis.choose(network, data, 10, seed=4).index)
    listed = analysis.choose(network, batches, index=[30, 2, 30])
    assert listed.index.tolist() == [30, 2, 30] and torch.equal(listed.x[0, :, 0].T, inputs[[30, 2, 30]])
    assert len(analysis.choose(network, (inputs, labels))) == 40 and listed.take([1]).index.tolist() == [2]


def test_masks_and_sequences_of_batches_are_kept() -> None:
    network = rff.build(small_settings())
    sequence, mask = video(5, 8).float(), torch.rand(5, 8) < 0.7
    labels = torch.arange(8) % CLASSES
    chosen = analysis.choose(network, [(sequence, labels, mask), (sequence[0], labels)], index=[3, 10])
    assert chosen.x.shape == (5, DATA_SIZE, 1, 2) and chosen.mask is not None
    assert torch.equal(chosen.mask[:, 0], mask[:, 3].to(chosen.mask)) and chosen.mask[:, 1].all()
    assert torch.equal(chosen.x[4, :, 0, 1], sequence[0, 2])


def test_wrong_labels_are_never_right_and_all_others_occur() -> None:
    labels = torch.arange(2000) % 4
    wrong = analysis.wrong_labels(labels, 4, seed=1)
    assert not (wrong == labels).any() and torch.equal(wrong, analysis.wrong_labels(labels, 4, seed=1))
    assert {(a, b) for a, b in zip(labels.tolist(), wrong.tolist(), strict=True)} == {
        (a, b) for a in range(4) for b in range(4) if a != b
    }


def test_images_are_the_raw_samples_or_the_inputs() -> None:
    task, images, names = task_of_images(transform=OrientedGradients(directions=4, grid_size=2))
    network = network_of(task)
    chosen = analysis.choose(network, (images, names), index=[4, 1])
    assert chosen.images is not None and torch.equal(chosen.images, images[[4, 1]].float())
    plain = network_of(task_of_images(transform=Pixels())[0])
    from_loader = analysis.choose(plain, [(images[:9], names[:9])], index=[2])
    assert from_loader.images is not None and from_loader.images.shape == (1, 6, 6)
    assert torch.corrcoef(torch.stack([from_loader.images.flatten(), images[2].float().flatten()]))[0, 1] > 0.999
    assert analysis.choose(rff.build(small_settings()), clusters(5)).images is None
    color = torch.randint(0, 256, (8, 3, 4, 5), dtype=torch.uint8)
    task = TensorTask(color, [0, 1] * 4)
    for data in ((color, [0, 1] * 4), [(color, [0, 1] * 4)]):
        found = analysis.choose(network_of(task), data, index=[6]).images
        assert found is not None
        torch.testing.assert_close(found[0], color[6].permute(1, 2, 0) / 255)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, r"count = 0: expected a whole number of at least 1"),
        ({"seed": "a"}, r"seed = 'a'"),
        ({"index": [5]}, r"index has the number 5: expected numbers of samples from 0 to 4"),
        ({"index": []}, r"index is empty"),
    ],
)
def test_wrong_choices_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        analysis.choose(rff.build(small_settings()), clusters(5), **arguments)


# ---------------------------------------------------------------- records


@pytest.mark.parametrize(
    "arguments",
    [
        {"residual_connections": [[0, 2], [4, 1]]},
        {"connections": [{"name": "fast_weights"}]},
        {"connections": [{"name": "traces"}, {"name": "black_box", "function": "quantization"}]},
        {"hidden_sizes": [8, 5], "input_size": 16, "connections": [{"name": "convolution", "channels": 2, "kernel_size": 3,
                                                                    "padding": 1}]},
    ],
)  # fmt: skip
def test_drives_and_bias_are_the_pre_activation(arguments: dict[str, Any]) -> None:
    network = float64_network(**arguments)
    inputs = torch.randn(6, network.input_size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    both = analysis.record_both(network, analysis.choose(network, (inputs, torch.arange(6) % CLASSES)))
    for layer in hidden_layers(network):
        for recorded in (both.true, both.wrong):
            z = sum(recorded.drives[layer.name].values()) + layer.unit_bias[:, None]
            before = torch.zeros_like(z[0])
            for t, h in enumerate(recorded.activity[layer.name]):
                d = 1.0 if t < 2 else network.settings.network.damping_factor
                torch.testing.assert_close(h, (1 - d) * before + d * layer.activation.apply(z[t]))
                before = h
    assert both.timesteps == range(-2, 3)


def test_drives_have_the_type_of_the_activity() -> None:
    convolution = {"name": "convolution", "channels": 2, "kernel_size": 3, "padding": 1}
    settings = small_settings(input_size=16, hidden_sizes=[8], connections=[convolution])
    network = rff.Network(settings, compute_dtype=torch.bfloat16)
    both = analysis.record_both(network, analysis.choose(network, (torch.randn(4, 16), torch.arange(4))))
    assert {drive.dtype for drive in both.true.drives["h1"].values()} == {torch.float32}


def test_directions_name_each_source() -> None:
    both = compared(rff.build(small_settings(residual_connections=[[0, 2], [4, 1]])))
    assert both.true.directions == {
        "h1": {"x": "forward", "h1": "lateral", "h2": "backward", "y": "label"},
        "h2": {"x": "forward", "h1": "forward", "h2": "lateral", "h3": "backward"},
        "h3": {"h2": "forward", "h3": "lateral", "y": "label"},
    }


def made(up: Tensor, down: Tensor, valid: Tensor | None = None) -> analysis.Comparison:
    """A comparison with given drives (timesteps, units, samples), under both labels."""
    activity = torch.tensor([[[-1.0, 0.0], [2.0, 0.0]], [[3.0, 0.0], [4.0, 0.0]]])
    drives = {"h1": {"x": up, "h1": torch.ones_like(up), "y": down}}
    ways = {"h1": {"x": "forward", "h1": "lateral", "y": "label"}}
    recorded = Recorded({"h1": activity}, {"h1": torch.ones(2, 2)}, drives, ways)
    valid = torch.ones(2, 2, dtype=torch.bool) if valid is None else valid
    return analysis.Comparison(recorded, recorded, torch.zeros(2).long(), torch.ones(2).long(), valid)


def test_numbers_against_a_hand_computation() -> None:
    up = torch.tensor([[[3.0, 1.0], [4.0, 0.0]], [[1.0, 0.0], [1.0, 2.0]]])
    down = torch.tensor([[[-3.0, 0.0], [-4.0, 5.0]], [[-1.0, 0.0], [0.0, -1.0]]])
    both = made(up, down)
    norms, cosines = analysis.drive_norms(both)["h1"], analysis.drive_cosines(both)["h1"]
    half = 0.5**0.5
    torch.testing.assert_close(norms["x"].true, torch.tensor([(5 * half + half) / 2, (1 + 2 * half) / 2]))
    torch.testing.assert_close(cosines.wrong, torch.tensor([-0.5, (-half - 1) / 2]))  # (-1 + 0) / 2
    (found,) = analysis.cancellation(both)
    assert found.cosine_true == pytest.approx((-half - 1) / 2) and found.ratio_true == pytest.approx((half + 0.5) / 2)
    assert found.error == 0 and str(found).startswith("h1: cosine −0.85 under the true")
    (ended,) = analysis.cancellation(made(up, down, torch.tensor([[True, True], [False, True]])))
    assert ended.cosine_true == pytest.approx(-1) and ended.ratio_true == pytest.approx((0 + 0.5) / 2)
    without = analysis.drive_cosines(made(up, down * torch.tensor([0.0, 1.0])))["h1"].true  # no cosine of a drive that is zero
    torch.testing.assert_close(without, torch.tensor([0.0, -1.0]))
    assert analysis.cancellation(made(up, torch.zeros_like(up))) == []
    sparse = analysis.sparsity(both)["h1"]
    assert sparse.active.tolist() == [0.25, 0.5] and (sparse.never_active, sparse.units) == (0, 2)
    assert analysis.sparsity(both, 3.5)["h1"].never_active == 1 and sorted(sparse.activity.tolist()) == [0, 0, 3, 4]


def test_a_frame_has_every_number_once() -> None:
    both = compared(rff.build(small_settings()), samples=3)
    table = analysis.frame(both.wrong)
    assert list(table) == ["layer", "timestep", "sample", "quantity", "source", "direction", "unit", "value"]
    assert len(table) == 5 * 3 * (9 * 4 + 5 * 4 + 8 * 4) + 3 * 3 * 3

    def row(**values: Any) -> float:
        chosen = table
        for name, value in values.items():
            chosen = chosen[chosen[name] == value]
        assert len(chosen) == 1
        return float(chosen["value"].iloc[0])

    drive = row(layer="h2", timestep=-1, sample=2, quantity="drive", source="h3", unit=4)
    assert drive == float(both.wrong.drives["h2"]["h3"][1, 4, 2])
    assert row(layer="h1", timestep=2, sample=0, quantity="badness") == float(both.wrong.badness["h1"][2, 0])
    assert set(table[(table.layer == "h3") & (table.source == "y")].direction) == {"label"}
    short = analysis.frame(both.true, summary=True)
    cell = short[(short.layer == "h1") & (short.timestep == 0) & (short["sample"] == 1) & (short.quantity == "activity")].value
    assert float(cell.iloc[0]) == pytest.approx(float(both.true.activity["h1"][2, :, 1].square().mean().sqrt()))


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    network = rff.build(small_settings())
    both = compared(network, 6)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r'pandas is not installed; install it, as in pip install "RecurrentFF\[analysis\]"'):
        analysis.frame(both.true)
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(InputError, match=r"t-SNE needs scikit-learn"):
        analysis.plot_map(network, analysis.choose(network, clusters(6)), "tsne")


# ---------------------------------------------------------------- weights, images and maps


def test_weights_have_the_sign_of_the_equations_and_only_connected_ones() -> None:
    network = rff.build(small_settings(input_size=16, connections=[{"name": "receptive_field", "side": 2}]))
    found = analysis.weights(network)
    dense: Any = hidden_layers(network)[1].connections[0]
    assert torch.equal(found["h2"]["h3"], -dense.weight[:, dense.columns["h3"]]) and found["h1"]["x"].shape == (9 * 4,)
    assert list(found["h1"]) == ["x", "h1", "h2"]


def test_images_have_the_values_of_the_weights() -> None:
    task, _, _ = task_of_images(transform=OrientedGradients(directions=4, grid_size=2))
    rows = torch.randn(2, 16)
    found = arranged(rows, task)
    assert found is not None and found.images.shape == (2, 5, 5) and len(found.maps) == 4
    assert torch.equal(found.images[1, :2, :2].flatten(), rows[1, :4])
    assert torch.equal(found.images[1, 3:, :2], rows[1, 8:12].view(2, 2))
    assert found.images[:, 2].isnan().all() and side_by_side(torch.ones(1, 3, 2, 2)).isnan().sum() == 9 + 4
    assert arranged(torch.randn(2, DATA_SIZE), TensorTask(*clusters(9))) is None
    plain = arranged(rows.repeat(1, 3)[:, :36], task_of_images(transform=Pixels())[0])
    assert plain is not None and torch.equal(plain.images.flatten(1), rows.repeat(1, 3)[:, :36])


def test_latent_activity_is_what_the_readout_reads() -> None:
    network = rff.build(small_settings(negatives={"name": "readout"}))
    network.readout.weight.normal_()
    samples = analysis.choose(network, clusters(9))
    latent = analysis.latent_activity(network, samples)
    torch.testing.assert_close(network.readout(latent), network.logits(clusters(9)[0]), atol=1e-4, rtol=1e-4)
    assert analysis.latent_activity(network, samples, ["h3"]).shape == (9, 8)
    places = analysis.project(latent)
    centered = latent - latent.mean(0)
    assert places.var(0).sum() == pytest.approx(float(torch.linalg.svdvals(centered)[:2].square().sum() / 8), rel=1e-4)
    corners = torch.tensor([[1.0, 0], [0.9, 0.1], [0, 1.0], [0.1, 0.9]])
    assert analysis.neighbors_of_the_same_class(corners, torch.tensor([0, 0, 1, 0])) == 0.5
    with pytest.raises(InputError, match=r"prelabel_timesteps = 0: there is no activity"):
        analysis.latent_activity(rff.build(small_settings(prelabel_timesteps=0)), samples)


# ---------------------------------------------------------------- pictures


def texts_of(figure: Figure) -> str:
    """All texts of a figure."""
    from matplotlib.text import Text

    found = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    return "\n".join(text.get_text() for text in found)


def without_parsing(figure: Figure) -> None:
    """Check that no text with a class name is parsed as mathematics."""
    texts: Any = figure.findobj(lambda artist: HOSTILE[:3] in getattr(artist, "get_text", str)())
    assert not any(text.get_parse_math() for text in texts if hasattr(text, "get_parse_math") and text.get_visible())


def test_pictures_show_themselves_once_and_name_what_they_show() -> None:
    task, images, names = task_of_images()
    network = network_of(task)
    samples = analysis.choose(network, (images, names))
    both = analysis.record_both(network, samples)
    evaluation = rff.evaluate(network, (images, names))
    expected = {
        "from y (label)": analysis.plot_drives(both),
        "cosine(bottom-up, top-down)": analysis.plot_cancellation(both),
        "timesteps averaged for a prediction": analysis.plot_badness(network, samples, 3),
        "units never active": analysis.plot_sparsity(both),
        "h1 from x (forward)": analysis.plot_weights(network),
        "weight from the input": analysis.plot_receptive_fields(network),
        "principal component 1": analysis.plot_map(network, samples),
        "predicted class": analysis.plot_confusion(evaluation),
        "badness": analysis.plot_mistakes(network, samples),
    }
    for text, figure in expected.items():
        shown = texts_of(figure)
        assert text in shown and isinstance(figure, Figure)
        assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
        if HOSTILE[:3] in shown:
            without_parsing(figure)
    assert not pyplot.get_fignums()  # pyplot would show each figure a second time


def test_pictures_are_drawn_with_hostile_names(rendered_pictures: None) -> None:
    task, images, names = task_of_images()
    network = network_of(task)
    samples = analysis.choose(network, (images, names))
    for figure in (analysis.plot_confusion(rff.evaluate(network, (images, names))), analysis.plot_mistakes(network, samples)):
        assert len(figure._repr_png_()) > 5000  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_classes": 2, "hidden_sizes": [4]},
        {"num_classes": 40, "prelabel_timesteps": 0, "hidden_sizes": [4]},
        {"label_timesteps": 50, "hidden_sizes": [4, 4], "badness": "sum", "connections": [{"name": "fast_weights"}]},
    ],
)
def test_pictures_of_other_networks(arguments: dict[str, Any]) -> None:
    network = rff.build(small_settings(**arguments))
    inputs = clusters(9)[0]
    data = inputs, torch.arange(9) % network.num_classes
    samples = analysis.choose(network, data)
    both = analysis.record_both(network, samples)
    for figure in (
        analysis.plot_drives(both),
        analysis.plot_cancellation(both),
        analysis.plot_badness(network, samples),
        analysis.plot_sparsity(both),
        analysis.plot_weights(network),
        analysis.plot_confusion(rff.evaluate(network, data)),
        analysis.plot_mistakes(network, samples),
    ):
        assert figure.axes or figure.texts
    with pytest.raises(InputError, match="layer = 'h1' has no weights that are images"):
        analysis.plot_receptive_fields(network)


def test_mistakes_are_sorted_by_confidence_whatever_the_method() -> None:
    network = rff.build(small_settings(negatives={"name": "readout"}))
    network.readout.weight.normal_(generator=torch.Generator().manual_seed(0))
    samples = analysis.choose(network, clusters(40))
    for method in ("badness", "propose_and_verify", "readout"):
        network.prediction = method
        found = analysis.mistakes(network, samples)
        predicted = network.predict_inputs(clusters(40)[0])
        assert sorted(found.positions.tolist()) == (predicted != samples.labels).nonzero()[:, 0].tolist()
        assert torch.equal(found.predicted, predicted[found.positions]) and torch.equal(
            found.true, samples.labels[found.positions]
        )
        margins = (found.score_predicted - found.score_true) * (1 if method == "readout" else -1)
        assert torch.equal(margins, margins.sort(descending=True).values) and margins[0] > 0
        assert found.unit == ("logit" if method == "readout" else "badness") and margins.isfinite().all()


def test_no_mistake_is_a_picture_that_says_it() -> None:
    network = rff.build(small_settings())
    inputs = clusters(6)[0]
    samples = analysis.choose(network, (inputs, network.predict(inputs)))
    assert "All 6 samples are predicted right." in texts_of(analysis.plot_mistakes(network, samples))
