r"""Top-down maps: local modules that predict the pattern of a block, the input or a hidden layer, from the layer above it.

    p    = g(G · s + c)         prediction of the target; s is n(h) of the layer above, with a little noise in training
    e    = target − p           error; the target is the input x, or the normalized activity n(h) of a hidden layer
    loss = ½ · mean(e²)         over the units of the target

    ∂loss/∂G = −(e · g'(z)) / units · sᵀ        ∂loss/∂c = −(e · g'(z)) / units         with z = G · s + c

Target and source are constants of the previous timestep, so that no error reaches another module: a map learns from what it reads
and from what it predicts alone. It learns from the positive candidate, the real data under its true label. (After the generative
circuit of Ororbia and Mali 2023, arXiv:2301.01452.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from RecurrentFF.model import functional
from RecurrentFF.model.activations import Activation
from RecurrentFF.model.draws import BatchDraws
from RecurrentFF.model.layers import BlockState, LearningContext, LocalModule, LocalResult, StepContext
from RecurrentFF.model.optimizers import Optimizer


class TopDownMap(LocalModule):
    """A module that predicts the pattern of a block. It learns beside the hidden layers, and no hidden layer reads it.

    Args:
        target: the name of the block that is predicted. The module's own name is that with "predict_" before it.
        source: the name of the layer that is read.
        units: the number of units of the target.
        noise: the standard deviation of the noise on what the module reads in training, where a pattern has a mean square of 1.
        optimizer: the optimizer of the module.
        dtype: the type of parameters and activity.

    Attributes:
        target, source: the names of the two blocks.
        bias: (units,), c.
    """

    is_hidden_layer = False
    only_learns = True
    bias: nn.Parameter

    def __init__(
        self, target: str, source: str, units: int, *, noise: float, optimizer: Optimizer | None, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.name = f"predict_{target}"
        self.target, self.source = target, source
        self.units = units
        self.sources = (source, target)
        self.noise = noise
        self.optimizer = optimizer
        self.bias = nn.Parameter(torch.zeros(units, dtype=dtype), requires_grad=False)

    def extra_repr(self) -> str:
        """The blocks, and the number of units."""
        return f"{self.source} -> {self.target}, units={self.units}"

    def require_sizes(self, sizes: Mapping[str, int]) -> None:
        """Check that the blocks that are read and predicted have the sizes that this module was made for.

        Raises:
            ValueError: they have not.
        """
        if sizes[self.target] != self.units:
            raise ValueError(f"{self.name} has {self.units} units, but {self.target} has {sizes[self.target]}")

    def initial_state(self, batch: int, compute_dtype: torch.dtype, draws: BatchDraws | None) -> BlockState:
        """The state of no prediction, see `LocalModule.initial_state`."""
        activity = torch.zeros(self.units, 1, batch, dtype=self.bias.dtype, device=self.bias.device)
        return BlockState(activity, activity.to(compute_dtype))

    def noise_masks(self, features: int, draws: BatchDraws) -> Sequence[Sequence[Tensor]] | None:
        """The noise on a pattern that is read, (features, 1, batch), in the form of `draw_masks`; None without noise."""
        if not self.noise:
            return None
        return [[draws.normal(f"noise {self.name}", features, 1).mul_(self.noise).to(self.bias.dtype)]]

    def target_pattern(self, patterns: Mapping[str, Tensor]) -> Tensor:
        """The pattern that is predicted, of the positive candidate, (units, 1, batch), in the parameters' type."""
        return patterns[self.target][:, :1].to(self.bias.dtype)

    def as_pattern(self, prediction: Tensor) -> Tensor:
        """A prediction as a block would show it to others: normalized to a mean square of 1, unless it is one of the input."""
        if self.target == "x":
            return prediction
        return functional.normalize(prediction, functional.mean_square(prediction), 1e-8)

    @staticmethod
    def loss_and_gradient(target: Tensor, prediction: Tensor, learning: LearningContext) -> tuple[Tensor, Tensor]:
        """The loss ½ · mean(e²), a mean over units and samples, (), and its gradient ∂loss/∂p = −e / units, (units, 1, batch)."""
        error = target - prediction
        loss = (learning.sample_weight * error.square().mean(0)[0]).sum() / 2
        return loss, -error * (learning.sample_weight / len(error))


