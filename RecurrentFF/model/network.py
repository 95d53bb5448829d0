"""The network: its blocks, the label-free timesteps, and prediction by lowest badness."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from RecurrentFF.errors import InputError
from RecurrentFF.model.assembly import block_sizes, make_layers
from RecurrentFF.model.functional import window_weights
from RecurrentFF.model.fused import FusedPath
from RecurrentFF.model.layers import Layer, LocalModule, StepContext
from RecurrentFF.model.paths import Path, PlainPath
from RecurrentFF.model.readout import Readout
from RecurrentFF.model.state import State
from RecurrentFF.settings import Settings

PREDICTION_MEMORY = 2**30
"""The most bytes of activity that a prediction takes, unless a single sample with all labels needs more."""


class Network(nn.Module):
    """A Recurrent Forward-Forward network: the blocks "x", its local modules, and "y".

    Args:
        settings: must name `data_config.data_size` and `data_config.num_classes`; initial weights follow `training.seed`.
        dtype: the type of weights, activity and gradients.
        compute_dtype: the type of the patterns and of the weights in matrix products; `dtype` if left out.
        modules: local modules to use instead of the layers that the settings describe. They update at once, so their order
            does not matter to the results.
        fused: whether to take the fast path where the modules allow it. The results are the same, up to rounding.

    Attributes:
        modules_by_name: the local modules.
        readout: the linear classifier that proposes negative labels.
        path: the way in which timesteps are computed, see `paths`.

    Raises:
        SettingsError: data_size or num_classes is missing.
        ValueError: a module reads a block that is not there, or two have one name.

    Example:
        >>> settings = Settings.from_arguments(data_size=784, num_classes=10, hidden_sizes=[200, 200])
        >>> Network(settings).predict(torch.rand(5, 784)).shape
        torch.Size([5])
    """

    def __init__(
        self,
        settings: Settings,
        dtype: torch.dtype = torch.float32,
        compute_dtype: torch.dtype | None = None,
        *,
        modules: Sequence[LocalModule] | None = None,
        fused: bool = True,
    ) -> None:
        super().__init__()
        sizes = block_sizes(settings)
        self.settings = settings
        self.dtype = dtype
        self.compute_dtype = compute_dtype or dtype
        self.data_size, self.num_classes = sizes["x"], sizes["y"]
        if modules is None:
            modules = make_layers(settings, dtype, torch.Generator().manual_seed(settings.training.seed))
        _require_blocks(modules)
        self.layers = nn.ModuleDict({module.name: module for module in modules})
        numbers = settings.model.prediction_layers or range(1, len(modules) + 1)
        self.prediction_layers = [modules[number - 1].name for number in numbers]
        self.readout = Readout(sum(module.units for module in modules), self.num_classes, dtype)
        self.path: Path
        if fused and FusedPath.supports(modules):
            self.path = FusedPath(self.hidden_layers(), self.num_classes, self.compute_dtype)
        else:
            self.path = PlainPath(modules, self.compute_dtype)

    @property
    def local_modules(self) -> list[LocalModule]:
        """The local modules, bottom to top."""
        return list(self.layers.values())  # type: ignore[arg-type]

    def hidden_layers(self) -> list[Layer]:
        """The local modules that are hidden layers, bottom to top."""
        return [module for module in self.local_modules if isinstance(module, Layer)]

    @property
    def sizes(self) -> dict[str, int]:
        """The number of features, units or classes of every block by name, from "x" to "y"."""
        return {"x": self.data_size, **{module.name: module.units for module in self.local_modules}, "y": self.num_classes}

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.readout.bias.device

    # ---------------------------------------------------------------- inputs

    def input_sequence(self, inputs: Tensor) -> Tensor:
        """Inputs as the network reads them, on its device: (timesteps or 1, data_size, 1, batch), a view where possible.

        Args:
            inputs: (batch, data_size), the same at all timesteps, or (timesteps, batch, data_size) with `settings.timesteps`
                timesteps, those before the label first.

        Raises:
            InputError: the shape is neither, the type is not floating point, the batch is empty, or, on a CPU, an input is
                not finite. (On a GPU that check would synchronize with the device; there, the check of the losses finds it.)
        """
        timesteps, data_size = self.settings.timesteps, self.data_size
        inputs = torch.as_tensor(inputs)
        if not inputs.is_floating_point():
            raise InputError(f"inputs of type {inputs.dtype}: expected floating point, scaled to about unit mean square")
        given, inputs = tuple(inputs.shape), inputs.to(self.device, self.dtype)
        if inputs.dim() == 2:
            inputs, timesteps = inputs.unsqueeze(0), 1
        if inputs.dim() != 3 or inputs.shape[0] != timesteps or inputs.shape[2] != data_size:
            raise InputError(
                f"inputs of shape {given}: expected (batch, {data_size}) or ({self.settings.timesteps}, batch, {data_size}), "
                f"where {self.settings.timesteps} is prelabel_timesteps + iterations; images are flattened with inputs.flatten(1)"
            )
        if inputs.shape[1] == 0:
            raise InputError("inputs of an empty batch: give at least one sample")
        if inputs.device.type == "cpu" and not inputs.isfinite().all():
            raise InputError("inputs that are not all finite: replace what is NaN or infinite in them")
        return inputs.transpose(1, 2).unsqueeze(2)

    def valid_timesteps(self, mask: Tensor | None, batch: int) -> Tensor:
        """The valid timesteps with the label, (iterations, batch): 1, or 0 where a sequence has ended.

        Args:
            mask: (timesteps, batch), true where an input is valid, the timesteps before the label first; None for all.
            batch: the number of samples.

        Raises:
            InputError: the shape doesn't fit.
        """
        like, timesteps = self.readout.bias, self.settings.timesteps
        if mask is None:
            return torch.ones((), dtype=like.dtype, device=like.device).expand(self.settings.data_config.iterations, batch)
        mask = torch.as_tensor(mask)
        if mask.shape != (timesteps, batch):
            raise InputError(f"mask of shape {tuple(mask.shape)}: expected ({timesteps}, {batch}), true where an input is valid")
        return mask[self.settings.model.prelabel_timesteps :].bool().to(like)

    # ---------------------------------------------------------------- timesteps without learning

    def settle(
        self,
        state: State,
        x: Tensor,
        generator: torch.Generator | None = None,
        after_timestep: Callable[[State], None] | None = None,
    ) -> None:
        """Compute the label-free timesteps from zero activity: the label uniform, no damping, no learning.

        Args:
            state: from `path.new_state`. Nothing of it is kept, except its pattern masks.
            x: (timesteps or 1, features, candidates or 1, batch), of which the first `prelabel_timesteps` are read.
            generator: the source of dropout masks; None for no dropout.
            after_timestep: called after every timestep.
        """
        self.path.begin()
        state.reset()
        y = torch.full((self.num_classes, 1, 1), 1 / self.num_classes, dtype=self.dtype, device=self.device)
        drops = generator is not None and self.settings.model.dropout > 0
        drives = {} if drops or len(x) > 1 else self.path.static_drives(x[0])
        for t in range(self.settings.model.prelabel_timesteps):
            state.clamp(at_timestep(x, t), y)
            self.step(state, damping=1.0, generator=generator, drives=drives)
            if after_timestep is not None:
                after_timestep(state)

    def step(
        self,
        state: State,
        damping: float,
        generator: torch.Generator | None = None,
        drives: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Compute one timestep of all modules at once, without learning.

        Args:
            state: with input and label clamped.
            damping: the damping factor d.
            generator: the source of dropout masks; None for no dropout.
            drives: from `path.static_drives`, for an input that does not change over time.

        Returns:
            The badness of every module by name, (candidates, batch), or (1, batch) where it is the same for all candidates.
        """
        badness = {}
        for module in self.local_modules:
            context = StepContext(damping, self.draw_masks(module, state, generator))
            badness[module.name] = self.path.step(module, state, context, drives or {})
        state.advance()
        return badness

    def draw_masks(
        self, module: LocalModule, state: State, generator: torch.Generator | None
    ) -> Sequence[Sequence[Tensor]] | None:
        """Dropout masks of a module for one timestep; None without generator or dropout."""
        return None if generator is None else module.draw_masks(state.candidates, state.batch, generator)

    def hidden_pattern(self, state: State) -> Tensor:
        """The normalized activity of all modules, one below the other, (units, candidates or 1, batch)."""
        return state.hidden_pattern(list(self.layers))

    # ---------------------------------------------------------------- prediction

    @torch.no_grad()
    def badness(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Badness of every input with every label, averaged over layers and the valid timesteps of the prediction window.

        Badness is minus the goodness of the Forward-Forward literature: the lower, the better the label fits.

        Args:
            inputs: (batch, data_size) or (timesteps, batch, data_size), see `input_sequence`. They are processed
                `samples_at_once` at a time.
            mask: (timesteps, batch), true where a sequence has not ended. Other timesteps are left out of the average, unless
                the whole window lies after the sequence's end. None if all timesteps are valid.

        Returns:
            (batch, num_classes), on the network's device.
        """
        return self.badness_of(self.input_sequence(inputs), mask)

    def badness_of(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """`badness` of inputs in the network's layout, (timesteps or 1, features, 1, batch)."""
        size = self.samples_at_once
        weights = window_weights(self.valid_timesteps(mask, x.shape[3]), self.settings.prediction_window)
        chunks = zip(torch.split(x, size, 3), torch.split(weights, size, 1), strict=True)
        return torch.cat([self._badness(chunk, weight) for chunk, weight in chunks])

    @property
    def samples_at_once(self) -> int:
        """Samples that a prediction processes at a time: `test_batch_size`, or fewer to stay within `PREDICTION_MEMORY`."""
        patterns, activity = 2 * self.compute_dtype.itemsize, 2 * self.dtype.itemsize  # two states; z and h
        units = sum(self.sizes.values()) - self.data_size
        sample = self.num_classes * units * (patterns + activity)
        return min(self.settings.data_config.test_batch_size, max(1, PREDICTION_MEMORY // sample))

    def _badness(self, x: Tensor, weights: Tensor) -> Tensor:
        first, last = self.settings.prediction_window
        total = torch.zeros(self.num_classes, x.shape[3], dtype=self.dtype, device=self.device)
        for t, badness in enumerate(self._with_all_labels(x, last + 1)):  # what follows the window does not matter
            if t >= first:
                total += weights[t - first] * sum(badness[name] for name in self.prediction_layers) / len(self.prediction_layers)
        return total.T

    @torch.no_grad()
    def badness_over_time(self, inputs: Tensor) -> Tensor:
        """Badness of every input with every label, by layer and timestep: what a prediction averages.

        Args:
            inputs: (batch, data_size) or (timesteps, batch, data_size), see `input_sequence`. All are processed at once.

        Returns:
            (iterations, layers, batch, num_classes), on the network's device.
        """
        x = self.input_sequence(inputs)
        shape = (self.num_classes, x.shape[3])
        timesteps = self._with_all_labels(x, self.settings.data_config.iterations)
        by_layer = [torch.stack([badness.expand(shape) for badness in by_name.values()]) for by_name in timesteps]
        return torch.stack(by_layer).transpose(2, 3)

    def _with_all_labels(self, x: Tensor, timesteps: int) -> Iterator[dict[str, Tensor]]:
        """The badness of every module with every label, a candidate each, after each timestep with the label."""
        prelabel, damping = self.settings.model.prelabel_timesteps, self.settings.model.damping_factor
        state = self.path.new_state(self.num_classes, x.shape[3])
        self.settle(state, x)
        y = torch.eye(self.num_classes, dtype=self.dtype, device=self.device).unsqueeze(2)
        drives = self.path.static_drives(x[0]) if len(x) == 1 else {}
        for t in range(timesteps):
            state.clamp(at_timestep(x, prelabel + t), y)
            yield self.step(state, damping, drives=drives)

    def predict(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """The label of lowest badness for every input, (batch,) class numbers. Arguments as for `badness`."""
        return self.badness(inputs, mask).argmin(1)

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """The label of lowest badness for every input, as `predict`."""
        return self.predict(inputs, mask)


def at_timestep(sequence: Tensor, t: int) -> Tensor:
    """The element of a sequence (timesteps or 1, …) at a timestep; one that has a single timestep never changes."""
    return sequence[t if len(sequence) > 1 else 0]


def _require_blocks(modules: Sequence[LocalModule]) -> None:
    """Raise ValueError if two modules have one name, or one reads a block that is not there."""
    names = ["x", *(module.name for module in modules), "y"]
    if len(set(names)) < len(names):
        raise ValueError(f"blocks {names}: every module needs a name of its own, other than x and y")
    for module in modules:
        absent = [name for name in module.reads if name not in names]
        if absent:
            raise ValueError(f"{module.name} reads {', '.join(absent)}, but the blocks are {', '.join(names)}")
