"""Generated negatives: images of a wrong class, which the network's own generative circuit makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor

from RecurrentFF.errors import InputError, SettingsError
from RecurrentFF.model.draws import BatchDraws
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
        network, draws = context.network, context.draws
        if len(context.inputs) > 1:
            raise InputError("negatives: the inputs change over time; only inputs that stay the same can be generated")
        latent = latent_of(network)
        learned = network.processes.computed_by(latent.name, lambda: latent.class_weight > 0, latent.class_weight > 0)
        if int(learned.sum()) <= self.count:
            others = _of_other_classes(self.count, context.gathered(context.labels[0]), draws)
            return Negatives(inputs=context.gathered(context.inputs)[:, :, 0, others])
        logits = torch.zeros(network.num_classes, device=network.device).masked_fill(~learned, -torch.inf)
        numbers = sample_wrong_labels(logits, context.labels[0], draws, count=self.count)
        noise = draws.normal("generated negatives", latent.size, self.count).flatten(1).to(network.dtype)

        def generate() -> Tensor:
            return generated_inputs(network, numbers.flatten(), noise, self.temperature).view(1, -1, *numbers.shape)

        like = context.inputs.new_empty(1, network.input_size, *numbers.shape)
        return Negatives(inputs=network.processes.computed_by(latent.name, generate, like))


def _of_other_classes(count: int, labels: Tensor, draws: BatchDraws) -> Tensor:
    """For each sample the indices of random ones of other classes, (count, batch); its own where there is no other class.

    Args:
        count: the number of indices.
        labels: the class numbers of the whole batch, to which the indices belong.
        draws: the random numbers of this process's samples.
    """
    own = torch.arange(len(labels), device=labels.device)[draws.part]
    keys = draws.uniform("other classes", len(labels)).masked_fill(labels.unsqueeze(1) == labels[own], -1.0)
    best = keys.topk(min(count, len(labels)), 0)
    chosen = torch.where(best.values < 0, own, best.indices)
    return chosen[torch.arange(count, device=labels.device) % len(chosen)]
