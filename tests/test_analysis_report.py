"""The report of an analysis and the command `rff analyse`: self-contained, escaped, and right for all kinds of networks."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import RecurrentFF as rff
from RecurrentFF import analysis
from RecurrentFF.analysis.sections import _reading
from RecurrentFF.cli import main
from RecurrentFF.data.sequence_task import SequenceTask
from RecurrentFF.errors import InputError, OutputError
from tests.helpers import clusters, small_settings
from tests.test_analysis import network_of, task_of_images

HOSTILE = '"><script src="http://evil.example/x.js"></script><img src=x onerror=alert(1)>'
TITLES = {
    "confusion": "Which classes are mistaken for which",
    "mistakes": "The most confident mistakes",
    "badness": "Badness over time under every label",
    "drives": "What drives each layer",
    "cancellation": "Does top-down activity cancel what comes up?",
    "sparsity": "How many units are active",
    "weights": "Weights",
    "fields": "What units look for in the input",
    "map": "A map of the activity before the label",
}


class Page(HTMLParser):
    """The tags of a page, and the text of each section."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.sections: dict[str, str] = {}
        self._open = "top"
        self.content = file.read_text(encoding="utf-8")
        self.feed(self.content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember a tag, and the section that it begins."""
        self.tags.append((tag, dict(attrs)))
        if tag == "h2":
            self._open = str(dict(attrs)["id"])
        if tag == "img":
            self.sections[self._open] += "[picture]"

    def handle_data(self, data: str) -> None:
        """Add a text to its section."""
        self.sections[self._open] = self.sections.get(self._open, "") + data

    def left_out(self) -> set[str]:
        """The sections that have no picture."""
        return {key for key in TITLES if "[picture]" not in self.sections[key]}


def report(network: rff.Network, data: Any, tmp_path: Path, /, **options: Any) -> tuple[Page, dict[str, Any]]:
    """Write a report of a few samples and read it."""
    found = analysis.write_report(network, data, tmp_path / "report.html", **({"samples": 8} | options))
    return Page(tmp_path / "report.html"), found


@pytest.fixture(autouse=True)
def _without_tsne(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the map by t-SNE, which takes longer than all other pictures together."""
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)


