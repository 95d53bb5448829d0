"""The methods of prediction in trainings, evaluations, summaries, the command line and the classifier of scikit-learn."""

import csv
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import RecurrentFF as rff
from RecurrentFF.cli import main
from RecurrentFF.data.dataset import Splits, TensorDataset
from RecurrentFF.data.tensor_task import TensorTask
from RecurrentFF.errors import InputError
from RecurrentFF.model.optimizers import Adam
from RecurrentFF.settings.network import METHODS
from RecurrentFF.training import methods
from RecurrentFF.training.callbacks.default import default_callbacks
from RecurrentFF.training.console import Console
from RecurrentFF.training.evaluation import accuracy, evaluate
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.methods import FastestAgreeing, compare_methods, reported_accuracy
from RecurrentFF.training.run import finish_run
from RecurrentFF.training.trainer import Trainer
from tests.helpers import CLASSES, clusters, small_settings

LEARNS: dict[str, Any] = {
    "hidden_sizes": [30, 20],
    "prediction_window": [0, 2],
    "objective": "pairwise",
    "negatives": "readout",
    "optimizer": Adam(learning_rate=5e-3),
    "epochs": 3,
    "batch_size": 20,
}
"""Settings of a training that learns a part of `clusters`, so that the methods differ."""


def trained(**arguments: Any) -> rff.Network:
    network = rff.build(small_settings(**LEARNS | arguments))
    rff.fit(network, clusters(100), quiet=True)
    return network


def splits(validation: int | None = 300, test: int | None = 200) -> Splits:
    train = TensorDataset(*clusters(200, noise=1.0))
    others = [size and TensorDataset(*clusters(size, noise=1.0, seed=seed)) for size, seed in ((validation, 3), (test, 4))]
    return Splits(train, others[0] or None, others[1] or None, train)


def make_trainer(folder: Path, data: Splits | None = None, **arguments: Any) -> Trainer:
    settings = small_settings(**LEARNS | arguments)
    folder.mkdir(exist_ok=True)
    own = default_callbacks(settings, RunFolder(folder))
    return Trainer(rff.build(settings), data or splits(), own, console=Console(quiet=True))


def of_method(network: rff.Network, method: Any, data: Any) -> float:
    return float((network.predict_inputs(data.inputs, None, method) == data.labels).float().mean())


# ---------------------------------------------------------------- evaluate


@pytest.mark.parametrize("method", METHODS)
def test_an_evaluation_by_each_method(method: Any, tmp_path: Path) -> None:
    network, (inputs, labels) = trained(proposals=3), clusters(60, noise=1.0, seed=6)
    found = evaluate(network, (inputs, labels), method=method, predictions=tmp_path / "predictions.csv")
    assert found.predictions == tuple(network.predict(inputs, method=method).tolist()) and found.method == method
    assert found.accuracy == accuracy(
        network, TensorDataset(inputs, labels), lambda given, mask: network.predict_inputs(given, mask, method)
    )
    rows = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    columns = [f"badness {name}" for name in range(CLASSES)] * (method != "readout")
    columns += [f"logit {name}" for name in range(CLASSES)] * (method != "badness")
    assert list(rows[0]) == ["index", "label", "prediction", *columns]
    assert (found.badness is None, found.logits is None) == (method == "readout", method == "badness")
    if found.logits is not None:
        written = torch.tensor([[float(row[f"logit {name}"]) for name in range(CLASSES)] for row in rows])
        torch.testing.assert_close(written, network.logits(inputs), rtol=1e-4, atol=1e-5)
    if found.badness is not None:
        tried = [[row[f"badness {name}"] for name in range(CLASSES)] for row in rows]
        assert all(sum(bool(value) for value in row) == (3 if method == "propose_and_verify" else CLASSES) for row in tried)
        for row, values in zip(tried, found.badness, strict=True):
            assert [float(value or "inf") for value in row] == pytest.approx(values.tolist(), rel=1e-4)
    assert str(found).splitlines()[0].endswith(" samples" if method == "badness" else f", predicted by {method}")


