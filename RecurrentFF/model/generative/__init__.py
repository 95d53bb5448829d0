"""The generative circuit: top-down maps that predict every block from the layer above it, and a latent code above the top layer.

It learns beside the hidden layers, locally, and changes nothing in them. `circuit` has the options and makes the modules,
`reconstruction` and `latent` are the two kinds of modules, and `RecurrentFF.model.imagination` is what a network does with them:
reconstruct, complete and generate.
"""

from RecurrentFF.model.generative.circuit import GenerativeCircuit, ReconstructionCircuit
from RecurrentFF.model.generative.latent import LatentReconstruction
from RecurrentFF.model.generative.reconstruction import Reconstruction, TopDownMap

__all__ = ["GenerativeCircuit", "LatentReconstruction", "Reconstruction", "ReconstructionCircuit", "TopDownMap"]
