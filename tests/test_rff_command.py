"""The command `rff`, as a user meets it: output, exit codes, files, and what is refused."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import RecurrentFF as rff
from RecurrentFF import cli, registry
from RecurrentFF.benchmarks.benchmark import MNIST, SEQ_MNIST
from RecurrentFF.benchmarks.cli import _configured
from RecurrentFF.benchmarks.cli import main as benchmark_main
from RecurrentFF.benchmarks.run_files import newest_run
from RecurrentFF.errors import SettingsError
from RecurrentFF.settings import Settings, recipes, reference
from RecurrentFF.training.files import RunFolder
from tests.checkpoints import weights_in
from tests.test_cli import TINY, config_of, run_folder
from tools.command_line import page

ROOT = Path(__file__).resolve().parent.parent
STEP = "--set=schedule.name=step"


@pytest.fixture(autouse=True)
def _run_in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a complete run on MNIST; copy it to change it."""
    parent = tmp_path_factory.mktemp("finished")
    assert cli.main(["train", "mnist", *TINY, STEP, f"--output-dir={parent}"]) == 0
    return run_folder(parent)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of bright and dark images of 6 × 5 pixels."""
    noise = np.random.default_rng(0)
    for name, brightness in (("bright", 200), ("dark", 40)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(30):
            pixels = np.clip(brightness + noise.normal(0, 10, (6, 5)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    return tmp_path / "images"


def succeed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command, and return its output."""
    capsys.readouterr()
    assert cli.main(arguments) == 0
    output = capsys.readouterr()
    assert output.err == ""
    return output.out


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that fails, and return its message, which is one line."""
    capsys.readouterr()
    assert cli.main(arguments) == 2
    output = capsys.readouterr()
    assert output.err.startswith("error: ") and output.err.count("\n") == 1
    return output.err.removeprefix("error: ").rstrip()


# ---------------------------------------------------------------- start and help


def test_help_and_errors_of_flags_do_not_import_torch() -> None:
    code = """if True:
        import contextlib, sys
        from RecurrentFF.cli import main
        commands = (["--help"], [], ["train", "--help"], ["evaluate", "-h"], ["speed", "-h"], ["report", "-h"], ["nothing"],
                    ["train", "mnist", "--ep"], ["config"], ["config", "mnist_best"], ["runs", "/absent"], ["--version"])
        for argv in commands:
            with contextlib.suppress(SystemExit):
                main(argv)
            assert "torch" not in sys.modules, argv
    """
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "rff train" in result.stdout and "The number of passes over the training set." in result.stdout
    assert result.stderr.count("error: ") == 3 and "Traceback" not in result.stderr


def test_the_package_is_a_command_and_has_a_console_script() -> None:
    result = subprocess.run([sys.executable, "-m", "RecurrentFF", "--version"], check=True, capture_output=True, text=True)
    assert result.stdout.strip() == rff.__version__
    assert 'rff = "RecurrentFF.cli:main"' in (ROOT / "pyproject.toml").read_text()


def test_a_reader_that_ends_early_is_no_error() -> None:
    command = f"{sys.executable} -m RecurrentFF config mnist_best | true; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], check=False, capture_output=True, text=True)
    assert result.returncode == 0 and "Traceback" not in result.stderr


def test_unknown_commands_and_flags_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "invalid choice: 'fly'" in refusal(["fly"], capsys)
    assert "unrecognized arguments: --epoch-count=3; --help lists the flags" in refusal(
        ["train", "mnist", "--epoch-count=3"], capsys
    )
    assert "the following arguments are required: DATA" in refusal(["train"], capsys)


# ---------------------------------------------------------------- train


def test_train_writes_a_run_and_prints_its_result(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert finished.name.startswith("mnist-")
    names = {
        "config.toml",
        "metrics.jsonl",
        "summary.json",
        "samples.png",
        "curves.png",
        "timesteps.png",
        "best.safetensors",
        "last.safetensors",
    }
    assert {path.name for path in finished.iterdir()} == names


def test_train_is_the_command_of_the_benchmark(finished: Path, tmp_path: Path) -> None:
    assert benchmark_main(MNIST, [*TINY, STEP, f"--output-dir={tmp_path}"]) == 0
    assert config_of(run_folder(tmp_path)) == config_of(finished)
    one, other = (weights_in(path) for path in (finished, run_folder(tmp_path)))
    assert all(torch.equal(one[name], other[name]) for name in one)


def configured(*arguments: str) -> Any:
    """The settings that a command of `rff train` would train with, whose data set has options of its own."""
    parsed = cli.argument_parser().parse_args(["train", *arguments])
    known = MNIST if parsed.data in MNIST.data else None
    assert known is not None
    parsed.dataset = parsed.data
    return _configured(known, parsed)


def test_a_configuration_is_a_file_or_the_name_of_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("mine.toml").write_text("[training]\nepochs = 77\n")
    assert configured("mnist", "--config-file=mine.toml").training.epochs == 77
    assert configured("mnist", "--config-file=~/mine.toml").training.epochs == 77
    assert configured("mnist", "--config-file=mnist_best").training.epochs == 50
    assert configured("mnist").network == Settings.from_file(recipes.path_of("mnist_fast")).network
    Path("mnist_best").write_text("[training]\nepochs = 3\n")  # an existing file comes first
    assert configured("mnist", "--config-file=mnist_best").training.epochs == 3


def test_fashion_mnist_has_a_recipe_of_its_own_and_takes_those_of_mnist() -> None:
    own, digits = configured("fashion_mnist"), configured("fashion_mnist", "--config-file=mnist_fast")
    assert registry.name_of(own.data) == registry.name_of(digits.data) == "fashion_mnist"
    assert own.data.augmentation.flip and not digits.data.augmentation.flip
    assert digits.data.augmentation == configured("mnist").data.augmentation
    chosen = configured("mnist", "--set=data.name=fashion_mnist", "--set=data.augmentation.rotation=5")
    assert registry.name_of(chosen.data) == "mnist"  # the data set of the command itself comes last
    assert chosen.data.augmentation.rotation == 5.0


def test_paths_are_recorded_absolute_with_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/of/somebody")
    assert configured("mnist", "--data-dir=here").data.data_dir == str(tmp_path / "here")
    assert configured("mnist", '--set=data.data_dir="~/there"').data.data_dir == "/home/of/somebody/there"
    assert configured("mnist", "--data-dir=~/there").data.data_dir == "/home/of/somebody/there"
    assert configured("mnist", "--weights=~/w.pt").training.weights == "/home/of/somebody/w.pt"
    Path("mine.toml").write_text('[data]\ndata_dir = "there"\n')
    assert configured("mnist", "--config-file=mine.toml").data.data_dir == str(tmp_path / "there")


def test_other_data_sets_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(["train", "mnits"], capsys) == (
        "there is no data set 'mnits'; did you mean 'mnist'?; for one of your own, pass --plugin MODULE"
    )
    message = refusal(["train", "seq_mnist_memory"], capsys)
    assert message == "there is no data set 'seq_mnist_memory', but a recipe: rff train seq_mnist --config-file seq_mnist_memory"
    message = refusal(["train", "moving_mnist", "--config-file=mnist_best"], capsys)
    assert "mnist_best.toml: this recipe is for mnist, not for 'moving_mnist' (its data.name = 'mnist')" in message
    assert message.endswith("; the recipe `moving_mnist` suits 'moving_mnist'")
    message = refusal(["train", "image_folder", "--config-file=mnist_best"], capsys)
    assert message.endswith("; the recipe `general` suits your own images")
    assert "no data to read; name a data set" in refusal(["train", "own"], capsys)
    assert "pass --data-dir FOLDER" in refusal(["train", "image_folder"], capsys)
    assert list(Path().iterdir()) == []


def test_a_folder_of_images_is_trained_and_evaluated(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--set=network.hidden_sizes=[20]", "--set=training.batch_size=10", "--epochs=15", "--device=cpu"]
    output = succeed(["train", "image_folder", f"--data-dir={images}", *few], capsys)
    assert "network     30-20-2, " in output
    folder = run_folder(Path("runs"))
    assert folder.name.startswith("image_folder-")
    evaluation = succeed(["evaluate", str(folder), "--device=cpu"], capsys)
    assert "accuracy 100.00 % of 6 samples" in evaluation and "bright" in evaluation


# ---------------------------------------------------------------- resume


def test_resume_trains_longer(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(finished, "copy"))
    output = succeed(["resume", str(folder), "--epochs=3"], capsys)
    assert "resumed     after 2 epochs and 0 batches" in output
    assert config_of(folder)["training"]["epochs"] == 3
    output = succeed(["resume", str(folder / "last.safetensors")], capsys)
    assert output.count("training is complete") == 1 and "\n\n\n" not in output and output.count("\n\n") == 1
    assert "unrecognized arguments: --resume=copy" in refusal(["train", "mnist", "--resume=copy"], capsys)
    capsys.readouterr()
    assert benchmark_main(SEQ_MNIST, ["--resume=copy"]) == 2 == benchmark_main(MNIST, ["--resume=copy", "--seed=3"])
    errors = capsys.readouterr().err
    assert "a run on mnist, not on 'seq_mnist'; resume it with: rff resume copy" in errors
    assert "--resume keeps the configuration" in errors
    assert "not a run folder to resume" in refusal(["resume", "."], capsys)


@pytest.fixture
def own_run(tmp_path: Path) -> Path:
    """The run of a program on data of its own: bright and dark images, as the fixture `images` has."""
    torch.manual_seed(0)
    brightness = torch.tensor([200, 40]).repeat(40)
    pixels = (brightness[:, None, None] + 10 * torch.randn(80, 6, 5)).clamp(0, 255).to(torch.uint8)
    task = rff.TensorTask(pixels, ["bright", "dark"] * 40, name="two lamps")
    network = rff.build(
        task=task, hidden_sizes=[20], objective="pairwise", optimizer="adam", epochs=15, batch_size=10, device="cpu"
    )
    rff.fit(network, task, output_dir=tmp_path / "own", quiet=True)
    return run_folder(tmp_path / "own")


def test_a_run_of_a_program_is_refused_by_the_name_of_its_data(own_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = f"{own_run}: trained on data that a program passed ('two lamps'), which a command can't read"
    for command in (["resume", str(own_run)], ["evaluate", str(own_run)]):
        assert message in refusal(command, capsys)
    assert "in Python: rff.evaluate(rff.load(path), (samples, labels))" in refusal(["evaluate", str(own_run)], capsys)
    assert benchmark_main(MNIST, [f"--resume={own_run}"]) == 2
    assert message in capsys.readouterr().err


def test_a_network_of_a_program_is_evaluated_on_a_folder_of_images(
    own_run: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = succeed(["evaluate", str(own_run), f"--data-dir={images}", "--predictions=all.csv"], capsys)
    assert "accuracy 100.00 % of 60 samples" in output
    assert re.search(r"bright +30 +0\n", output) and re.search(r"dark +0 +30\n", output)
    assert len(Path("all.csv").read_text().splitlines()) == 61
    (images / "dark").rename(images / "dim")
    assert "the folder dim is none of the network's classes, bright, dark" in refusal(
        ["evaluate", str(own_run), f"--data-dir={images}"], capsys
    )


# ---------------------------------------------------------------- evaluate


def test_of_a_folder_of_runs_the_newest_is_evaluated(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, when in (("b", 100), ("a", 300), ("c", 200)):
        shutil.copytree(finished, tmp_path / "runs" / name)
        os.utime(tmp_path / "runs" / name / "config.toml", (when, when))
    output = succeed(["evaluate", "runs"], capsys)
    first, _, rest = output.partition("\n")
    assert first == f"newest run in runs: {Path('runs/a')}"
    assert rest == succeed(["evaluate", "runs/a"], capsys)
    shutil.copytree(finished, tmp_path / "runs" / "b" / "inner")
    assert newest_run(tmp_path / "runs/b") == tmp_path / "runs/b"
    for other in (tmp_path / "nothing", tmp_path / "runs/a/best.safetensors"):
        assert newest_run(other) == other


def test_evaluate_finds_the_data_and_gives_the_result_of_the_run(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    output = succeed(["evaluate", str(finished), "--device=cpu"], capsys)
    assert output.startswith("data     MNIST, test samples\n")
    assert f"accuracy {100 * summary['test_accuracy']:.2f} % of 200 samples" in output
    rows = [line.split() for line in output.splitlines() if re.match(r"\d( +\d+){10}$", line)]
    counts = torch.tensor([[int(count) for count in row[1:]] for row in rows])
    assert counts.shape == (10, 10) and counts.sum() == 200
    assert counts.diagonal().sum() == round(200 * summary["test_accuracy"])
    assert succeed(["evaluate", str(finished / "best.safetensors"), "--device=cpu"], capsys) == output


def test_evaluate_refuses_what_it_can_not_read(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "absent: no such checkpoint" in refusal(["evaluate", "absent"], capsys)
    assert "no files of MNIST here" in refusal(["evaluate", str(finished), "--data-dir=."], capsys)
    assert "'cuda:77' is not available" in refusal(["evaluate", str(finished), "--device=cuda:77"], capsys)
    folder = Path(shutil.copytree(finished, "baseline"))
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(summary | {"baseline": "gru"}))
    assert "the run of a baseline (gru), which can't be evaluated" in refusal(["evaluate", "baseline"], capsys)


# ---------------------------------------------------------------- plugins

PLUGIN = """
from dataclasses import dataclass
import RecurrentFF as rff