def test_an_evaluation_follows_the_settings() -> None:
    network, data = trained(prediction="readout"), clusters(60, noise=1.0, seed=6)
    assert evaluate(network, data).method == "readout"
    assert evaluate(network, data).predictions != evaluate(network, data, method="badness").predictions
    with pytest.raises(InputError, match="method = 'logits': expected one of"):
        evaluate(network, data, method="logits")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="can't predict by 'readout': its readout was never trained"):
        evaluate(rff.build(small_settings()), data, method="readout")


def test_the_command_evaluates_by_a_method(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image_folder(tmp_path / "images")
    task = TensorTask(torch.rand(60, 6, 6), (torch.arange(60) % 2).tolist(), classes=["a", "b"], validation=20)
    network = rff.build(small_settings(input_size=None, num_classes=None, **LEARNS), task=task)
    rff.fit(network, task, quiet=True)
    rff.save(network, tmp_path / "network.pt")
    command = ["evaluate", str(tmp_path / "network.pt"), "--data-dir", str(tmp_path / "images")]
    for method in METHODS:
        assert main([*command, "--prediction", method]) == 0
        assert (f"predicted by {method}" in capsys.readouterr().out) == (method != "badness")
    assert main(command) == 0
    assert main([*command, "--prediction", "logits"]) == 2
    assert "invalid choice: 'logits'" in capsys.readouterr().err


def image_folder(path: Path) -> None:
    """Write two classes of small images."""
    from PIL import Image

    for name in ("a", "b"):
        (path / name).mkdir(parents=True)
        for number in range(3):
            pixels = np.random.default_rng(number).integers(0, 256, (6, 6), dtype=np.uint8)
            Image.fromarray(pixels).save(path / name / f"{number}.png")


# ---------------------------------------------------------------- between epochs


class Stub(rff.Network):
    """A network whose methods give predictions that a test chooses."""

    answers: dict[str, Callable[[Tensor], Tensor]]
    calls: list[tuple[str, int]]

    def predict_inputs(self, inputs: Any, mask: Any = None, method: Any = None) -> Tensor:
        method = method or self.settings.network.prediction
        self.calls.append((method, len(inputs)))
        return self.answers[method](inputs)


def stub(own: str = "badness", **answers: Callable[[Tensor], Tensor]) -> Stub:
    network = Stub(small_settings(negatives="readout", prediction=own))
    network.readout.weight.fill_(1)
    network.answers = {method: lambda inputs: inputs[:, 0].long() for method in METHODS} | answers
    network.calls = []
    return network


def batches(*sizes: int) -> list[Tensor]:
    return [torch.randint(5, (size, 7)).float() for size in sizes]


def wrong_at_last(inputs: Tensor) -> Tensor:
    """Every prediction as the others', but that of the last sample."""
    return inputs[:, 0].long() + (torch.arange(len(inputs)) == len(inputs) - 1)


@pytest.mark.parametrize(
    ("answers", "used"),
    [
        ({}, "readout"),
        ({"readout": wrong_at_last}, "propose_and_verify"),
        (dict.fromkeys(METHODS[1:], wrong_at_last), "badness"),
    ],
)
def test_the_fastest_method_that_agrees_predicts_the_rest(answers: dict[str, Any], used: str) -> None:
    network = stub(**answers)
    predict = FastestAgreeing(network)
    for inputs in batches(200, 299):
        assert torch.equal(predict(inputs), inputs[:, 0].long())
    assert {method for method, _ in network.calls[-3:]} > {"badness"} or used == "badness"
    for inputs in batches(1, 100, 50):
        predict(inputs)
    assert [call for call in network.calls if call[1] in (100, 50)] == [(used, 100), (used, 50)]  # 200 + 299 + 1 were compared


def test_one_disagreement_excludes_a_method_for_good() -> None:
    network = stub(readout=lambda inputs: inputs[:, 0].long() + int(len(inputs) == 3))
    predict = FastestAgreeing(network)
    for inputs in batches(300, 3, 300, 40):
        predict(inputs)
    assert network.calls[-1] == ("propose_and_verify", 40)
    assert [size for method, size in network.calls if method == "readout"] == [300, 3]


@pytest.mark.parametrize("own", METHODS)
def test_only_faster_methods_take_the_place_of_the_configured_one(own: Any) -> None:
    network = stub(own)
    predict = FastestAgreeing(network)
    for inputs in batches(600, 10):
        predict(inputs)
    assert network.calls[0] == (own, 600) and network.calls[-1] == ("readout", 10)
    assert {method for method, _ in network.calls} == set(METHODS[METHODS.index(own) :])


def test_a_network_without_readout_is_reported_by_badness() -> None:
    network = stub()
    network.readout.weight.zero_()
    reported_accuracy(network, TensorDataset(*clusters(60)))
    assert {method for method, _ in network.calls} == {"badness"}


def test_what_selects_the_epoch_is_the_configured_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = splits()
    used: dict[int, set[str]] = {}
    predict_inputs = rff.Network.predict_inputs

    def recorded(self: rff.Network, inputs: Any, mask: Any = None, method: Any = None) -> Tensor:
        chosen = method or self.settings.network.prediction
        used.setdefault(len(inputs), set()).add(chosen)
        return predict_inputs(self, inputs, mask, method)

    monkeypatch.setattr(rff.Network, "predict_inputs", recorded)
    monkeypatch.setattr(methods, "COMPARED_SAMPLES", 100)
    assert make_trainer(tmp_path / "run", data).fit()
    assert used[300] == {"badness"} and used[200] == set(METHODS)  # validation samples, and the training subset


def test_the_choice_is_the_same_in_a_resumed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "COMPARED_SAMPLES", 40)
    arguments: dict[str, Any] = {"prediction_batch_size": 20, "proposals": 4, "weight_averaging": 0.5}
    whole, first = make_trainer(tmp_path / "a", **arguments), make_trainer(tmp_path / "b", **arguments | {"epochs": 1})
    assert whole.fit() and first.fit()
    resumed = make_trainer(tmp_path / "b", **arguments)
    resumed.resume(tmp_path / "b/last.safetensors")
    assert resumed.fit()
    measured = [[without_times(asdict(metrics)) for metrics in trainer.history] for trainer in (whole, resumed)]
    assert measured[0] == measured[1] and len(measured[0]) == 3
    assert all(torch.equal(*pair) for pair in zip(whole.network.parameters(), resumed.network.parameters(), strict=True))


