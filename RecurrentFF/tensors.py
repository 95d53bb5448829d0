"""The gate of tensors that a user passes: `as_inputs` for network inputs, `as_labels` for class numbers, `as_mask` for masks.

Every function of the package that takes tensors, arrays, lists or frames passes them through here. What comes out is a dense
tensor of real numbers without gradient history; what can't become one is refused in one line.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from RecurrentFF.errors import InputError, first_line

_PLAIN = frozenset(
    {torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.bool}
    | {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
)
"""The types for which torch has all operations. Other types of real numbers are converted."""

_PACKED = (
    "unpack it with inputs, lengths = torch.nn.utils.rnn.pad_packed_sequence(…), and give the mask "
    "torch.arange(len(inputs))[:, None] < lengths"
)


def as_numbers(value: Any, name: str = "samples") -> Tensor:
    """Convert a value to a dense tensor of real numbers, without a copy if possible.

    Args:
        value: a tensor, a numpy array, a frame or column of pandas, or a nested list of numbers, tensors or arrays.
        name: what the value is, for the error.

    Returns:
        A tensor of any shape on the device of the value, detached from the computation of gradients. Types that torch has few
        operations for are converted: float8 to float32, uint16, uint32 and uint64 to int64.

    Raises:
        InputError: the value holds no real numbers, or is not dense (sparse, nested, quantized, masked, or without data).
    """
    if _needs_no_conversion(value):
        assert isinstance(value, Tensor)
        return value
    try:
        return _of_tensor(value, name) if isinstance(value, Tensor) else _of_other(value, name)
    except (TypeError, ValueError, RuntimeError, OverflowError, RecursionError, MemoryError) as error:
        reason = first_line(error)
        raise InputError(f"{name} of type {_kind(value)}: expected numbers in an array of equal rows ({reason})") from None


def as_inputs(value: Any, name: str = "inputs") -> Tensor:
    """Convert network inputs to a dense floating-point tensor. The errors are those of `as_numbers`.

    Raises:
        InputError: the values are not floating-point numbers, for instance pixels of uint8.
    """
    inputs = as_numbers(value, name)
    if not inputs.is_floating_point():
        raise InputError(
            f"{name} of type {inputs.dtype}: expected floating point, scaled to about unit mean square; convert them with "
            f"{name}.float(), or build the network with a task, which takes raw samples"
        )
    return inputs


def as_labels(value: Any, name: str = "labels") -> Tensor:
    """Convert class numbers to a tensor of int64, without a check of their shape and range.

    Raises:
        InputError: they are not whole numbers in an array.
    """
    if (text := _first_text(value)) is not None:
        raise InputError(
            f"{name} of type {_kind(value)} such as {text!r}: expected class numbers; for names, build the network "
            "with a task, as in rff.build(task=rff.TensorTask(samples, labels))"
        )
    labels = as_numbers(value, name)
    if labels.is_floating_point():
        one_hot = f"; one-hot? give {name}.argmax(1)" if labels.dim() == 2 and labels.shape[1] > 1 else ""
        raise InputError(f"{name} of type {labels.dtype}: expected integer class numbers{one_hot}")
    return labels.to(torch.int64)


def check_labels(labels: Tensor, samples: int, classes: int, timesteps: int | None = None, name: str = "labels") -> Tensor:
    """Check class numbers from `as_labels`. Values on a GPU are not checked, because that would synchronize with it.

    Args:
        labels: (samples,) or (samples, 1); with `timesteps` also (timesteps, samples) where they change over time, or
            (timesteps, samples, 1), which can't be mistaken for one-hot labels.
        samples: the number of samples.
        classes: the number of classes.
        timesteps: the number of timesteps with the label; None if labels can't change over time.
        name: what they are, for the error.

    Returns:
        (samples,), or (timesteps, samples) where they change over time.

    Raises:
        InputError: the labels have another shape or number, are one-hot, or are out of range.
    """
    shape = tuple(labels.shape)
    if shape == (samples, 1) and shape != (timesteps, samples):
        labels = labels.squeeze(1)
    elif timesteps is not None and shape == (timesteps, samples, 1):
        labels = labels.squeeze(2)
    elif (axis := _one_hot_axis(labels, samples, classes)) is not None:
        over_time = f", or {name}.unsqueeze(2) if they change over time" if shape == (timesteps, samples) else ""
        raise InputError(f"{name} of shape {shape}: one-hot? expected class numbers; give {name}.argmax({axis}){over_time}")
    elif shape != (samples,) and shape != (timesteps, samples):
        raise InputError(_labels_shape_error(shape, samples, timesteps, name))
    if can_be_read(labels) and labels.numel():
        lowest, highest = (int(value) for value in torch.aminmax(labels))
        if not 0 <= lowest <= highest < classes:
            raise InputError(f"{name} run from {lowest} to {highest}; expected 0 to {classes - 1}")
    return labels


def as_mask(value: Any, timesteps: int, samples: int) -> Tensor:
    """Convert the mask of valid timesteps to a tensor of truth values.

    Args:
        value: (timesteps, samples) of truth values, or of the numbers 0 and 1.
        timesteps: the number of timesteps.
        samples: the number of samples.

    Raises:
        InputError: the shape is another one, or a value is neither 0 nor 1. (On a GPU values are not checked.)
    """
    mask = as_numbers(value, "mask")
    if mask.shape != (timesteps, samples):
        hint = "; its axes are exchanged, give mask.T" if mask.shape == (samples, timesteps) else ""
        hint = "; for labels use rff.evaluate(network, (samples, labels))" if mask.shape == (samples,) else hint
        raise InputError(
            f"mask of shape {tuple(mask.shape)}: expected ({timesteps}, {samples}), true where an input is valid{hint}"
        )
    if mask.dtype is not torch.bool and can_be_read(mask) and not bool(((mask == 0) | (mask == 1)).all()):
        raise InputError(f"mask of type {mask.dtype} with values other than 0 and 1: expected true where an input is valid")
    return mask.bool()


def require_in_range(inputs: Tensor, limit: float, name: str = "inputs") -> None:
    """Check that inputs are finite and within ±`limit`. Values on a GPU are not checked, because that would synchronize with it.

    Args:
        inputs: (..., samples, features).
        limit: the largest magnitude; infinity to check that all are finite.
        name: what they are, for the error.

    Raises:
        InputError: an input is not. The message names the first sample at fault.
    """
    if not can_be_read(inputs) or inputs.numel() == 0:
        return
    low, high = torch.aminmax(inputs)
    if -limit <= float(low) and float(high) <= limit and math.isfinite(low) and math.isfinite(high):
        return
    wrong = ~(inputs.isfinite() & (inputs.abs() <= limit))
    sample = first_sample(wrong)
    value = float(inputs.select(-2, sample)[wrong.select(-2, sample)][0])
    if math.isfinite(value):
        raise InputError(f"{name} that are too large: sample {sample} has {value:g}; scale them to about unit mean square")
    raise InputError(f"{name} that are not all finite: sample {sample} has {value}; replace what is NaN or infinite in them")


def first_sample(wrong: Tensor) -> int:
    """The number of the first sample that is true anywhere in a tensor (..., samples, features)."""
    return int(wrong.any(-1).reshape(-1, wrong.shape[-2]).any(0).nonzero()[0])


def shape_error(shape: tuple[int, ...], timesteps: int, size: int) -> str:
    """Describe what is wrong with the shape of network inputs, and what to do.

    Args:
        shape: the shape.
        timesteps: the number of timesteps of a network.
        size: its number of inputs.
    """
    if shape == (size,):
        hint = "add an axis for the batch, as in inputs[None]"
    elif len(shape) == 3 and shape[1:] == (timesteps, size):
        hint = "exchange the axes with inputs.transpose(0, 1), or pass batch_first=True to fit, evaluate or predict"
    elif len(shape) == 2 and shape[0] == size:
        hint = "exchange the axes with inputs.T"
    elif len(shape) == 3 and shape[2] == size:
        hint = f"give sequences {timesteps} timesteps, as in rff.pad_sequences(sequences, {timesteps})"
    else:
        hint = "flatten images with inputs.flatten(1)"
    return (
        f"inputs of shape {shape}: expected (batch, {size}) or ({timesteps}, batch, {size}), "
        f"where {timesteps} is prelabel_timesteps + label_timesteps; {hint}"
    )


def without_invalid(samples: Tensor, mask: Tensor | None) -> Tensor:
    """Replace NaN and infinite values by 0 where a mask says that nothing counts. Other values are left unchanged.

    Args:
        samples: (timesteps, samples, ...), or (samples, ...) where they are the same at all timesteps.
        mask: (timesteps, samples) of truth values; None if all timesteps are valid.
    """
    if mask is None or not samples.is_floating_point():
        return samples
    valid = mask.to(samples.device)
    if samples.shape[:2] != mask.shape or samples.dim() < 3:
        valid = valid.any(0)
        if samples.shape[:1] != valid.shape:
            return samples
    if can_be_read(samples) and samples.isfinite().all():
        return samples
    valid = valid.view(*valid.shape, *[1] * (samples.dim() - valid.dim()))
    return torch.where(valid, samples, samples.nan_to_num(0, 0, 0))


def can_be_read(tensor: Tensor) -> bool:
    """True if values can be read without waiting for a GPU, and no graph of the computation is being recorded."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


