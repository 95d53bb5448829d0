"""Signals to a training: it ends after the batch, unless they are ignored, and gives back what it found."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import RecurrentFF as rff
from RecurrentFF.training.callbacks import Callback
from RecurrentFF.training.console import Console
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.interruption import SIGNALS, Interruption
from RecurrentFF.training.trainer import Trainer
from tests.helpers import clusters, small_settings
from tests.test_cli import TINY

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the system has other signals")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """After a test, the handlers are those from before."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in SIGNALS]


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_recorded_and_the_second_has_its_usual_effect(number: int) -> None:
    received: list[int] = []
    signal.signal(number, lambda number, frame: received.append(number))
    before = handlers()
    with Interruption() as interruption:
        assert not interruption.requested
        send(number)
        assert interruption.requested and not received
        assert handlers() == before
        send(number)
        assert received == [number]
    assert handlers() == before


@pytest.mark.parametrize("number", SIGNALS)
def test_an_ignored_signal_stays_ignored(number: int) -> None:
    signal.signal(number, signal.SIG_IGN)
    with Interruption() as interruption:
        send(number)
        assert not interruption.requested and signal.getsignal(number) is signal.SIG_IGN
        others = [other for other in SIGNALS if other != number]
        assert all(signal.getsignal(other) == interruption._record for other in others)


def test_a_handler_that_python_does_not_know_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    set_handlers: list[int] = []
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    monkeypatch.setattr(signal, "signal", lambda number, handler: set_handlers.append(number))
    with Interruption():
        pass
    assert not set_handlers


def test_a_system_that_allows_no_handler_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int, handler: Any) -> None:
        raise ValueError("signal only works in main thread of the main interpreter")

    monkeypatch.setattr(signal, "signal", refuse)
    with Interruption() as interruption:
        assert not interruption.requested


def test_in_another_thread_nothing_is_changed() -> None:
    before, seen = handlers(), list[Any]()

    def work() -> None:
        with Interruption():
            seen.extend(handlers())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == before == handlers()


def test_a_signal_ends_all_blocks_that_are_in_each_other() -> None:
    before = handlers()
    with Interruption() as outer:
        with Interruption() as inner:
            send(signal.SIGTERM)
            assert inner.requested and outer.requested and handlers() == before
        assert handlers() == before
    with Interruption() as outer:
        with Interruption() as inner:
            pass
        send(signal.SIGTERM)
        assert outer.requested and not inner.requested
    assert handlers() == before


def test_a_handler_that_another_one_sets_meanwhile_is_kept() -> None:
    def theirs(number: int, frame: FrameType | None) -> None:
        pass

    with Interruption():
        signal.signal(signal.SIGTERM, theirs)
    assert signal.getsignal(signal.SIGTERM) is theirs


def test_a_training_in_a_callback_of_a_training_ends_with_it() -> None:
    network, data = rff.build(small_settings(epochs=50, device="cpu")), clusters(12)

    class Nested(Callback):
        batches = 0

        def on_batch_end(self, trainer: Trainer, metrics: Any, samples: int) -> None:
            self.batches += 1
            inner = Trainer(rff.build(small_settings(epochs=2)), trainer.splits, [Signal()], console=Console(quiet=True))
            assert not inner.fit() and inner.progress.batch == 1

    class Signal(Callback):
        def on_batch_end(self, trainer: Trainer, metrics: Any, samples: int) -> None:
            send(signal.SIGINT)

    nested = Nested()
    with pytest.raises(KeyboardInterrupt):
        rff.fit(network, data, quiet=True, callbacks=[nested])
    assert nested.batches == 1


@pytest.mark.faults
def test_a_run_whose_terminal_is_closed_saves_its_state_and_ends(tmp_path: Path) -> None:
    """The terminal is closed after the first epoch: the process gets SIGHUP, and can't write any more."""
    master, slave = os.openpty()
    code = (
        "import os, sys, fcntl, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
        "from RecurrentFF.cli import main; sys.exit(main())"
    )
    arguments = ["train", "mnist", *TINY, "--set=device.compile=false", "--epochs=100000", f"--output-dir={tmp_path}"]
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    read_until(master, b"1/100000")
    os.close(master)
    assert process.wait(60) == 130
    (folder,) = tmp_path.iterdir()
    assert RunFolder(folder).last.exists() and not RunFolder(folder).summary.exists()


def read_until(descriptor: int, text: bytes) -> None:
    """Read from a terminal until a text has come. The test fails if the program ends before."""
    content = b""
    while text not in content:
        content += os.read(descriptor, 4096)