def without_times(metrics: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metrics.items() if key not in ("seconds", "samples_per_second")}


# ---------------------------------------------------------------- after the last epoch


@pytest.mark.parametrize("own", METHODS)
def test_the_summary_has_the_results_of_all_methods(own: str, tmp_path: Path) -> None:
    data = splits()
    printed: list[str] = []
    trainer = make_trainer(tmp_path / "run", data, prediction=own)
    trainer.console.log = printed.append  # type: ignore[method-assign, assignment]
    assert trainer.fit()
    summary = finish_run(trainer, RunFolder(tmp_path / "run"))
    assert list(summary.predictions) == list(METHODS) and summary.prediction == own
    best = rff.load(tmp_path / "run/best.safetensors", "cpu")
    for method, result in summary.predictions.items():
        assert result.validation_accuracy == pytest.approx(of_method(best, method, data.validation))
        assert result.samples_per_second > 0
        (line,) = [line for line in printed if line[12:].startswith(f"{method} ")]
        if METHODS.index(method) < METHODS.index(own):
            assert result.test_accuracy is None and "test" not in line
        else:
            assert result.test_accuracy == pytest.approx(of_method(best, method, data.test))
            assert f"test {100 * (result.test_accuracy or 0):.2f} %; " in line
        assert f"validation {100 * (result.validation_accuracy or 0):.2f} %" in line
        assert line.endswith("(this run's method)") == (method == own)
    assert summary.test_accuracy == summary.predictions[own].test_accuracy
    assert summary.validation_accuracy == summary.predictions[own].validation_accuracy
    assert json.loads((tmp_path / "run/summary.json").read_text()) == asdict(summary)


def test_a_network_without_readout_has_one_method(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "run", negatives="uniform")
    assert trainer.fit()
    assert list(finish_run(trainer, RunFolder(tmp_path / "run")).predictions) == ["badness"]


