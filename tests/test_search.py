"""Searches from Python: results, pruning, what is not used, and what the storage keeps."""

import itertools
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import optuna
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

import RecurrentFF as rff
from RecurrentFF.data.dataset import Splits
from RecurrentFF.errors import DivergenceError, OutputError, SettingsError
from RecurrentFF.search import Categorical, Float, Int, SearchInterrupted, search
from RecurrentFF.search.objective import outcome_of
from RecurrentFF.search.plots import make_readable
from RecurrentFF.search.samplers import SeededSampler, make_pruner, make_sampler
from RecurrentFF.settings import Settings
from RecurrentFF.training.build import build
from RecurrentFF.training.callbacks import Callback, default_callbacks
from RecurrentFF.training.splits import load_splits
from RecurrentFF.training.trainer import Trainer
from tests.refusals import refusal
from tests.search_helpers import RATE, SPACE, facts, load, settings, task, tiny_search, url_of

COMPLETE, PRUNED, FAIL = optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.FAIL


def test_the_best_configuration_has_the_accuracy_that_is_reported() -> None:
    result = tiny_search(settings(seed=3), {RATE: SPACE[RATE], "network.hidden_sizes": Categorical(choices=[[5], [7, 6]])})
    values = [trial.value for trial in result.study.trials if trial.state == COMPLETE]
    assert result.best_accuracy == max(value for value in values if value is not None) > 0.3
    assert result.best_values[RATE] == result.best_settings.to_tree()["optimizer"]["learning_rate"]
    network = rff.build(result.best_settings, task=task())
    assert list(network.sizes.values())[1:-1] == list(result.best_values["network.hidden_sizes"])
    history = rff.fit(network, task(), quiet=True)
    assert max(metrics.validation_accuracy or 0 for metrics in history) == result.best_accuracy


