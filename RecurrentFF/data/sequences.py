"""Sequences of different lengths: padded to the timesteps of a network, with the mask of the timesteps that are valid."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from RecurrentFF.data.arguments import whole_number
from RecurrentFF.errors import InputError
from RecurrentFF.tensors import as_numbers, errors_at


class Padded(NamedTuple):
    """Sequences of different lengths in one tensor."""

    samples: Tensor
    """(timesteps, n, *input_shape). A sequence that has ended shows its last frame until the last timestep."""
    mask: Tensor
    """Valid timesteps, (timesteps, n): true until the sequence ends."""


class LabeledSequences:
    """Raw sequences of different lengths and their class numbers.

    Args:
        frames: the frames of all sequences, one sequence after another, (all frames, *input_shape).
        lengths: the number of frames of each sequence, (n,), at least 1.
        labels: (n,) class numbers.
    """

    def __init__(self, frames: Tensor, lengths: Tensor, labels: Tensor) -> None:
        self.frames = frames
        self.lengths = lengths
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: slice | Tensor) -> LabeledSequences:
        """Return some of the sequences: a slice, or those of the given numbers."""
        numbers = torch.arange(len(self))[index]
        ends = self.lengths.cumsum(0)
        frames = [self.frames[int(ends[i] - self.lengths[i]) : int(ends[i])] for i in numbers.tolist()]
        return LabeledSequences(torch.cat(frames) if frames else self.frames[:0], self.lengths[index], self.labels[index])

    def to(self, device: torch.device) -> LabeledSequences:
        """Return the sequences on a device."""
        return LabeledSequences(self.frames.to(device), self.lengths.to(device), self.labels.to(device))


def as_frames(sequences: Any) -> tuple[Tensor, Tensor]:
    """Convert sequences of different lengths to the frames of all of them.

    Args:
        sequences: n tensors or arrays (timesteps, *input_shape), which differ in the number of timesteps only; or one of shape
            (n, timesteps, *input_shape). Frames of a single number, (timesteps,), have the shape (1,).

    Returns:
        The frames, (all frames, *input_shape), and the number of frames of each sequence, (n,).

    Raises:
        InputError: there is no sequence, one has no frames or another shape of frames, or these are no finite numbers.
    """
    if isinstance(sequences, str | bytes | dict) or not hasattr(sequences, "__len__") or getattr(sequences, "ndim", None) == 0:
        kind = type(sequences).__name__
        raise InputError(f"sequences of type {kind}: expected a list of arrays (timesteps, features), one for each sequence")
    if len(sequences) == 0:
        raise InputError("no sequences; give at least one")
    converted: list[Tensor] = []
    for number, sequence in enumerate(sequences):
        with errors_at(f"sequence {number}"):
            frames = as_numbers(sequence, "frames")
            if frames.dim() == 0:
                raise InputError("it is a single number; expected an array (timesteps, features)")
            frames = frames.unsqueeze(1) if frames.dim() == 1 else frames
            if len(frames) == 0:
                raise InputError("it has no frames; give at least one, or leave it out")
            if converted and frames.shape[1:] != converted[0].shape[1:]:
                shapes = tuple(frames.shape[1:]), tuple(converted[0].shape[1:])
                raise InputError(f"its frames have the shape {shapes[0]}, but those of sequence 0 have {shapes[1]}")
            converted.append(frames)
    all_frames, lengths = torch.cat(converted), torch.tensor([len(frames) for frames in converted])
    _require_finite(all_frames, lengths)
    return all_frames, lengths


def _require_finite(frames: Tensor, lengths: Tensor) -> None:
    """Check that the frames of all sequences are finite.

    Raises:
        InputError: a value is not. The message names the sequence, the timestep, and the feature.
    """
    if not frames.is_floating_point() or (finite := frames.isfinite()).all():
        return
    row, *axes = (~finite).nonzero()[0].tolist()
    ends = lengths.cumsum(0)
    sequence = int((ends <= row).sum())
    timestep = row - int(ends[sequence] - lengths[sequence])
    place = f"feature {axes[0]}" if len(axes) == 1 else f"value {tuple(axes)}"
    value = float(frames[(row, *axes)])
    raise InputError(f"sequence {sequence}, timestep {timestep}, {place} is {value}; replace missing values first")


def padded_frames(frames: Tensor, lengths: Tensor, timesteps: int) -> Padded:
    """Pad sequences with their last frame, or cut them off, at a number of timesteps.

    Args:
        frames: the frames of all sequences, (all frames, ...).
        lengths: the number of frames of each sequence, (n,).
        timesteps: the number of timesteps.
    """
    timestep = torch.arange(timesteps, device=lengths.device).unsqueeze(1)
    starts = lengths.cumsum(0) - lengths
    return Padded(frames[starts + torch.minimum(timestep, lengths - 1)], timestep < lengths)


def pad_sequences(sequences: Any, timesteps: int | None = None) -> Padded:
    """Pad sequences of different lengths, as a network predicts them: `network.predict(*rff.pad_sequences(sequences, 13))`.

    Args:
        sequences: see `as_frames`. One array of two axes is refused, since it may be a sequence or several of plain numbers.
        timesteps: the number of timesteps, `network.settings.timesteps` for a network. Longer sequences are cut off. None for
            the length of the longest one.

    Returns:
        Samples (timesteps, n, *input_shape) and the mask of valid timesteps, (timesteps, n). After its end, a sequence shows its
        last frame.

    Raises:
        InputError: as for `as_frames`, it is one array of two axes, or `timesteps` is not a whole number above 0.

    Examples:
        >>> samples, mask = pad_sequences([[[1.0], [2.0]], [[5.0]]])
        >>> samples[:, :, 0], mask[:, 1]
        (tensor([[1., 5.],
                [2., 5.]]), tensor([ True, False]))
    """
    if getattr(sequences, "ndim", None) == 2:
        first, second = sequences.shape
        raise InputError(
            f"one array of shape ({first}, {second}): expected a list of arrays; give [array] for one sequence of {first} "
            f"timesteps, or array[:, :, None] for {first} sequences of {second} plain numbers"
        )
    frames, lengths = as_frames(sequences)
    count = int(lengths.max()) if timesteps is None else whole_number(timesteps, "timesteps", lowest=1)
    return padded_frames(frames, lengths.to(frames.device), count)