@pytest.mark.parametrize(("validation", "test"), [(None, 200), (300, None), (None, None)])
def test_what_is_not_there_is_not_measured(validation: int | None, test: int | None, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "run", splits(validation, test))
    assert trainer.fit()
    summary = finish_run(trainer, RunFolder(tmp_path / "run"))
    assert (summary.test_accuracy is None, summary.validation_accuracy is None) == (test is None, validation is None)
    assert list(summary.predictions) == (list(METHODS) if validation or test else [])
    for result in summary.predictions.values():
        assert (result.test_accuracy is None, result.validation_accuracy is None) == (test is None, validation is None)


@pytest.mark.parametrize("own", METHODS)
@pytest.mark.parametrize("validation", [None, 30])
def test_a_slower_method_is_tested_only_without_validation_samples(own: Any, validation: int | None) -> None:
    network = stub(own)
    results = compare_methods(network, splits(validation, 20), None if validation is None else 0.5)
    tested = set(METHODS if validation is None else METHODS[METHODS.index(own) :])
    assert list(results) == list(METHODS)
    assert {method for method, result in results.items() if result.test_accuracy is not None} == tested
    assert {method for method, samples in network.calls if samples == 20} == tested
    assert {method for method, samples in network.calls if samples == 30} == (set(METHODS) - {own} if validation else set())


class Counted(TensorDataset):
    """A data set that counts how often it is read."""

    reads = 0

    def batches(self, *arguments: Any, **keywords: Any) -> Any:
        self.reads += 1
        return super().batches(*arguments, **keywords)


def test_the_test_set_is_read_once(tmp_path: Path) -> None:
    test = Counted(*clusters(50, seed=4))
    trainer = make_trainer(tmp_path / "run", splits()._replace(test=test))
    assert trainer.fit()
    before = test.reads
    compare_methods(trainer.network, trainer.splits, 0.5)
    assert test.reads == before + 1


def test_a_report_of_runs_with_and_without_methods(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        trainer = make_trainer(tmp_path / name, seed=seed)
        (tmp_path / name / "config.toml").write_text(trainer.settings.to_toml())
        assert trainer.fit()
        finish_run(trainer, RunFolder(tmp_path / name))
    former = tmp_path / "b/summary.json"
    content = json.loads(former.read_text())
    former.write_text(json.dumps({key: value for key, value in content.items() if not key.startswith("prediction")}))
    for command in ("runs", "report"):
        assert main([command, str(tmp_path)]) == 0
        assert "%" in capsys.readouterr().out


# ---------------------------------------------------------------- the classifier of scikit-learn


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("classes", [2, 3])
def test_the_classifier_predicts_by_each_method(method: str, classes: int) -> None:
    pytest.importorskip("sklearn")
    from RecurrentFF.estimator import RecurrentFFClassifier

    inputs, labels = (tensor.numpy() for tensor in clusters(150, noise=1.0))
    labels = labels % classes
    classifier = RecurrentFFClassifier(
        (20,), epochs=2, batch_size=20, random_state=0, device="cpu", prediction=method, proposals=2
    )
    classifier.fit(inputs, labels)
    predicted, probabilities = classifier.predict(inputs), classifier.predict_proba(inputs)
    decision = classifier.decision_function(inputs)
    assert predicted.tolist() == list(classifier.network_.predict(inputs))
    assert (probabilities.argmax(1) == predicted).all()
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-12)
    assert ((decision > 0) == predicted).all() if classes == 2 else (decision.argmax(1) == predicted).all()
    expected = classifier.network_.predict_proba(inputs, scale=classifier.scale_)
    np.testing.assert_allclose(probabilities, expected.numpy(), atol=1e-5)


def test_the_classifier_refuses_methods_without_a_readout() -> None:
    pytest.importorskip("sklearn")
    from RecurrentFF.estimator import EstimatorError, RecurrentFFClassifier

    inputs, labels = (tensor.numpy() for tensor in clusters(60))
    for arguments, message in (
        ({"prediction": "readout", "negatives": "uniform"}, "these negatives do not train the readout"),
        ({"prediction": "logits"}, "network.prediction"),
        ({"proposals": 1}, "network.proposals = 1"),
    ):
        with pytest.raises(EstimatorError, match=message):
            RecurrentFFClassifier((20,), device="cpu", **arguments).fit(inputs, labels)
