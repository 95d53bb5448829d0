"""The callbacks of a training as one object: it calls them, names the one that fails, and saves and restores their states."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from RecurrentFF.errors import CallbackError, DivergenceError, RecurrentFFError, described
from RecurrentFF.training import container
from RecurrentFF.training.callbacks.base import Callback

if TYPE_CHECKING:
    from RecurrentFF.training.content import SavedTraining
    from RecurrentFF.training.trainer import Trainer

OWN_ENTRIES = {"WeightAveraging": "average", "Checkpoints": "best"}
"""Callbacks whose state has an entry of its own in a checkpoint, as it had before there were callbacks."""

Kind = TypeVar("Kind", bound=Callback)


class Callbacks(list[Callback]):
    """The callbacks of a training, in the order in which they are called. Others may be appended."""

    def find(self, kind: type[Kind]) -> Kind | None:
        """The first callback of a class, None if there is none."""
        return next((callback for callback in self if isinstance(callback, kind)), None)

    def emit(self, event: str, trainer: Trainer, *arguments: Any) -> list[Any]:
        """Call all callbacks at an event.

        Args:
            event: the name of a method of `Callback`.
            trainer: the first argument of the method.
            arguments: the further ones.

        Returns:
            The value that each callback has returned.

        Raises:
            CallbackError: a callback has failed. Errors of the callbacks of this library are raised unchanged.
            DivergenceError: a callback has found values that are not finite.
        """
        return [_call(callback, event, trainer, *arguments) for callback in self]

    @contextmanager
    def closing(self, trainer: Trainer) -> Iterator[None]:
        """Close all callbacks at the end of a block. After an error, that one is raised, and not one of closing."""
        try:
            yield
        except BaseException:
            for callback in self:
                with suppress(Exception):
                    callback.close(trainer)
            raise
        self.emit("close", trainer)

    def state_dict(self) -> dict[str, Any]:
        """The states of all callbacks, as entries of a checkpoint.

        Returns:
            The entries "average" and "best", None without such a state, and "callbacks" with the other states by name.

        Raises:
            CallbackError: the state of a callback can't be saved.
        """
        states = {name: _plain_state(callback) for name, callback in self._named()}
        own = {entry: states.pop(name, None) or None for name, entry in OWN_ENTRIES.items()}
        return {**own, "callbacks": {name: state for name, state in states.items() if state}}

    def load_state(self, saved: SavedTraining) -> None:
        """Restore the states from those of a checkpoint. A callback without one keeps its state.

        Raises:
            CallbackError: a callback does not accept its state.
        """
        states: dict[str, Any] = {name: getattr(saved, entry) for name, entry in OWN_ENTRIES.items()} | saved.callbacks
        for name, callback in self._named():
            if states.get(name):
                _load_state(callback, states[name])

    def _named(self) -> Iterator[tuple[str, Callback]]:
        """The callbacks with unique names: of the class, and a number from the second of a class."""
        counts: dict[str, int] = {}
        for callback in self:
            name = type(callback).__name__
            counts[name] = counts.get(name, 0) + 1
            yield (name if counts[name] == 1 else f"{name} {counts[name]}"), callback


def _call(callback: Callback, event: str, *arguments: Any) -> Any:
    """Call a callback at an event.

    Raises:
        CallbackError: it has failed. Errors of the callbacks of this library are raised unchanged.
    """
    try:
        return getattr(callback, event)(*arguments)
    except DivergenceError:
        raise
    except Exception as error:
        if _is_own(callback):
            raise
        raise _callback_error(callback, event, error, "correct the callback or leave it out") from error


def _plain_state(callback: Callback) -> dict[str, Any]:
    """The state of a callback, as a copy of its dictionaries and lists.

    Raises:
        CallbackError: it holds an object that a checkpoint can't, or the callback has failed.
    """
    try:
        state = callback.state_dict()
    except Exception as error:
        raise _callback_error(callback, "state_dict", error, "correct the callback or leave it out") from error
    wrong = container.unsupported(state)
    if wrong:
        raise CallbackError(
            f"{type(callback).__name__}.state_dict: has {wrong}; give dense tensors, numbers, strings, and lists and "
            "dictionaries of them"
        )
    return copy.copy(state)


def _load_state(callback: Callback, state: dict[str, Any]) -> None:
    """Give a callback its saved state.

    Raises:
        CallbackError: it does not accept the state. A RecurrentFFError of a callback of this library is raised unchanged.
    """
    try:
        callback.load_state_dict(state)
    except Exception as error:
        if isinstance(error, RecurrentFFError) and _is_own(callback):
            raise
        raise _callback_error(callback, "load_state_dict", error, "the checkpoint has another state") from error


def _is_own(callback: Callback) -> bool:
    """Check if a callback is one of this library."""
    return type(callback).__module__.startswith("RecurrentFF.")


def _callback_error(callback: Callback, event: str, error: Exception, advice: str) -> CallbackError:
    """The error about a callback that has failed: one line, with the first line of the original error, shortened."""
    return CallbackError(f"{type(callback).__name__}.{event}: {described(error)}; {advice}")
