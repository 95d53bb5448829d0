"""What the page of a report says: true for every method of prediction, all data and all names. No picture is drawn here."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import RecurrentFF as rff
from RecurrentFF import analysis
from RecurrentFF.analysis.look import Look
from RecurrentFF.analysis.report import _notes
from RecurrentFF.analysis.sections import Section, sections
from RecurrentFF.cli import main
from RecurrentFF.data.dataset import SplitOptions, Splits
from RecurrentFF.data.sequence_task import SequenceTask
from RecurrentFF.data.source import SourceTask
from RecurrentFF.errors import DataError, InputError, OutputError
from tests.helpers import CLASSES, clusters, small_settings
from tests.test_analysis import network_of
from tests.test_analysis_report import run as run


def texts(network: rff.Network, data: Any) -> dict[str, Section]:
    """The sections of a page, by their key, without the pictures."""
    return {section.key: section for section in sections(Look(network, data, 50, 0))}


def predictor(method: str = "badness", samples: int = 60) -> tuple[rff.Network, tuple[Tensor, Tensor]]:
    """A network with a random readout that predicts by a method, and data."""
    network = rff.build(small_settings(negatives={"name": "readout"}, hidden_sizes=[6]))
    network.readout.weight.normal_(generator=torch.Generator().manual_seed(0))
    network.prediction = method  # type: ignore[assignment]
    return network, clusters(samples)


@pytest.mark.parametrize(
    ("method", "mistakes", "badness"),
    [
        (
            "badness",
            "prefers the label of lower badness",
            "The predicted label is the one whose badness, averaged over layers and",
        ),
        ("readout", "prefers the label of higher logit", "need not be the predicted one"),
        ("propose_and_verify", "the readout did not propose it", "A label that is not proposed is not predicted"),
    ],
)
def test_the_rule_is_that_of_the_method(method: str, mistakes: str, badness: str) -> None:
    found = texts(*predictor(method))
    assert mistakes in found["mistakes"].text and badness in found["badness"].text
    assert ("lower badness" in found["mistakes"].text) == (method != "readout")
    assert ("The network prefers" in found["mistakes"].text) == (method != "propose_and_verify")


def test_mistakes_whose_true_label_was_not_proposed_are_counted() -> None:
    network, data = predictor("propose_and_verify")
    found = rff.evaluate(network, data)
    assert found.badness is not None
    count = sum(bool(found.badness[number, label].isinf()) for number, label in enumerate(data[1].tolist()))
    wrong = sum(one != other for one, other in zip(found.predictions, found.labels, strict=True))
    lines = texts(network, data)["mistakes"].findings
    assert lines[0] == f"Predicted wrong: {wrong} of 60 samples." and 0 < count < wrong
    assert lines[1] == f"Mistakes whose true label was not proposed by the readout: {count} of {wrong}."
    all_wrong = analysis.mistakes(network, analysis.choose(network, data))
    unproposed = next(at for at, (own, other) in enumerate(zip(*all_wrong[3:5], strict=True)) if other < own)
    one = int(all_wrong.positions[unproposed])
    assert (
        texts(network, (data[0][one : one + 1], data[1][one : one + 1]))["mistakes"]
        .findings[-1]
        .endswith("Its true label was not proposed.")
    )


@pytest.mark.parametrize("method", ["badness", "readout", "propose_and_verify"])
def test_the_call_of_the_mistakes_names_the_most_confident_of_all(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("RecurrentFF.analysis.look.MAX_MISTAKES", 60 if method == "propose_and_verify" else 9)
    network, data = predictor(method)
    every = analysis.mistakes(network, analysis.choose(network, data)).positions
    assert len(every) > 20 and f"numbers = {every[:8].tolist()}\n" in texts(network, data)["mistakes"].call


def test_the_limit_of_the_search_for_mistakes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("look", "sections"):
        monkeypatch.setattr(f"RecurrentFF.analysis.{place}.MAX_MISTAKES", 9)
    found = texts(*predictor("propose_and_verify"))["mistakes"]
    assert "by most, among the first 9 mistakes in the order of the data." in found.text
    assert "among the first" not in texts(*predictor("badness"))["mistakes"].text


def test_a_class_is_taken_for_the_predicted_one_and_chance_is_that_of_another_sample() -> None:
    network, (inputs, _) = predictor()
    predicted = network.predict(inputs)
    labels = predicted.clone()
    number = int((predicted == predicted[0]).sum())
    labels[predicted == predicted[0]] = other = (int(predicted[0]) + 1) % CLASSES
    found = texts(network, (inputs, labels))
    assert found["confusion"].findings == (f"Class {other} was taken for {int(predicted[0])}: {number} samples.",)
    found = texts(network, (inputs[:6], torch.tensor([0, 0, 0, 1, 1, 2])))
    assert "by chance it would be 26.7 %" in found["map"].findings[0]  # (3 · 2 + 2 · 1) / (6 · 5)


def test_names_of_classes_are_printable_on_the_whole_page() -> None:
    names = ["\u202eone\n", "two\x1b[31m", "three\udcff"]
    inputs = clusters(30)[0]
    network = network_of(rff.TensorTask(inputs, [names[n % 3] for n in range(30)]))
    found = texts(network, (inputs, [names[n % 3] for n in range(30)]))
    lines = " ".join(line for section in found.values() for line in (section.text, *section.findings))
    assert lines.isprintable() and "\\u202eone\\n" in lines


def test_sequences_that_end_early_have_numbers_at_their_own_ends() -> None:
    frames = [torch.randn(2 + number % 2, 4, generator=torch.Generator().manual_seed(number)) for number in range(16)]
    network = network_of(SequenceTask(frames, ["a", "b"] * 8, validation=0.5, test=None))
    samples, mask = rff.pad_sequences(frames, network.settings.timesteps)
    found = texts(network, [(samples, ["a", "b"] * 8, mask)])
    both = analysis.record_both(network, analysis.choose(network, [(samples, ["a", "b"] * 8, mask)], 50))
    ends = [both.true.activity["h1"][1 + number % 2, :, number] for number in range(16)]
    active = 100 * float((torch.stack(ends) > 0).float().mean())
    assert found["sparsity"].findings[0].startswith(f"h1: {active:.1f} % of the units are active at the last timestep")
    assert "of 8 samples." in found["cancellation"].findings[0] + found["cancellation"].findings[-1]
    mask[2:] = 0
    short = texts(network, [(samples, ["a", "b"] * 8, mask)])
    assert short["cancellation"].findings == ("At the last timestep, no sample that lasts until the label has both drives.",)


def test_samples_of_the_same_activity_before_the_label_have_no_map() -> None:
    network, (inputs, labels) = predictor()
    section = texts(network, (inputs[:1].expand(9, -1), labels[:9]))["map"]
    assert section.text == "Left out: all samples have the same activity before the label." and not section.pictures


@pytest.mark.parametrize("split", ["validation", "test", "train", "images"])
def test_the_samples_are_described_by_their_split(split: str) -> None:
    (note,) = _notes(Look(*predictor(samples=3), 3, 0), split)
    expected = {"validation": "No prediction was made for the test samples.", "test": "These are the test samples.",
                "train": "was trained with these samples", "images": "was trained with may be among these"}  # fmt: skip
    assert expected[split] in note


# ---------------------------------------------------------------- the data and the file


def test_data_in_another_order_each_time_are_refused_and_random_numbers_are_kept(tmp_path: Path) -> None:
    network, data = predictor()
    loader = DataLoader(TensorDataset(*data), batch_size=20, shuffle=True)
    states = torch.get_rng_state(), random.getstate()
    with pytest.raises(
        InputError, match="write_report: the data come in another order each time; pass a DataLoader without shuf"
    ):
        analysis.write_report(network, loader, tmp_path / "a.html")
    assert torch.equal(torch.get_rng_state(), states[0]) and random.getstate() == states[1] and not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="batch 1: write_report: "):
        analysis.write_report(network, [(data[0].expand(5, -1, -1), data[1].expand(5, -1))], tmp_path / "a.html")
    again = Look(network, data, 5, 0)
    assert again.evaluation and again.wrong is not None
    object.__setattr__(again, "data", (data[0].flip(0), data[1].flip(0)))
    del again.__dict__["wrong"]
    with pytest.raises(InputError, match="another order"):
        _ = again.wrong


def test_the_page_of_a_task_is_that_of_its_validation_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("RecurrentFF.analysis.report._picture", lambda *_: dict.fromkeys(("source", "alt", "width", "height")))
    task = rff.TensorTask(*clusters(30), validation=0.3, test=0.1)
    network, file = network_of(task), tmp_path / "a.html"
    assert analysis.write_report(network, task, file)["samples"] == 9
    page = file.read_text(encoding="utf-8")
    assert "% of 9 validation samples" in page and "No prediction was made for the test samples." in page
    opening = "data = task.adapted_to(network.task).splits(timesteps=network.settings.timesteps).validation"
    assert opening in page and len(eval(opening.partition(" = ")[2], {"task": task, "network": network})) == 9
    analysis.write_report(network, task, file, opened="data = read('\udcff')")
    assert "\\udcff" in file.read_text(encoding="utf-8")


def test_a_file_that_can_not_be_written_is_refused_before_the_work(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(OutputError, match=r"there is no folder .*none; make it, or name another one"):
        analysis.write_report(predictor()[0], "not looked at", tmp_path / "none" / "a.html")
    monkeypatch.setattr("RecurrentFF.benchmarks.analysis.open_run", None)
    assert main(["analyse", str(run), f"--output={tmp_path / 'none' / 'a.html'}"]) == 2
    assert "can't be written (there is no folder" in capsys.readouterr().err


def test_a_run_folder_of_any_name_and_seed_has_a_report(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("RecurrentFF.analysis.report._picture", lambda *_: dict.fromkeys(("source", "alt", "width", "height")))
    folder = tmp_path / "bad\u202e\udcff"
    folder.mkdir()
    (folder / "best.safetensors").write_bytes((run / "best.safetensors").read_bytes())
    assert main(["analyse", str(folder), "--samples=1", "--seed=4294967296", "--split=test"]) == 0
    assert "never active in 1 sample:" in capsys.readouterr().out
    page = (folder / "analysis.html").read_text(encoding="utf-8")
    assert "bad\\u202e\\udcff&#34;, split=&#34;test&#34;)" in page and "Analysis of bad\\u202e\\udcff" in page


def test_only_the_split_that_is_looked_at_is_loaded(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    make_splits = SourceTask.make_splits

    def counted(task: SourceTask, options: SplitOptions) -> Splits:
        found = make_splits(task, options)
        sizes.append([len(part) if part else 0 for part in found[:3]])
        return found

    monkeypatch.setattr(SourceTask, "make_splits", counted)
    loaded = [len(analysis.open_run(run, split=split).data) for split in ("train", "validation", "test")]
    assert loaded == [20, 10, 12] and sizes == [[20, 10, 1], [1, 10, 1], [1, 0, 12]]


def test_a_network_of_a_program_has_advice_for_its_own_data_and_no_splits(tmp_path: Path) -> None:
    inputs, labels = clusters(9)
    file = tmp_path / "own.safetensors"
    rff.save(network_of(rff.TensorTask(inputs, labels)), file)
    with pytest.raises(DataError, match=r'analysis\.write_report\(rff\.load\(path\), \(samples, labels\), "report\.html"\)'):
        analysis.open_run(file)
    with pytest.raises(InputError, match="split = 'test': the images of a folder are not divided into splits"):
        analysis.open_run(file, split="test", data_dir=tmp_path)
