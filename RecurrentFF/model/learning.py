r"""The learning rule of one layer, written out: it is local in space and in time, so three factors are the whole chain.

    ∂loss/∂z = ∂loss/∂badness · ∂badness/∂h' · ∂h'/∂z = slope · 2h'/n · d·activation'(z)

    ∂loss/∂W = ∂loss/∂z · [below; n(h); above]ᵀ          ∂loss/∂b = sum of ∂loss/∂z over labels and batch

Nothing here comes from another layer's error or from an earlier timestep: h and the normalised activities that the layer
reads are constants of this timestep.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from RecurrentFF.model.activations import Activation


def drive_gradient(slope: Tensor, h: Tensor, z: Tensor, damping: float, activation: Activation) -> Tensor:
    """∂loss/∂z.

    Args:
        slope: (labels, batch) ∂loss/∂badness from the objective.
        h: (units, labels, batch) activity after the timestep, h'.
        z: (units, labels, batch) the drive that led to it.

    Returns:
        (units, labels, batch).
    """
    units = h.shape[0]
    grad_activation = slope * (2 * damping / units) * h
    return activation.backward(grad_activation, z)


def weight_gradient(grad_z: Tensor, sources: Sequence[Tensor], masks: Sequence[Tensor] | None = None) -> Tensor:
    """∂loss/∂W, (units, columns) in the type of `sources` and `grad_z`; arguments as for `dynamics.drive`."""
    parts = []
    for index, source in enumerate(sources):
        grad_drive = grad_z if masks is None else (masks[index] * grad_z).to(grad_z.dtype)
        if source.shape[1] != grad_z.shape[1]:  # the input, which drove the layer under every label
            grad_drive = grad_drive.sum(1, keepdim=True)
        # A product so wide is faster in two halves: the library's choice of blocks suits it badly.
        halves = source.flatten(1).chunk(2 if len(source) > 2 * len(grad_z) else 1)
        parts += [grad_drive.flatten(1) @ half.T for half in halves]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)
