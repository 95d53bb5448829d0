"""Raw samples and labels as a program passes them, of many types: converted to a tensor, and to a list of class names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from RecurrentFF.errors import InputError

Label = str | int
"""The name of a class."""


def as_samples(samples: Any) -> Tensor:
    """Convert a tensor, numpy array, nested list, list of tensors, or pandas frame to a tensor, without a copy if possible.

    Raises:
        InputError: the samples are not numbers, or of unequal shapes.
    """
    if isinstance(samples, Tensor):
        return samples
    if isinstance(samples, list | tuple) and samples and all(isinstance(sample, Tensor) for sample in samples):
        if any(sample.shape != samples[0].shape for sample in samples):
            raise InputError("samples of unequal shapes; bring them to the same shape first")
        return torch.stack(list(samples))
    try:
        array = samples.to_numpy() if hasattr(samples, "to_numpy") else np.asarray(samples)
        if array.dtype == object:  # columns of several types
            array = np.asarray(array.tolist())
        if array.ndim == 0:
            raise ValueError("a single value")
        if array.dtype.kind == "u" and array.dtype.itemsize > 1:
            array = array.astype(np.int64)
        return torch.from_numpy(np.require(array, requirements=["C", "W"]))
    except (TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"samples of type {type(samples).__name__}: expected numbers in an array of equal rows ({reason})"
        ) from None


def as_labels(labels: Any) -> list[Label]:
    """Convert labels to a list of texts and integers.

    Args:
        labels: texts or whole numbers, as a tensor, array, list or pandas column, (n,) or (n, 1).

    Raises:
        InputError: the labels have another shape or type.
    """
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu().numpy()
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


def as_class_numbers(labels: Any) -> Tensor:
    """Convert the class numbers of network inputs to a tensor, without a check of their shape and range.

    Raises:
        InputError: they are not numbers in an array.
    """
    try:
        array = labels.to_numpy() if hasattr(labels, "to_numpy") else labels
        return torch.as_tensor(np.require(array, requirements="W") if isinstance(array, np.ndarray) else array)
    except (TypeError, ValueError, RuntimeError):
        first = f" such as {labels[0]!r}" if isinstance(labels, list | tuple) and labels else ""
        raise InputError(
            f"labels of type {type(labels).__name__}{first}: expected class numbers; for names, build the network with a task, "
            "as in rff.build(task=rff.TensorTask(samples, labels))"
        ) from None


def is_pair(data: Any) -> bool:
    """Tell (samples, labels), as a tuple or a list, from a loader, which may be a list of two batches."""
    return isinstance(data, tuple | list) and len(data) == 2 and not all(map(_is_batch, data))


def _is_batch(value: Any) -> bool:
    if not (isinstance(value, tuple | list) and len(value) in (2, 3)):
        return False
    first = value[0]
    return len(getattr(first, "shape", ())) > 0 or (isinstance(value, tuple) and isinstance(first, tuple | list))


def _label(value: Any, sample: int) -> Label:
    """Convert a label to a text or an integer."""
    if isinstance(value, str):
        return str(value)
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"label {value!r} of sample {sample}: expected a text or a whole number") from None
    if number != value:
        raise InputError(f"label {value!r} of sample {sample}: expected a text or a whole number")
    return number


def listed(names: Sequence[Label]) -> str:
    """List class names for an error message, at most ten of them."""
    more = f", … ({len(names)} classes)" if len(names) > 10 else ""
    return ", ".join(repr(name) for name in names[:10]) + more
