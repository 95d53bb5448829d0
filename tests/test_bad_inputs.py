"""Mistakes of the user: one line names each, with exit code 2, or the same words in a named exception. No file changes."""

import functools
import gzip
import os
import pickle
import re
import struct
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import RecurrentFF as rff
from RecurrentFF.benchmarks.benchmark import Benchmark
from RecurrentFF.benchmarks.cli import main
from RecurrentFF.benchmarks.mnist.mnist import MNIST
from RecurrentFF.benchmarks.moving_mnist.moving_mnist import MOVING_MNIST
from RecurrentFF.benchmarks.seq_mnist.seq_mnist import SEQ_MNIST
from RecurrentFF.data import mnist, stroke_files
from RecurrentFF.data.dataset import LoaderDataset, TensorDataset
from RecurrentFF.errors import CheckpointError, DataError, DeviceError, InputError, RecurrentFFError, SettingsError
from RecurrentFF.settings import Settings
from RecurrentFF.training import checkpoint, container
from tests.checkpoints import content_of
from tests.helpers import DATA_SIZE, class_numbers, clusters, small_settings
from tests.test_cli import TINY, run_folder


@pytest.fixture(autouse=True)
def _run_in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str], benchmark: Benchmark = MNIST) -> str:
    """Return the error message of the command line. Asserts that it is one line, and that no file has changed."""
    before = files(Path())
    capsys.readouterr()
    assert main(benchmark, arguments) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.startswith("error: ") and output.err.endswith("\n")
    assert files(Path()) == before
    (line,) = output.err.splitlines()
    return line.removeprefix("error: ")


def exception(call: Callable[[], object], kind: type[RecurrentFFError]) -> str:
    """Return the error message of a Python call. Asserts the exception's type, and that no file has changed."""
    before = files(Path())
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind and files(Path()) == before
    return str(caught.value)


