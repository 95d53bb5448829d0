"""Paths that a configuration or a command line names: a run with any of them can be resumed, or one line says why not."""

import shutil
import sys
from pathlib import Path

import pytest

import RecurrentFF as rff
from RecurrentFF import toml
from RecurrentFF.benchmarks.cli import main
from RecurrentFF.benchmarks.mnist.mnist import MNIST
from RecurrentFF.cli import main as rff_command
from RecurrentFF.data import mnist
from RecurrentFF.data.mnist import Mnist
from RecurrentFF.errors import SettingsError
from RecurrentFF.settings import Settings, recipes
from RecurrentFF.settings.user_paths import with_absolute_paths
from tests.permissions import without_privileges
from tests.test_cli import TINY, config_of, run_folder

PACKAGED = Path(mnist.__file__).parent / "mnist_idx"
"""The four files of MNIST in the package."""

NAMES = [r"c\xyz", r"\u0041\\", "no-break\u00a0space", "soft\u00adhyphen", "next\u0085line", "delete\x7f", "two\nlines\r",
         "\x1b[31m", "quote\"'", "#=[x]", "smile\U0001f600", "\u2028", " spaces  ", "\ufeffmark"]  # fmt: skip
"""Names of folders, with characters that are hard to write to TOML and to read again."""


@pytest.fixture(autouse=True)
def _run_in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def settings_of(run: Path) -> Settings:
    return Settings.from_file(run / "config.toml")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
def test_a_run_with_any_names_of_folders_can_be_resumed_and_started_from(tmp_path: Path) -> None:
    flags = [*TINY[:3], "--set=training.batch_size=500", "--set=schedule=step", "--epochs=1", "--device=cpu"]
    assert main(MNIST, [*flags, f"--output-dir={tmp_path / 'plain'}"]) == 0
    plain = run_folder(tmp_path / "plain")
    name = "".join(NAMES)[:120]
    data, weights = tmp_path / name, tmp_path / f"{name}.safetensors"
    data.symlink_to(PACKAGED)
    shutil.copy(plain / "best.safetensors", weights)
    assert main(MNIST, [*flags, f"--data-dir={data}", f"--weights={weights}", f"--output-dir={tmp_path / 'runs'}"]) == 0
    run = run_folder(tmp_path / "runs")
    assert config_of(run)["data"]["data_dir"] == str(data) and config_of(run)["training"]["weights"] == str(weights)
    assert main(MNIST, [f"--resume={run}", "--epochs=2"]) == 0
    assert main(MNIST, [*flags, f"--weights={run / 'best.safetensors'}", f"--output-dir={tmp_path / 'again'}"]) == 0
    assert rff.load(run / "best.safetensors").settings.training.weights == str(weights)


