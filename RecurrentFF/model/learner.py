"""The training algorithm of the Recurrent Forward-Forward network for one batch, top to bottom in `Learner.train_batch`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from RecurrentFF.errors import InputError
from RecurrentFF.messages import shown
from RecurrentFF.model.draws import BatchDraws
from RecurrentFF.model.functional import at_timestep, split_candidates, window_weights
from RecurrentFF.model.inputs import training_mask
from RecurrentFF.model.integrity import require_intact, require_network
from RecurrentFF.model.layers import LearningContext, LocalModule, LocalResult, StepContext
from RecurrentFF.model.learning_rule import loss_of
from RecurrentFF.model.negatives import Negatives, NegativeSource, SamplingContext, require_shapes
from RecurrentFF.model.network import Network
from RecurrentFF.model.objectives import Objective
from RecurrentFF.model.optimizers import Updates
from RecurrentFF.model.processes import BatchPlace, BatchShare
from RecurrentFF.model.regularizers import Disturbance, Regularizers
from RecurrentFF.model.state import State
from RecurrentFF.tensors import as_labels, check_labels
from RecurrentFF.values import of_python


class BatchMetrics(NamedTuple):
    """Measurements of one batch, as tensors on the network's device: only reading them synchronizes with it."""

    loss: Tensor
    """The loss of each layer at each timestep with the label, (label_timesteps, layers)."""
    badness_pos: Tensor
    """The mean badness of the positive candidates over valid samples, (label_timesteps, layers)."""
    badness_neg: Tensor
    """The mean badness of the negative candidates over valid samples, (label_timesteps, layers)."""
    pairwise_accuracy: Tensor
    """The fraction of samples whose badness, averaged as in a prediction, was lower for the positive candidate than for the
    mean of the negative ones, (); higher, where the objective gives real data high badness."""
    valid_fraction: Tensor
    """The fraction of the batch that was valid at each timestep with the label, (label_timesteps, 1); 1 without a mask."""
    readout_loss: Tensor
    """The cross-entropy of the readout that proposes negative labels, (); 0 without it."""


class Observer:
    """An observer of training batches. Override the methods of interest; by default they do nothing.

    Pass it as `Learner(network, observers=[...])`. What it is given must not be changed, and is valid only during the call:
    the network writes over patterns at later timesteps, so `clone()` what you keep. The candidate axis has size 1 until the
    label has reached a layer; `expand` it before you stack timesteps.

    Examples:
        >>> class Activities(Observer):
        ...     def on_timestep(self, timestep, state):
        ...         self.h1 = state.blocks["h1"].activity.clone()  # (units, candidates or 1, batch)
    """

    def on_label_free_timestep(self, state: State) -> None:
        """Called after each timestep before the label, with the true input."""

    def on_local_gradients(self, timestep: int, module: LocalModule, result: LocalResult) -> None:
        """Called with a module's loss and gradients, before its update, at each timestep with the label, from 0."""

    def on_timestep(self, timestep: int, state: State) -> None:
        """Called after each timestep with the label, from 0, when all modules are updated."""


