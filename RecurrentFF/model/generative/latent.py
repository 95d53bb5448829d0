r"""The latent code above the top layer, and its distribution for each class, from which images are generated.

    p    = G · v + c                                   prediction of n(h_L) of the top layer, from the code v
    v    = argmin over v of |n(h_L) − G·v − c|² + |v|²  the code of a sample: the least error, with a weak prior around zero
    loss = ½ · mean((n(h_L) − p)²)                     ΔG ∝ (n(h_L) − p) · vᵀ

The minimum is that of some steps of v down its error, and has a closed form, v = (GᵀG + 1)⁻¹ Gᵀ (n(h_L) − c). The columns of G
come to span the directions in which the top layer varies most, as in probabilistic principal component analysis.

The mean and the covariance of the code in each class are tracked over the training batches. They are those of the activity
before the label is shown, which keeps most of the image: under its true label, the top-down drive cancels a part of it. A code
drawn from the Gaussian distribution of a class, and projected down, is an image of that class. (Ororbia and Mali 2023,
arXiv:2301.01452, fit a Gaussian mixture to the codes after training.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from RecurrentFF.model import functional
from RecurrentFF.model.draws import BatchDraws
from RecurrentFF.model.generative.reconstruction import TopDownMap
from RecurrentFF.model.layers import BlockState, LearningContext, LocalResult, StepContext
from RecurrentFF.model.optimizers import Optimizer
from RecurrentFF.model.processes import WHOLE, BatchShare

DECAY = 0.99
"""The fraction of the former sums of a class that remains after a batch with samples of it."""
PATTERN_NOISE = 2.0
"""The variance of the units of the top layer around what a code predicts, for `likely_code`: twice the mean square of a pattern.

