"""The three methods of prediction: by badness, by the readout, or by both.

    badness             Every label is tried. The predicted one has the lowest badness.
    readout             The predicted label has the highest logit of the linear readout of the label-free activity.
    propose_and_verify  The readout proposes k labels, which alone are tried. The predicted one has the lowest badness.

Trying a label means to show it for the timesteps up to the end of the prediction window, which costs most of a prediction. The
readout needs the timesteps before the label alone, which all candidates share. (Hinton 2022, arXiv:2212.13345, section 3.3, has
a fast prediction by a softmax of the activity, and a slow one that runs the network with each label.)
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from RecurrentFF.errors import DivergenceError, InputError, SettingsError
from RecurrentFF.messages import shown
from RecurrentFF.model.connections import Connection
from RecurrentFF.model.divided_readout import logits_of
from RecurrentFF.model.functional import at_timestep, window_weights
from RecurrentFF.model.projection import has_feedback, with_feedback
from RecurrentFF.model.state import State
from RecurrentFF.settings.network import METHODS, PredictionMethod
from RecurrentFF.streams import note_once
from RecurrentFF.tensors import can_be_read, first_sample
from RecurrentFF.values import of_python

if TYPE_CHECKING:  # the network imports this module
    from RecurrentFF.model.network import Network

PREDICTION_MEMORY = 2**30
"""The most bytes of activity that a prediction takes, unless a single sample with all labels needs more."""


class Scores(NamedTuple):
    """The prediction of samples, and the numbers that it rests on."""

    numbers: Tensor
    """The predicted class numbers, (batch,)."""
    badness: Tensor | None = None
    """The badness with each label, (batch, classes), infinite for labels that were not tried; None if none was."""
    logits: Tensor | None = None
    """The readout's logits, (batch, classes); None if it was not used."""

    def to(self, target: torch.device | torch.dtype | str) -> Scores:
        """The same scores on another device, or in another floating-point type."""
        numbers = self.numbers if isinstance(target, torch.dtype) else self.numbers.to(target)
        return Scores(numbers, *(None if values is None else values.to(target) for values in (self.badness, self.logits)))


def layers_of(network: Network) -> list[str]:
    """The names of the hidden layers whose badness is averaged for a prediction.

    Raises:
        SettingsError: `network.prediction_layers` names a layer that is not there.
    """
    names = [module.name for module in network.hidden_layers()]
    numbers = network.settings.network.prediction_layers
    if numbers is None:
        return names
    if max(numbers) > len(names):
        raise SettingsError(f"network.prediction_layers: {list(numbers)} must name layers from 1 to {len(names)}")
    return [names[number - 1] for number in numbers]


# ---------------------------------------------------------------- the three methods


@torch.no_grad()
def scores_of(network: Network, x: Tensor, mask: Tensor | None = None, method: PredictionMethod | None = None) -> Scores:
    """Predict inputs in the network's layout. What comes out may be NaN or infinite.

    Args:
        network: the network.
        x: (timesteps or 1, features, 1, batch). They are processed `samples_at_once` at a time.
        mask: the valid timesteps, (timesteps, batch); None for all.
        method: the method of prediction; None for `default_method`.
    """
    method = method or default_method(network, reads_weights=can_be_read(x))
    if method == "badness":
        badness = network.badness_of(x, mask)
        return Scores(badness.argmin(1), badness)
    proposals = proposals_of(network)
    size = samples_at_once(network, 1 if method == "readout" else proposals)
    if method == "readout":
        logits = torch.cat([_readout(network, _settled(network, chunk, 1)) for chunk in torch.split(x, size, 3)])
        return Scores(logits.argmax(1), logits=logits)
    weights = window_weights(network.valid_timesteps(mask, x.shape[3]), network.settings.prediction_window)
    chunks = zip(torch.split(x, size, 3), torch.split(weights, size, 1), strict=True)
    parts = [_proposed_and_verified(network, chunk, weight, proposals) for chunk, weight in chunks]
    badness, logits = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return Scores(badness.argmin(1), badness, logits)


def proposals_of(network: Network) -> int:
    """The number of labels that "propose_and_verify" tries: `network.proposals`, or all if there are fewer."""
    return min(network.settings.network.proposals, network.num_classes)