@pytest.mark.parametrize("name", NAMES)
def test_a_flag_takes_a_path_of_any_name(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / name.replace("/", "_")
    assert main(MNIST, [*TINY, f"--data-dir={folder}"]) == 2  # it does not exist
    assert "data-dir" in (message := capsys.readouterr().err) and message.count("\n") == 1
    for key, value in (("data.data_dir", f"{folder}"), ("training.weights", f"{folder}")):
        changed = Settings.from_arguments(data="mnist").override([f"{key}={toml.value_text(value)}"])
        assert value in (getattr(changed.data, "data_dir", None), changed.training.weights)


def test_relative_paths_are_made_absolute_when_a_network_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = rff.build(data=Mnist(data_dir="digits"), hidden_sizes=[4], device="cpu")
    for folder in (Path.cwd(), tmp_path):
        rff.save(first, folder / "w")
    built = rff.build(data=Mnist(data_dir="digits"), weights="w", hidden_sizes=[4], device="cpu").settings
    assert (built.data, built.training.weights) == (Mnist(data_dir=str(Path.cwd() / "digits")), str(Path.cwd() / "w"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    at_home = rff.build(data=Mnist(data_dir="~/digits"), weights="~/w", hidden_sizes=[4], device="cpu").settings
    assert (at_home.data, at_home.training.weights) == (Mnist(data_dir=str(tmp_path / "digits")), str(tmp_path / "w"))
    assert with_absolute_paths(at_home) is at_home


def test_a_run_with_relative_paths_is_resumed_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("digits").symlink_to(PACKAGED)
    Path("mine.toml").write_text("[data]\nname = 'mnist'\ndata_dir = 'digits'\n")
    flags = [*TINY[:3], "--set=training.batch_size=500", "--epochs=1", "--device=cpu", "--output-dir=runs"]
    assert main(MNIST, ["--config-file=mine.toml", *flags]) == 0
    run = run_folder(Path("runs")).absolute()
    monkeypatch.chdir(tmp_path)
    assert main(MNIST, [f"--resume={run.relative_to(tmp_path)}", "--epochs=2"]) == 0
    assert settings_of(run).training.epochs == 2


def test_the_home_folder_is_found_in_every_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "mine.toml").write_text("[training]\nepochs = 3\n")
    assert Settings.from_file("~/mine.toml").training.epochs == 3 == Settings.from_file(Path("~/mine.toml")).training.epochs
    network = rff.build("~/mine.toml", input_size=4, num_classes=2, device="cpu")
    assert network.settings.training.epochs == 3
    assert not Path("~").exists()


BAD_PATHS: dict[str, tuple[str, str]] = {
    "null character": ("a\0b", "a path has no null characters"),
    "user without a home": ("~nobody-of-this-name/x", "this user has no home folder; write the whole path"),
    "empty": ("", "is empty; name a path, or leave it out"),
}


@pytest.mark.parametrize("case", BAD_PATHS)
def test_a_path_that_can_not_be_one_is_refused_when_a_network_is_built(case: str) -> None:
    path, reason = BAD_PATHS[case]
    with pytest.raises(SettingsError, match=r"data\.data_dir") as caught:
        rff.build(data=Mnist(data_dir=path), hidden_sizes=[4], device="cpu")
    assert reason in str(caught.value)
    if path:
        with pytest.raises(SettingsError, match=r"training\.weights") as caught:
            rff.build(input_size=4, num_classes=2, weights=path, device="cpu")
        assert reason in str(caught.value)


def test_a_path_that_is_too_long_is_named_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    long = "a" * 5000
    for flag in ("--config-file", "--data-dir", "--weights", "--output-dir", "--resume"):
        assert main(MNIST, [*([] if flag == "--resume" else TINY), f"{flag}={long}"]) == 2
        message = capsys.readouterr().err
        assert message.count("\n") == 1 and len(message) < 2000 and "File name too long" in message, message
    assert rff_command(["config", "--former", long]) == 2
    assert "File name too long" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--config-file", "--data-dir", "--weights", "--output-dir", "--resume"])
def test_an_empty_path_is_not_taken_for_the_present_folder(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(MNIST, [flag, ""]) == 2
    assert f"argument {flag}: an empty path, which would be the present folder" in capsys.readouterr().err
    assert not list(Path.cwd().iterdir())


def test_a_folder_without_permission_is_named_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    locked = Path("locked").absolute()
    locked.mkdir(mode=0)
    for flag in ("--config-file", "--data-dir", "--weights", "--output-dir", "--resume"):
        with without_privileges():
            assert main(MNIST, [*([] if flag == "--resume" else TINY), f"{flag}={locked / 'inside'}"]) == 2
        message = capsys.readouterr().err
        assert message.count("\n") == 1 and "Permission denied" in message and str(locked) in message, message
    with without_privileges(), pytest.raises(SettingsError, match="Permission denied"):
        Settings.from_file(locked / "mine.toml")


def test_a_recipe_is_found_by_its_name_unless_there_is_such_a_file() -> None:
    assert recipes.read("tutorial") == recipes.path_of("tutorial").read_text(encoding="utf-8")
    Path("tutorial").write_text("[training]\nepochs = 77\n")
    assert Settings.from_file("tutorial").training.epochs == 77


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="the system has no /dev/zero")
def test_a_file_without_end_is_not_read_whole() -> None:
    with pytest.raises(SettingsError, match=r"^/dev/zero: can't be read \(not a file\)$"):
        Settings.from_file("/dev/zero")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not remove a folder in use")
def test_a_present_folder_that_was_removed_is_no_reason_for_a_stack_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path.cwd().rmdir()
    assert rff_command(["config"]) == 0
    assert rff_command(["train", "mnist", "--data-dir=digits"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(SettingsError, match=r"data\.data_dir = 'digits': can't be made an absolute path"):
        rff.build(data=Mnist(data_dir="digits"), hidden_sizes=[4], device="cpu")


@pytest.mark.parametrize("columns", ["1", "0", "-5", "many", "9" * 30])
def test_the_width_of_the_terminal_may_be_anything(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert rff_command(["config", "--keys", "training"]) == 0
    assert "batch_size" in capsys.readouterr().out
