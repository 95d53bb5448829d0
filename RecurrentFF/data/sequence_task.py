"""A task of sequences of different lengths in memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from RecurrentFF.data.arguments import classes_of, require_name, transform_of, whole_number
from RecurrentFF.data.dataset import SequenceDataset, SplitOptions, Splits
from RecurrentFF.data.image_transforms import Frames
from RecurrentFF.data.panels import KEPT_SAMPLES, some_of_each_class
from RecurrentFF.data.parts import Part, draw_parts, first_samples, sizes_and_data
from RecurrentFF.data.raw import as_class_names, is_pair, listed
from RecurrentFF.data.sequences import LabeledSequences, as_frames, padded_frames
from RecurrentFF.data.task import Task
from RecurrentFF.data.transforms import Standardize, Transform, as_given
from RecurrentFF.errors import InputError
from RecurrentFF.streams import note_once
from RecurrentFF.tensors import errors_at


class SequenceTask(Task):
    """A task of sequences of different lengths in memory, such as spoken words as frames of features.

    A sequence is shown one frame at each timestep, from the first timestep of the network on, and is cut off at its last one.
    The mask says where it has ended: there, nothing is learned from it, and its badness does not count. The network needs
    `prelabel_timesteps + label_timesteps` of about the length of the longest sequence, and `prelabel_timesteps` below that of
    the shortest, which would otherwise end before the label is shown.

    Args:
        sequences: n tensors or arrays (timesteps, *input_shape), which differ in the number of timesteps only.
        labels: (n,) class names, texts or whole numbers, as a tensor, array, list or pandas column.
        transform: the transform of each frame to network inputs, or its name; None for `Frames` if frames are images (two or
            three axes), else `Standardize`. It is fitted on the frames of the training sequences only.
        classes: the class names in the order of their numbers, or the number of classes; None for those in all labels, sorted,
            with a note on those that no training sequence has.
        validation: the validation sequences that select the best epoch: a fraction or a number of the sequences, drawn at
            random, or (sequences, labels), or None for none.
        test: the test sequences, in the same forms.
        name: the name of the data set.
        seed: seed of the draw of validation and test sequences.
        train_samples: number of training sequences to use, from the beginning; 0 for all.
        test_samples: number of test sequences to use, from the beginning; 0 for all.

    Raises:
        InputError: sequences or labels are of the wrong shape, type or range, their numbers differ, or a value is not finite.
        DataError: there are too few sequences.

    Examples:
        >>> words = [torch.randn(length, 12) for length in (20, 14, 17, 9)]
        >>> task = SequenceTask(words, ["yes", "no", "yes", "no"], validation=1)
        >>> task.input_size, task.splits(timesteps=20).train.mask.sum(0)
        (12, tensor([20, 14,  9]))
    """

    def __init__(
        self,
        sequences: Any,
        labels: Any,
        *,
        transform: Transform | str | None = None,
        classes: int | Iterable[Any] | None = None,
        validation: Part = 0.1,
        test: Part = None,
        name: str = "sequences",
        seed: int = 0,
        train_samples: int = 0,
        test_samples: int = 0,
    ) -> None:
        train_samples, test_samples = whole_number(train_samples, "train_samples"), whole_number(test_samples, "test_samples")
        seed, given = whole_number(seed, "seed", lowest=-(2**63)), transform_of(transform)
        if given is not None and not given.takes_sequences:
            raise InputError(
                f"transform {type(given).__name__}: it takes no sequences; give one of frames, such as Standardize or Frames"
            )
        drawn, separate = sizes_and_data({"test": test, "validation": validation})
        for key, part in separate.items():
            if not is_pair(part):
                raise InputError(f"{key} of type {type(part).__name__}: expected (sequences, labels), a fraction or a number")
        others = [label for _, names in separate.values() for label in as_class_names(names)]
        frames, lengths = as_frames(sequences)
        shape = tuple(frames.shape[1:])
        chosen = given if given is not None else Frames() if len(shape) in (2, 3) else Standardize()
        super().__init__(require_name(name), shape, classes_of(classes, [*as_class_names(labels), *others]), chosen)
        parts = draw_parts(LabeledSequences(frames, lengths, self._class_numbers(labels, len(lengths))), drawn, seed)
        for key, part in separate.items():
            with errors_at(key):
                parts[key] = self._labeled(*part)
        if classes is None:
            self._note_unlearned_classes(parts["train"].labels)
        train = first_samples(parts["train"], "train", train_samples)
        object.__setattr__(self, "transform", chosen.fitted(as_given(train.frames, chosen)))
        object.__setattr__(self, "_parts", parts | {"train": train})
        object.__setattr__(self, "_test_samples", test_samples)
        _ = self.input_size  # refuses a transform that does not fit the frames

    _parts: dict[str, LabeledSequences]
    _test_samples: int

    def _note_unlearned_classes(self, labels: Tensor) -> None:
        """Tell the user which classes no training sequence has."""
        known = set(labels.tolist())
        if missing := [name for number, name in enumerate(self.classes) if number not in known]:
            note_once(f"no training sequence has the label {listed(missing)}, which only validation or test sequences have")

    def _class_numbers(self, labels: Any, count: int) -> Any:
        numbers = self.class_numbers(labels)
        if len(numbers) != count:
            raise InputError(f"{count} sequences and {len(numbers)} labels: expected as many of each")
        return numbers

    def _labeled(self, sequences: Any, labels: Any) -> LabeledSequences:
        frames, lengths = as_frames(sequences)
        if frames.shape[1:] != self.input_shape:
            raise InputError(f"frames of shape {tuple(frames.shape[1:])}: expected {self.input_shape}, as in training")
        return LabeledSequences(frames, lengths, self._class_numbers(labels, len(lengths)))

    def _transformed_by(self, other: Task) -> Task:
        adapted = super()._transformed_by(other)
        parts = {
            key: LabeledSequences(part.frames.reshape(-1, *other.input_shape), part.lengths, part.labels)
            for key, part in self._parts.items()
        }
        object.__setattr__(adapted, "_parts", parts)
        return adapted

    def make_splits(self, options: SplitOptions) -> Splits:
        """Make the data sets of a training. Fewer sequences than there are can be chosen, from the beginning of each part.

        Raises:
            DataError: there are too few sequences.
        """
        sizes = {
            "train": options.train_samples,
            "validation": options.validation_samples,
            "test": options.test_samples or self._test_samples,
        }
        parts = {key: first_samples(part, key, sizes[key]) for key, part in self._parts.items()}
        if options.validation_samples == 0:
            parts.pop("validation", None)
        lengths = parts["train"].lengths
        timesteps = int(lengths.max()) if options.timesteps is None else options.timesteps
        if cut := int((lengths > timesteps).sum()):
            note_once(
                f"{cut} of {len(lengths)} training sequences have more than the {timesteps} timesteps of the network, which does "
                f"not see the rest: the longest has {int(lengths.max())} (network.prelabel_timesteps + network.label_timesteps)",
                f"sequences of {self.name} are cut off",
            )
        data = {key: self._dataset(part.to(options.device), timesteps) for key, part in parts.items()}
        subset = data["train"][: options.train_subset_samples] if options.train_subset_samples else None
        return Splits(data["train"], data.get("validation"), data.get("test"), subset)

    def _dataset(self, part: LabeledSequences, timesteps: int) -> SequenceDataset:
        inputs = self.transform.prepare(as_given(part.frames, self.transform), None).inputs
        padded = padded_frames(inputs, part.lengths, timesteps)
        dataset = SequenceDataset(padded.samples, part.labels, None if bool(padded.mask.all()) else padded.mask)
        kept = part[some_of_each_class(part.labels, KEPT_SAMPLES)]
        dataset.kept = padded_frames(kept.frames, kept.lengths, timesteps).samples
        return dataset