class Unreadable:
    """A data set that must not be used."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the test samples are used by {name}")

    def __len__(self) -> int:
        raise AssertionError("the test samples are counted")


@pytest.mark.parametrize("arguments", [{}, {"test_every_epoch": True, "weight_averaging": 0.5, "early_stopping": 1}])
def test_the_test_samples_are_not_used(arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def with_unreadable_test(*given: Any) -> Splits:
        return load_splits(*given)._replace(test=Unreadable())

    monkeypatch.setattr("RecurrentFF.search.objective.load_splits", with_unreadable_test)
    result = tiny_search(settings(**arguments), trials=2)
    assert result.best_settings.training.test_every_epoch is bool(arguments)  # the configuration itself keeps the key


def test_data_are_read_once_unless_the_configuration_asks_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*given: Any) -> Splits:
        calls.append(given)
        return load_splits(*given)

    monkeypatch.setattr("RecurrentFF.search.objective.load_splits", counted)
    tiny_search()
    assert len(calls) == 1
    tiny_search(space={"network.label_timesteps": Categorical(choices=[3, 4])}, trials=3)
    assert len(calls) >= 3


def test_a_search_without_validation_samples_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    message = refusal(lambda: tiny_search(task=task(validation=0)), SettingsError)
    assert "has no validation samples" in message
    named = Settings.from_file("smoke", data="mnist").override(["data.validation_samples=0", "data.train_samples=50"])
    assert "data.validation_samples = 0: a search compares" in refusal(lambda: search(named, SPACE, quiet=True), SettingsError)
    assert 'data.name = "own": no data to read' in refusal(lambda: search(settings(), SPACE, quiet=True), SettingsError)


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_training_is_pruned_after_an_epoch_but_not_after_the_last(epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    never_good = optuna.pruners.ThresholdPruner(lower=2.0)
    monkeypatch.setattr("RecurrentFF.search.run.make_pruner", lambda name, epochs: never_good)
    if epochs == 1:
        assert [trial.state for trial in tiny_search(settings(epochs=1), trials=2).study.trials] == [COMPLETE] * 2
        return
    message = refusal(lambda: tiny_search(settings(epochs=epochs), trials=2, study="pruned"), SettingsError)
    assert message == "study 'pruned': none of 2 trials has a result; the last one was pruned"


def test_pruned_trials_are_kept_with_their_accuracies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = tiny_search(settings(epochs=4), trials=12, seed=1, quiet=False, output_dir=tmp_path)
    pruned = [trial for trial in result.study.trials if trial.state == PRUNED]
    assert pruned and all(len(trial.intermediate_values) < 4 for trial in pruned)
    output = capsys.readouterr()
    lines = output.out.splitlines()
    assert output.err == "" and not any("badness" in line or "ended" in line for line in lines)  # of the trainings
    assert sum(" pruned " in line for line in lines if line.startswith("trial ")) == len(pruned)
    table = (tmp_path / "search-tiny" / "trials.csv").read_text().splitlines()
    assert len(table) == 13 and sum(",pruned," in line for line in table) == len(pruned)


def test_a_study_that_is_continued_equals_one_that_is_not() -> None:
    whole, storage = tiny_search(trials=12), optuna.storages.InMemoryStorage()
    tiny_search(trials=11, storage=storage)
    resumed = tiny_search(trials=12, storage=storage)
    assert facts(resumed.study) == facts(whole.study) and len(facts(whole.study)) == 12
    assert facts(tiny_search(trials=3, storage=storage).study) == facts(whole.study)  # there are enough
    other = tiny_search(trials=2, seed=1)
    assert facts(other.study)[0] != facts(whole.study)[0]


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_workers_on_one_study_draw_different_values(name: str) -> None:
    storage = optuna.storages.InMemoryStorage()
    workers = [
        optuna.create_study(study_name="a", storage=storage, sampler=make_sampler(name, 0), load_if_exists=True) for _ in "ab"
    ]
    values = [worker.ask().suggest_float("x", 0, 1) for worker in workers * 3]
    assert len(set(values)) == 6


def test_unknown_methods_are_refused() -> None:
    assert "sampler 'tpa': there is no such sampler; did you mean 'tpe'?" in refusal(
        lambda: tiny_search(sampler="tpa"), SettingsError
    )
    assert "pruner 'medium': there is no such pruner" in refusal(lambda: tiny_search(pruner="medium"), SettingsError)
    assert "transform.name: has no effect on a task" in refusal(
        lambda: tiny_search(space={RATE: SPACE[RATE], "transform.name": Categorical(choices=["pixels"])}), SettingsError
    )


def test_a_space_that_does_not_fit_is_refused_before_the_data_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("RecurrentFF.search.objective.load_splits", None)
    message = refusal(lambda: tiny_search(space={"optimizer.learning_rat": SPACE[RATE]}), SettingsError)
    assert message.startswith("space: optimizer.learning_rat, low = 0.0001: unknown key")


def test_hyperband_knows_the_highest_number_of_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []

    def noted(name: str, epochs: int) -> optuna.pruners.BasePruner:
        found.append(epochs)
        return make_pruner(name, epochs)

    monkeypatch.setattr("RecurrentFF.search.run.make_pruner", noted)
    tiny_search(space={"training.epochs": Int(low=1, high=3)}, pruner="hyperband", trials=1)
    tiny_search(pruner="none", trials=1)
    assert found == [3, 2]


def test_another_configuration_or_space_is_refused(tmp_path: Path) -> None:
    def call(given: Settings | None = None, space: Any = SPACE, name: str = "tiny") -> None:
        tiny_search(given, space, trials=1, storage=url_of(tmp_path), study=name)

    call()
    call(settings(compile=False, wandb=True))  # such things may differ between workers
    message = refusal(lambda: call(settings(epochs=3)), SettingsError)
    assert "made with another configuration (training.epochs: 2, now 3); choose another name with --study" in message
    message = refusal(lambda: call(space={RATE: Float(low=1e-4, high=1.0, log=True)}), SettingsError)
    assert f"made with another space ({RATE}.high: 0.1, now 1.0)" in message
    call(settings(epochs=3), name="other")
    optuna.create_study(study_name="foreign", storage=url_of(tmp_path)).add_trial(optuna.create_trial(value=1.0))
    assert "was not made by a search of RecurrentFF" in refusal(lambda: call(name="foreign"), SettingsError)


def test_refused_and_diverged_trials_are_recorded_and_the_search_continues(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    errors: Iterator[Exception | None] = itertools.chain(
        [DivergenceError("epoch 1: the loss is not finite"), None, MemoryError()], itertools.repeat(None)
    )

    def sometimes(*arguments: Any, **options: Any) -> Any:
        error = next(errors)
        if error is not None:
            raise error
        return build(*arguments, **options)

    monkeypatch.setattr("RecurrentFF.search.objective.build", sometimes)
    study = tiny_search(trials=5, quiet=False).study
    assert [outcome_of(trial) for trial in study.trials] == ["diverged", "complete", "refused", *["complete"] * 2]
    output = capsys.readouterr().out
    assert "epoch 1: the loss is not finite" in output and "; not enough memory" in output


def test_trials_that_are_all_refused_for_one_reason_end_the_search() -> None:
    space = {"network.label_timesteps": Int(low=2, high=9), "network.prediction_window": Categorical(choices=[[1, 1], [8, 8]])}
    too_many = {"negatives.count": Int(low=5, high=9)}  # the number of classes is known with the data only
    message = refusal(lambda: tiny_search(space=too_many), SettingsError)
    assert message.startswith("study 'tiny': all of 3 trials were refused for the same reason: ")
    assert "has only 4 wrong labels" in message
    study = tiny_search(space=space, trials=5).study
    assert {outcome_of(trial) for trial in study.trials} >= {"refused", "complete"}


class Signal(Callback):
    """Sends a signal after a batch."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def on_batch_end(self, trainer: Trainer, metrics: Any, samples: int) -> None:
        self.batch -= 1
        if self.batch == 0:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.skipif(sys.platform == "win32", reason="the system has other signals")