CONFIGURATIONS: dict[str, str] = {
    # not TOML
    "[network]\nhidden_sizes = [500, 500": r"not valid TOML",
    "[network]\nhidden_sizes = [100, 200)": r"not valid TOML",
    "[network": r"not valid TOML",
    "just words": r"not valid TOML",
    "[training]\nepochs = 3\nepochs = 4": r"not valid TOML",
    # unknown keys
    "[training]\nepocs = 3": r"unknown key 'training\.epocs'; did you mean 'epochs'",
    "[trainings]\nepochs = 3": r"unknown key 'trainings'; did you mean 'training'",
    "[optimizer]\nname = 'adam'\nlearningrate = 3": r"unknown key 'optimizer\.learningrate'; did you mean 'learning_rate'",
    "[network]\nxyz = 1": r"unknown key 'network\.xyz'; known: activation, activity_dropout, adversarial_noise, badness",
    "[data]\nname = 'mnist'\n[data.augmentation]\nxyz = 1": r"unknown key 'data\.augmentation\.xyz'; known: cutout, elastic",
    # wrong types
    "[training]\nepochs = '3'": r"training\.epochs = '3': expected a whole number",
    "[training]\nepochs = 2.5": r"training\.epochs = 2\.5: expected a whole number",
    "[training]\nepochs = true": r"training\.epochs = true: expected a whole number",
    "[training]\nepochs = 2026-01-01": r"training\.epochs = .*: expected a whole number",
    "[tracking]\nprofile = 2": r"tracking\.profile = 2: expected true or false",
    "[network]\nhidden_sizes = 10": r"network\.hidden_sizes = 10",
    "[network]\nhidden_sizes = [[10]]": r"network\.hidden_sizes\.0 = \[10\]: expected a whole number",
    "[network]\nprediction_window = [1]": r"network\.prediction_window\.1 = \[1\]: expected a list with one more number",
    "[network]\nresidual_connections = [0, 2]": r"network\.residual_connections\.0 = 0: expected a list",
    "[network]\ndropout = 'some'": r"network\.dropout = 'some': expected a number",
    "[network]\nconnections = 3": r"network\.connections = 3: expected a list",
    "network = 3": r"network = 3: expected a section",
    "objective = 3": r"objective = 3: expected a name, a section",
    "[training]\nweights = 3": r"training\.weights = 3: expected text",
    "[device]\ncompile = 'perhaps'": r"device\.compile = 'perhaps': expected \"auto\", true or false",
    # invalid values
    "[training]\nepochs = 0": r"training\.epochs = 0: expected at least 1",
    "[network]\ndamping_factor = 1.5": r"network\.damping_factor = 1\.5: expected at most 1",
    "[network]\ndamping_factor = 0": r"network\.damping_factor = 0.*expected a number above 0",
    "[network]\nepsilon = inf": r"network\.epsilon = inf",
    "[objective]\ntheta = nan": r"objective\.theta = nan: expected a finite number",
    "[optimizer]\nlearning_rate = -1e-3": r"optimizer\.learning_rate = -0\.001: .*expected a number above 0",
    "[optimizer]\nlearning_rate = inf": r"optimizer\.learning_rate = inf: expected a finite number",
    "[network]\nactivation = 'step'": r"network\.activation\.name = 'step': .* known: .*leaky_relu.*tanh",
    "[optimizer]\nname = 'sgd'": r"optimizer\.name = 'sgd': .*adadelta, adam, .*rmsprop, torch",
    "[objective]\nname = 'unknown_one'": r"objective\.name = 'unknown_one': there is no such objective",
    "[network]\nhidden_sizes = []": r"network\.hidden_sizes = ",
    "[network]\nhidden_sizes = [10, -1]": r"network\.hidden_sizes\.1 = -1",
    "[device]\ndevice = 'gpu'": r"device\.device = 'gpu': expected .*\"cuda:N\"",
    "[device]\nprecision = 'float16'": r"device\.precision = 'float16': .*'auto', 'float32' or 'bfloat16'",
    "[training]\nseed = -1": r"training\.seed = -1",
    "[training]\nseed = 9223372036854775808": r"training\.seed = 9223372036854775808|not valid TOML",
    "[training]\nbatch_size = 0": r"training\.batch_size = 0",
    "[network]\nnum_classes = 1": r"network\.num_classes = 1",
    "[data]\nname = 'mnist'\n[data.augmentation]\ntranslate = 28": r"augmentation\.translate = 28: images have a side of 28",
    # values that contradict each other
    "[network]\nprediction_window = [2, 10]": r"network\.prediction_window: \[2, 10\] .* network\.label_timesteps = 10",
    "[network]\nadversarial_noise = 0.1\nlabel_timesteps = 3\n[objective]\nname = 'pairwise'": (
        r"network\.label_timesteps = 3: adversarial_noise perturbs .* only after timestep 3 .*residual_connections = \[\[4, 1\]\]"
    ),
    "[network]\nadversarial_noise = 0.1\nlabel_timesteps = 1": r"after timestep 1 .*; set more label_timesteps$",
    "[network]\nprediction_window = [5, 4]": r"network\.prediction_window: \[5, 4\]",
    "[network]\nprediction_layers = [4]": r"network\.prediction_layers: \[4\] must name layers from 1 to 3",
    "[network]\nprediction_layers = []": r"network\.prediction_layers: \[\] must name",
    "[network]\nprediction_layers = [1, 1]": r"each once",
    "[network]\nprediction_layers = [0]": r"network\.prediction_layers\.0 = 0",
    "[network]\nresidual_connections = [[1, 2]]": r"network\.residual_connections: \[1, 2\]",
    "[network]\nresidual_connections = [[1, 4]]": r"network\.residual_connections: \[1, 4\]",
    "[network]\nresidual_connections = [[5, 1]]": r"network\.residual_connections: \[5, 1\]",
    "[network]\nresidual_connections = [[0, 2], [0, 2]]": r"a pair is listed twice",
    "[negatives]\nname = 'readout'\n[network]\nprelabel_timesteps = 0": r"network\.prelabel_timesteps = 0: .*at least 1",
    "[negatives]\ncount = 10": r"negatives\.count = 10: an input of 10 classes has only 9 wrong labels",
    "[[network.connections]]\nname = 'receptive_field'\nside = 29": r"receptive_field\.side = 29: images are only 28 pixels wide",
    "[[network.connections]]\nname = 'dense'\nlayers = [4]": r"connections\[0\]\.layers: \[4\] must name layers from 1 to 3",
    "[[network.connections]]\nname = 'dense'\nsources = ['up']": r"network\.connections\[0\]\.sources\.0 = 'up': .*'forward'",
    "[transform]\nname = 'pen_strokes'\ndelay_line = 2": r"transform: delay_line = 2: must be at least",
    # sizes that do not fit the memory
    "[network]\nhidden_sizes = [2000000, 2000000]": r"at least [\d,]+ GiB, but cpu has .*network\.hidden_sizes, make",
    "[training]\nbatch_size = 1000000000000": r"needs at least .* training\.batch_size, make that smaller",
    "[network]\nlabel_timesteps = 10000000000": r"needs at least .* network\.label_timesteps, make that smaller",
    # a former configuration
    "[model]\nepocs = 3": r"unknown key 'model\.epocs'; did you mean 'epochs'",
    "[model]\nhard_share = 2": r"expected at most 1 \(the former model\.hard_share\)",
}


