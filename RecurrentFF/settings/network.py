"""The configuration's section [network]: sizes, connections, and timesteps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from RecurrentFF.options import Flag, Pair, Section, as_tuple
from RecurrentFF.registry import ComponentOf, make

if TYPE_CHECKING:  # their modules import torch
    from RecurrentFF.model.activations import Activation
    from RecurrentFF.model.connection_kinds import ConnectionKind
else:
    Activation = ConnectionKind = Any

PredictionMethod = Literal["badness", "propose_and_verify", "readout"]
"""A method of prediction. What it computes is in model/prediction.py."""
METHODS: tuple[PredictionMethod, ...] = get_args(PredictionMethod)
"""The methods of prediction, in the order of their computation: the one with the least is last."""


TimeConstant = Annotated[float, Field(ge=1, allow_inf_nan=False)]


class NetworkSettings(Section):
    """The section [network]: sizes, connections, and timesteps."""

    input_size: Annotated[int, Field(ge=1)] | None = None
    """The number of input features at a timestep. The data set sets it."""
    num_classes: Annotated[int, Field(ge=2)] | None = None
    """The number of classes. The data set sets it."""
    hidden_sizes: Annotated[
        tuple[Annotated[int, Field(gt=0)], ...], BeforeValidator(as_tuple), Field(min_length=1, max_length=1000)
    ] = (200, 200, 200)
    """The number of units of each hidden layer, from bottom to top."""
    residual_connections: Annotated[tuple[Pair, ...], BeforeValidator(as_tuple)] = ()
    """Additional connections, as pairs [source, target] of non-adjacent layers.

    Layers have the numbers 0 (input), 1 to L (hidden) and L + 1 (label). The target is a hidden layer.
    """
    connections: tuple[Annotated[ConnectionKind, ComponentOf("connection")], ...] = ()
    """The kinds of connections that are not dense, as a list of tables, [[network.connections]].

    Each has the name of a kind, and its options. The options `layers` and `sources`, which every kind has, select the layers
    (numbered from 1) and the directions ("forward", "lateral", "backward", "label") that it replaces; left out, all of them. The
    first entry that selects a source has it. All other sources are read through one dense connection.
    """
    activation: Annotated[Activation, ComponentOf("activation")] = Field(
        default_factory=lambda: make("activation", "leaky_relu", "network.activation")
    )
    """The activation function of the hidden layers: a name, or a table of a name and its options."""
    straight_through: Flag = False
    """Use 1 as the derivative of the activation function in the learning rule (a straight-through estimator)."""
    damping_factor: Annotated[float, Field(gt=0, le=1)] = 0.7
    """The factor d in h' = (1 − d)·h + d·activation(z), the update of the activity while the label is shown."""
    time_constants: Annotated[tuple[TimeConstant, TimeConstant] | None, BeforeValidator(as_tuple)] = None
    """The shortest and the longest time constant τ of a unit, in timesteps: a unit's own factor is d/τ, also before the label.

    The units of a layer have time constants that are evenly spaced on a logarithmic scale. The default is 1 for all units.
    """
    epsilon: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-8
    """The constant ε in the normalized activity n(h) = h / sqrt(mean(h²) + ε)."""
    badness: Literal["mean", "sum"] = "mean"
    """The reduction of a layer's squared activities over its units; the result is the layer's badness.

    Badness is Hinton's goodness with the sign of the objective flipped: it is low for real data. Normalized activity has a mean
    square of one with either reduction.
    """
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout probability of each drive (forward, lateral, backward) of a unit, drawn at each training timestep."""
    activity_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout probability of a unit's activity for all layers that read it.

    The mask is the same at all timesteps of a training sequence (variational dropout, Gal and Ghahramani 2016,
    arXiv:1512.05287).
    """
    input_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout probability of an input feature. The mask is the same at all timesteps of a training sequence."""
    input_noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """The standard deviation of the Gaussian noise that is added to every input feature in training.

    The noise is the same at all timesteps of a training sequence. Inputs are usually scaled to about unit variance.
    """
    adversarial_noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """The size of the adversarial perturbation of the training inputs, as a root mean square over the features.

    Each timestep with the label shows the input displaced along the gradient of the loss, up or down, of the layers that read
    it, as computed at the timestep before. The first perturbed input therefore follows the first timestep at which one of these
    layers has learned from a label.
    """
    hard_example_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The fraction of a batch that a layer learns from at a timestep, once its activity depends on the label.

    The layer uses the inputs with the largest gradient of its loss with respect to badness. Examples that are learned already
    have a gradient close to zero: they cost as much computation and hardly change the update. Peer normalization also acts
    through these inputs alone.
    """
    peer_normalization: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """The strength λ of peer normalization, which pulls a unit's mean activity towards the mean of its layer."""
    class_groups: Flag = False
    """Divide the units of every layer into one group for each class. The badness of a label is that of the units of its class.

    No layer then reads the label, unless a residual connection leads from it, so that one pass tries all labels. All hidden sizes
    must be multiples of num_classes; in a convolutional layer, the channels are divided.
    """
    batch_normalization: Flag = False
    """Normalize the sum of a unit's drives over the samples of a training batch, to mean 0 and variance 1.

    A learned gain and the bias follow. A prediction uses running averages of mean and variance. The units of a channel are
    normalized together.
    """
    update_order: Literal["synchronous", "bottom_up"] = "synchronous"
    """The order in which layers are updated in a timestep.

    With "synchronous", all layers read the activity of the previous timestep. With "bottom_up", the first layer is updated first,
    and the others read the new activity of the layers below them, so that the input reaches the top layer in one timestep.
    """
    prelabel_timesteps: Annotated[int, Field(ge=0)] = 3
    """The number of timesteps with the uniform label, before the label is shown."""
    label_timesteps: Annotated[int, Field(ge=1)] = 10
    """The number of timesteps with the label in training. A prediction stops after its window."""
    prediction_window: Annotated[Pair | None, BeforeValidator(as_tuple)] = None
    """The first and the last timestep whose badness is averaged for a prediction.

    Timesteps with the label are numbered from 0, and both ends are included. The default, for T = label_timesteps, is
    [T//2 − T//10, T//2 + T//10].
    """
    prediction_layers: Annotated[tuple[Annotated[int, Field(ge=1)], ...] | None, BeforeValidator(as_tuple)] = None
    """The hidden layers, numbered from 1, whose badness is averaged for a prediction. The default is all of them."""
    prediction: PredictionMethod = "badness"
    """The method of prediction.

    The value "badness" tries all labels and predicts the one of lowest badness. The value "readout" predicts the highest logit of
    the readout, the linear softmax on the activity before the label is shown, and tries no label. The value "propose_and_verify"
    tries only the labels that the readout finds likeliest, and predicts the one of lowest badness among them. The last two need
    negatives that train the readout, and prelabel_timesteps above 0. Without them "readout" is refused, and "propose_and_verify"
    is "badness", of which it is a faster form; a note is printed.
    """
    proposals: Annotated[int, Field(ge=2)] = 2
    """The number of labels that "propose_and_verify" tries. With num_classes or more, it tries all, and is "badness"."""

    @model_validator(mode="after")
    def _check_residual_connections(self) -> NetworkSettings:
        label = len(self.hidden_sizes) + 1
        for source, target in self.residual_connections:
            if not (1 <= target < label and source <= label and abs(source - target) > 1):
                raise ValueError(
                    f"network.residual_connections: [{source}, {target}] must lead from a layer 0..{label} (0 is the input, "
                    f"{label} the label) to a hidden layer 1..{label - 1} that is not next to it"
                )
        if len(set(self.residual_connections)) < len(self.residual_connections):
            raise ValueError("network.residual_connections: a pair is listed twice; name each once")
        return self

    @model_validator(mode="after")
    def _check_layer_numbers(self) -> NetworkSettings:
        layers, number = self.prediction_layers, len(self.hidden_sizes)
        if layers is not None and (not layers or max(layers) > number or len(set(layers)) < len(layers)):
            raise ValueError(
                f"network.prediction_layers: {list(layers)} must name layers from 1 to {number}, each once, and at least one"
            )
        for index, connection in enumerate(self.connections):
            if connection.layers and max(connection.layers) > number:
                raise ValueError(
                    f"network.connections[{index}].layers: {list(connection.layers)} must name layers from 1 to {number}"
                )
        return self

    @model_validator(mode="after")
    def _check_time_constants(self) -> NetworkSettings:
        if self.time_constants is not None and self.time_constants[0] > self.time_constants[1]:
            raise ValueError(f"network.time_constants: {list(self.time_constants)} must be in ascending order")
        return self

    @model_validator(mode="after")
    def _check_prediction_window(self) -> NetworkSettings:
        first, last = self.window
        if not first <= last < self.label_timesteps:
            raise ValueError(
                f"network.prediction_window: [{first}, {last}] must be two timesteps in ascending order below "
                f"network.label_timesteps = {self.label_timesteps}"
            )
        return self

    @property
    def window(self) -> tuple[int, int]:
        """The prediction window: `prediction_window`, or its default."""
        middle, half_width = self.label_timesteps // 2, self.label_timesteps // 10
        return self.prediction_window or (middle - half_width, middle + half_width)

    @property
    def label_delay(self) -> int:
        """The number of timesteps that the label needs to reach a layer that reads the input (one connection per timestep)."""
        goals = {1} | {target for source, target in self.residual_connections if source == 0}
        return self._timesteps_between(len(self.hidden_sizes) + 1, goals)

    @property
    def input_delay(self) -> int:
        """The number of timesteps that the input needs to reach the top layer (one connection per timestep)."""
        return self._timesteps_between(0, {len(self.hidden_sizes)})

    def _timesteps_between(self, start: int, goals: set[int]) -> int:
        """The number of timesteps from a block to the first of some layers, by their numbers; the input has the number 0."""
        label = len(self.hidden_sizes) + 1
        targets: dict[int, list[int]] = {}
        for source, target in self.residual_connections:
            targets.setdefault(source, []).append(target)
        reached, latest, timesteps = {start}, {start}, 0
        while not latest & goals:
            readers = {reader for layer in latest for reader in (layer - 1, layer + 1, *targets.get(layer, ()))}
            latest = {layer for layer in readers if 1 <= layer < label} - reached
            if latest and self.update_order == "bottom_up":  # the layers above read it in the same timestep
                latest = set(range(min(latest), label)) - reached
            reached, timesteps = reached | latest, timesteps + 1
        return timesteps