It is that of a sample of which half is hidden. Chosen on validation digits.
"""


class LatentReconstruction(TopDownMap):
    """The top of the circuit: a code of few numbers that predicts the pattern of the top layer.

    Args:
        source: the name of the top layer, which is also the block that is predicted.
        units: its number of units.
        size: the number of values of the code.
        classes: the number of classes.
        noise, optimizer, dtype: as for `TopDownMap`.
        generator: the source of the initial weights, on the CPU.

    Attributes:
        weight: (units, size), G.
        saw_sequences: (), true if inputs have changed over time in training. Codes then are no codes of single inputs.
        class_weight: (classes,), the decayed number of samples of each class; 0 for a class without any.
        class_sum: (classes, size), the decayed sum of their codes.
        class_products: (classes, size, size), the decayed sum of the products v · vᵀ.
    """

    saw_sequences: Tensor
    class_weight: Tensor
    class_sum: Tensor
    class_products: Tensor

    def __init__(
        self,
        source: str,
        units: int,
        size: int,
        classes: int,
        *,
        noise: float = 0.0,
        optimizer: Optimizer | None = None,
        dtype: torch.dtype = torch.float32,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(source, source, units, noise=noise, optimizer=optimizer, dtype=dtype)
        self.size = size
        self.sources = (source,)
        weight = torch.empty(units, size, dtype=dtype, device="cpu" if generator is None else generator.device)
        nn.init.normal_(weight, std=1 / math.sqrt(units), generator=generator)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.register_buffer("saw_sequences", torch.zeros((), dtype=torch.bool))
        self.register_buffer("class_weight", torch.zeros(classes, dtype=dtype))
        self.register_buffer("class_sum", torch.zeros(classes, size, dtype=dtype))
        self.register_buffer("class_products", torch.zeros(classes, size, size, dtype=dtype))

    def require_sizes(self, sizes: Mapping[str, int]) -> None:
        """Check the number of units and of classes, see `TopDownMap.require_sizes`."""
        super().require_sizes(sizes)
        if sizes["y"] != len(self.class_weight):
            raise ValueError(f"{self.name} has {len(self.class_weight)} classes, but the label has {sizes['y']}")

    def draw_masks(self, candidates: int, draws: BatchDraws) -> Sequence[Sequence[Tensor]] | None:
        """The noise of a training timestep on what is read, (units, 1, batch)."""
        return self.noise_masks(self.units, draws)

    def code(self, pattern: Tensor) -> Tensor:
        """The code v of a pattern of the top layer.

        Args:
            pattern: (units, candidates, batch).

        Returns:
            (size, candidates, batch), in the parameters' type.
        """
        centered = pattern.to(self.bias.dtype).flatten(1) - self.bias[:, None]
        products = self.weight.T @ self.weight + torch.eye(self.size, dtype=self.weight.dtype, device=self.weight.device)
        code: Tensor = torch.linalg.solve_ex(products, self.weight.T @ centered).result  # does not wait for a GPU
        return code.view(self.size, *pattern.shape[1:])

    def likely_code(self, pattern: Tensor, number: int | None) -> Tensor:
        """The likeliest code of a pattern that may be wrong in part, by the distribution of the codes of a class.

        It is the argmin over v of |n − G·v − c|² / PATTERN_NOISE + (v − m)ᵀ C⁻¹ (v − m), with the mean m and the covariance C of
        the codes in a class. A thousandth of the mean variance is added to all variances, for classes of few samples.

        Args:
            pattern: (units, candidates, batch).
            number: the class, which has been seen in training; None for the codes of all classes together.

        Returns:
            (size, candidates, batch), in the parameters' type.
        """
        centered = pattern.to(self.bias.dtype).flatten(1) - self.bias[:, None]
        mean, covariance = self.distribution(number)
        identity = torch.eye(self.size, dtype=mean.dtype, device=mean.device)
        precision = torch.linalg.inv(covariance + 1e-3 * covariance.diagonal().mean().clamp(min=1e-3) * identity)
        products = self.weight.T @ self.weight / PATTERN_NOISE + precision
        right = self.weight.T @ centered / PATTERN_NOISE + (precision @ mean)[:, None]
        code: Tensor = torch.linalg.solve(products, right)
        return code.view(self.size, *pattern.shape[1:])

    def predict(self, code: Tensor) -> Tensor:
        """The prediction p of the top layer's pattern, (units, candidates, batch), from a code (size, candidates, batch)."""
        return functional.linear_drive(self.weight, code) + self.bias[:, None, None]

    def step(self, patterns: Mapping[str, Tensor], before: BlockState, context: StepContext) -> BlockState:
        """Code and prediction after one timestep of training. See `LocalModule.step`."""
        read = self.target_pattern(patterns)
        code = self.code(read if context.masks is None else read + context.masks[0][0])
        prediction = self.predict(code)
        return BlockState(prediction, self.as_pattern(prediction).to(before.pattern.dtype), memory=(code,))

    def local_gradients(
        self,
        patterns: Mapping[str, Tensor],
        before: BlockState,
        after: BlockState,
        context: StepContext,
        learning: LearningContext,
    ) -> LocalResult:
        """Loss and gradients, see the equations of this module; the distribution of the code is tracked, too."""
        code = after.memory[0]
        loss, grad = self.loss_and_gradient(self.target_pattern(patterns), after.activity, learning)
        if not learning.is_static:
            self.saw_sequences.fill_(True)
        if learning.is_first and learning.labels is not None:
            exact = self.code(self.target_pattern(patterns))  # without noise, which would widen the distribution
            membership = F.one_hot(learning.labels, len(self.class_weight)).T * (learning.sample_weight > 0)
            self.track(exact[:, 0], membership.to(exact.dtype), learning.share)
        gradients = {
            "weight": functional.weight_gradient(grad, code),
            "bias": functional.bias_gradient(grad, self.bias.dtype),
        }
        return LocalResult(loss, None, gradients)

    def track(self, code: Tensor, membership: Tensor, share: BatchShare = WHOLE) -> None:
        """Add a batch to the distributions of the classes. Those without a sample in it stay unchanged.

        Args:
            code: (size, batch).
            membership: (classes, batch), the label of each sample, one-hot.
            share: the part of the batch that these samples are.
        """
        products = torch.einsum("cb,ib,jb->cij", membership, code, code)
        count, total, products = share.summed(membership.sum(1), membership @ code.T, products)
        decay = DECAY ** (count > 0).to(code.dtype)
        self.class_weight.mul_(decay).add_(count)
        self.class_sum.mul_(decay[:, None]).add_(total)
        self.class_products.mul_(decay[:, None, None]).add_(products)

    def distribution(self, number: int | None) -> tuple[Tensor, Tensor]:
        """The mean, (size,), and the covariance, (size, size), of the code in a class that was seen; None for all classes."""
        sums = self.class_weight, self.class_sum, self.class_products
        weight, total, products = (each.sum(0) if number is None else each[number] for each in sums)
        mean = total / weight
        return mean, products / weight - torch.outer(mean, mean)

    def sample(self, number: int, noise: Tensor, temperature: float) -> Tensor:
        """Codes of a class, drawn from its Gaussian distribution.

        Args:
            number: the class, which has been seen in training.
            noise: (size, count) numbers from the standard normal distribution.
            temperature: the factor of the standard deviation.

        Returns:
            (size, 1, count).
        """
        mean, covariance = self.distribution(number)
        variances, directions = torch.linalg.eigh(covariance)  # a class of few samples has a singular covariance
        # Variances that are zero but for rounding are zero: their roots would be a thousand times larger than the rounding.
        rounding = torch.finfo(mean.dtype).eps * self.size * (covariance.trace() + mean.square().sum())
        factor = (directions * variances.where(variances > rounding, 0).sqrt()) @ directions.T  # the symmetric root is unique
        code: Tensor = mean[:, None] + temperature * factor @ noise
        return code.unsqueeze(1)