@contextmanager
def errors_at(place: str) -> Iterator[None]:
    """Begin the message of an InputError with the place where it arises, for instance "batch 3"."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {error}") from error.__cause__


# ---------------------------------------------------------------- kinds of values


def _needs_no_conversion(value: Any) -> bool:
    """True for a tensor that needs no conversion, as all batches of a training are."""
    return (
        type(value) is Tensor
        and value.layout is torch.strided
        and value.dtype in _PLAIN
        and not (value.requires_grad or value.is_meta or value.is_nested or value.is_neg())
    )


def _of_tensor(tensor: Tensor, name: str) -> Tensor:
    """Convert a tensor of any kind."""
    if tensor.is_nested:
        raise InputError(f"{name} of a nested tensor: pad it with torch.nested.to_padded_tensor({name}, 0.0), and give a mask")
    if tensor.is_quantized:
        raise InputError(f"{name} of type {tensor.dtype}: quantized; give {name}.dequantize()")
    if tensor.layout is not torch.strided:
        raise InputError(f"{name} of layout {tensor.layout}: not dense; give {name}.to_dense()")
    if tensor.is_meta:
        raise InputError(f"{name} on the device meta: it has a shape, but no data; give a tensor with values")
    if tensor.is_complex():
        raise InputError(f"{name} of type {tensor.dtype}: expected real numbers; give {name}.abs(), or real and imaginary parts")
    if hasattr(tensor, "get_mask"):  # torch.masked
        raise InputError(f"{name} of a masked tensor: give {name}.to_tensor(0), and the mask by itself")
    tensor = tensor.detach().resolve_neg()
    if type(tensor) is not Tensor and type(tensor).__torch_dispatch__ is Tensor.__torch_dispatch__:
        tensor = tensor.as_subclass(Tensor)
    if tensor.dtype in _PLAIN:
        return tensor
    if tensor.is_floating_point():
        return tensor.float()
    whole = tensor.to(torch.int64)
    if tensor.dtype == torch.uint64 and can_be_read(whole) and bool((whole < 0).any()):
        raise InputError(f"{name} of type {tensor.dtype} above 2**63 - 1: give smaller numbers")
    return whole


def _of_other(value: Any, name: str) -> Tensor:
    """Convert an array, a frame, or a list of numbers, tensors or arrays."""
    if isinstance(value, PackedSequence):
        raise InputError(f"{name} of type PackedSequence: {_PACKED}")
    if isinstance(value, list | tuple) and value and all(isinstance(each, Tensor | np.ndarray) for each in value):
        arrays: list[Any] = [_of_tensor(each, name) if isinstance(each, Tensor) else each for each in value]
        if any(each.shape != arrays[0].shape for each in arrays):
            raise InputError(f"{name} of unequal shapes; make them equal; for sequences use rff.SequenceTask, rff.pad_sequences")
        if all(isinstance(each, Tensor) for each in arrays):
            return torch.stack(arrays)
    if isinstance(value, range):  # numpy would make a list of it first, of any length
        return _of_array(np.arange(value.start, value.stop, value.step), name, "range")
    if not _is_array_like(value):
        raise InputError(f"{name} of type {_kind(value)}: expected a tensor or an array of numbers{_advice(value)}")
    numbers = value.to_numpy() if hasattr(value, "to_numpy") else value if isinstance(value, np.ndarray) else np.asarray(value)
    return _of_array(numbers, name, _kind(value))


def _of_array(numbers: np.ndarray[Any, Any], name: str, source: str) -> Tensor:
    """Convert a numpy array of any type, byte order and strides. `source` is the type of what it was made of."""
    if isinstance(numbers, np.ma.MaskedArray) and np.ma.is_masked(numbers):
        raise InputError(f"{name} with masked values: fill them with {name}.filled(0)")
    numbers = np.asarray(numbers)
    if numbers.dtype == object:  # columns of several types, or numbers as objects
        numbers = np.asarray(numbers.tolist())
    kind, size = numbers.dtype.kind, numbers.dtype.itemsize
    if kind == "c":
        raise InputError(f"{name} of type {numbers.dtype}: expected real numbers")
    if numbers.dtype.names is not None:
        raise InputError(f"{name} of records with the fields {', '.join(numbers.dtype.names)}: give one array of numbers")
    if kind not in "biuf":
        what = "objects or missing values" if kind == "O" else "texts" if kind in "US" else str(numbers.dtype)
        raise InputError(f"{name} of type {source}: expected numbers in an array of equal rows, not {what}")
    if numbers.ndim == 0:
        raise InputError(f"{name} of a single value: expected an array of numbers")
    if kind == "u" and size == 8 and numbers.size and numbers.max() > np.iinfo(np.int64).max:
        raise InputError(f"{name} above 2**63 - 1: give smaller numbers")
    wanted = np.int64 if kind == "u" and size > 1 else np.float64 if kind == "f" and size > 8 else numbers.dtype.newbyteorder("=")
    return _shared(numbers.astype(wanted, copy=False))


class _Unlocked:
    """The memory of a read-only array, as one that may be written to. Nothing in this package writes to what is passed in.

    Without it, `torch.from_numpy` warns, and filters of warnings are not safe with several threads.
    """

    def __init__(self, numbers: np.ndarray[Any, Any]) -> None:
        self.numbers = numbers  # keeps the memory
        interface = numbers.__array_interface__
        self.__array_interface__ = interface | {"data": (interface["data"][0], False)}


def _shared(numbers: np.ndarray[Any, Any]) -> Tensor:
    """Return a tensor of the memory of an array, or of a copy if torch has no such strides or alignment."""
    size = numbers.dtype.itemsize
    if not numbers.flags.aligned or any(stride < 0 or stride % size for stride in numbers.strides):
        numbers = numbers.copy()
    return torch.from_numpy(numbers if numbers.flags["W"] else np.asarray(_Unlocked(numbers)))


def _is_array_like(value: Any) -> bool:
    """True for a list, an array, a frame, and other objects that numpy reads as an array of several values."""
    if isinstance(value, list | tuple | range | deque | array | np.ndarray | memoryview):
        return True
    if isinstance(value, type | str | bytes | dict | set | frozenset) or np.isscalar(value) or _is_image(value):
        return False
    return any(hasattr(value, name) for name in ("to_numpy", "__array__", "__array_interface__"))


def _is_image(value: Any) -> bool:
    """True for an image of Pillow, which is one sample and no batch."""
    return any(base.__module__.startswith("PIL.") for base in type(value).__mro__)


def _kind(value: Any) -> str:
    return type(value).__name__


def _advice(value: Any) -> str:
    """Return what to do with a value that is no array; empty if unknown."""
    if _is_image(value):
        return "; for a single image give [image]"
    if isinstance(value, Iterator):
        return "; collect its values with list(…)"
    if isinstance(value, dict):
        return "; give one of its values"
    if hasattr(value, "dataset") or isinstance(value, torch.utils.data.Dataset):
        return "; for a loader or a data set use rff.evaluate(network, data), or predict batch by batch"
    if hasattr(value, "toarray"):  # a sparse matrix of scipy
        return "; give the dense matrix .toarray()"
    return ""


def _first_text(value: Any) -> str | None:
    """The first of several texts; None if a value has none."""
    if isinstance(value, Tensor | str | bytes | dict | range) or not hasattr(value, "__len__"):
        return None
    if not len(value):
        return None
    first = value.flat[0] if isinstance(value, np.ndarray) else value.iloc[0] if hasattr(value, "iloc") else next(iter(value))
    return str(first) if isinstance(first, str) else None


def _one_hot_axis(labels: Tensor, samples: int, classes: int) -> int | None:
    """The axis of the classes of one-hot labels; None of others. This waits for a GPU, but only labels of a rare shape."""
    for axis, shape in ((1, (samples, classes)), (0, (classes, samples))):
        if labels.shape == shape and bool((((labels == 0) | (labels == 1)).all() & (labels.sum(axis) == 1).all()).item()):
            return axis
    return None


def _labels_shape_error(shape: tuple[int, ...], samples: int, timesteps: int | None, name: str) -> str:
    """Describe what is wrong with the shape of labels."""
    over_time = len(shape) == 2 and shape[0] == timesteps
    if (len(shape) == 1 or over_time) and shape[-1] != samples:
        return f"{samples} inputs but {shape[-1]} {name}; give one label to each input"
    hint = ""
    if len(shape) == 2 and shape[0] == samples:
        hint = f"; give {name}.T" if shape[1] == timesteps else f"; one-hot? give {name}.argmax(1)"
    expected = f"({samples},)" + ("" if timesteps is None else f" or ({timesteps}, {samples})")
    return f"{name} of shape {shape}: expected class numbers {expected}{hint}"
