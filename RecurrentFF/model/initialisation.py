"""Initial weights of a hidden layer.

Forward: Kaiming-uniform (relu). Lateral: orthogonal, gain √2. Backward: uniform(−0.05, 0.05), but from the label normal with
standard deviation 3·√(2/C). Residual connections start like forward ones when they lead up, like backward ones when they lead
down. Biases are zero. The columns of connections from above hold −W_b (see `dynamics`).
"""

import math

import torch
from torch import Tensor, nn

from RecurrentFF.model.topology import Topology


def initial_weight(topology: Topology, layer: int, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """The stacked weight [W_f | W_lat | −W_b] of a hidden layer, (units, columns), on the generator's device."""
    blocks = []
    for source in topology.sources(layer):
        block = torch.empty(topology.widths[layer], topology.widths[source], dtype=dtype, device=generator.device)
        if source < layer:
            nn.init.kaiming_uniform_(block, nonlinearity="relu", generator=generator)
        elif source == layer:
            nn.init.orthogonal_(block, gain=math.sqrt(2), generator=generator)
        elif source == topology.label:
            nn.init.normal_(block, std=3 * math.sqrt(2 / topology.widths[source]), generator=generator).neg_()
        else:
            nn.init.uniform_(block, -0.05, 0.05, generator=generator).neg_()
        blocks.append(block)
    return torch.cat(blocks, 1)
