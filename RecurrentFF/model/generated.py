"""Generated negatives: images of a wrong class, which the network's own generative circuit makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor

from RecurrentFF.errors import InputError, SettingsError
from RecurrentFF.model.imagination import generated_inputs
from RecurrentFF.model.negatives import Count, InputNegatives, Negatives, NegativeSource, SamplingContext, sample_wrong_labels
from RecurrentFF.model.projection import LATENT, latent_of, levels
from RecurrentFF.registry import register

if TYPE_CHECKING:  # the network imports nothing from here, but its type is needed
    from RecurrentFF.model.network import Network


@register("negatives", "generated")
@dataclass(frozen=True)
class GeneratedNegatives(InputNegatives):
    """Wrong inputs: images of a random wrong class from the network's generative circuit, shown with the true label.

    The label is wrong for the image, and the image differs from real ones. They are of the classes that the circuit has seen.
    Until these are enough, real samples of the batch that are of other classes take the place of generated ones. The inputs must
    not change over time.
    """

    count: Count = 1
    """The number of generated images of each sample, all of different classes; at most num_classes − 1."""
    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """The factor of the standard deviation of the circuit's code: below 1, the images of a class are more alike."""
    needs_circuit = True

    def for_network(self, network: Network) -> NegativeSource:
        """The source for a network.

        Raises:
            SettingsError: the network has no circuit that can generate inputs, or fewer wrong classes than `count`.
        """
        if LATENT not in levels(network):
            raise SettingsError(
                'negatives: generated ones need a generative circuit with a latent code; set generative.name = "reconstruction"'
            )
        if self.count >= network.num_classes:
            raise SettingsError(f"negatives.count = {self.count}: there are only {network.num_classes - 1} wrong classes")
        return super().for_network(network)

    def sample(self, context: SamplingContext) -> Negatives:
        """Draw wrong classes, and generate an image of each.

        Raises:
            InputError: the inputs change over time.
        """
        network, generator = context.network, context.generator
        if len(context.inputs) > 1:
            raise InputError("negatives: the inputs change over time; only inputs that stay the same can be generated")
        learned = latent_of(network).class_weight > 0
        if int(learned.sum()) <= self.count:
            return Negatives(inputs=context.inputs[:, :, 0, _of_other_classes(self.count, context.labels[0], generator)])
        logits = torch.zeros(network.num_classes, device=network.device).masked_fill(~learned, -torch.inf)
        numbers = sample_wrong_labels(logits, context.labels[0], generator, count=self.count)
        generated = generated_inputs(network, numbers.flatten(), generator, self.temperature)
        return Negatives(inputs=generated.view(1, -1, *numbers.shape))


def _of_other_classes(count: int, labels: Tensor, generator: torch.Generator) -> Tensor:
    """For each sample the indices of random ones of other classes, (count, batch); its own where there is no other class."""
    batch = len(labels)
    keys = torch.rand(batch, batch, generator=generator, device=generator.device)
    keys = keys.masked_fill(labels == labels.unsqueeze(1), -1.0)
    best = keys.topk(min(count, batch), 1)
    own = torch.arange(batch, device=labels.device).unsqueeze(1)
    chosen = torch.where(best.values < 0, own, best.indices).T
    return chosen[torch.arange(count, device=labels.device) % len(chosen)]
