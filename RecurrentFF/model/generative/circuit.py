"""The options of a generative circuit, and the modules that they describe.

A circuit of your own is a dataclass with one method, `make`, that returns local modules with `is_hidden_layer = False`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from RecurrentFF.model.activations import Activation
from RecurrentFF.model.generative.latent import LatentReconstruction
from RecurrentFF.model.generative.reconstruction import Reconstruction, TopDownMap
from RecurrentFF.model.layers import LocalModule
from RecurrentFF.model.optimizers import Adam, Optimizer
from RecurrentFF.options import Flag
from RecurrentFF.registry import Component, ComponentOf, register

DEFAULT_OPTIMIZER = Adam(learning_rate=5e-3)
"""The optimizer of a circuit, unless another one is chosen."""


class GenerativeCircuit(Component, ABC, kind="generative"):
    """A generative circuit beside the hidden layers.

    Attributes:
        freeze_layers: true if only the circuit learns, while the layers and the readout stay unchanged.
        reads_activity: true if the circuit reads the label-free activity, and so needs timesteps before the label.
        feedback: how strongly the circuit's error at the input is added to the input in a prediction; 0 for not at all.
    """

    freeze_layers: bool = False
    feedback: float = 0.0
    reads_activity: ClassVar[bool] = False

    @abstractmethod
    def make(
        self, sizes: Mapping[str, int], activation: Activation, dtype: torch.dtype, generator: torch.Generator
    ) -> Sequence[LocalModule]:
        """The modules of the circuit, from the top to the input.

        Args:
            sizes: the number of units of every block by name, from the input "x" to the label "y".
            activation: the activation of the hidden layers.
            dtype: the type of the parameters.
            generator: the source of the initial weights, on the CPU.
        """


@register("generative", "reconstruction")
@dataclass(frozen=True)
class ReconstructionCircuit(GenerativeCircuit):
    """Top-down maps that predict every block from the layer above it, and a latent code above the top layer.

    After the generative circuit of Ororbia and Mali (arXiv:2301.01452). The circuit learns at the timesteps with the label.
    """

    reads_activity: ClassVar[bool] = True

    latent_size: Annotated[int, Field(ge=1, le=10_000)] = 64
    """The number of values of the code above the top layer. A class is a Gaussian distribution of it."""
    noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.1
    """The standard deviation of the noise on what the maps read in training; that of a pattern is 1."""
    optimizer: Annotated[Optimizer, ComponentOf("optimizer")] = DEFAULT_OPTIMIZER
    """The optimizer of the circuit."""
    freeze_layers: Flag = False
    """Let only the circuit learn, beside layers that stay unchanged: for a network that is trained already (`weights`)."""
    feedback: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """The strength of the feedback in a prediction: an input becomes x + feedback · (x − p), where the circuit predicts p.

    What the circuit can't predict then has more badness. Training does not use it, except that negatives = "badness" are drawn by
    predictions. With 0 there is no feedback.
    """

    def make(
        self, sizes: Mapping[str, int], activation: Activation, dtype: torch.dtype, generator: torch.Generator
    ) -> list[TopDownMap]:
        """The modules of the circuit, from the top to the input, see `GenerativeCircuit.make`."""
        *blocks, label = sizes
        top = blocks[-1]
        modules: list[TopDownMap] = [
            LatentReconstruction(
                top,
                sizes[top],
                self.latent_size,
                sizes[label],
                noise=self.noise,
                optimizer=self.optimizer,
                dtype=dtype,
                generator=generator,
            )
        ]
        for source, target in pairwise(reversed(blocks)):
            modules.append(
                Reconstruction(
                    target,
                    source,
                    sizes[target],
                    sizes[source],
                    activation=None if target == "x" else activation,
                    noise=self.noise,
                    optimizer=self.optimizer,
                    dtype=dtype,
                    generator=generator,
                )
            )
        return modules
