"""The network: its layers, how activity runs through them, and prediction by lowest badness."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from RecurrentFF.errors import InputError, SettingsError
from RecurrentFF.model.counting import label_timesteps, window_weights
from RecurrentFF.model.layer import RecurrentLayer
from RecurrentFF.model.state import State
from RecurrentFF.model.step import Steps
from RecurrentFF.model.topology import Topology
from RecurrentFF.settings import Settings

PREDICTION_ROOM = 2**30
"""Bytes of activity that a prediction takes at most, unless a single sample under all labels needs more."""


class Network(nn.Module):
    """A Recurrent Forward-Forward network.

    Args:
        settings: must name `data_config.data_size` and `data_config.num_classes`; initial weights follow `training.seed`.
        dtype: of weights, activity and gradients.
        operand_dtype: of the matrix products' operands; defaults to `dtype`.

    Raises:
        SettingsError: data_size or num_classes is missing.

    Example:
        >>> settings = Settings.from_arguments(data_size=784, num_classes=10, hidden_sizes=[200, 200])
        >>> Network(settings).predict(torch.rand(5, 784)).shape
        torch.Size([5])
    """

    def __init__(self, settings: Settings, dtype: torch.dtype = torch.float32, operand_dtype: torch.dtype | None = None) -> None:
        super().__init__()
        data_size, num_classes = settings.data_config.data_size, settings.data_config.num_classes
        if data_size is None or num_classes is None:
            raise SettingsError("a network needs data_config.data_size and data_config.num_classes; set both")
        self.settings = settings
        self.dtype = dtype
        self.operand_dtype = operand_dtype or dtype
        self.num_classes = num_classes
        self.topology = Topology((data_size, *settings.model.hidden_sizes, num_classes), settings.model.residual_connections)
        generator = torch.Generator().manual_seed(settings.training.seed)
        self.layers = nn.ModuleList(
            RecurrentLayer(self.topology, number, settings.model, dtype, generator) for number in self.topology.hidden
        )
        self.judges = settings.model.prediction_layers or tuple(self.topology.hidden)
        features = sum(settings.model.hidden_sizes)
        self.classifier_weight = nn.Parameter(torch.zeros(num_classes, features, dtype=dtype), requires_grad=False)
        self.classifier_bias = nn.Parameter(torch.zeros(num_classes, dtype=dtype), requires_grad=False)

    def hidden_layers(self) -> Iterator[RecurrentLayer]:
        """The layers, bottom to top."""
        for layer in self.layers:
            assert isinstance(layer, RecurrentLayer)
            yield layer

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.classifier_bias.device

    def use_steps(self, steps: Steps) -> None:
        """Run all layers' timesteps by these functions: `step.EAGER` (the default) or `step.compiled()`."""
        for layer in self.hidden_layers():
            layer.steps = steps

    def sequence(self, inputs: Tensor) -> Tensor:
        """The inputs as (timesteps, batch, data_size) on the network's device; a static input is a view, not a copy.

        Args:
            inputs: (batch, data_size), held through all timesteps, or (timesteps, batch, data_size) with
                `settings.timesteps` timesteps: those before the label first.

        Raises:
            InputError: the shape is neither, the type is not floating point, the batch is empty, or, on a CPU, an input is not
                finite. (A GPU would have to be waited for; there, a training's watch over its losses finds it.)
        """
        timesteps, data_size = self.settings.timesteps, self.topology.widths[0]
        inputs = torch.as_tensor(inputs)
        if not inputs.is_floating_point():
            raise InputError(f"inputs of type {inputs.dtype}: expected floating point, scaled to about unit mean square")
        given, inputs = tuple(inputs.shape), inputs.to(self.device, self.dtype)
        if inputs.dim() == 2:
            inputs = inputs.expand(timesteps, *inputs.shape)
        if inputs.dim() != 3 or inputs.shape[0] != timesteps or inputs.shape[2] != data_size:
            raise InputError(
                f"inputs of shape {given}: expected (batch, {data_size}) or ({timesteps}, batch, {data_size}), "
                f"where {timesteps} is prelabel_timesteps + iterations; images are flattened with inputs.flatten(1)"
            )
        if inputs.shape[1] == 0:
            raise InputError("inputs of an empty batch: give at least one sample")
        if inputs.device.type == "cpu" and not inputs[0 : 1 if inputs.stride(0) == 0 else None].isfinite().all():
            raise InputError("inputs that are not all finite: replace what is NaN or infinite in them")  # elsewhere it would wait
        return inputs

    def operands(self) -> list[Tensor]:
        """Every layer's weight as the matrix products take it: a copy, or the weight itself if that is of the type."""
        return [layer.weight.to(self.operand_dtype) for layer in self.hidden_layers()]

    def new_state(self, labels: int, batch: int) -> State:
        """Room for the activity of a batch under so many labels."""
        return State(self.topology, labels, batch, self.dtype, self.operand_dtype, self.device)

    def settle(self, state: State, inputs: Tensor, operands: list[Tensor], generator: torch.Generator | None = None) -> None:
        """Bring `state` to where the label-free timesteps lead from rest: the label uniform, no damping, no learning. They don't
        depend on the label to come, so they are run once for all.

        Args:
            state: of which nothing is kept.
            inputs: (timesteps, batch, data_size); the first `prelabel_timesteps` are seen.
            operands: from `operands`.
            generator: of the dropout masks; none, no dropout.
        """
        state.rest()
        uniform = torch.full((self.num_classes,), 1 / self.num_classes, dtype=self.dtype, device=self.device)[:, None, None]
        held = self._held_drives(inputs, operands) if generator is None or self.settings.model.dropout == 0 else None
        for x in inputs[: self.settings.model.prelabel_timesteps]:
            state.clamp(x, uniform)
            self.timestep(state, operands, damping=1.0, generator=generator, held=held)
        if generator is not None and self.settings.model.dropout:
            state.part()

    def timestep(
        self,
        state: State,
        operands: list[Tensor],
        damping: float,
        generator: torch.Generator | None = None,
        held: list[Tensor | None] | None = None,
    ) -> list[Tensor]:
        """Move all layers one timestep on, without learning.

        Args:
            held: each layer's drive of an input that stays the same.

        Returns:
            Each layer's badness, (labels, batch), or (1, batch) where it is the same under all labels.
        """
        badness = []
        for layer, operand in zip(self.hidden_layers(), operands, strict=True):
            drive = None if held is None else held[layer.number - 1]
            badness.append(layer.timestep(state, operand, damping, generator, drive))
        state.advance()
        return badness

    def _held_drives(self, inputs: Tensor, operands: list[Tensor]) -> list[Tensor | None] | None:
        """Each layer's drive of a static input, which is computed once; None for one that changes."""
        if inputs.stride(0) != 0:
            return None
        return [layer.held_drive(inputs[0], operand) for layer, operand in zip(self.hidden_layers(), operands, strict=True)]

    @torch.no_grad()
    def badness(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Badness of every input under every label, averaged over the layers and the timesteps that count in a prediction.

        Args:
            inputs: (batch, data_size) or (timesteps, batch, data_size); see `sequence`. Worked on in pieces of
                `data_config.test_batch_size` samples, or fewer if these under all labels would take over `PREDICTION_ROOM`.
            mask: (timesteps, batch), true where a sequence is not over: the other timesteps don't count in the average, unless
                the whole window lies after the sequence's end. None where all count.

        Returns:
            (batch, num_classes), on the network's device.
        """
        inputs, size = self.sequence(inputs), self.predicted_at_once
        counts = label_timesteps(mask, inputs.shape[1], self.settings, self.classifier_bias)
        weights = window_weights(counts, self.settings.prediction_window)
        pieces = zip(torch.split(inputs, size, dim=1), torch.split(weights, size, dim=1), strict=True)
        return torch.cat([self._badness(piece, weight) for piece, weight in pieces])

    @property
    def predicted_at_once(self) -> int:
        """Samples in a piece of a prediction."""
        stacks, activity = 2 * self.operand_dtype.itemsize, 2 * self.dtype.itemsize  # two stacks of blocks; z and h
        sample = self.num_classes * self.topology.height * (stacks + activity)
        return min(self.settings.data_config.test_batch_size, max(1, PREDICTION_ROOM // sample))

    def _badness(self, inputs: Tensor, weights: Tensor) -> Tensor:
        first, last = self.settings.prediction_window
        total = torch.zeros(self.num_classes, inputs.shape[1], dtype=self.dtype, device=self.device)
        for t, badness in enumerate(self._under_all_labels(inputs, last + 1)):  # nothing after the window matters
            if t >= first:
                total += weights[t - first] * sum(badness[layer - 1] for layer in self.judges) / len(self.judges)
        return total.T

    @torch.no_grad()
    def badness_over_time(self, inputs: Tensor) -> Tensor:
        """Badness of every input under every label, layer by layer and timestep by timestep: what a prediction averages.

        Args:
            inputs: (batch, data_size) or (timesteps, batch, data_size); see `sequence`. All are worked on at once.

        Returns:
            (iterations, layers, batch, num_classes), on the network's device.
        """
        inputs = self.sequence(inputs)
        shape = (self.num_classes, inputs.shape[1])
        timesteps = self._under_all_labels(inputs, self.settings.data_config.iterations)
        rows = [torch.stack([layer.expand(shape) for layer in badness]) for badness in timesteps]
        return torch.stack(rows).transpose(2, 3)

    def _under_all_labels(self, inputs: Tensor, timesteps: int) -> Iterator[list[Tensor]]:
        """Every layer's badness under all labels, (classes, batch) or (1, batch) where it is the same, after each timestep."""
        prelabel, damping = self.settings.model.prelabel_timesteps, self.settings.model.damping_factor
        state = self.new_state(self.num_classes, inputs.shape[1])
        operands = self.operands()
        self.settle(state, inputs, operands)
        labels = torch.eye(self.num_classes, device=self.device).unsqueeze(2)
        held = self._held_drives(inputs, operands)
        for t in range(timesteps):
            state.clamp(inputs[prelabel + t], labels)
            yield self.timestep(state, operands, damping, held=held)

    def predict(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """The label of lowest badness for every input: (batch,) class numbers. Arguments as for `badness`."""
        return self.badness(inputs, mask).argmin(1)

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """`predict`."""
        return self.predict(inputs, mask)