class Learner:
    """The training of a network, batch by batch. Each local module has an optimizer of its own.

    Args:
        network: changed in place.
        seed: the seed of negative labels and dropout; that of the settings if left out.
        objective: the loss as a function of badness; the one that the settings name if left out.
        negatives: the source of negative candidates; the one that the settings name if left out.
        observers: called as training proceeds.

    Raises:
        InputError: the objective does not give one loss for each sample and negative, the seed is no whole number, or the
            weights can't be changed because they were copied under `torch.inference_mode()`.
    """

    @torch.inference_mode(False)
    def __init__(
        self,
        network: Network,
        seed: int | None = None,
        *,
        objective: Objective | None = None,
        negatives: NegativeSource | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        if any(parameter.is_inference() for parameter in network.parameters()):
            raise InputError(
                "the weights were copied under torch.inference_mode(), and can't be trained; copy the network with copy.deepcopy "
                "outside of it"
            )
        require_intact(require_network(network, "Learner(network)"))
        self.network = network
        self.settings = network.settings
        self._home = (network.dtype, network.device)
        options = self.settings.network
        self.seed = _whole_seed(self.settings.training.seed if seed is None else seed)
        self.objective = self.settings.objective if objective is None else objective
        _check_objective(self.objective)
        self.negatives = (self.settings.negatives if negatives is None else negatives).for_network(network)
        self.observers = _require_observers(observers)
        self.regularizers = Regularizers.of(options)
        self.optimizers = {
            module.name: network.path.optimizer(module, module.optimizer or self.settings.optimizer)
            for module in network.trained_modules()
            if any(True for _ in module.parameters())
        }
        self._layers_are_fixed = False
        if not self.optimizers:
            raise InputError(
                "there is nothing to learn: the layers are frozen (generative.freeze_layers = true), and there is no circuit "
                "with parameters beside them"
            )
        self._base_rates = {name: optimizer.rate for name, optimizer in self.optimizers.items()}
        self.place = BatchPlace()
        self._state: State | None = None
        self._state_key = (0, 0, network.processes)

    @torch.inference_mode(False)  # what is kept between batches must be usable outside of it, too
    @torch.no_grad()
    def train_batch(self, inputs: Any, labels: Any, mask: Any = None) -> BatchMetrics:
        """Train on one batch: every module is updated at every timestep with the label.

        An objective that only ranks candidates has nothing to teach a layer that the label has not reached yet. The label
        travels one layer per timestep.

        Args:
            inputs: (batch, input_size) or (timesteps, batch, input_size), see `Network.input_sequence`.
            labels: class numbers, (batch,), or (label_timesteps, batch) where they change over time. Those that could also be
                one-hot labels are refused; (label_timesteps, batch, 1) is always understood as labels that change over time.
            mask: (timesteps, batch), true where a sequence has not ended. Where it has, layers compute on but learn nothing
                from the sequence, and its loss and badness are left out. None if all timesteps are valid. (An optimizer makes
                its update even where no sequence is valid: momentum and weight decay act.)

        Raises:
            InputError: shapes, types or class numbers don't fit each other or the network; or, on a CPU, inputs are not finite
                or so large that gradients would not be. Nothing has been learned then.
        """
        network, options, processes = self.network, self.settings.network, self.network.processes
        inputs, labels, mask = self._prepared(inputs, labels, mask)
        valid = network.valid_timesteps(mask, inputs.shape[3])
        share, draws = self._next_batch(inputs.shape[3])

        # 1. Label-free timesteps: the label is uniform, nothing is learned.
        state = self._state_for(inputs.shape[3], draws)
        disturbance = self.regularizers.disturbance(inputs, draws)
        x = disturbance.apply(inputs)
        network.settle(state, x, draws, self._after_label_free_timestep)

        # 2. Negative candidates beside the positive one, which is the input with its true label.
        context = SamplingContext(network, state, inputs, disturbance, labels, mask, draws, share)
        negatives = require_shapes(self.negatives.sample(context), self.negatives, context)
        x, y = self._candidates(x, labels, negatives, disturbance)
        if x.shape[2] > 1:  # each candidate's input has label-free activity of its own
            network.settle(state, x, draws)

        # 3. Timesteps with the label. A module's update is not read before the next timestep, whatever their order is.
        results: list[list[LocalResult]] = []
        grad_x: Tensor | None = None
        for t in range(options.label_timesteps):
            x_t = self.regularizers.perturb(at_timestep(x, options.prelabel_timesteps + t), grad_x, disturbance.mask, draws)
            state.clamp(x_t, at_timestep(y, t), static=len(x) == 1 and grad_x is None)
            perturb_next = self.regularizers.adversarial_noise > 0 and t < options.label_timesteps - 1
            now = perturb_next, t == 0, len(x) == 1, at_timestep(labels, t), share, self.negatives.count
            learning = LearningContext(self.objective, valid[t] / share.size, *now)
            results.append([])
            updates = Updates(self.optimizers)
            for module in processes.own(network.local_modules):
                step = state.context(module.name, options.damping_factor, network.draw_masks(module, state, draws))
                result = self._learned(module, state, step, learning)  # a step, and its local gradients
                self._observe(t, module, result)
                if result.gradients:  # empty where there is nothing to learn
                    updates.begin(module.name, processes.reduce(module.name, result.gradients, share))
                results[t].append(result._replace(gradients={}))
            updates.finish()
            state.advance()
            grad_x = self._input_gradient(results[t], x_t) if perturb_next else None
            for observer in self.observers:
                observer.on_timestep(t, state)
        return self._metrics(results, valid, negatives.readout_loss, share)

    def _input_gradient(self, results: Sequence[LocalResult], x: Tensor) -> Tensor | None:
        """The sum of ∂loss/∂x over all modules that read the input, in its shape; None where nothing was learned."""
        return self.network.processes.sum_input_gradients([result.input_gradient for result in results], x)

    def _next_batch(self, batch: int) -> tuple[BatchShare, BatchDraws]:
        """This process's share of the next batch, and its random numbers. The place moves to the batch after it."""
        place, whole = self.place, self.place.size_of(batch)
        self.place = place._replace(first=place.first + whole)
        share = self.network.processes.share(place, batch)
        samples = torch.arange(place.first, place.first + whole, device=self.network.device)
        return share, BatchDraws(self.seed, place.epoch, samples, None if share.is_whole else share.part)

    def _prepared(self, inputs: Any, labels: Any, mask: Any) -> tuple[Tensor, Tensor, Tensor | None]:
        """A checked batch. The arguments and the errors are those of `train_batch`.

        Returns:
            Inputs in the network's layout, (timesteps or 1, features, 1, batch); labels, (label timesteps or 1, batch); and the
            mask, (timesteps, batch).
        """
        self._require_same_home()
        inputs = self.network.input_sequence(inputs, mask, limit=self.network.largest_input)
        inputs = inputs.clone() if inputs.is_inference() else inputs
        labels = self._labels_over_time(labels, inputs.shape[3])
        return inputs, labels, training_mask(self.network, mask, inputs.shape[3])

    def _learned(self, module: LocalModule, state: State, step: StepContext, learning: LearningContext) -> LocalResult:
        """A timestep of a module and its local gradients, of which a layer that does not learn has none."""
        if module.name in state.learning:
            return self.network.path.learn(module, state, step, learning)
        badness = self.network.path.step(module, state, step)
        assert badness is not None, "only hidden layers are frozen"
        return LocalResult(loss_of(badness, learning), badness, {})

    def _observe(self, timestep: int, module: LocalModule, result: LocalResult) -> None:
        for observer in self.observers:
            observer.on_local_gradients(timestep, module, result)

    def _after_label_free_timestep(self, state: State) -> None:
        for observer in self.observers:
            observer.on_label_free_timestep(state)

    def _state_for(self, batch: int, draws: BatchDraws) -> State:
        """The state of a batch, with its activity dropout. Its large tensors are those of a previous batch of the same size."""
        key = (1 + self.negatives.count, batch, self.network.processes)
        if self._state is None or self._state_key != key:
            self._state, self._state_key = self.network.path.new_state(*key), key
        self._state.pattern_masks = self._draw_pattern_masks(self._state, draws)
        trained = [module for module in self.network.trained_modules() if not (self._layers_are_fixed and module.is_hidden_layer)]
        self._state.learning = frozenset(module.name for module in trained)
        return self._state

    def _draw_pattern_masks(self, state: State, draws: BatchDraws) -> dict[str, Tensor] | None:
        """Activity dropout for a whole sequence, for each module of this process a factor of its pattern; None without."""
        units = {module.name: module.units for module in self.network.processes.own(self.network.hidden_layers())}
        return self.regularizers.pattern_masks(units, state.compute_dtype, draws)

    def _candidates(
        self, positive_x: Tensor, positive_y: Tensor, negatives: Negatives, disturbance: Disturbance
    ) -> tuple[Tensor, Tensor]:
        """The candidates of a batch, the positive one first.

        Args:
            positive_x: (timesteps or 1, features, 1, batch), disturbed.
            positive_y: (label timesteps or 1, batch) class numbers.
            negatives: the negative candidates.
            disturbance: noise and dropout of the inputs, which are applied to negative inputs, too.

        Returns:
            x, (timesteps or 1, features, candidates or 1, batch), and y, (label timesteps or 1, classes, candidates or 1,
            batch). One that has a single candidate is the same for all. In label-free training y is uniform: (1, classes, 1, 1).

        Raises:
            InputError: the training is label-free, and the negatives have no inputs of their own.
        """
        x, y = positive_x, positive_y.unsqueeze(0)
        if negatives.labels is not None:
            timesteps = max(y.shape[1], negatives.labels.shape[1])
            y = torch.cat([part.expand(-1, timesteps, -1) for part in (y, negatives.labels)])
        if negatives.inputs is not None:
            wrong = disturbance.apply(negatives.inputs)
            timesteps = max(len(x), len(wrong))
            x = torch.cat([part.expand(timesteps, -1, -1, -1) for part in (x, wrong)], 2)
        if self.settings.training.label_free:
            return x, self._uniform_label(negatives)
        one_hot = F.one_hot(y.transpose(0, 1), self.network.num_classes).movedim(-1, 1)
        return x, one_hot.to(self.network.compute_dtype)

    def _uniform_label(self, negatives: Negatives) -> Tensor:
        """The label that is shown in label-free training, 1/C for each of C classes, (1, classes, 1, 1)."""
        if negatives.inputs is None:
            source = type(self.negatives).__name__
            raise InputError(f"training.label_free = true: {source} gives no inputs, so negatives would equal the positive")
        classes = self.network.num_classes
        return torch.full((1, classes, 1, 1), 1 / classes, dtype=self.network.compute_dtype, device=self.network.device)

    def scale_learning_rates(self, factor: float) -> None:
        """Set every module's learning rate to `factor` times its configured one. With 0 the hidden layers don't learn."""
        self._layers_are_fixed = factor == 0
        for name, rate in self._base_rates.items():
            self.optimizers[name].rate = factor * rate

    @property
    def learning_rate(self) -> float:
        """The present learning rate of the modules."""
        return next(iter(self.optimizers.values())).rate  # of the first layer

    def _labels_over_time(self, labels: Any, batch: int) -> Tensor:
        """Labels as (label timesteps or 1, batch), on the network's device. The errors are those of `train_batch`."""
        timesteps, classes = self.settings.network.label_timesteps, self.network.num_classes
        numbers = check_labels(as_labels(labels), batch, classes, timesteps).to(self.network.device)
        numbers = numbers.clone() if numbers.is_inference() else numbers
        return numbers.unsqueeze(0) if numbers.dim() == 1 else numbers

    def _require_same_home(self) -> None:
        """Raise InputError if the network has been converted or moved since the optimizers were made."""
        home = (self.network.dtype, self.network.device)
        if home != self._home:
            raise InputError(
                f"the network has been changed from {self._home[0]} on {self._home[1]} to {home[0]} on {home[1]}; make a new "
                "Learner for it"
            )

    def _metrics(
        self, results: list[list[LocalResult]], valid: Tensor, readout_loss: Tensor | None, share: BatchShare
    ) -> BatchMetrics:
        """The measurements of the whole batch, of which this process has some samples and some layers."""
        processes, (timesteps, batch) = self.network.processes, valid.shape
        hidden = self.network.hidden_layers()  # modules that only learn beside them are left out
        loss = valid.new_zeros(timesteps, len(hidden))
        pos, neg = valid.new_zeros(2, timesteps, len(hidden), batch)
        columns = {module.name: column for column, module in enumerate(hidden)}
        own = [columns.get(module.name) for module in processes.own(self.network.local_modules)]
        for t, results_at in enumerate(results):
            for column, result in zip(own, results_at, strict=True):
                if column is not None:
                    positive, negative = split_candidates(_badness(result))
                    loss[t, column], pos[t, column], neg[t, column] = result.loss, positive[0], negative.mean(0)
        first, last = window = self.settings.prediction_window
        predicting = [columns[name] for name in self.network.prediction_layers]
        gap = (window_weights(valid, window) * (pos - neg)[first : last + 1, predicting].mean(1)).sum(0)
        pos, neg = (valid.unsqueeze(1) * pos).sum(2), (valid.unsqueeze(1) * neg).sum(2)
        loss, pos, neg, gap = processes.sum_over_layers(loss, pos, neg, gap)
        right = ((gap < 0) if self.objective.real_is_low else (gap > 0)).to(loss.dtype).sum()
        of_readout = loss.new_zeros(()) if readout_loss is None or batch == 0 else readout_loss.to(loss.dtype) * batch
        loss, pos, neg, count, right, of_readout = share.summed(loss, pos, neg, valid.sum(1, keepdim=True), right, of_readout)
        return BatchMetrics(
            loss=loss,
            badness_pos=pos / count.clamp(min=1),
            badness_neg=neg / count.clamp(min=1),
            pairwise_accuracy=right / share.size,
            valid_fraction=count / share.size,
            readout_loss=of_readout / share.size,
        )

    def state_dict(self) -> dict[str, Any]:
        """The optimizers: with the network's own state and the place of the batch, all that the next batch depends on."""
        return {
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "negatives": self.negatives.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`."""
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.negatives.load_state_dict(state["negatives"])


def _whole_seed(seed: Any) -> int:
    """A seed as Python's own number. Raises InputError if it is no whole number, for instance a generator of torch."""
    number = of_python(seed)
    if type(number) is not int:
        raise InputError(f"Learner: seed = {shown(seed)}: expected a whole number")
    return number


def _require_observers(observers: Sequence[Observer]) -> Sequence[Observer]:
    """The observers themselves. Raises InputError if one of them is something else, for instance a class."""
    for observer in observers:
        if not isinstance(observer, Observer):
            found = observer.__name__ if isinstance(observer, type) else type(observer).__name__
            raise InputError(f"observers: {found} is not an object of a subclass of Observer; pass [{found}()] of such a class")
    return observers


def _check_objective(objective: Objective) -> None:
    """Raise InputError if the loss is not one value for each sample and negative, or has no gradient."""
    shape = (2, 3)
    with torch.enable_grad():
        loss = objective.loss(torch.ones(1, 3, requires_grad=True), torch.ones(2, 3, requires_grad=True))
    found = tuple(loss.shape)
    if not loss.requires_grad and type(objective).gradients is Objective.gradients:
        raise InputError(
            f"{type(objective).__name__}.loss: has no gradient, since it depends on badness by no differentiable operation; "
            "use one, or define the method gradients"
        )
    if found != shape:
        raise InputError(
            f"{type(objective).__name__}.loss: gives shape {found} for 2 negatives and 3 samples, expected {shape}; "
            "return one loss for each sample and negative, without a mean"
        )


def _badness(result: LocalResult) -> Tensor:
    """The badness of a hidden layer."""
    assert result.badness is not None, "a hidden layer has badness"
    return result.badness