def badness_of(network: Network, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """`Network.badness` of inputs in the network's layout, (timesteps or 1, features, 1, batch), which may be NaN or infinite."""
    size = samples_at_once(network, network.num_classes)
    weights = window_weights(network.valid_timesteps(mask, x.shape[3]), network.settings.prediction_window)
    chunks = zip(torch.split(x, size, 3), torch.split(weights, size, 1), strict=True)
    return torch.cat([_badness_of_all_labels(network, chunk, weight) for chunk, weight in chunks])


@torch.no_grad()
def badness_of_layers(network: Network, x: Tensor) -> Tensor:
    """`Network.badness_over_time` of inputs in the network's layout, (timesteps or 1, features, 1, batch)."""
    shape = (network.num_classes, x.shape[3])
    state = _settled(network, x, network.num_classes)
    timesteps = _with_labels(network, state, x, _all_labels(network), network.settings.network.label_timesteps)
    by_layer = [torch.stack([badness.expand(shape) for badness in by_name.values()]) for by_name in timesteps]
    return torch.stack(by_layer).transpose(2, 3)


def _badness_of_all_labels(network: Network, x: Tensor, weights: Tensor) -> Tensor:
    return _badness(network, _settled(network, x, network.num_classes), x, _all_labels(network), weights)


def _proposed_and_verified(network: Network, x: Tensor, weights: Tensor, proposals: int) -> tuple[Tensor, Tensor]:
    """Badness, infinite for the labels that the readout does not propose, and logits, both (batch, classes)."""
    state = _settled(network, x, proposals)
    logits = _readout(network, state)
    # In ascending order, so that with all labels the candidates are those of a prediction by badness, bit for bit.
    tried = logits.topk(proposals, 1).indices.sort(1).values
    y = F.one_hot(tried, network.num_classes).permute(2, 1, 0).to(network.dtype)
    found = _badness(network, state, x, y, weights)
    untried = torch.full((len(tried), network.num_classes), torch.inf, dtype=found.dtype, device=found.device)
    return untried.scatter(1, tried, found), logits


# ---------------------------------------------------------------- timesteps


def _settled(network: Network, x: Tensor, candidates: int) -> State:
    """The state after the label-free timesteps, which are the same for all candidates."""
    state = network.path.new_state(candidates, x.shape[3], network.processes)
    network.settle(state, x)
    return state


def _readout(network: Network, state: State) -> Tensor:
    """The readout's logits, (batch, classes), of a state that has seen no label; NaN where an activity is too large to square."""
    logits = logits_of(network, network.hidden_pattern(state)[:, 0].T)
    own = network.processes.own(network.hidden_layers())
    squares = torch.stack([state.blocks[module.name].activity[:, 0].square().sum(0) for module in own])
    (infinite,) = network.processes.sum_over_layers((~squares.isfinite()).sum(0).to(squares.dtype))
    return logits.masked_fill((infinite > 0).unsqueeze(1), torch.nan)  # the pattern of such an activity would be 0


def _all_labels(network: Network) -> Tensor:
    """Every label, a candidate each, (classes, classes, 1)."""
    return torch.eye(network.num_classes, dtype=network.dtype, device=network.device).unsqueeze(2)


def _badness(network: Network, state: State, x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """The badness with each of the labels, (batch, candidates), averaged over layers and the prediction window.

    Args:
        network: the network.
        state: the state after the label-free timesteps, which is continued.
        x: (timesteps or 1, features, 1, batch).
        y: the labels, (classes, candidates, batch or 1).
        weights: the weights of the timesteps of the window, (timesteps of the window, batch).
    """
    first, last = network.settings.prediction_window
    total = torch.zeros(y.shape[1], x.shape[3], dtype=network.dtype, device=network.device)
    layers = [name for name in network.prediction_layers if network.processes.has(name)]
    for t, badness in enumerate(_with_labels(network, state, x, y, last + 1)):  # what follows the window does not matter
        if t >= first:
            total += weights[t - first] * sum(badness[name] for name in layers) / len(network.prediction_layers)
    (total,) = network.processes.sum_over_layers(total)
    return total.T


def _with_labels(network: Network, state: State, x: Tensor, y: Tensor, timesteps: int) -> Iterator[dict[str, Tensor]]:
    """The badness of every hidden layer after each timestep with the labels y, one for each candidate."""
    prelabel, damping = network.settings.network.prelabel_timesteps, network.settings.network.damping_factor
    for t in range(timesteps):
        x_t = with_feedback(network, state, at_timestep(x, prelabel + t))
        state.clamp(x_t, y, static=len(x) == 1 and not has_feedback(network))
        yield network.step(state, damping)


def samples_at_once(network: Network, candidates: int) -> int:
    """Samples to process at a time: `prediction_batch_size`, or fewer to stay within `PREDICTION_MEMORY`.

    Args:
        network: the network.
        candidates: the number of labels that are tried for each sample.
    """
    patterns, activity = 2 * network.compute_dtype.itemsize, 2 * network.dtype.itemsize  # two states; z and h
    units = sum(network.sizes.values()) - network.input_size
    timesteps = network.settings.network.prelabel_timesteps + network.settings.prediction_window[1] + 1
    kept = sum(module.values_kept(timesteps) for module in network.modules() if isinstance(module, Connection))
    sample = candidates * (units * (patterns + activity) + kept * network.compute_dtype.itemsize)
    return min(network.settings.training.prediction_batch_size, max(1, PREDICTION_MEMORY // sample))


# ---------------------------------------------------------------- probabilities


def probabilities_of(scores: Scores, scale: float) -> Tensor:
    """The probability of each label, (batch, classes), in the type of the scores. The predicted label has the highest.

    Args:
        scores: of any of the three methods. For "propose_and_verify", the probability that the readout gives to all proposals
            together is divided among them by their badness; the other labels keep that of the readout.
        scale: the factor of badness in softmax(−scale · badness), above 0.
    """
    if scores.badness is None:
        assert scores.logits is not None
        return F.softmax(scores.logits, 1)
    badness, limits = scores.badness, torch.finfo(scores.badness.dtype)
    scale = min(max(scale, limits.tiny), limits.max)
    exponents = -scale * badness
    overflows = exponents.amax(1, keepdim=True).isinf()  # the differences to the lowest badness decide then
    exponents = exponents.where(~overflows, -scale * (badness - badness.amin(1, keepdim=True)))
    by_badness = F.softmax(exponents, 1)
    if scores.logits is None:
        return by_badness
    by_readout = F.softmax(scores.logits, 1)
    tried = scores.badness.isfinite()
    proposed = by_readout.where(tried, torch.zeros_like(by_readout)).sum(1, keepdim=True)
    return torch.where(tried, proposed * by_badness, by_readout)


def scale_of(network: Network, scale: Any = None) -> float:
    """The scale of badness in probabilities: the given one, or that of the objective for None.

    Raises:
        InputError: it is no finite number above 0.
    """
    if scale is None:
        return network.settings.objective.probability_scale
    given = of_python(scale)
    if type(given) not in (int, float) or not 0 < given <= sys.float_info.max:
        raise InputError(f"scale = {shown(scale)}: expected a finite number above 0, or None for that of the objective")
    return float(given)


# ---------------------------------------------------------------- checks


def checked_scores(network: Network, x: Tensor, mask: Tensor | None = None, method: Any = None) -> Scores:
    """`scores_of` with a method that the network can predict by, and finite numbers.

    Raises:
        InputError: see `require_method`; or inputs are so large that a number is not finite.
        DivergenceError: a number is not finite because of the weights.
    """
    scores = scores_of(network, x, mask, require_method(network, method))
    require_finite_scores(network, scores, x)
    return scores


def require_method(network: Network, method: Any = None) -> PredictionMethod:
    """Return the method by which the network predicts if it is asked for one.

    Args:
        network: the network.
        method: one of `METHODS`; None for `default_method`. Without a readout that can propose labels, "badness" takes the place
            of "propose_and_verify", with a note to the user.

    Raises:
        InputError: there is no such method, or the network can't predict by it.
    """
    known = known_method(method)
    chosen = default_method(network) if known is None else known
    reason = _why_not(network, chosen)
    if reason and chosen == "propose_and_verify" and not network.settings.training.label_free:
        return _badness_instead(_why_no_readout(network))
    if reason:
        raise InputError(f"the network can't predict by '{chosen}': {reason}")
    return chosen


def known_method(method: Any) -> PredictionMethod | None:
    """Return a method, or None for None. Raises InputError if there is no such method."""
    if method is not None and (not isinstance(method, str) or method not in METHODS):
        raise InputError(f"method = {shown(method)}: expected one of {', '.join(map(repr, METHODS))}, or None")
    return method


def default_method(network: Network, *, reads_weights: bool = True) -> PredictionMethod:
    """The method of a prediction that names none: that of the settings, or "badness" where it can't be "propose_and_verify".

    "propose_and_verify" is a faster way to the prediction by badness. A readout can't propose labels without timesteps before
    the label, before its training, and where the negatives do not train it, so that it is behind the layers. A note says it once.

    Args:
        network: the network.
        reads_weights: look at the weights of the readout, to see whether it is trained. That waits for a GPU.
    """
    chosen = network.settings.network.prediction
    if chosen != "propose_and_verify":
        return chosen
    reason = _why_no_readout(network) if reads_weights else ""
    if not network.settings.negatives.trains_readout:
        reason = "these negatives do not train the readout"
    return _badness_instead(reason) if reason else chosen


def _badness_instead(reason: str) -> PredictionMethod:
    """Return "badness", and tell the user once that it takes the place of "propose_and_verify"."""
    note_once(f'the prediction is by "badness" in place of "propose_and_verify": {reason}')
    return "badness"


def usable_methods(network: Network) -> list[PredictionMethod]:
    """The methods that a network can predict by, in the order of `METHODS`. Its `default_method` is always there."""
    own = default_method(network)
    return [method for method in METHODS if method == own or not _why_not(network, method)]


def _why_not(network: Network, method: PredictionMethod) -> str:
    """The reason why a network can't predict by a method, in a few words; empty if it can."""
    label_free = network.settings.training.label_free
    if method != "readout" and label_free:
        return "it was trained without labels, on which its badness does not depend; use 'readout'"
    reason = "" if method == "badness" else _why_no_readout(network)
    return f"{reason}; use 'badness'" if reason and not label_free else reason


def _why_no_readout(network: Network) -> str:
    """The reason why a network's readout can't predict, in a few words; empty if it can."""
    if network.settings.network.prelabel_timesteps == 0:
        return "its readout needs at least one timestep before the label (network.prelabel_timesteps)"
    weight = network.readout.weight
    if torch.compiler.is_compiling() or weight.is_meta or weight.any():
        return ""
    if network.settings.negatives.trains_readout:
        return "its readout was never trained"
    return 'its readout was never trained, as negatives such as {name = "readout"} do'


def require_finite_scores(network: Network, scores: Scores, x: Tensor) -> None:
    """Check that the numbers that a prediction rests on are finite. The errors are those of `checked_scores`."""
    for what, values in _computed(network, scores).items():
        require_finite(network, values, x, what)


def are_finite(network: Network, scores: Scores) -> bool:
    """True if the numbers that a prediction rests on are finite."""
    return all(bool(values.isfinite().all()) for values in _computed(network, scores).values())


def _computed(network: Network, scores: Scores) -> dict[str, Tensor]:
    """The numbers that were computed for a prediction, (batch, labels), by their name: without the labels that were not tried."""
    values = {}
    if scores.logits is not None:
        values["the logit"] = scores.logits
    if scores.badness is not None:
        values["badness"] = scores.badness
    if scores.logits is not None and scores.badness is not None:  # the infinite ones, and NaN, are the largest
        values["badness"] = scores.badness.topk(proposals_of(network), 1, largest=False).values
    return values


def require_finite(network: Network, values: Tensor, x: Tensor, what: str = "badness") -> Tensor:
    """Return values (..., batch, labels) of inputs x, which are read for it.

    Args:
        network: the network.
        values: the values to check.
        x: (timesteps or 1, features, 1, batch).
        what: what the values are, for the message.

    Raises:
        InputError: inputs are so large that a value is not finite.
        DivergenceError: a value is not finite because of the weights.
    """
    if torch.compiler.is_compiling() or values.is_meta or values.isfinite().all():
        return values
    sample = first_sample(~values.isfinite())
    largest = float(x[..., sample].abs().max())
    wrong = [name for name, weight in network.named_parameters() if not weight.isfinite().all()]
    if wrong or largest < network.largest_input:
        cause = f"the weights {wrong[0]} are not finite" if wrong else "the weights are too large"
        raise DivergenceError(
            f"{what} of sample {sample} is not finite: {cause}; train with a smaller learning rate, or load other weights"
        )
    raise InputError(
        f"{what} of sample {sample} is not finite: it has an input of {largest:g}; scale inputs to about unit mean square"
    )