def test_a_report_loads_nothing_and_escapes_every_name(tmp_path: Path) -> None:
    task, images, _ = task_of_images()
    names = [f"{HOSTILE}{number % 3}" for number in range(30)]
    task = rff.TensorTask(images, names, name=HOSTILE)
    page, found = report(network_of(task), (images, names), tmp_path, name=HOSTILE, split=HOSTILE)
    assert not page.left_out() and [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object")] == []
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert name not in attributes or str(attributes[name]).startswith(
                "#" if tag == "a" else "data:image/png;base64,iVBOR"
            )
        if tag == "img":
            assert attributes["alt"] and attributes["width"]
    assert "url(" not in page.content and "@import" not in page.content and HOSTILE[:20] in page.sections["top"]
    links = {str(attributes["href"])[1:] for tag, attributes in page.tags if tag == "a"}
    assert links == {"words", *TITLES}
    assert found["samples"] == 30 and found["recorded"] == 8 and 0 <= found["accuracy"] <= 1
    assert all(f"analysis.{call}" in page.content for call in ("plot_drives(both)", "plot_weights(network)", "record_both("))


def test_the_numbers_are_those_of_the_functions(tmp_path: Path) -> None:
    network, data = rff.build(small_settings(hidden_sizes=[6, 5])), clusters(20)
    page, found = report(network, data, tmp_path, seed=2)
    samples = analysis.choose(network, data, 8, seed=2)
    both = analysis.record_both(network, samples, seed=2)
    expected = analysis.cancellation(both)
    assert found["cancellation"] == expected and " ".join(str(expected[1]).split()) in page.sections["cancellation"]
    assert found["accuracy"] == rff.evaluate(network, data).accuracy
    wrong = analysis.mistakes(network, analysis.choose(network, data))
    assert f"The most confident mistake is sample {int(wrong.positions[0])}: " in page.sections["mistakes"]
    assert f"Predicted wrong: {len(wrong.positions)} of 20 samples." in page.sections["mistakes"]
    assert page.left_out() == {"fields"}


@pytest.mark.parametrize(
    ("true", "wrong", "ratio", "sentence"),
    [
        (-0.3, 0.0, 0.95, "cancels a part of what comes up, and opposes it more than under wrong labels"),
        (-0.3, -0.28, 0.95, "a part of what comes up; the difference from wrong labels is within three standard errors."),
        (-0.3, -0.4, 0.95, "cancels a part of what comes up, but opposes it less than under wrong labels."),
        (-0.3, 0.0, 1.05, "so large that the sum is no smaller"),
        (-0.05, 0.2, 1.0, "nearly unrelated"),
        (0.3, 0.4, 1.1, "adds to what comes up"),
    ],
)
def test_the_reading_says_no_more_than_the_numbers(true: float, wrong: float, ratio: float, sentence: str) -> None:
    assert sentence in _reading(analysis.Cancellation("h1", true, wrong, 0.01, ratio, 1.0, 9))
    one = _reading(analysis.Cancellation("h1", true, wrong, float("nan"), ratio, 1.0, 1))
    assert "wrong labels" not in one and "within" not in one


def sequences() -> tuple[rff.Network, Any]:
    """A network for sequences of different lengths, and its task."""
    generator = torch.Generator().manual_seed(0)
    frames = [torch.randn(1 + number % 5, 4, generator=generator) for number in range(24)]
    task = SequenceTask(frames, ["a", "b", "c"] * 8, validation=0.25, test=None)
    return network_of(task), task


def tables(**arguments: Any) -> tuple[rff.Network, tuple[Tensor, Tensor]]:
    """A network for features of a table, and its data."""
    network = rff.build(small_settings(hidden_sizes=[6], **arguments))
    return network, clusters(12)


def all_right() -> tuple[rff.Network, tuple[Tensor, Tensor]]:
    """A network that predicts all its data right."""
    network, (inputs, _) = tables()
    return network, (inputs, network.predict(inputs))


def one_sample() -> tuple[rff.Network, tuple[Tensor, Tensor]]:
    """A network and a single sample."""
    network, (inputs, labels) = tables()
    return network, (inputs[:1], labels[:1])


def label_free() -> tuple[rff.Network, tuple[Tensor, Tensor]]:
    """A network as after a training without labels."""
    network, data = tables(label_free=True, negatives={"name": "hybrid"}, prediction="readout")
    network.readout.weight.normal_(generator=torch.Generator().manual_seed(0))
    return network, data


@pytest.mark.parametrize(
    ("made", "left_out", "sentence"),
    [
        (sequences, {"fields"}, "each row is an input over time"),
        (lambda: tables(prelabel_timesteps=0), {"fields", "map"}, "so no activity comes before the label"),
        (all_right, {"fields", "mistakes"}, "Left out: no sample is predicted wrong."),
        (one_sample, {"fields", "map"}, "Left out: a map needs at least 4 samples."),
        (label_free, {"fields", "badness", "drives", "cancellation"}, "trained without labels"),
    ],
    ids=["sequences", "no timesteps before the label", "no mistake", "one sample", "label-free"],
)
def test_what_does_not_apply_is_left_out_with_a_sentence(
    made: Any, left_out: set[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if made is not sequences:  # other tests draw the pictures of such networks, which takes most of the time
        monkeypatch.setattr(
            "RecurrentFF.analysis.report._picture", lambda *_: dict.fromkeys(("source", "alt", "width", "height"))
        )
    network, data = made()
    page, _ = report(network, data, tmp_path)
    assert page.left_out() - {"mistakes"} == left_out - {"mistakes"} and sentence in page.content
    assert all("Left out" in page.sections[key] for key in page.left_out())


def test_wrong_arguments_are_errors_of_one_line(tmp_path: Path) -> None:
    network, data = tables()
    with pytest.raises(InputError, match=r"samples = 0: expected a whole number of at least 1"):
        analysis.write_report(network, data, tmp_path / "a.html", samples=0)
    with pytest.raises(OutputError, match="can't be written"):
        analysis.write_report(network, data, tmp_path, samples=2)
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a network for MNIST that was not trained."""
    folder = tmp_path_factory.mktemp("run")
    data = {"name": "mnist", "train_samples": 20, "validation_samples": 10, "test_samples": 12}
    network = rff.build(small_settings(input_size=None, num_classes=None, hidden_sizes=[6]), data=data, transform="pixels")
    rff.save(network, folder / "best.safetensors")
    return folder


def test_the_command_writes_the_report_of_a_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", str(run), "--samples", "6"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "data        MNIST, validation samples"
    assert re.match(r"accuracy    \d+\.\d\d % of 10 samples", lines[1])
    assert lines[2].startswith("top-down    h1: cosine with the bottom-up drive ")
    assert lines[-1] == f"written to  {run / 'analysis.html'}"
    page = Page(run / "analysis.html")
    assert "% of 10 validation samples" in page.sections["top"]
    assert f'analysis.open_run("{run}", split="validation")' in page.sections["words"]
    assert not page.left_out() - {"mistakes"}
    for split, samples in (("train", 20), ("test", 12)):
        opened = analysis.open_run(run, split=split)
        assert len(opened.data) == samples and (opened.name, opened.split) == ("MNIST", split)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere"),
        (["RUN", "--samples", "0"], "--samples 0: expected a whole number of at least 1"),
        (["RUN", "--seed", "-1"], "--seed -1: expected a whole number of at least 0"),
        (["RUN", "--split", "all"], "argument --split: invalid choice: 'all'"),
        (["RUN", "--output", "RUN/best.safetensors"], "best.safetensors: a file of the run that is evaluated"),
    ],
)
def test_mistakes_in_the_command_are_one_line(
    arguments: list[str], message: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyse", *(argument.replace("RUN", str(run)) for argument in arguments)]) == 2
    output = capsys.readouterr()
    assert output.out == "" and message in output.err and output.err.count("\n") == 1


def test_a_split_that_is_not_there_is_named(run: Path) -> None:
    with pytest.raises(InputError, match="split = 'all': expected one of 'validation', 'test', 'train'"):
        analysis.open_run(run, split="all")