def test_after_ctrl_c_the_same_values_are_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tiny_search()
    interrupting = Signal(6)  # the second batch of the second trial
    monkeypatch.setattr("RecurrentFF.search.objective.default_callbacks", lambda given: [*default_callbacks(given), interrupting])
    with pytest.raises(SearchInterrupted, match="after 1 finished trials"):
        tiny_search(storage=url_of(tmp_path))
    assert [state for _, state, _, _ in facts(load(url_of(tmp_path)))] == ["COMPLETE", "FAIL", "WAITING"]
    resumed = facts(tiny_search(storage=url_of(tmp_path), trials=2).study)
    assert resumed[2][1:] == facts(whole.study)[1][1:] and len(resumed) == 3


def test_a_trial_that_another_worker_has_taken_over_ends_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class TakeOver(Callback):
        def on_batch_end(self, trainer: Trainer, metrics: Any, samples: int) -> None:
            study: Any = load(url_of(tmp_path))
            study.tell(0, state=FAIL, skip_if_finished=True)

    monkeypatch.setattr("RecurrentFF.search.objective.default_callbacks", lambda given: [*default_callbacks(given), TakeOver()])
    message = refusal(lambda: tiny_search(storage=url_of(tmp_path)), SettingsError)
    assert message.startswith("trial 0: another worker has taken it over")


