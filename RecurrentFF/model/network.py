"""The network: its blocks, the label-free timesteps, and its predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from RecurrentFF.model import imagination, prediction
from RecurrentFF.model.assembly import are_described, block_sizes, check_blocks, make_modules
from RecurrentFF.model.conversion import ConvertibleModule, require_weight_type
from RecurrentFF.model.draws import BatchDraws
from RecurrentFF.model.functional import at_timestep
from RecurrentFF.model.fused import path_of
from RecurrentFF.model.inputs import input_sequence, prepared, valid_timesteps
from RecurrentFF.model.integrity import Made
from RecurrentFF.model.layers import LocalModule
from RecurrentFF.model.paths import ComputePath, Hook
from RecurrentFF.model.processes import ONE_PROCESS, Processes
from RecurrentFF.model.readout import Readout
from RecurrentFF.model.state import State
from RecurrentFF.settings import Settings
from RecurrentFF.settings.network import PredictionMethod
from RecurrentFF.tensors import can_be_read

if TYPE_CHECKING:  # the model imports no data
    from RecurrentFF.data.task import Task


class Network(ConvertibleModule):
    """A Recurrent Forward-Forward network: the blocks "x", its local modules, and "y".

    Args:
        settings: must name `network.input_size` and `network.num_classes`; initial weights follow `training.seed`.
        dtype: the type of weights, activity and gradients: float32 or float64.
        compute_dtype: the type of the patterns and of the weights in matrix products; `dtype` if left out.
        modules: local modules in place of the layers that the settings describe, bottom to top. The settings of single layers
            do not apply to them. A checkpoint has their weights only: `rff.load(path, network=…)` needs the same modules.
        fused: whether to take the fast path where the modules allow it. The results are the same, up to rounding.

    Attributes:
        layers: the local modules by name. To exchange one, make a new network.
        readout: the linear classifier that proposes negative labels, and may predict.
        path: the way in which timesteps are computed, see `paths`.
        processes: the processes among which a training is divided; at other times one, which has everything.
        task: the samples that the network was made for, and their transform; None if it takes network inputs.

    Raises:
        SettingsError: input_size or num_classes is missing, or prediction_layers names a layer that is not there.
        InputError: the dtype is another one.
        ValueError: a module reads a block that is not there or of another size, has another dtype, or two have one name.

    Examples:
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
            modules = make_modules(settings, dtype, torch.Generator().manual_seed(settings.training.seed))
        self.layers = nn.ModuleDict({module.name: module for module in modules})
        check_blocks(modules, self.sizes, dtype)
        self.prediction_layers = prediction.layers_of(self)
        self.readout = Readout(sum(module.units for module in self.hidden_layers()), self.num_classes, dtype)
        bottom_up = settings.network.update_order == "bottom_up"
        self.path: ComputePath = path_of(modules, self.num_classes, self.compute_dtype, fused=fused, bottom_up=bottom_up)
        self.processes: Processes = ONE_PROCESS
        self._made = Made.of(self)  # for `require_intact`

    @property
    def local_modules(self) -> list[LocalModule]:
        """All modules that learn, bottom to top."""
        return list(self.layers.values())  # type: ignore[arg-type]

    @property
    def has_own_modules(self) -> bool:
        """True if the settings do not describe the modules: they were given, or a layer has been changed since it was made."""
        return self._modules_are_given or not are_described(self.hidden_layers(), self.settings)

    def hidden_layers(self) -> list[LocalModule]:
        """The local modules that are hidden layers, with badness, bottom to top."""
        return [module for module in self.local_modules if module.is_hidden_layer]

    def trained_modules(self) -> list[LocalModule]:
        """The local modules that learn in training: all, or those beside the hidden layers if the settings freeze the layers."""
        circuit = self.settings.generative
        return [m for m in self.local_modules if not (m.is_hidden_layer and circuit is not None and circuit.freeze_layers)]

    @property
    def sizes(self) -> dict[str, int]:
        """The number of features, units or classes of the input, of every hidden layer and of the label, from "x" to "y"."""
        return {"x": self.input_size, **{module.name: module.units for module in self.hidden_layers()}, "y": self.num_classes}

    @property
    def prediction(self) -> PredictionMethod:
        """The method of prediction, see `predict`. It is the key `network.prediction` of the settings, and can be set."""
        return self.settings.network.prediction

    @prediction.setter
    def prediction(self, method: PredictionMethod) -> None:
        self.settings = self.settings.with_arguments(prediction=method)

    def extra_repr(self) -> str:
        """The sizes of all blocks, and the number of timesteps."""
        sizes = "-".join(map(str, self.sizes.values()))
        return f"{sizes}, timesteps={self.settings.timesteps}, dtype={self.dtype}"

    # ---------------------------------------------------------------- inputs

    def prepare(self, samples: Any, mask: Any = None, batch_first: bool | None = None) -> tuple[Tensor, Tensor | None]:
        """Samples as the network reads them, and the mask of their valid timesteps.

        Args:
            samples: raw samples of the task: for images (n, height, width), flattened or not, uint8 or floating point from 0 to
                1, as tensors or arrays. Without a task network inputs, see `input_sequence`.
            mask: (timesteps, batch), true where a sequence has not ended; None if all timesteps are valid.
            batch_first: true if sequences are (batch, timesteps, ...) and the mask (batch, timesteps). By default time comes
                first, with a warning where there are as many samples as timesteps; false is without it.

        Returns:
            (timesteps or 1, input_size, 1, batch), and the mask, which a transform of a task may give.

        Raises:
            InputError: shape, type or range are not those of the task or the network.
        """
        return prepared(self, samples, mask, batch_first)

    def input_sequence(self, inputs: Any, mask: Any = None, *, limit: float = math.inf) -> Tensor:
        """Network inputs, with or without time, as the network reads them. See `inputs.input_sequence`."""
        return input_sequence(self, inputs, mask, limit)

    def valid_timesteps(self, mask: Any, batch: int) -> Tensor:
        """The valid timesteps with the label, (label_timesteps, batch), 1 or 0. See `inputs.valid_timesteps`."""
        return valid_timesteps(self, mask, batch)

    # ---------------------------------------------------------------- timesteps without learning

    def settle(
        self,
        state: State,
        x: Tensor,
        draws: BatchDraws | None = None,
        after_timestep: Callable[[State], None] | None = None,
    ) -> None:
        """Compute the label-free timesteps from zero activity: the label uniform, d = 1 (full update), no learning.

        Args:
            state: from `path.new_state`. Nothing of it is kept, except its pattern masks.
            x: (timesteps or 1, features, candidates or 1, batch), of which the first `prelabel_timesteps` are read.
            draws: the random numbers of a training; None in a prediction, without dropout.
            after_timestep: called after every timestep.
        """
        self.path.begin(self.processes.own(self.local_modules))
        state.reset(draws)
        y = torch.full((self.num_classes, 1, 1), 1 / self.num_classes, dtype=self.dtype, device=self.device)
        for t in range(self.settings.network.prelabel_timesteps):
            state.clamp(at_timestep(x, t), y, static=len(x) == 1)
            self.step(state, damping=1.0, draws=draws)
            if after_timestep is not None:
                after_timestep(state)

    def step(
        self, state: State, damping: float, draws: BatchDraws | None = None, before: Hook | None = None
    ) -> dict[str, Tensor]:
        """Compute one timestep of all modules, without learning.

        Args:
            state: after `settle`, with input and label clamped.
            damping: the damping factor d, from 0 (h stays) to 1 (h is replaced).
            draws: the random numbers of a training; None in a prediction, without dropout.
            before: called with each module before its timestep, when `state.patterns` has what it reads.

        Returns:
            The badness of every hidden layer by name, (candidates, batch), or (1, batch) where all candidates have the same.
        """
        badness = {}
        for module in [each for each in self.processes.own(self.local_modules) if not each.only_learns]:
            if before is not None:
                before(module)
            context = state.context(module.name, damping, self.draw_masks(module, state, draws))
            own = self.path.step(module, state, context)
            if own is not None and module.is_hidden_layer:
                badness[module.name] = own
        state.advance()
        return badness

    def draw_masks(self, module: LocalModule, state: State, draws: BatchDraws | None) -> Sequence[Sequence[Tensor]] | None:
        """Dropout masks of a module for one timestep; None in a prediction, and without dropout."""
        return None if draws is None else module.draw_masks(state.candidates, draws)

    def hidden_pattern(self, state: State) -> Tensor:
        """The normalized activity of this process's hidden layers, one below the other, (units, candidates or 1, batch)."""
        return state.hidden_pattern([module.name for module in self.processes.own(self.hidden_layers())])

    # ---------------------------------------------------------------- prediction

    @torch.no_grad()
    def badness(self, samples: Any, mask: Any = None, *, batch_first: bool | None = None) -> Tensor:
        """Badness of every sample with every label, averaged over layers and the valid timesteps of the prediction window.

        Badness is minus the goodness of the Forward-Forward literature: the lower it is, the better the label fits.

        Args:
            samples: see `prepare`. They are processed `samples_at_once` at a time.
            mask: (timesteps, batch), true where a sequence has not ended; None if all timesteps are valid. Others are left out
                of the average, unless the whole window is, as for a sample that only fills up a batch.
            batch_first: see `prepare`.

        Returns:
            (batch, num_classes), on the network's device.

        Raises:
            InputError: the samples don't fit, or are so large that badness is not finite.
            DivergenceError: badness is not finite because of the weights.
        """
        x, mask = self.prepare(samples, mask, batch_first)
        return prediction.require_finite(self, self.badness_of(x, mask), x)

    def badness_of(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """`badness` of inputs in the network's layout, (timesteps or 1, features, 1, batch), which may be NaN or infinite."""
        return prediction.badness_of(self, x, mask)

    @property
    def largest_input(self) -> float:
        """The limit of the inputs of a training: the square of a gradient, which is quadratic in them, must be finite."""
        return float(torch.finfo(self.dtype).max ** 0.25)

    @property
    def samples_at_once(self) -> int:
        """Samples whose labels are all tried at a time: `prediction_batch_size`, or fewer where memory would be short."""
        return prediction.samples_at_once(self, self.num_classes)

    @torch.no_grad()
    def badness_over_time(self, samples: Any) -> Tensor:
        """The badness that a prediction averages, (label_timesteps, layers, batch, num_classes), of all samples at once."""
        x, _ = self.prepare(samples)
        return prediction.require_finite(self, prediction.badness_of_layers(self, x), x)

    @torch.no_grad()
    def logits(self, samples: Any, mask: Any = None, *, batch_first: bool | None = None) -> Tensor:
        """The readout's logits on the activity before the label is shown, (batch, num_classes). Arguments as for `badness`.

        Raises:
            InputError: the samples don't fit, or the readout can't predict, see `predict`.
            DivergenceError: a logit is not finite because of the weights.
        """
        x, mask = self.prepare(samples, mask, batch_first)
        logits = prediction.checked_scores(self, x, mask, "readout").logits
        assert logits is not None
        return logits

    @torch.no_grad()
    def predict_proba(
        self,
        samples: Any,
        mask: Any = None,
        *,
        method: PredictionMethod | None = None,
        scale: float | None = None,
        batch_first: bool | None = None,
    ) -> Tensor:
        """The probability of every label, (batch, num_classes). The most probable one is that of `predict` by the same method.

        Args:
            samples: see `badness`.
            mask: see `badness`.
            batch_first: see `badness`.
            method: see `predict`. By "badness" it is softmax(−scale · badness), and by "readout" the softmax of the logits. By
                "propose_and_verify" it is that of the readout, but what that gives to all proposals together is divided among
                them by softmax(−scale · badness).
            scale: the scale of badness, above 0; None for the objective's (its alpha or beta, else 1).
                Probabilities are calibrated only if it is fitted to validation samples.

        Raises:
            InputError: see `predict`, or `scale` is no finite number above 0.
            DivergenceError: see `predict`.
        """
        scale = prediction.scale_of(self, scale)
        x, mask = self.prepare(samples, mask, batch_first)
        return prediction.probabilities_of(prediction.checked_scores(self, x, mask, method).to(self.dtype), scale)

    def predict(
        self, samples: Any, mask: Any = None, *, method: PredictionMethod | None = None, batch_first: bool | None = None
    ) -> Any:
        """The label of every sample.

        Args:
            samples: see `badness`.
            mask: see `badness`.
            batch_first: see `badness`.
            method: "badness" (the label of lowest badness among all), "readout" (the highest logit of the readout, without
                trying a label), or "propose_and_verify" (the lowest badness among the readout's `proposals` likeliest labels;
                "badness", with a note, if the readout was never trained). The default is that of the settings.

        Returns:
            Class numbers, (batch,); with a task the labels that it was trained with: their values, or a list if they are text.

        Raises:
            InputError: the samples don't fit or are too large, there is no such method, or it needs a readout that can predict.
            DivergenceError: badness or a logit is not finite because of the weights.
        """
        x, mask = self.prepare(samples, mask, batch_first)
        numbers = prediction.checked_scores(self, x, mask, method).numbers
        return numbers if self.task is None else self.task.names(numbers)

    @torch.no_grad()
    def predict_inputs(self, inputs: Any, mask: Any = None, method: PredictionMethod | None = None) -> Tensor:
        """The predicted class number, (batch,), of network inputs: without the task's transform and class names.

        Weights that are not finite and a readout without training are no error here, and a GPU is not waited for. Raises
        InputError if the inputs don't fit, or there is no such method.
        """
        known, x = prediction.known_method(method), self.input_sequence(inputs, mask)
        scores = prediction.scores_of(self, x, mask, known)
        if can_be_read(x) and not prediction.are_finite(self, scores) and all(w.isfinite().all() for w in self.parameters()):
            prediction.require_finite_scores(self, scores, x)
        return scores.numbers

    def forward(self, samples: Any, mask: Any = None) -> Any:
        """The label of every sample, as `predict`."""
        return self.predict(samples, mask)

    # ---------------------------------------------------------------- the generative circuit

    def reconstruct(self, samples: Any, label: Any = None, level: str = "h1") -> Tensor:
        """Reconstruct samples from the activity that they lead to, by the network's generative circuit.

        Args:
            samples: see `prepare`.
            label: the label of each sample, or one for all, which is shown after the label-free timesteps; None for no label.
            level: the layer whose activity is read, "h1" or another hidden layer; or "latent", the code above the top layer.

        Returns:
            Samples of the task's own shape and scale, for images (n, height, width) with pixels in 0..1; network inputs, with a
            warning, if the transform can't be undone (see `Task.samples_of`). Of sequences (timesteps, n, …), what is predicted
            of the next input after each timestep.

        Raises:
            InputError: the network has no generative circuit, there is no such level or label, or the samples don't fit.
            DivergenceError: the weights are not finite.
        """
        return imagination.reconstruct(self, samples, label, level)

    def complete(self, samples: Any, visible_mask: Any, steps: int = 10, label: Any = None) -> Tensor:
        """Complete samples of which a part is hidden, in the form of `reconstruct`. Visible inputs stay; others are predicted.

        The prediction is that from the latent code, which is drawn to the codes of complete samples.

        Args:
            samples: see `prepare`. What is hidden must be in range. It does not matter, unless the transform deskews or resizes.
            visible_mask: true where an input is visible, of the shape of one sample or of all.
            steps: how often the hidden inputs are predicted from the visible ones and the former prediction.
            label: the label of each sample, or one for all; None if it is unknown. It says which codes are likely.

        Raises:
            InputError, DivergenceError: as for `reconstruct`; the mask has another shape, or the samples are sequences.
        """
        return imagination.complete(self, samples, visible_mask, steps, label)

    def generate(self, labels: Any, n: int = 1, seed: int = 0, temperature: float = 1.0, steps: int = 1) -> Tensor:
        """Generate samples of given classes, from the distribution of the circuit's code in each class.

        Args:
            labels: the labels, or a single one.
            n: the number of samples of each label.
            seed: the samples depend on it, the labels, n and the network alone.
            temperature: the factor of the standard deviation of the code: below 1, samples are more alike and more typical.
            steps: how often the network reads what was generated, to generate it again from the likeliest code of its class:
                0 gives the most varied samples, and more steps more typical ones.

        Returns:
            (labels · n, …), those of a label together, in the form of `reconstruct`.

        Raises:
            InputError: the network has no generative circuit, it has not learned a class, or its inputs are sequences.
            DivergenceError: the weights are not finite.
        """
        return imagination.generate(self, labels, n, seed, temperature, steps)
