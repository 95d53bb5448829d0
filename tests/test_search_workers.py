"""Several processes work on one study, in a file of SQLite and on a server of PostgreSQL that the test starts."""

import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import optuna
import pytest
from sqlalchemy.exc import DatabaseError

from RecurrentFF.training.callbacks import Callback, default_callbacks
from RecurrentFF.training.trainer import Trainer
from tests.search_helpers import RATE, load, tiny_search, url_of

pytestmark = [pytest.mark.faults, pytest.mark.skipif(sys.platform != "linux", reason="a fork is safe on Linux only")]

pwd = pytest.importorskip("pwd")
COMPLETE, FAIL, RUNNING = optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.FAIL, optuna.trial.TrialState.RUNNING


def start(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Start a worker."""
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def work(url: str, trials: int) -> None:
    """Search until the study has a number of finished trials."""
    tiny_search(trials=trials, storage=url, sampler="random", pruner="none")


def require_shared_study(url: str) -> None:
    """Let two workers begin a study at the same time, and check that they share it."""
    workers = [start(work, url, 6) for _ in range(2)]
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    trials = load(url).trials
    assert 6 <= len(trials) <= 7 and {trial.state for trial in trials} == {COMPLETE}
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert len({trial.params[RATE] for trial in trials}) == len(trials)


def test_two_workers_share_a_file(tmp_path: Path) -> None:
    require_shared_study(url_of(tmp_path))


class Hang(Callback):
    """Never returns after the first batch."""

    def on_batch_end(self, trainer: Trainer, metrics: Any, samples: int) -> None:
        time.sleep(600)


def hang(url: str) -> None:
    """Search until the first batch."""
    with pytest.MonkeyPatch.context() as patch:  # in this process only
        patch.setattr("RecurrentFF.search.objective.default_callbacks", lambda given: [*default_callbacks(given), Hang()])
        work(url, 1)


def test_the_trial_of_a_killed_worker_is_run_again(tmp_path: Path) -> None:
    url = url_of(tmp_path)
    worker = start(hang, url)
    while not has_begun(url):
        assert worker.is_alive()
        time.sleep(0.02)
    worker.kill()
    worker.join()
    study = load(url)
    lost = study.trials[0]
    storage: Any = study._storage
    with storage._backend.engine.begin() as connection:  # as if it had been killed a while ago
        connection.exec_driver_sql("UPDATE trial_heartbeats SET heartbeat = datetime('now', '-3 minutes')")
    assert lost.state == RUNNING
    work(url, 1)
    trials = load(url).trials
    assert [trial.state for trial in trials] == [FAIL, COMPLETE] and trials[1].params == lost.params


def has_begun(url: str) -> bool:
    """True if a study has a trial with parameters and a sign of life."""
    try:
        study: Any = load(url)
        with study._storage._backend.engine.begin() as connection:
            alive = connection.exec_driver_sql("SELECT count(*) FROM trial_heartbeats").scalar()
        return bool(study.trials and study.trials[0].params and alive)
    except (KeyError, DatabaseError):  # it is not complete yet
        return False


# ---------------------------------------------------------------- PostgreSQL


def program(name: str) -> str | None:
    """The path of a program of PostgreSQL; None if it is not installed. Debian keeps them in folders of their own."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(found[-1]) if found else None)


def account() -> str | None:
    """The account that may run a server: this one, or "postgres" for root, whom the server refuses; None if there is none."""
    if os.geteuid() != 0:
        return str(pwd.getpwuid(os.geteuid()).pw_name)
    return "postgres" if shutil.which("runuser") and "postgres" in {user.pw_name for user in pwd.getpwall()} else None


@pytest.fixture
def server() -> Iterator[str]:
    """A new server in a folder of its own, which is reached by a socket in it. Yields the URL of its database."""
    pytest.importorskip("psycopg2", reason="pip install psycopg2-binary")
    initdb, pg_ctl, user = program("initdb"), program("pg_ctl"), account()
    if initdb is None or pg_ctl is None or user is None:
        pytest.skip("PostgreSQL is not installed, or there is no account that may run it")
    as_user = ["runuser", "-u", user, "--"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="pg") as name:
        folder = Path(name)
        shutil.chown(folder, user)
        data, log = folder / "data", folder / "log"

        def call(*command: str) -> None:
            done = subprocess.run([*as_user, *command], cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr

        call(initdb, "-D", str(data), "-U", "me", "-A", "trust", "--no-sync", "--no-locale", "--encoding=UTF8")
        call(pg_ctl, "-D", str(data), "-l", str(log), "-w", "-o", f"-F -k {folder} -c listen_addresses=", "start")
        try:
            yield f"postgresql+psycopg2://me@/postgres?host={folder}"
        finally:
            call(pg_ctl, "-D", str(data), "-m", "immediate", "stop")


def test_two_workers_share_a_database_of_postgresql(server: str) -> None:
    require_shared_study(server)
