"""A task whose samples come from a loader, such as a torch DataLoader."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from RecurrentFF.data.arguments import classes_of, require_name, shape_of, transform_of
from RecurrentFF.data.dataset import LoaderDataset, SplitOptions, Splits, is_dataset
from RecurrentFF.data.loading import kept_randomness
from RecurrentFF.data.network_inputs import separate_dataset
from RecurrentFF.data.raw import is_pair
from RecurrentFF.data.task import Task
from RecurrentFF.data.transforms import Identity, Transform, as_given
from RecurrentFF.errors import DataError, InputError
from RecurrentFF.tensors import as_numbers


class LoaderTask(Task):
    """A task whose samples come from a loader, such as a torch DataLoader, batch by batch. The loader decides on their order.

    Args:
        loader: batches (samples, labels) or (samples, labels, mask), of known number.
        input_shape: the shape of a sample, without a channel axis of 1.
        classes: the class names in the order of their numbers, or the number of classes, which are then named 0, 1, ….
        validation: a loader of validation samples, or (samples, labels), or a data set of network inputs, or None for none.
        test: the test samples, in the same forms.
        transform: the transform to network inputs, or its name; it is fitted on the first batch if need be, which a loader that
            shuffles draws at random: for the same statistics in every run, give `transform.fitted(samples)`. None if the
            batches are network inputs already. The network then predicts from network inputs, too.
        name: the name of the data set.

    Raises:
        InputError: the loader has no length or is empty, or the transform does not fit the samples.
    """

    def __init__(
        self,
        loader: Iterable[Sequence[Any]],
        *,
        input_shape: Sequence[int],
        classes: int | Iterable[Any],
        validation: Any = None,
        test: Any = None,
        transform: Transform | str | None = None,
        name: str = "loader",
    ) -> None:
        super().__init__(require_name(name), shape_of(input_shape), classes_of(classes), transform_of(transform) or Identity())
        loaders = {"train": loader, "validation": validation, "test": test}
        for key, part in loaders.items():
            if part is not None and not is_pair(part):
                _ = is_dataset(part) or LoaderDataset(part)  # refuses what is no loader
            elif part is not None and key == "train":
                raise InputError("LoaderTask of (samples, labels): expected a loader; use TensorTask(samples, labels)")
        object.__setattr__(self, "_loaders", loaders)
        if not self.transform.is_fitted:
            dataset = LoaderDataset(loader)
            with kept_randomness(dataset.loader):
                first, _, _ = next(dataset._raw_batches(0))
            raw, _ = self._raw(as_numbers(first))
            object.__setattr__(self, "transform", self.transform.fitted(as_given(raw, self.transform)))
        _ = self.input_size  # refuses a transform that does not fit the samples

    _loaders: dict[str, Any]

    def make_splits(self, options: SplitOptions) -> Splits:
        """Make the data sets of a training. There is no training subset, and the loader decides on the number of samples.

        Raises:
            DataError: a number of samples is requested.
        """
        if options.train_samples or options.validation_samples or options.test_samples:
            raise DataError(
                "a loader decides on the number of samples; leave out train_samples, validation_samples, test_samples"
            )

        data = {
            key: separate_dataset(self, part, options.device, options.timesteps, options.seed if key == "train" else None)
            for key, part in self._loaders.items()
            if part is not None and not (key == "validation" and options.validation_samples == 0)
        }
        return Splits(data["train"], data.get("validation"), data.get("test"))
