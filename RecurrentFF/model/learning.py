r"""The learning rule of one layer, written out: it is local in space and in time, so three factors are the whole chain.

    ∂loss/∂z = ∂loss/∂badness · ∂badness/∂h' · ∂h'/∂z = slope · 2h'/n · d·activation'(z)

    ∂loss/∂W = (∂loss/∂z)ᵀ · [below | n(h) | above]          ∂loss/∂b = sum of ∂loss/∂z over labels and batch

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
        h: (labels, batch, units) activity after the timestep, h'.
        z: (labels, batch, units) the drive that led to it.

    Returns:
        (labels, batch, units).
    """
    units = h.shape[-1]
    grad_activation = (slope * (2 * damping / units)).unsqueeze(-1) * h
    return activation.backward(grad_activation, z)


def weight_gradient(grad_z: Tensor, sources: Sequence[Tensor], masks: Sequence[Tensor] | None = None) -> Tensor:
    """∂loss/∂W, (units, columns) in the type of the sources; arguments as for `dynamics.drive`."""
    parts = []
    for index, source in enumerate(sources):
        grad_drive = grad_z if masks is None else masks[index] * grad_z
        if source.dim() == 2:  # the input, which drove the layer under every label
            grad_drive = grad_drive.sum(0)
        parts.append(grad_drive.flatten(0, -2).to(source.dtype).T @ source.flatten(0, -2))
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)