@rff.register("objective", "plain_difference")
@dataclass(frozen=True)
class PlainDifference(rff.Objective):
    def loss(self, positive, negative):
        return (positive - negative).clamp(min=-1)
"""


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module with an objective. Nothing is registered afterwards."""
    Path("my_plugin.py").write_text(PLUGIN)
    Path("mine.toml").write_text('plugins = ["my_plugin"]\n[objective]\nname = "plain_difference"\n')
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield "my_plugin"
    forget("my_plugin")


def forget(module: str) -> None:
    """Make this process one that has not imported the plugin."""
    sys.modules.pop(module, None)
    registry._classes["objective"].pop("plain_difference", None)


def test_plugins_of_a_run_are_imported_only_by_the_users_word(plugin: str, capsys: pytest.CaptureFixture[str]) -> None:
    succeed(["train", "mnist", "--config-file=mine.toml", *TINY, STEP], capsys)
    folder = run_folder(Path("runs"))
    assert config_of(folder)["plugins"] == [plugin]
    forget(plugin)
    commands = (["resume", str(folder), "--epochs=3"], ["evaluate", str(folder)])
    for command in commands:
        message = refusal(command, capsys)
        assert "plain_difference" in message and "--plugin my_plugin" in message
        assert plugin not in sys.modules
    assert "interrupted" not in succeed(["runs"], capsys) and plugin not in sys.modules
    assert "| mnist | " in succeed(["report", str(folder)], capsys) and plugin not in sys.modules
    for command in commands:
        succeed([*command, "--plugin", plugin], capsys)
        forget(plugin)


