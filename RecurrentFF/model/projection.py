"""Projections by a generative circuit: predictions of the input from the activity of a layer, or from a latent code.

The maps of the circuit predict block after block down to the input,

    p_l = n(prediction from p_{l+1})        …        p_0 = prediction of the input from p_1

so that a projection from "h1" uses the first map alone, one from the top layer uses all maps but the latent, and one from
"latent" passes through the few numbers of the code. (After Ororbia and Mali 2023, arXiv:2301.01452.)
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from RecurrentFF.errors import InputError
from RecurrentFF.model.functional import at_timestep
from RecurrentFF.model.generative import LatentReconstruction, Reconstruction, TopDownMap

if TYPE_CHECKING:  # the network imports this module
    from RecurrentFF.model.network import Network
    from RecurrentFF.model.state import State

LATENT = "latent"
"""The level of the code above the top layer, from which an input can be projected."""


def has_circuit(network: Network) -> bool:
    """True if a network has a circuit that predicts its input."""
    return bool(levels(network))


def require_circuit(network: Network, what: str) -> None:
    """Check that a network has a generative circuit.

    Raises:
        InputError: it has none.
    """
    if not has_circuit(network):
        raise InputError(
            f'{what}: the network has no generative circuit; build it with generative="reconstruction" (in a file: [generative] '
            'name = "reconstruction"), and train it'
        )


# ---------------------------------------------------------------- projections


def levels(network: Network) -> list[str]:
    """The levels from which a network can project an input: its hidden layers, bottom to top, and "latent".

    Of a circuit that does not predict all blocks, they end below the first that is missing. Without a circuit there are none.
    """
    found: list[str] = []
    maps = {module.target: module for module in network.local_modules if isinstance(module, TopDownMap)}
    for below, layer in pairwise(network.sizes):
        module = maps.get(below)
        if isinstance(module, LatentReconstruction) and layer == "y":  # it predicts the top layer
            found.append(LATENT)
        elif isinstance(module, Reconstruction) and module.source == layer:
            found.append(layer)
        else:
            break
    return found


def project(network: Network, pattern: Tensor, level: str) -> Tensor:
    """Predict the input from the pattern of a hidden layer.

    Args:
        network: a network with a circuit.
        pattern: (units, candidates, batch).
        level: the name of the layer; or "latent": from the code of the pattern of the top layer.

    Returns:
        p_0, (features, candidates, batch).
    """
    names = [layer.name for layer in network.hidden_layers()]
    if level == LATENT:
        latent = latent_of(network)
        return project_code(network, latent.code(pattern))
    for target in reversed(["x", *names[: names.index(level)]]):
        module = cast(Reconstruction, network.layers[f"predict_{target}"])
        pattern = module.as_pattern(module.predict(pattern.to(network.compute_dtype)))
    return pattern


def project_code(network: Network, code: Tensor) -> Tensor:
    """Predict the input, (features, candidates, batch), from codes of the latent, (size, candidates, batch)."""
    latent = latent_of(network)
    return project(network, latent.as_pattern(latent.predict(code)), network.hidden_layers()[-1].name)


def latent_of(network: Network) -> LatentReconstruction:
    """The module with the latent code of a network of which `levels` has "latent"."""
    return cast(LatentReconstruction, network.layers[f"predict_{network.hidden_layers()[-1].name}"])


def projected_inputs(network: Network, x: Tensor, labels: Tensor | None, level: str) -> Tensor:
    """Predict inputs from the activity that they lead to, after every timestep.

    Args:
        network: a network with a circuit.
        x: (timesteps or 1, features, 1, batch).
        labels: class numbers, (batch,), which are shown after the label-free timesteps; None to stop there.
        level: the level to project from.

    Returns:
        (1, features, 1, batch), after the last timestep, of static inputs; (timesteps, features, 1, batch) of others.
    """
    source = network.hidden_layers()[-1].name if level == LATENT else level
    projections: list[Tensor] = []

    def keep(_: Any = None) -> None:
        if len(x) > 1:
            projections.append(project(network, state.patterns[source][:, :1], level))

    state = network.path.new_state(1, x.shape[3])
    network.settle(state, x, after_timestep=keep)
    if labels is not None:
        options = network.settings.network
        y = F.one_hot(labels, network.num_classes).T.unsqueeze(1).to(network.dtype)
        for t in range(options.label_timesteps):
            state.clamp(at_timestep(x, options.prelabel_timesteps + t), y, static=len(x) == 1)
            network.step(state, options.damping_factor)
            keep()
    return torch.stack(projections) if projections else project(network, state.patterns[source][:, :1], level)[None]


def projected_in_parts(network: Network, x: Tensor, labels: Tensor | None, level: str) -> Tensor:
    """The result of `projected_inputs`, computed for `prediction_batch_size` samples at a time."""
    size = network.settings.training.prediction_batch_size
    parts = [
        projected_inputs(network, x[..., i : i + size], None if labels is None else labels[i : i + size], level)
        for i in range(0, x.shape[3], size)
    ]
    return torch.cat(parts, 3)


def clipped(network: Network, inputs: Tensor) -> Tensor:
    """Network inputs (…, features, candidates, batch), cut to the range that the task's transform can give, if it has one."""
    limits = None if network.task is None else network.task.transform.limits
    return inputs if limits is None else inputs.clamp(*limits)


# ---------------------------------------------------------------- feedback into predictions


def has_feedback(network: Network) -> bool:
    """True if the settings ask for the feedback of the circuit into predictions, and there is a circuit."""
    circuit = network.settings.generative
    return circuit is not None and circuit.feedback > 0 and has_circuit(network)


def with_feedback(network: Network, state: State, x: Tensor) -> Tensor:
    """The input of a timestep of a prediction, to which the error of the circuit is added: x + feedback · (x − p_0).

    Args:
        network: a network with or without a circuit.
        state: the state after the previous timestep. The circuit predicts p_0 from its highest level: the code of the top layer.
        x: the input, (features, candidates or 1, batch).

    Returns:
        (features, candidates or 1, batch); x itself without feedback.
    """
    circuit = network.settings.generative
    if circuit is None or not has_feedback(network):
        return x
    level = levels(network)[-1]
    source = network.hidden_layers()[-1].name if level == LATENT else level
    predicted = clipped(network, project(network, state.patterns[source], level))
    return x + circuit.feedback * (x - predicted)
