"""Kernels: a layer's timestep as one function, eager or compiled.

`respond` and `learn`, with an optimizer's update after it, are all that runs in the inner loop. `compiled` turns each
sequence of element-wise operations in them into one pass over memory. The matrix products stay those of the library.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from RecurrentFF.model import functional
from RecurrentFF.model.connections import Masks
from RecurrentFF.model.layers import LearningContext
from RecurrentFF.model.learning_rule import Hyperparameters, activate, hardest_samples, loss_gradients


class LayerInputs(NamedTuple):
    """The tensors of a layer's timestep. Its pre-activation is the sum of the products weight · source and the bias."""

    sources: Sequence[Tensor]
    """The patterns that the layer reads, each (columns, candidates or 1, batch)."""
    weights: Sequence[Tensor]
    """The weight of each source, (units, columns), of the type of the sources."""
    bias: Tensor
    """The bias, (units, 1, 1), or (units, candidates or 1, batch) with the drive of a static input."""
    h: Tensor
    """The activity before the timestep, (units, candidates or 1, batch)."""
    output: Tensor
    """The place of the pattern after the timestep, (units, candidates or 1, batch)."""
    masks: Masks | None
    """The dropout factors of each source's drive, (units, candidates, batch)."""


class Response(NamedTuple):
    """The outcome of a layer's timestep."""

    z: Tensor
    """The pre-activation, (units, candidates or 1, batch)."""
    h: Tensor
    """The activity after the timestep, (units, candidates or 1, batch)."""
    badness: Tensor
    """The badness, (candidates or 1, batch)."""


class Learned(NamedTuple):
    """The outcome of a layer's timestep with its local gradients."""

    h: Tensor
    """The activity after the timestep, (units, candidates or 1, batch)."""
    badness: Tensor
    """The badness, (candidates or 1, batch)."""
    loss: Tensor
    """The loss, ()."""
    grad_weight: Tensor
    """∂loss/∂weight, (units, columns), in the type of the sources."""
    grad_bias: Tensor
    """∂loss/∂bias, (units,)."""
    grad_input: Tensor | None
    """∂loss/∂x, (features, candidates or 1, batch); None where it was not asked for."""


def respond(inputs: LayerInputs, hyper: Hyperparameters) -> Response:
    """Compute a layer's timestep; the pattern n(h') is written into `inputs.output`."""
    z = inputs.bias
    for index, (source, weight) in enumerate(zip(inputs.sources, inputs.weights, strict=True)):
        drive = functional.linear_drive(weight, source)
        z = z + (drive if inputs.masks is None else inputs.masks[index] * drive)
    h, pattern, badness = activate(z, inputs.h, hyper)
    inputs.output.copy_(pattern)
    return Response(z, h, badness)


def learn(inputs: LayerInputs, hyper: Hyperparameters, learning: LearningContext, running: Tensor | None) -> Learned:
    """Compute a layer's timestep and its local gradients, as `Layer.step` and `Layer.local_gradients` do.

    Args:
        inputs, hyper: as for `respond`.
        learning: the objective and the weight of each sample. If ∂loss/∂x is wanted, the input is the first source.
        running: (units,) running activity for peer normalization, updated in place; None without.
    """
    z, h, badness = respond(inputs, hyper)
    loss, grad_badness, grad_z = loss_gradients(z, h, badness, hyper, learning, running)
    sources, masks = inputs.sources, inputs.masks
    grad_z, grad_input = grad_z.to(sources[0].dtype), None
    if learning.input_gradient:
        grad_input = functional.source_gradient(_masked(grad_z, masks, 0), inputs.weights[0], sources[0].shape[1])
    if hyper.hard_example_fraction < 1 and len(badness) > 1:
        chosen = hardest_samples(grad_badness, hyper, learning)
        grad_z, sources = grad_z.index_select(2, chosen), [source.index_select(2, chosen) for source in sources]
        masks = None if masks is None else [mask.index_select(2, chosen) for mask in masks]
    grad_weight = _weight_gradient(grad_z, sources, masks)
    return Learned(h, badness, loss, grad_weight, functional.bias_gradient(grad_z, z.dtype), grad_input)