class Reconstruction(TopDownMap):
    """The map from a layer to the block below it, p = g(G · s + c).

    Args:
        features: the number of units of the source.
        activation: g; None for the identity, as for the input.
        generator: the source of the initial weights, on the CPU.
        target, source, units, noise, optimizer, dtype: as for `TopDownMap`.

    Attributes:
        weight: (units, features), G.
    """

    def __init__(
        self,
        target: str,
        source: str,
        units: int,
        features: int,
        *,
        activation: Activation | None = None,
        noise: float = 0.0,
        optimizer: Optimizer | None = None,
        dtype: torch.dtype = torch.float32,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(target, source, units, noise=noise, optimizer=optimizer, dtype=dtype)
        self.activation = activation
        weight = torch.empty(units, features, dtype=dtype, device="cpu" if generator is None else generator.device)
        nn.init.normal_(weight, std=0.1 / math.sqrt(features), generator=generator)  # z has a standard deviation of 0.1
        self.weight = nn.Parameter(weight, requires_grad=False)

    def require_sizes(self, sizes: Mapping[str, int]) -> None:
        """Check the sizes of both blocks, see `TopDownMap.require_sizes`."""
        super().require_sizes(sizes)
        if sizes[self.source] != self.weight.shape[1]:
            raise ValueError(
                f"{self.name} reads {self.weight.shape[1]} features of {self.source}, which has {sizes[self.source]}"
            )

    def draw_masks(self, candidates: int, draws: BatchDraws) -> Sequence[Sequence[Tensor]] | None:
        """The noise of a training timestep on what is read, (features, 1, batch)."""
        return self.noise_masks(self.weight.shape[1], draws)

    def predict(self, pattern: Tensor) -> Tensor:
        """The prediction p, (units, candidates, batch), from a pattern of the source, (features, candidates, batch)."""
        z = self._pre_activation(pattern)
        return z if self.activation is None else self.activation.apply(z)

    def step(self, patterns: Mapping[str, Tensor], before: BlockState, context: StepContext) -> BlockState:
        """The prediction after one timestep of training. See `LocalModule.step`."""
        z = self._pre_activation(self._read(patterns, context))
        prediction = z if self.activation is None else self.activation.apply(z)
        return BlockState(prediction, self.as_pattern(prediction).to(before.pattern.dtype), z)

    def local_gradients(
        self,
        patterns: Mapping[str, Tensor],
        before: BlockState,
        after: BlockState,
        context: StepContext,
        learning: LearningContext,
    ) -> LocalResult:
        """Loss and gradients of the map, see the equations of this module. See `LocalModule.local_gradients`."""
        assert after.z is not None, "the module has not made a timestep"
        loss, grad = self.loss_and_gradient(self.target_pattern(patterns), after.activity, learning)
        grad_z = grad if self.activation is None else self.activation.backward(grad, after.z)
        source = self._read(patterns, context)
        gradients = {
            "weight": functional.weight_gradient(grad_z.to(source.dtype), source),
            "bias": functional.bias_gradient(grad_z, self.bias.dtype),
        }
        return LocalResult(loss, None, gradients)

    def _read(self, patterns: Mapping[str, Tensor], context: StepContext) -> Tensor:
        """The pattern that the map reads at a training timestep, (features, 1, batch), in the type of the patterns."""
        source = patterns[self.source][:, :1]
        if context.masks is None:
            return source
        return source + context.masks[0][0].to(source.dtype)

    def _pre_activation(self, pattern: Tensor) -> Tensor:
        """z = G · s + c in the parameters' type, (units, candidates, batch)."""
        drive = functional.linear_drive(self.weight.to(pattern.dtype), pattern)
        return drive.to(self.bias.dtype) + self.bias[:, None, None]
