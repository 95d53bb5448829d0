r"""The learning rule of one layer, written out: it is local in space and in time, so three factors are the whole chain.

    ∂loss/∂z = ∂loss/∂badness · ∂badness/∂h' · ∂h'/∂z = slope · 2h'/n · d·activation'(z)

    ∂loss/∂W = (∂loss/∂z)ᵀ · [below | n(h) | above]          ∂loss/∂b = sum over rows of ∂loss/∂z

Nothing here comes from another layer's error or from an earlier timestep: h and the normalised activities that the layer
reads are constants of this timestep.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from RecurrentFF.model.activations import Activation
from RecurrentFF.model.dynamics import Connection


def drive_gradient(slope: Tensor, h: Tensor, z: Tensor, damping: float, activation: Activation) -> Tensor:
    """∂loss/∂z.

    Args:
        slope: (rows,) ∂loss/∂badness from the objective.
        h: (rows, units) activity after the timestep, h'.
        z: (rows, units) the drive that led to it.

    Returns:
        (rows, units).
    """
    units = h.shape[1]
    grad_activation = (slope * (2 * damping / units)).unsqueeze(1) * h
    return activation.backward(grad_activation, z)


def weight_gradient(
    grad_z: Tensor, state: Tensor, connections: Sequence[Connection], masks: Sequence[Tensor] | None = None
) -> Tensor:
    """∂loss/∂W, (units, columns) in the type of `state`; arguments as for `dynamics.drive`."""
    parts = []
    for index, (read, _) in enumerate(connections):
        grad_drive = grad_z if masks is None else masks[index] * grad_z
        parts.append(grad_drive.to(state.dtype).T @ state[:, read])
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)