def _weight_gradient(grad_z: Tensor, sources: Sequence[Tensor], masks: Masks | None) -> Tensor:
    """∂loss/∂weight, (units, columns), of the weights of all sources side by side."""
    blocks = []
    for index, source in enumerate(sources):
        grad_drive = functional.sum_candidates(_masked(grad_z, masks, index), source.shape[1])
        # A wide product is faster in two halves: the library chooses its block sizes badly for it.
        halves = source.chunk(2 if len(source) > 2 * len(grad_z) else 1)
        blocks += [functional.weight_gradient(grad_drive, half) for half in halves]
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks, 1)


def _masked(grad_z: Tensor, masks: Masks | None, index: int) -> Tensor:
    """∂loss/∂drive of one source from ∂loss/∂z."""
    return grad_z if masks is None else (masks[index] * grad_z).to(grad_z.dtype)


def rmsprop(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    squares: Sequence[Tensor],
    velocities: Sequence[Tensor],
    compute_weight: Tensor | None,
    rate: Tensor,
    momentum: float,
    decay: float = 0.99,
    epsilon: float = 1e-8,
) -> None:
    """The update of torch.optim.RMSprop in one pass over memory, in place.

        v ← ρ·v + (1 − ρ)·g²        u ← μ·u + g / (√v + ε)        W ← W − rate·u

    Args:
        parameters: each W, and `gradients`, g, of the same shapes and any type.
        squares: v of each parameter.
        velocities: u of each parameter; empty without momentum.
        compute_weight: set to the first of the new parameters, in its own type; None if there is no copy.
        rate: the learning rate, ().
        momentum: μ. `decay` is ρ.
    """
    for index, (parameter, gradient, square) in enumerate(zip(parameters, gradients, squares, strict=True)):
        gradient = gradient.to(parameter.dtype)
        square.mul_(decay).addcmul_(gradient, gradient, value=1 - decay)
        update = gradient / square.sqrt().add_(epsilon)
        if velocities:
            update = velocities[index].mul_(momentum).add_(update)
        parameter.addcmul_(rate, update, value=-1)
    if compute_weight is not None:
        compute_weight.copy_(parameters[0])


BLOCK = 2**18
"""The number of elements of a block in `rmsprop_in_blocks`, whose tensors together fit into the cache of a core."""


def rmsprop_in_blocks(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    squares: Sequence[Tensor],
    velocities: Sequence[Tensor],
    compute_weight: Tensor | None,
    rate: Tensor,
    momentum: float,
) -> None:
    """`rmsprop`, for a large weight on a CPU by blocks of rows, so that each of its operations finds them in the cache.

    The result is the same, bit for bit. The arguments are those of `rmsprop`.
    """
    weight = parameters[0]
    rows = max(1, BLOCK // weight[0].numel())
    if weight.device.type != "cpu" or len(weight) <= rows:
        rmsprop(parameters, gradients, squares, velocities, compute_weight, rate, momentum)
        return
    rmsprop(parameters[1:], gradients[1:], squares[1:], velocities[1:], None, rate, momentum)
    for first in range(0, len(weight), rows):
        block = slice(first, first + rows)
        own = [[tensor[block] for tensor in group[:1]] for group in (parameters, gradients, squares, velocities)]
        copy = None if compute_weight is None else compute_weight[block]
        rmsprop(own[0], own[1], own[2], own[3], copy, rate, momentum)


class Kernels(NamedTuple):
    """The functions of the inner loop, eager or compiled."""

    respond: Callable[..., Response]
    learn: Callable[..., Learned]
    rmsprop: Callable[..., None]


EAGER = Kernels(respond, learn, rmsprop_in_blocks)
"""The kernels without compilation."""


@cache
def compiled() -> Kernels:
    """The compiled kernels, one set for all networks. The first calls take the seconds that the compiler needs.

    A graph serves all sizes, but each combination of sources and types needs one of its own. torch stops compiling after 8
    of them by default; this raises the limit for the whole process. It also lets sizes that are equal by chance differ.
    """
    import torch._dynamo.config  # imported late: the compiler takes a second or more to import
    import torch.fx.experimental._config

    for name in ("recompile_limit", "cache_size_limit"):  # the newer and the older name
        if hasattr(torch._dynamo.config, name):
            setattr(torch._dynamo.config, name, 256)
    torch.fx.experimental._config.use_duck_shape = False
    return Kernels(torch.compile(respond, dynamic=True), torch.compile(learn, dynamic=True), torch.compile(rmsprop, dynamic=True))