@pytest.mark.parametrize("content", CONFIGURATIONS)
def test_a_bad_configuration(content: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.toml").write_text(content)
    in_python = exception(lambda: rff.build("mine.toml", input_size=784, num_classes=10, device="cpu"), SettingsError)
    assert re.search(CONFIGURATIONS[content], in_python), in_python
    assert refusal(["--config-file=mine.toml", "--device=cpu"], capsys) == in_python


def test_a_path_that_is_not_a_configuration_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("binary").write_bytes(bytes(range(256)))
    Path("folder").mkdir()
    Path("empty").write_text("")
    assert Settings.from_file("empty") == Settings()  # every key has a default
    for path, reason in [("absent", "no such configuration file"), ("binary", "not a text file"), ("folder", "can't be read")]:
        in_python = exception(functools.partial(Settings.from_file, path), SettingsError)
        assert in_python.startswith(f"{path}: ") and reason in in_python
        assert refusal([f"--config-file={path}"], capsys) == in_python


COMMAND_LINES = {
    "unknown key": (["--set=training.epocs=3"], "--set training.epocs=3: unknown key 'training.epocs'; did you mean 'epochs'?"),
    "unknown former key": (["--set=model.epocs=3"], "--set model.epocs=3: unknown key 'model.epocs'; did you mean 'epochs'?"),
    "unknown section": (["--set=trainings.epochs=3"], "there is no section 'trainings'; did you mean 'training'?"),
    "no value": (["--set=training.epochs"], "--set training.epochs: write it as section.key=value"),
    "ill-typed": (
        ["--set=training.epochs=many"],
        "--set training.epochs=many: training.epochs = 'many': expected a whole number",
    ),
    "former and ill-typed": (["--set=model.epochs=many"], "--set model.epochs=many: training.epochs = 'many': expected"),
    "option of another component": (
        ["--set=objective.theta=2"],
        "--set objective.theta=2: unknown key 'objective.theta'; known: alpha",
    ),
    "unknown component": (
        ["--set=objective=unknown_one"],
        "--set objective=unknown_one: objective.name = 'unknown_one': there is no such objective",
    ),
    "no epochs": (["--set=network.dropout=0.1", "--epochs=0"], "--epochs 0: training.epochs = 0: "),
    "epochs in words": (["--epochs=many"], "--epochs many: training.epochs = 'many': expected a whole number"),
    "negative seed": (["--seed=-1"], "--seed -1: training.seed = -1: expected at least 0"),
    "unknown flag": (["--epoch-count=3"], "unrecognized arguments: --epoch-count=3; --help lists the flags"),
    "flag without value": (["--config-file"], "argument --config-file: expected one argument"),
    "stray word": (["mine.toml"], "unrecognized arguments: mine.toml"),
    "unclosed list": (["--set=network.hidden_sizes=[5,5"], "expected a list"),
    "absent device": (["--device=cuda:77"], "device 'cuda:77' is not available; this machine has: cpu"),
    "unknown device": (["--device=tpu"], "--device tpu: device.device = 'tpu': expected \"auto\""),
    "absent plugin": (["--plugin=no_such_module"], "no_such_module can't be imported (No module named 'no_such_module')"),
    "wrong input size": (["--set=network.input_size=100"], "network.input_size = 100, but MNIST has 800; leave it out"),
    "wrong input size for pixels": (
        ["--set=data_config.data_size=800", "--set=data_config.edge_directions=0"],
        "network.input_size = 800, but MNIST has 784; leave it out",
    ),
    "wrong number of classes": (["--set=network.num_classes=7"], "network.num_classes = 7, but MNIST has 10; leave it out"),
    "wrong data set": (
        ["--set=data_config.dataset=CIFAR"],
        "data_config.dataset = 'CIFAR': there is no such data set; known: fashion_",
    ),
    "data set of another benchmark": (
        ["--dataset=Seq MNIST"],
        "data.name = 'seq_mnist', but this command is for 'mnist' or 'fash",
    ),
    "no data there": (["--data-dir=."], "no files of MNIST here"),
    "no folder there": (["--data-dir=absent"], "absent: no such folder; leave out --data-dir"),
    "too many samples": (["--set=data.validation_samples=60000"], "60000 validation samples leave 0"),
    "too many test samples": (["--set=data.test_samples=10001"], "data.test_samples = 10001, but the test set has"),
    "weights not named": (["--set=model.should_load_weights=true"], "--weights FILE"),
    "no weights there": (["--weights=absent.pt"], "absent.pt: no such checkpoint"),
    "output below a file": (["--output-dir=/dev/null/runs"], "--output-dir /dev/null/runs: no run folder can be created there"),
    "nothing to resume": (["--resume=."], "not a run folder to resume"),
    "no folder to resume": (["--resume=absent"], "absent: not a run folder to resume"),
    "unknown baseline": (["--baseline=svm"], "baseline 'svm': there is no such baseline; known: cnn, gru, gru-UNITS, logistic"),
    "baseline in capitals": (["--baseline=MLP"], "baseline 'MLP': there is no such baseline; did you mean 'mlp'?"),
    "baseline without units": (["--baseline=gru-0"], "baseline 'gru-0': there is no such baseline"),
    "baseline from weights": (
        ["--baseline=gru", "--weights=absent.pt"],
        "--baseline gru: a baseline has its own initial weights",
    ),
    "resume a baseline": (["--resume=.", "--baseline=gru"], "--resume keeps the configuration"),
    "resume with settings": (["--resume=.", "--set=training.epochs=3"], "--resume keeps the configuration"),
}


@pytest.mark.parametrize("case", COMMAND_LINES)
def test_a_bad_command_line(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, message = COMMAND_LINES[case]
    assert message in refusal(arguments, capsys)
    assert list(Path().iterdir()) == []


def test_all_benchmarks_refuse_the_same_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    for benchmark in (MOVING_MNIST, SEQ_MNIST):
        assert "did you mean 'epochs'" in refusal(["--set=training.epocs=3"], capsys, benchmark)
        assert "network.input_size = 7, but " in refusal(["--set=network.input_size=7"], capsys, benchmark)
        assert "absent" in refusal(["--data-dir=absent"], capsys, benchmark)


FOREIGN = {
    "edges": (SEQ_MNIST, ["data_config.edge_directions=8"], "used by the mnist benchmark only, and this is seq_mnist"),
    "distortions": (MOVING_MNIST, ["data_config.rotation=5"], "data_config.rotation = 5: used by the mnist benchmark only"),
    "velocities": (MNIST, ["data_config.fresh_velocities=false"], "and this is mnist; leave it out or set it to true"),
    "strokes": (MOVING_MNIST, ["data_config.repeat_strokes=true"], "repeat_strokes = true: used by the seq_mnist benchmark only"),
    "all of another": (
        MOVING_MNIST,
        ["data_config.dataset=MNIST", "data_config.shift=1"],
        "--set data_config.dataset=MNIST: data.name = 'mnist', but this command is for 'moving_mnist'",
    ),
    "present form": (MOVING_MNIST, ["data.augmentation.rotation=5"], "unknown key 'data.augmentation'"),
    "another transform": (SEQ_MNIST, ["transform.deskew=true"], "unknown key 'transform.deskew'"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_key_of_another_data_set_is_refused(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark, settings, message = FOREIGN[case]
    assert message in refusal([f"--set={setting}" for setting in settings], capsys, benchmark)
    assert list(Path().iterdir()) == []


@functools.cache
def original(name: str) -> bytes:
    return gzip.decompress((resources.files("RecurrentFF.data") / "mnist_idx" / f"{name}.gz").read_bytes())


LABELS, IMAGES = "train-labels-idx1-ubyte", "train-images-idx3-ubyte"

DATA_FILES: dict[str, tuple[str, Callable[[bytes], bytes | None]]] = {
    "images missing": (IMAGES, lambda content: None),
    "images truncated": (IMAGES, lambda content: content[:-1000]),
    "images empty": (IMAGES, lambda content: b""),
    "header truncated": (IMAGES, lambda content: content[:6]),
    "magic number": (IMAGES, lambda content: b"\x12\x34\x56\x78" + content[4:]),
    "more images than labels": (LABELS, lambda content: content[:4] + struct.pack(">I", 50_000) + content[8:50_008]),
    "another count than in the header": (IMAGES, lambda content: content[:4] + struct.pack(">I", 70_000) + content[8:]),
    "images of another size": (IMAGES, lambda content: content[:4] + struct.pack(">III", 60_000, 14, 56) + content[16:]),
    "labels out of range": (LABELS, lambda content: content[:8] + b"\x0a" + content[9:]),
    "labels of another type": (LABELS, lambda content: b"\x00\x00\x0a\x01" + content[4:]),
    "labels for images": (IMAGES, lambda content: original(LABELS)),
}


@pytest.mark.parametrize("case", DATA_FILES)
def test_bad_data_files(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, damage = DATA_FILES[case]
    raw = tmp_path / "data/MNIST/raw"
    raw.mkdir(parents=True)
    for each in mnist._MD5:
        content = damage(original(each)) if each == name else original(each)
        if content is not None:
            (raw / each).write_bytes(content)
    in_python = exception(lambda: mnist.load(tmp_path / "data"), DataError)
    assert str(tmp_path / "data") in in_python
    assert refusal([f"--data-dir={tmp_path / 'data'}", "--output-dir=runs"], capsys) == in_python


ROW = "0 0 0 0 0 1 0 0 0 0"
STROKE_FILES: dict[str, tuple[str, str]] = {
    "words": ("a pen stroke", "not a stroke sequence"),
    "numbers missing": (f"{ROW} 5 5 0", "expected 4 or 14 whole numbers"),
    "rows of two lengths": (f"{ROW} 5 5 0 0\n{ROW} 1 1 1", "not a stroke sequence"),
    "no end": (f"{ROW} 5 5 0 0", "must end the digit"),
    "off the image": (f"{ROW} 40 5 0 1", "the pen leaves the image"),
    "two classes": ("1 0 0 0 0 1 0 0 0 0 5 5 0 1", "don't name one class"),
    "a mark of two": (f"{ROW} 5 5 2 1", "0 or 1"),
    "beyond a byte": (f"{ROW} 99999999999999999999 5 0 1", "not a stroke sequence"),
}


@pytest.mark.parametrize("case", STROKE_FILES)
def test_bad_stroke_files(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, message = STROKE_FILES[case]
    for split in ("train", "test"):
        (tmp_path / f"{split}img-0-targetdata.txt").write_text(content + "\n")
    in_python = exception(lambda: stroke_files.read_file(tmp_path / "trainimg-0-targetdata.txt"), DataError)
    assert message in in_python
    assert refusal([f"--data-dir={tmp_path}", "--output-dir=runs"], capsys, SEQ_MNIST) == in_python


class Hostile:
    """An object that runs code when it is unpickled without protection."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


def _forged(content: dict[str, Any], version: str = str(checkpoint.FORMAT)) -> bytes:
    """The bytes of a checkpoint with this content and a matching checksum, as a careful forger would write it."""
    return container.pack(content, format=version)


def _without(content: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key != name}


CHECKPOINTS: dict[str, tuple[Callable[[bytes, dict[str, Any]], object], str]] = {
    "empty": (lambda whole, content: b"", "not a readable checkpoint"),
    "text": (lambda whole, content: b"weights", "not a readable checkpoint"),
    "truncated": (lambda whole, content: whole[: len(whole) // 2], "not a readable checkpoint"),
    "altered": (lambda whole, content: whole[:-1] + bytes([whole[-1] ^ 1]), "a damaged checkpoint"),
    "hostile pickle": (lambda whole, content: pickle.dumps(Hostile(), protocol=2), "not a readable checkpoint"),
    "hostile checkpoint": (lambda whole, content: {"format": 7, "network": Hostile()}, "not a readable checkpoint .*run code"),
    "another library": (lambda whole, content: {"state_dict": {}}, "not a checkpoint of RecurrentFF"),
    "weights of another library": (
        lambda whole, content: safetensors.torch.save({"weight": torch.zeros(2)}),
        "not a checkpoint of RecurrentFF",
    ),
    "a newer version": (
        lambda whole, content: _forged(content, "9"),
        "a checkpoint of format 9, of a newer version of RecurrentFF; this version reads formats 5 to 8; install a newer one",
    ),
    "an older version": (lambda whole, content: {"format": 4}, "a checkpoint of format 4, which this version does not read"),
    "a format in another form": (lambda whole, content: _forged(content, "7"), "files of format 7 had another form"),
    "a tensor": (lambda whole, content: torch.zeros(3), "not a checkpoint of RecurrentFF"),
    "another architecture": (
        lambda whole, content: _forged(
            content | {"network": {name: torch.zeros(2, 2) for name in "abcd"}, "training": content["training"] | {"best": None}}
        ),
        "another architecture",
    ),
    "without settings": (lambda whole, content: _forged(_without(content, "settings")), r"settings: Field required"),
    "with a number for settings": (
        lambda whole, content: _forged(content | {"settings": 3}),
        "settings: Input should be .* string",
    ),
    "without weights": (lambda whole, content: _forged(_without(content, "network")), "network: Field required"),
    "with a list of weights": (
        lambda whole, content: _forged(content | {"network": [1]}),
        "network: Input should be .* dictionary",
    ),
    "settings with an unknown section": (
        lambda whole, content: _forged(content | {"settings": "[modle]"}),
        "unknown key 'modle'",
    ),
    "settings that are not TOML": (lambda whole, content: _forged(content | {"settings": "[model"}), "not valid TOML"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a complete run."""
    parent = tmp_path_factory.mktemp("runs")
    assert main(MNIST, [*TINY, f"--output-dir={parent}"]) == 0
    return run_folder(parent)


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_a_bad_checkpoint(case: str, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, message = CHECKPOINTS[case]
    whole = (trained / "last.safetensors").read_bytes()
    made = make(whole, content_of(trained / "last.safetensors"))
    Path("run").mkdir()
    if isinstance(made, bytes):
        Path("run/last.safetensors").write_bytes(made)
    else:
        torch.save(made, "run/last.safetensors")
    in_python = exception(lambda: rff.load("run/last.safetensors", "cpu"), CheckpointError)
    assert in_python.startswith("run/last.safetensors: ") and re.search(message, in_python), in_python
    assert refusal(["--resume=run"], capsys) == in_python
    assert refusal([*TINY, "--weights=run/last.safetensors"], capsys) == f"{Path().absolute()}/{in_python}"
    assert not Path("executed").exists()


def test_a_checkpoint_of_another_network_and_one_without_the_state_for_resuming(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = refusal([*TINY, "--set=network.hidden_sizes=[16, 11]", f"--weights={trained / 'best.safetensors'}"], capsys)
    edges = " on oriented_gradients (directions 8, grid_size 10, centered True)"
    architectures = f"800-16-12-10{edges}; this network is 800-16-11-10{edges}"
    assert words == f"{trained / 'best.safetensors'}: weights of another architecture, {architectures}"
    Path("run").mkdir()
    Path("run/last.safetensors").write_bytes((trained / "last.safetensors").read_bytes())
    Path("run/best.safetensors").write_bytes((trained / "best.safetensors").read_bytes())
    assert "run/best.safetensors: has weights only, no state to resume from" in refusal(["--resume=run/best.safetensors"], capsys)
    Path("run/former.safetensors").write_bytes((trained / "last.safetensors").read_bytes())
    Path("run/last.safetensors").write_bytes(b"damaged")
    assert "the cosine schedule" in refusal(["--resume=run/former.safetensors", "--epochs=9", "--device=cpu"], capsys)
    Path("best.safetensors").write_bytes((trained / "best.safetensors").read_bytes())
    assert refusal(["--resume=best.safetensors"], capsys) == ".: not a run folder to resume, it has no last.safetensors"
    words = exception(lambda: rff.load("run/best.safetensors", "cuda:77"), DeviceError)
    assert words.startswith("device 'cuda:77' is not available")


def network() -> rff.Network:
    return rff.build(small_settings())


def inputs(*shape: int) -> torch.Tensor:
    return torch.zeros(*(shape or (6,)), DATA_SIZE)


NAN, INFINITE = inputs().index_fill(1, torch.tensor(3), torch.nan), inputs().index_fill(1, torch.tensor(3), torch.inf)
LATE_NAN = inputs(5, 6).index_fill(0, torch.tensor(4), torch.nan)


def train(*batch: Any) -> Callable[[], object]:
    return lambda: rff.Learner(network()).train_batch(*batch)


def fit(*data: Any, **more: Any) -> Callable[[], object]:
    return lambda: rff.fit(network(), data if len(data) > 1 else data[0], quiet=True, **more)


PYTHON: dict[str, tuple[Callable[[], object], type[RecurrentFFError], str]] = {
    "shape": (
        lambda: network().predict(inputs()[:, 1:]),
        InputError,
        r"shape \(6, 6\): expected \(batch, 7\) or \(5, b",
    ),
    "images": (lambda: network().predict(torch.zeros(6, 28, 28)), InputError, r"flatten\(1\)"),
    "one sample": (lambda: network().predict(torch.zeros(7)), InputError, r"shape \(7,\)"),
    "timesteps": (lambda: network().predict(inputs(4, 6)), InputError, r"shape \(4, 6, 7\)"),
    "dtype": (lambda: network().predict(inputs().long()), InputError, "type torch.int64: expected floating point"),
    "bytes": (train(inputs().byte(), class_numbers(6)), InputError, "type torch.uint8: expected floating point"),
    "NaN": (lambda: network().predict(NAN), InputError, "not all finite"),
    "infinite": (train(INFINITE, class_numbers(6)), InputError, "not all finite"),
    "NaN in a late frame": (train(LATE_NAN, class_numbers(6)), InputError, "not all finite"),
    "NaN to fit": (fit(NAN, class_numbers(6)), InputError, "not all finite"),
    "empty batch": (lambda: network().badness(inputs(0)), InputError, "empty batch"),
    "no samples": (fit(inputs(0), class_numbers(0)), InputError, "no samples"),
    "device": (lambda: rff.build(input_size=7, num_classes=2, device="cuda:99"), DeviceError, "'cuda:99' is not available"),
    "one class": (lambda: rff.build(input_size=7, num_classes=1), SettingsError, "num_classes = 1"),
    "no size": (lambda: rff.build(num_classes=3), SettingsError, r"network\.input_size and network\.num_classes"),
    "settings by themselves": (
        lambda: rff.Settings(training={"epochs": 0}),
        SettingsError,
        r"^training\.epochs = 0: ",
    ),
    "settings with a number for a key": (
        lambda: rff.Settings.from_dict({1: 2}),  # type: ignore[dict-item]
        SettingsError,
        "settings: the configuration: the key 1 is a int; expected text",
    ),
    "unknown argument": (lambda: rff.build(hidden_size=[3]), SettingsError, "did you mean 'hidden_sizes'"),
    "no settings": (lambda: rff.build({"network": {}}), SettingsError, "from_dict"),  # type: ignore[arg-type]
    "label too high": (train(inputs(), torch.tensor([0, 1, 2, 3, 4, 5])), InputError, "labels run from 0 to 5; expected 0 to 4"),
    "label negative": (train(inputs(), torch.tensor([0, 1, 2, 3, 4, -1])), InputError, "labels run from -1"),
    "labels of floats": (train(inputs(), torch.zeros(6)), InputError, "integer class numbers"),
    "fewer labels": (train(inputs(), class_numbers(5)), InputError, "6 inputs but 5 labels"),
    "labels of two timesteps": (train(inputs(), class_numbers(2, 6)), InputError, r"labels of shape \(2, 6\)"),
    "mask": (train(inputs(), class_numbers(6), torch.ones(3, 6)), InputError, r"mask of shape \(3, 6\): expected \(5, 6\)"),
    "features to fit": (fit(inputs()[:, 1:], class_numbers(6)), InputError, "6 features, but the network's input_size is 7"),
    "labels to fit": (fit(inputs(), class_numbers(6) + 5), InputError, "labels run from"),
    "images to fit": (fit(torch.zeros(6, 28, 28), class_numbers(6)), InputError, r"flatten\(1\)"),
    "no data to fit": (fit(7), InputError, "a int is neither"),
    "an endless loader": (lambda: LoaderDataset(iter([])), InputError, "knows its number of batches"),
    "an empty loader": (fit([]), InputError, "the loader is empty"),
    "uneven data": (lambda: TensorDataset(inputs(), class_numbers(4)), InputError, r"\(6, 7\) and labels \(4,\)"),
    "a profile nowhere": (
        lambda: rff.fit(rff.build(small_settings(profile=True)), clusters(20)),
        SettingsError,
        "there is no folder for them; name one by output_dir=…",
    ),
    "output below a file": (fit(*clusters(20), output_dir="/dev/null/runs"), SettingsError, "no run folder can be created"),
}


@pytest.mark.parametrize("case", PYTHON)
def test_a_bad_call(case: str) -> None:
    call, kind, message = PYTHON[case]
    words = exception(call, kind)
    assert re.search(message, words) and "\n" not in words, words