def test_a_signal_before_a_training_ends_it_after_its_first_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupting(*arguments: Any, **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return build(*arguments, **options)

    monkeypatch.setattr("RecurrentFF.search.objective.build", interrupting)
    with pytest.raises(SearchInterrupted) as caught:
        tiny_search()
    assert [(state, accuracies) for _, state, _, accuracies in facts(caught.value.study)] == [("FAIL", {}), ("WAITING", {})]


def test_a_search_by_torchrun_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_PORT": "1", "MASTER_ADDR": "host"}.items():
        monkeypatch.setenv(name, value)
    assert "start the command several times, and not by torchrun" in refusal(tiny_search, SettingsError)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("search.db", "'search.db': can't be opened (Could not parse SQLAlchemy URL"),
        ("sqlite:////no/such/folder/a.db", "unable to open database file"),
        ("nothing://me:secret@host/a", "nothing://me:***@host/a: can't be opened"),
        ("oracle+cx_oracle://me:secret@host/a", "oracle+cx_oracle://me:***@host/a: its driver can't be imported"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_one_line(url: str, words: str) -> None:
    message = refusal(lambda: tiny_search(storage=url), SettingsError)
    assert words in message and "secret" not in message


def test_a_storage_that_fails_during_a_search_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Remove(Callback):
        def on_batch_end(self, trainer: Trainer, metrics: Any, samples: int) -> None:
            storage: Any = load(url_of(tmp_path))._storage
            with storage._backend.engine.begin() as connection:
                connection.exec_driver_sql("DROP TABLE IF EXISTS trial_intermediate_values")

    monkeypatch.setattr("RecurrentFF.search.objective.default_callbacks", lambda given: [*default_callbacks(given), Remove()])
    message = refusal(lambda: tiny_search(storage=url_of(tmp_path)), OutputError)
    assert "can't be read or written" in message and "no such table" in message


def test_optuna_must_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert 'pip install "RecurrentFF[search]"' in refusal(lambda: search(settings(), SPACE), SettingsError)


def test_plots_leave_matplotlib_unchanged_and_optuna_as_it_was(tmp_path: Path) -> None:
    mpl.get_backend()  # which is chosen when it is first asked for
    before, level = mpl.rcParams.copy(), optuna.logging.get_verbosity()
    result = tiny_search(output_dir=tmp_path, space={RATE: SPACE[RATE], "network.dropout": Float(low=0, high=0.5)})
    names = {path.name for path in (tmp_path / "search-tiny").iterdir()}
    assert names == {"best.toml", "trials.csv", "history.png", "importances.png", "slice.png", "parallel.png"}
    assert mpl.rcParams == before and not pyplot.get_fignums() and optuna.logging.get_verbosity() == level
    assert sum(result.importances.values()) == pytest.approx(1)
    assert Settings.from_file(tmp_path / "search-tiny" / "best.toml") == result.best_settings
    lines = str(result).splitlines()
    assert lines[0].split() == ["trial", "validation", "epochs", "seconds", "learning_rate", "dropout"] and len(lines) == 5
    assert f"{100 * result.best_accuracy:.2f} %" in lines[1]


def test_plots_have_room_for_long_choices_and_plain_numbers_on_logarithmic_axes() -> None:
    figure = Figure()
    choices, rates, numbers = figure.subplots(1, 3)
    choices.plot(["'relu'", "'" + "x" * 100 + "'"], [1, 2])
    choices.set_xlabel("network.activation")
    rates.semilogx([1.5, 60], [1, 2])
    numbers.plot([1, 2])
    make_readable(figure, "the title")
    names = [label.get_text() for label in choices.get_xticklabels()]
    assert names[0] == "relu" and len(names[1]) <= 25 and choices.get_xticklabels()[1].get_rotation() > 0
    assert choices.get_title() == "network.activation" and figure.get_suptitle() == "the title"
    shown = [tick for tick in rates.get_xticks() if 1.5 <= tick <= 60]
    assert shown == [2, 5, 10, 20, 50] and rates.xaxis.get_major_formatter()(20) == "20"


def test_a_seeded_sampler_depends_on_the_number_of_the_trial_only() -> None:
    def draws(skipped: int) -> list[float]:
        study = optuna.create_study(sampler=SeededSampler(lambda seed: optuna.samplers.RandomSampler(seed), 7))
        trials = [study.ask() for _ in range(4)]
        return [trial.suggest_float("x", 0, 1) for trial in trials[skipped:]]

    assert draws(2) != draws(0)[2:]  # drawn after all trials were seeded: only the last one is its own
    assert draws(3) == draws(3)


def test_in_a_terminal_the_progress_bar_names_the_trial(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("RecurrentFF.training.console.is_terminal", lambda stream: True)
    tiny_search(trials=2, quiet=False)
    shown = capsys.readouterr().err
    assert "trial 0, epoch 1/2: " in shown and "trial 1, epoch 2/2: " in shown
