"""The labels of raw samples as a program passes them, of many types: converted to a list of class names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from RecurrentFF.errors import InputError
from RecurrentFF.messages import shown
from RecurrentFF.tensors import as_numbers

Label = str | int
"""The name of a class."""


def as_class_names(labels: Any) -> list[Label]:
    """Convert the labels of raw samples to a list of class names, texts and integers.

    Args:
        labels: texts or whole numbers, as a tensor, array, list or pandas column, (n,) or (n, 1).

    Raises:
        InputError: the labels have another shape or type.
    """
    if isinstance(labels, str | bytes | dict):
        raise InputError(f"labels of type {type(labels).__name__}: expected a list or array of class names")
    if isinstance(labels, Tensor):
        numbers = as_numbers(labels, "labels").cpu()
        labels = (numbers.double() if numbers.is_floating_point() else numbers).numpy()
    elif hasattr(labels, "to_numpy"):
        labels = labels.to_numpy()
    elif not isinstance(labels, np.ndarray):
        try:
            labels = np.array([label.item() if isinstance(label, Tensor) else label for label in labels], dtype=object)
        except (TypeError, ValueError, RuntimeError):
            raise InputError(f"labels of type {type(labels).__name__}: expected a list or array of class names") from None
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise InputError(
            f"labels of shape {labels.shape}: one-hot? expected (n,) class names; convert them with labels.argmax(1)"
        )
    if labels.ndim not in (1, 2):
        raise InputError(f"labels of shape {labels.shape}: expected (n,) class names")
    return [_label(value, sample) for sample, value in enumerate(labels.reshape(-1).tolist())]


def require_one_pair(function: str, others: Sequence[Any]) -> None:
    """Check that there are no arguments after the data: many programs pass labels there.

    Args:
        function: the name of the function that was called, for the message.
        others: the further arguments.

    Raises:
        InputError: there are some.
    """
    if others:
        raise InputError(
            f"{function} takes a network and data: give samples and labels as one pair, {function}(network, (samples, labels)), "
            "and name all other arguments"
        )


def is_pair(data: Any) -> bool:
    """Tell (samples, labels), as a tuple or a list, from a loader, which may be a list of two batches."""
    if not (isinstance(data, tuple | list) and len(data) == 2):
        return False
    return not all(map(_is_batch, data)) and not any(map(_has_inputs_and_labels, data))


def _is_batch(value: Any) -> bool:
    if not (isinstance(value, tuple | list) and len(value) in (2, 3)):
        return False
    first = value[0]
    return len(getattr(first, "shape", ())) > 0 or (isinstance(value, tuple) and isinstance(first, tuple | list))


def _has_inputs_and_labels(value: Any) -> bool:
    """True for a batch whose arrays have as many samples but other axes. The samples of a pair would be of the same shape."""
    if not _is_batch(value):
        return False
    inputs, labels = (tuple(getattr(part, "shape", ())) for part in value[:2])
    return len(inputs) > len(labels) > 0 and inputs[0] == labels[0]


def _label(value: Any, sample: int) -> Label:
    """Convert a label to a text or an integer."""
    if isinstance(value, str):
        return str(value)
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"label {value!r} of sample {sample}: expected a text or a whole number") from None
    if not -(2**63) <= number < 2**63:
        raise InputError(f"label {shown(number)} of sample {sample}: expected a text, or a whole number of 64 bits")
    if number != value:
        raise InputError(f"label {value!r} of sample {sample}: expected a text or a whole number")
    return number


def listed(names: Sequence[Label]) -> str:
    """List class names for an error message, at most ten of them."""
    more = f", … ({len(names)} classes)" if len(names) > 10 else ""
    return ", ".join(repr(name) for name in names[:10]) + more
