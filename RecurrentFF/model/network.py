"""The network: its blocks, the label-free timesteps, and prediction by lowest badness."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from RecurrentFF.errors import DivergenceError, InputError, SettingsError
from RecurrentFF.layouts import time_first, warn_if_ambiguous
from RecurrentFF.model.assembly import are_described, block_sizes, check_blocks, make_layers
from RecurrentFF.model.conversion import ConvertibleModule, require_weight_type
from RecurrentFF.model.functional import window_weights
from RecurrentFF.model.fused import FusedPath
from RecurrentFF.model.integrity import Made
from RecurrentFF.model.layers import Layer, LocalModule, StepContext
from RecurrentFF.model.paths import ComputePath, PlainPath
from RecurrentFF.model.readout import Readout
from RecurrentFF.model.state import State
from RecurrentFF.settings import Settings
from RecurrentFF.tensors import as_inputs, as_mask, can_be_read, first_sample, require_in_range, shape_error, without_invalid

if TYPE_CHECKING:  # the model imports no data
    from RecurrentFF.data.task import Task

PREDICTION_MEMORY = 2**30
"""The most bytes of activity that a prediction takes, unless a single sample with all labels needs more."""


class Network(ConvertibleModule):
    """A Recurrent Forward-Forward network: the blocks "x", its local modules, and "y".

    Args:
        settings: must name `network.input_size` and `network.num_classes`; initial weights follow `training.seed`.
        dtype: the type of weights, activity and gradients: float32 or float64.
        compute_dtype: the type of the patterns and of the weights in matrix products; `dtype` if left out.
        modules: local modules to use instead of the layers that the settings describe, bottom to top. The settings of single
            layers (activation, epsilon, badness, dropout, peer_normalization, hard_example_fraction, receptive fields,
            convolution, residual connections) do not apply to them. A checkpoint holds their weights only: `rff.load(path,
            network=…)` loads it into a network that was made with the same modules.
        fused: whether to take the fast path where the modules allow it. The results are the same, up to rounding.

    Attributes:
        layers: the local modules by name. To exchange one, make a new network.
        readout: the linear classifier that proposes negative labels.
        path: the way in which timesteps are computed, see `paths`.
        task: the samples that the network was made for, and their transform, which `predict` and `badness` apply; None if it
            takes network inputs.

    Raises:
        SettingsError: input_size or num_classes is missing, or prediction_layers names a layer that is not there.
        InputError: the dtype is another one.
        ValueError: a module reads a block that is not there or of another size, has another dtype, or two have one name.

    Example:
        >>> settings = Settings.from_arguments(input_size=784, num_classes=10, hidden_sizes=[200, 200])
        >>> Network(settings).predict(torch.rand(5, 784)).shape
        torch.Size([5])
    """

    @torch.inference_mode(False)
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
        require_weight_type(dtype)
        sizes = block_sizes(settings)
        self.settings = settings
        self.task: Task | None = None
        self.dtype = dtype
        self.compute_dtype = compute_dtype or dtype
        self.input_size, self.num_classes = sizes["x"], sizes["y"]
        self._modules_are_given = modules is not None
        if modules is None:
            modules = make_layers(settings, dtype, torch.Generator().manual_seed(settings.training.seed))
        self.layers = nn.ModuleDict({module.name: module for module in modules})
        check_blocks(modules, self.sizes, dtype)
        self.prediction_layers = self._named_layers(settings.network.prediction_layers)
        self.readout = Readout(sum(module.units for module in self.hidden_layers()), self.num_classes, dtype)
        self.path: ComputePath
        if fused and FusedPath.supports(modules):
            layers = [module for module in modules if isinstance(module, Layer)]
            self.path = FusedPath(layers, self.num_classes, self.compute_dtype)
        else:
            self.path = PlainPath(modules, self.compute_dtype)
        self._made = Made.of(self)  # for `require_intact`

    @property
    def local_modules(self) -> list[LocalModule]:
        """All modules that learn, bottom to top."""
        return list(self.layers.values())  # type: ignore[arg-type]

    @property
    def has_own_modules(self) -> bool:
        """True if the settings do not describe the modules: they were given, or a layer has been changed since it was made."""
        return self._modules_are_given or not are_described(self.local_modules, self.settings)

    def hidden_layers(self) -> list[LocalModule]:
        """The local modules that are hidden layers, with badness, bottom to top."""
        return [module for module in self.local_modules if module.is_hidden_layer]

    def _named_layers(self, numbers: Sequence[int] | None) -> list[str]:
        """The names of hidden layers by their numbers, from 1; of all if left out."""
        names = [module.name for module in self.hidden_layers()]
        if numbers is None:
            return names
        if max(numbers) > len(names):
            raise SettingsError(f"network.prediction_layers: {list(numbers)} must name layers from 1 to {len(names)}")
        return [names[number - 1] for number in numbers]

    @property
    def sizes(self) -> dict[str, int]:
        """The number of features, units or classes of every block by name, from "x" to "y"."""
        return {"x": self.input_size, **{module.name: module.units for module in self.local_modules}, "y": self.num_classes}

    def extra_repr(self) -> str:
        """The sizes of all blocks, and the number of timesteps."""
        sizes = "-".join(map(str, self.sizes.values()))
        return f"{sizes}, timesteps={self.settings.timesteps}, dtype={self.dtype}"

    # ---------------------------------------------------------------- inputs

    def input_sequence(self, inputs: Any, mask: Any = None, *, limit: float = math.inf) -> Tensor:
        """Inputs as the network reads them, on its device: (timesteps or 1, input_size, 1, batch), a view where possible.

        Args:
            inputs: (batch, input_size), the same at all timesteps, or (timesteps, batch, input_size) with `settings.timesteps`
                timesteps, those before the label first.
            mask: see `valid_timesteps`. What is not finite where it is false does not matter, and becomes 0.
            limit: the largest magnitude of an input; by default it is enough that inputs are finite.

        Raises:
            InputError: the inputs are no dense floating-point numbers, have another shape, or none; the shape of the mask doesn't
                fit; or, on a CPU, an input is not finite or above the limit. (On a GPU that check would synchronize with the
                device; there, the check of the losses finds it.)
        """
        given, timesteps = as_inputs(inputs), self.settings.timesteps
        if given.dim() not in (2, 3) or given.shape[-1] != self.input_size or (given.dim() == 3 and len(given) != timesteps):
            raise InputError(shape_error(tuple(given.shape), timesteps, self.input_size))
        if 0 in given.shape:
            raise InputError("inputs of an empty batch: give at least one sample")
        given = given.to(self.device, self.dtype)
        if mask is not None:
            given = without_invalid(given, as_mask(mask, timesteps, given.shape[-2]))
        require_in_range(given, limit)
        sequence = given if given.dim() == 3 else given.unsqueeze(0)
        return sequence.transpose(1, 2).unsqueeze(2)

    def valid_timesteps(self, mask: Any, batch: int) -> Tensor:
        """The valid timesteps with the label, (label_timesteps, batch): 1, or 0 where a sequence has ended.

        Args:
            mask: (timesteps, batch), true where an input is valid, the timesteps before the label first; None for all.
            batch: the number of samples.

        Raises:
            InputError: the shape doesn't fit.
        """
        like = self.readout.bias
        if mask is None:
            return torch.ones((), dtype=like.dtype, device=like.device).expand(self.settings.network.label_timesteps, batch)
        return as_mask(mask, self.settings.timesteps, batch)[self.settings.network.prelabel_timesteps :].to(like)

    # ---------------------------------------------------------------- timesteps without learning

    def settle(
        self,
        state: State,
        x: Tensor,
        generator: torch.Generator | None = None,
        after_timestep: Callable[[State], None] | None = None,
    ) -> None:
        """Compute the label-free timesteps from zero activity: the label uniform, d = 1 (full update), no learning.

        Args:
            state: from `path.new_state`. Nothing of it is kept, except its pattern masks.
            x: (timesteps or 1, features, candidates or 1, batch), of which the first `prelabel_timesteps` are read.
            generator: the source of dropout masks; None for no dropout.
            after_timestep: called after every timestep.
        """
        self.path.begin()
        state.reset(generator)
        y = torch.full((self.num_classes, 1, 1), 1 / self.num_classes, dtype=self.dtype, device=self.device)
        for t in range(self.settings.network.prelabel_timesteps):
            state.clamp(at_timestep(x, t), y, static=len(x) == 1)
            self.step(state, damping=1.0, generator=generator)
            if after_timestep is not None:
                after_timestep(state)

    def step(self, state: State, damping: float, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Compute one timestep of all modules at once, without learning.

        Args:
            state: after `settle`, with input and label clamped.
            damping: the damping factor d, from 0 (h stays) to 1 (h is replaced).
            generator: the source of dropout masks; None for no dropout.

        Returns:
            The badness of every hidden layer by name, (candidates, batch), or (1, batch) where it is the same for all
            candidates.
        """
        badness = {}
        for module in self.local_modules:
            context = StepContext(damping, self.draw_masks(module, state, generator))
            own = self.path.step(module, state, context)
            if own is not None and module.is_hidden_layer:
                badness[module.name] = own
        state.advance()
        return badness

    def draw_masks(
        self, module: LocalModule, state: State, generator: torch.Generator | None
    ) -> Sequence[Sequence[Tensor]] | None:
        """Dropout masks of a module for one timestep; None without generator or dropout."""
        return None if generator is None else module.draw_masks(state.candidates, state.batch, generator)

    def hidden_pattern(self, state: State) -> Tensor:
        """The normalized activity of all hidden layers, one below the other, (units, candidates or 1, batch)."""
        return state.hidden_pattern([module.name for module in self.hidden_layers()])

    # ---------------------------------------------------------------- prediction

    def prepare(self, samples: Any, mask: Any = None, batch_first: bool | None = None) -> tuple[Tensor, Tensor | None]:
        """Samples as the network reads them, and the mask of their valid timesteps.

        Args:
            samples: raw samples, as the task takes them: for images (n, height, width), flattened or not, of uint8 or of floating
                point from 0 to 1, as tensors or arrays. Without a task network inputs, see `input_sequence`.
            mask: (timesteps, batch), true where a sequence has not ended; None if all timesteps are valid.
            batch_first: true if sequences are (batch, timesteps, ...) and the mask (batch, timesteps). The default is that time
                comes first, with a warning where network inputs have as many samples as timesteps; false is without it.

        Returns:
            (timesteps or 1, input_size, 1, batch), and the mask, which a transform of a task may give.

        Raises:
            InputError: shape, type or range are not those of the task or the network.
        """
        if batch_first:
            samples, mask = time_first(samples, mask)
        if self.task is not None:
            prepared = self.task.prepare(samples, self.settings.timesteps, mask)
            samples, mask = prepared.inputs, prepared.mask if mask is None else mask
        elif isinstance(samples, Tensor):
            warn_if_ambiguous(samples, batch_first)
        return self.input_sequence(samples, mask), mask

    @torch.no_grad()
    def badness(self, samples: Any, mask: Any = None, *, batch_first: bool | None = None) -> Tensor:
        """Badness of every sample with every label, averaged over layers and the valid timesteps of the prediction window.

        Badness is minus the goodness of the Forward-Forward literature: the lower it is, the better the label fits.

        Args:
            samples: see `prepare`. They are processed `samples_at_once` at a time.
            mask: (timesteps, batch), true where a sequence has not ended. Other timesteps are left out of the average, unless
                the whole window is, as for a sample that only fills up a batch. None if all timesteps are valid.
            batch_first: see `prepare`.

        Returns:
            (batch, num_classes), on the network's device.

        Raises:
            InputError: the samples don't fit, or are so large that badness is not finite.
            DivergenceError: badness is not finite because of the weights.
        """
        x, mask = self.prepare(samples, mask, batch_first)
        return self.require_finite(self.badness_of(x, mask), x)

    def badness_of(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """`badness` of inputs in the network's layout, (timesteps or 1, features, 1, batch), which may be NaN or infinite."""
        size = self.samples_at_once
        weights = window_weights(self.valid_timesteps(mask, x.shape[3]), self.settings.prediction_window)
        chunks = zip(torch.split(x, size, 3), torch.split(weights, size, 1), strict=True)
        return torch.cat([self._badness(chunk, weight) for chunk, weight in chunks])

    def require_finite(self, badness: Tensor, x: Tensor) -> Tensor:
        """Return the badness (..., batch, classes) of inputs x, which is read for it. The errors are those of `badness`."""
        if torch.compiler.is_compiling() or badness.is_meta or badness.isfinite().all():
            return badness
        sample = first_sample(~badness.isfinite())
        largest = float(x[..., sample].abs().max())
        wrong = [name for name, weight in self.named_parameters() if not weight.isfinite().all()]
        if wrong or largest < self.largest_input:
            what = f"the weights {wrong[0]} are not finite" if wrong else "the weights are too large"
            raise DivergenceError(
                f"badness of sample {sample} is not finite: {what}; train with a smaller learning rate, or load other weights"
            )
        raise InputError(
            f"badness of sample {sample} is not finite: it has an input of {largest:g}; scale inputs to about unit mean square"
        )

    @property
    def largest_input(self) -> float:
        """The limit of the inputs of a training: the square of a gradient, which is quadratic in them, must be finite."""
        return float(torch.finfo(self.dtype).max ** 0.25)

    @property
    def samples_at_once(self) -> int:
        """Samples that a prediction processes at a time: `prediction_batch_size`, or fewer to stay within `PREDICTION_MEMORY`."""
        patterns, activity = 2 * self.compute_dtype.itemsize, 2 * self.dtype.itemsize  # two states; z and h
        units = sum(self.sizes.values()) - self.input_size
        sample = self.num_classes * units * (patterns + activity)
        return min(self.settings.training.prediction_batch_size, max(1, PREDICTION_MEMORY // sample))

    def _badness(self, x: Tensor, weights: Tensor) -> Tensor:
        first, last = self.settings.prediction_window
        total = torch.zeros(self.num_classes, x.shape[3], dtype=self.dtype, device=self.device)
        for t, badness in enumerate(self._with_all_labels(x, last + 1)):  # what follows the window does not matter
            if t >= first:
                total += weights[t - first] * sum(badness[name] for name in self.prediction_layers) / len(self.prediction_layers)
        return total.T

    @torch.no_grad()
    def badness_over_time(self, samples: Any) -> Tensor:
        """Badness of every sample with every label, by layer and timestep: what a prediction averages.

        Args:
            samples: see `prepare`. All are processed at once.

        Returns:
            (label_timesteps, layers, batch, num_classes), on the network's device.
        """
        x, _ = self.prepare(samples)
        return self.require_finite(self.badness_of_layers(x), x)

    @torch.no_grad()
    def badness_of_layers(self, x: Tensor) -> Tensor:
        """`badness_over_time` of inputs in the network's layout, (timesteps or 1, features, 1, batch)."""
        shape = (self.num_classes, x.shape[3])
        timesteps = self._with_all_labels(x, self.settings.network.label_timesteps)
        by_layer = [torch.stack([badness.expand(shape) for badness in by_name.values()]) for by_name in timesteps]
        return torch.stack(by_layer).transpose(2, 3)

    def _with_all_labels(self, x: Tensor, timesteps: int) -> Iterator[dict[str, Tensor]]:
        """The badness of every module with every label, a candidate each, after each timestep with the label."""
        prelabel, damping = self.settings.network.prelabel_timesteps, self.settings.network.damping_factor
        state = self.path.new_state(self.num_classes, x.shape[3])
        self.settle(state, x)
        y = torch.eye(self.num_classes, dtype=self.dtype, device=self.device).unsqueeze(2)
        for t in range(timesteps):
            state.clamp(at_timestep(x, prelabel + t), y, static=len(x) == 1)
            yield self.step(state, damping)

    def predict(self, samples: Any, mask: Any = None, *, batch_first: bool | None = None) -> Any:
        """The label of lowest badness for every sample. Arguments as for `badness`.

        Returns:
            Class numbers, (batch,); with a task the labels that it was trained with: their values, or a list if they are text.
        """
        numbers = self.badness(samples, mask, batch_first=batch_first).argmin(1)
        return numbers if self.task is None else self.task.names(numbers)

    @torch.no_grad()
    def predict_inputs(self, inputs: Any, mask: Any = None) -> Tensor:
        """The class number of lowest badness, (batch,), of network inputs: without the task's transform and class names.

        The network may be in training. Weights that are not finite are no error here, and a GPU is not waited for.
        """
        x = self.input_sequence(inputs, mask)
        badness = self.badness_of(x, mask)
        if can_be_read(badness) and not badness.isfinite().all() and all(w.isfinite().all() for w in self.parameters()):
            self.require_finite(badness, x)
        return badness.argmin(1)

    def forward(self, samples: Any, mask: Any = None) -> Any:
        """The label of lowest badness for every sample, as `predict`."""
        return self.predict(samples, mask)


def require_network(value: Any, place: str) -> Network:
    """Return a value if it is a network.

    Args:
        value: what a program has passed in place of a network.
        place: the call with its arguments in their order, for the message, such as "fit(network, data)".

    Raises:
        InputError: it is something else.
    """
    if isinstance(value, Network):
        return value
    found = f"the class {value.__name__}" if isinstance(value, type) else f"of type {type(value).__name__}"
    hint = "give classifier.network_" if hasattr(value, "network_") else "mind the order of the arguments"
    raise InputError(f"{place}: the network is {found}, expected one from rff.build or rff.load; {hint}")


def at_timestep(sequence: Tensor, t: int) -> Tensor:
    """The element of a sequence (timesteps or 1, …) at a timestep; one that has a single timestep never changes."""
    return sequence[t if len(sequence) > 1 else 0]
