"""Initial weights by the kind of a connection. Biases start at zero.

Forward weights are Kaiming-uniform (for ReLU), lateral ones orthogonal with gain √2, backward ones uniform in
(−0.05, 0.05), and those from the label normal with standard deviation 3·√(2/C) for C classes. A residual connection
starts like a forward one where it leads up, and like a backward one where it leads down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Kind = Literal["forward", "lateral", "backward", "label"]
"""The direction of a connection: from below, from the layer itself, from above, or from the label."""


def initial_weight(
    kind: Kind, shape: Sequence[int], dtype: torch.dtype = torch.float32, generator: torch.Generator | None = None
) -> Tensor:
    """The initial weight of a connection, with the sign of the equations.

    Args:
        kind: the direction of the connection.
        shape: (units, features), or (out_channels, in_channels, height, width) of a convolution's kernel.
        dtype: the type of the weight.
        generator: the source of randomness; the weight is on its device. torch's default generator if left out.
    """
    weight = torch.empty(*shape, dtype=dtype, device="cpu" if generator is None else generator.device)
    if kind == "forward":
        return nn.init.kaiming_uniform_(weight, nonlinearity="relu", generator=generator)
    if kind == "lateral":
        return nn.init.orthogonal_(weight, gain=math.sqrt(2), generator=generator)
    if kind == "backward":
        return nn.init.uniform_(weight, -0.05, 0.05, generator=generator)
    return nn.init.normal_(weight, std=3 * math.sqrt(2 / shape[1]), generator=generator)