def test_a_plugin_of_the_command_line_is_recorded(plugin: str, capsys: pytest.CaptureFixture[str]) -> None:
    named = ["--set=objective.name=plain_difference", "--epochs=1"]
    succeed(["train", "mnist", f"--plugin={plugin}", *TINY, *named], capsys)
    assert config_of(run_folder(Path("runs")))["plugins"] == [plugin]
    assert 'name = "plain_difference"' in succeed(["config", "--keys=objective", f"--plugin={plugin}"], capsys)
    assert "absent_module can't be imported" in refusal(["train", "mnist", "--plugin=absent_module"], capsys)


# ---------------------------------------------------------------- runs and report


def test_runs_lists_what_was_trained_and_how_far(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("complete", "interrupted", "longer", "running", "damaged", "gru", "former", "two", "seeds/0")
    for name in names:
        shutil.copytree(finished, Path("runs") / name)
    (Path("runs") / "interrupted/summary.json").unlink()
    (Path("runs") / "damaged/config.toml").write_text("no TOML")
    metrics = Path("runs") / "longer/metrics.jsonl"  # resumed after it was complete, and interrupted then
    metrics.write_text(metrics.read_text() + metrics.read_text().splitlines()[-1] + "\n")
    summary = json.loads((finished / "summary.json").read_text())
    (Path("runs") / "gru/summary.json").write_text(json.dumps(summary | {"baseline": "gru"}))
    (Path("runs") / "two/summary.json").write_text(json.dumps(summary | {"processes": 2}))
    former: dict[str, Any] = {"model": {"hidden_sizes": [16, 12], "epochs": 9}, "training": {"seed": 0},
                              "data_config": {"data_size": 784, "num_classes": 10, "dataset": "MNIST"}}  # fmt: skip
    lines = [
        f"[{section}]\n" + "\n".join(f"{key} = {value!r}" for key, value in keys.items()) for section, keys in former.items()
    ]
    (Path("runs") / "former/config.toml").write_text("\n".join(lines))
    with RunFolder(Path("runs/running")).lock():
        output = succeed(["runs"], capsys)
    table = {line.split()[0]: line.split() for line in output.splitlines()}
    assert table["run"] == ["run", "data", "network", "seed", "epochs", "validation", "test", "time", "state"]
    assert table.keys() - {"run"} == set(names)
    right = f"{100 * summary['test_accuracy']:.2f}"
    assert table["complete"][1:5] == ["mnist", "800-16-12-10", "0", "2/2"] and right in table["complete"]
    assert table["seeds/0"][-1] == table["complete"][-1] == "complete"
    assert table["interrupted"][-1] == "interrupted" and right not in table["interrupted"]
    assert table["longer"][4] == "3/2" and table["longer"][-1] == "interrupted" and right not in table["longer"]
    assert table["running"][-1] == "running" and table["damaged"] == ["damaged", "unreadable"]
    assert table["two"][-3:] == ["complete,", "2", "processes"]
    assert table["gru"][2] == "gru" and table["former"][1:5] == ["MNIST", "784-16-12-10", "0", "2/9"]
    assert "absent: no run in this folder; start one with: rff train mnist" in refusal(["runs", "absent"], capsys)


def test_speed_names_the_files_that_it_wrote(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from RecurrentFF.benchmarks import speed

    monkeypatch.setattr(speed, "run", lambda arguments: True)
    output = succeed(["speed", "--json=all.json", "--scaling=all.png"], capsys)
    assert output == "written to all.json\nwritten to all.png\n"
    assert succeed(["speed"], capsys) == ""


def test_report_averages_the_runs_of_a_folder(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = succeed(["report", str(finished.parent), "--csv=all.csv", "--plot=all.png"], capsys)
    assert f"| {finished.parent.name} | 2 | " in output
    assert Path("all.csv").read_text().count("\n") == 3 and Path("all.png").exists()


# ---------------------------------------------------------------- config and the reference of keys


def test_config_lists_and_prints_the_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    lines = succeed(["config"], capsys).splitlines()
    assert [line.split()[0] for line in lines] == recipes.names()
    assert all(line.endswith(".") for line in lines)
    assert succeed(["config", "mnist_best"], capsys) == recipes.path_of("mnist_best").read_text()
    assert "did you mean 'mnist_best'?" in refusal(["config", "mnist_bset"], capsys)
    assert "exclude each other" in refusal(["config", "mnist", "--keys"], capsys)


def test_every_recipe_is_valid_and_names_what_it_is_for() -> None:
    for name in recipes.names():
        settings = Settings.from_file(recipes.path_of(name))
        data = registry.name_of(settings.data)
        assert data in ("own", name) or name.startswith(f"{data}_") or (data, name) == ("mnist", "tutorial")
    assert set(recipes.DEFAULTS.values()) | {recipes.GENERAL} <= set(recipes.names())


def test_the_folder_configs_of_a_clone_has_the_recipes() -> None:
    assert (ROOT / "configs").resolve() == recipes.FOLDER.resolve()
    assert Settings.from_file(ROOT / "configs/tutorial.toml") == Settings.from_file(recipes.path_of("tutorial"))


def test_keys_are_explained_from_the_classes(capsys: pytest.CaptureFixture[str]) -> None:
    everything = succeed(["config", "--keys"], capsys)
    assert "plugins = []" in everything and "batch_size = 500  (whole number ≥ 1)" in everything
    schedules = succeed(["config", "--keys", "schedule"], capsys)
    assert 'name = "step"  (the default)' in schedules and "warmup_epochs = 0.0  (number ≥ 0)" in schedules
    assert "batch_size" not in schedules
    assert "leaky_relu" in succeed(["config", "--keys=activation"], capsys)
    assert "did you mean 'schedule'?" in refusal(["config", "--keys", "schedules"], capsys)


def is_built_in(section: str, component: str) -> bool:
    kind = reference.COMPONENT_SECTIONS[section]
    return registry.component_class(kind, component).__module__.startswith("RecurrentFF.")


def test_every_key_has_a_type_and_a_meaning() -> None:
    found = [
        (part.section, part.component, key)
        for section in reference.ORDER
        for part in reference.parts(section)
        for key in part.keys
        if not part.component or is_built_in(section, part.component)  # other tests register components of their own
    ]
    assert len(found) > 100
    for section, component, key in found:
        assert key.meaning.endswith((".", ".)")) and "typing" not in key.type and "<" not in key.type.replace("< ", ""), (
            section, component, key)  # fmt: skip


def test_inherited_and_nested_keys_are_described() -> None:
    keys = {key.name: key for key in reference.describe(registry.component_class("data", "mnist"))}
    assert keys["train_samples"].summary == "The number of training samples; 0 means all that are not validation samples."
    assert keys["augmentation.rotation"].type == "number ≥ 0, ≤ 180" and keys["augmentation.rotation"].default == "0.0"
    assert reference.describe(registry.component_class("activation", "relu")) == []
    types = {key.name: key.type for key in reference.describe(type(Settings().network))}
    assert types["hidden_sizes"] == "list of whole numbers > 0"
    assert types["residual_connections"] == "list of lists of 2 whole numbers ≥ 0"
    assert (types["connections"], types["badness"]) == ("list of connections", '"mean" or "sum"')


def test_the_page_of_the_documentation_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    built_in = {kind: {name: cls for name, cls in classes.items() if cls.__module__.startswith("RecurrentFF.")}
                for kind, classes in registry._classes.items()}  # fmt: skip
    monkeypatch.setattr(registry, "_classes", built_in)  # without the components that other tests register
    written = (ROOT / "docs/reference/configuration.md").read_text(encoding="utf-8")
    assert written == reference.markdown(), "run: python -m RecurrentFF.settings.reference > docs/reference/configuration.md"


FORMER = """# The network of a paper.
# It is small.

[model]
hidden_sizes = [30]
ff_optimizer = "adam"
epochs = 3

[model.ff_adam]
learning_rate = 1e-2

[data_config]
dataset = "MNIST"
iterations = 4
rotation = 5.0
"""


def test_the_page_of_the_command_line_is_what_the_parser_says() -> None:
    written = (ROOT / "docs/reference/command_line.md").read_text(encoding="utf-8")
    assert written == page() + "\n", "run: python -m tools.command_line > docs/reference/command_line.md"


def test_a_former_configuration_is_printed_in_the_present_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("former.toml").write_text(FORMER)
    printed = succeed(["config", "--former=former.toml"], capsys)
    assert printed.startswith("# The network of a paper.\n# It is small.\n\n[network]\nhidden_sizes")
    assert Settings.from_toml(printed) == Settings.from_file("former.toml")
    Path("plugins.toml").write_text(f'plugins = ["math"]\n{FORMER}')
    assert 'plugins = ["math"]\n\n[network]' in succeed(["config", "--former=plugins.toml"], capsys)
    Path("present.toml").write_text(printed)
    assert "present.toml: has the present form already" in refusal(["config", "--former=present.toml"], capsys)
    Path("wrong.toml").write_text(FORMER.replace("epochs", "epocs"))
    assert "unknown key 'model.epocs'" in refusal(["config", "--former=wrong.toml"], capsys)
    with pytest.raises(SettingsError, match="no such configuration file"):
        cli.present_form(Path("absent.toml"))


def test_plugins_are_named_by_their_own_flag(capsys: pytest.CaptureFixture[str]) -> None:
    message = refusal(["train", "mnist", *TINY, "--set=plugins=['json']"], capsys)
    assert "--set plugins=…: name a plugin with --plugin MODULE" in message


def test_a_component_without_a_docstring_is_described_by_its_keys_alone() -> None:
    @registry.register("activation", "without_docstring")
    @dataclass(frozen=True)
    class WithoutDocstring(rff.Activation):
        factor: float = 1.0

        def apply(self, z: Tensor) -> Tensor:
            return self.factor * z

    (found,) = [part for part in reference.parts("network.activation") if part.component == "without_docstring"]
    assert found.description == "" and [key.name for key in found.keys] == ["factor"]
