"""The configuration's section [model]: the network, its objective, and its optimizers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, model_validator

from RecurrentFF.settings.types import Flag, LearningRate, Pair, Section, as_odd, as_tuple

ActivationName = Literal["leaky_relu", "relu", "elu", "gelu", "silu", "tanh"]
OptimizerName = Literal["rmsprop", "adam", "adadelta"]


class Rmsprop(Section):
    """The options of torch.optim.RMSprop; its smoothing constant is 0.99."""

    learning_rate: LearningRate = 5e-5
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Adam(Section):
    """The options of torch.optim.AdamW; its betas are 0.9 and 0.999. The weight decay is decoupled from the gradient."""

    learning_rate: LearningRate = 1e-3
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """The relative decrease of weights and biases in one update, divided by the learning rate."""


class Adadelta(Section):
    """The options of torch.optim.Adadelta; its rho is 0.9."""

    learning_rate: LearningRate = 1.0


class Convolution(Section):
    """A convolutional first hidden layer, on square images.

    Its units are channels × height × width, and the units of a channel share their weights. The input is convolved with
    stride and padding, the layer's own activity with stride 1 and a padding that keeps height and width. Activity from
    above comes through a full connection.
    """

    channels: Annotated[int, Field(ge=1)] = 16
    """Output channels of the convolution."""
    kernel_size: Annotated[int, Field(ge=1)] = 5
    """Side of the square kernel on the input, in pixels."""
    stride: Annotated[int, Field(ge=1)] = 2
    """Distance of neighboring kernels, in pixels."""
    padding: Annotated[int, Field(ge=0)] = 2
    """Zeros added at each side of the image, in pixels."""
    lateral_kernel_size: Annotated[int, Field(ge=1), AfterValidator(as_odd)] = 3
    """Side of the square kernel on the layer's own activity, in units; an odd number."""


class ModelSettings(Section):
    """The section [model]: the network, its objective, and its optimizers."""

    hidden_sizes: Annotated[tuple[Annotated[int, Field(gt=0)], ...], BeforeValidator(as_tuple), Field(min_length=1)] = (
        200,
        200,
        200,
    )
    """The number of units of each hidden layer, from bottom to top."""
    residual_connections: Annotated[tuple[Pair, ...], BeforeValidator(as_tuple)] = ()
    """Additional connections, as pairs [source, target] of non-adjacent layers.

    Layers have the numbers 0 (input), 1 to L (hidden) and L + 1 (label). The target is a hidden layer.
    """
    ff_activation: ActivationName = "leaky_relu"
    """The activation function of the hidden layers."""
    damping_factor: Annotated[float, Field(gt=0, le=1)] = 0.7
    """The factor d in h' = (1 − d)·h + d·activation(z), the update of the activity while the label is shown."""
    epsilon: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-8
    """The constant ε in the normalized activity n(h) = h / sqrt(mean(h²) + ε)."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout probability of each drive (forward, lateral, backward) of a unit, drawn at each training timestep."""
    activity_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout probability of a unit's activity for all layers that read it.

    The mask is the same at all timesteps of a training sequence (variational dropout, Gal and Ghahramani 2016,
    arXiv:1512.05287).
    """
    input_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout probability of an input feature. The mask is the same at all timesteps of a training sequence."""
    adversarial_noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """The size of the adversarial perturbation of the training inputs, as a root mean square over the features.

    Each timestep with the label shows the input displaced along the gradient of the loss, up or down, of the layers that read
    it, as computed at the timestep before. The first perturbed input therefore follows the first timestep at which one of these
    layers has learned from a label.
    """
    hard_example_fraction: Annotated[
        float, Field(gt=0, le=1, validation_alias=AliasChoices("hard_example_fraction", "hard_share"))
    ] = 1.0
    """The fraction of a batch that a layer learns from at a timestep, once its activity depends on the label.

    The layer uses the inputs with the largest gradient of its loss with respect to badness. Examples that are learned already
    have a gradient close to zero: they cost as much computation and hardly change the update. Peer normalization also acts
    through these inputs alone. The older name of this key, hard_share, is accepted.
    """
    receptive_field: Annotated[int, Field(ge=0)] = 0
    """The side of the square image patch that a unit of the first layer reads, in pixels; 0 means the whole image."""
    lateral_field: Annotated[int, Field(ge=0)] = 0
    """With receptive fields, the limit of lateral connections within the first layer, in pixels; 0 means no limit.

    A unit reads those whose receptive fields are displaced from its own by less than this, both across and down.
    """

    convolution: Convolution | None = None
    """A convolutional first hidden layer, in [model.convolution]; left out, the layer is fully connected. The first of
    `hidden_sizes` must be its number of units, channels × height × width."""

    prelabel_timesteps: Annotated[int, Field(ge=0)] = 3
    """The number of timesteps with the uniform label, before the label is shown."""
    prediction_window: Annotated[Pair | None, BeforeValidator(as_tuple)] = None
    """The first and the last timestep whose badness is averaged for a prediction.

    Timesteps with the label are numbered from 0, and both ends are included. The default, for T = data_config.iterations, is
    [T//2 − T//10, T//2 + T//10].
    """

    prediction_layers: Annotated[tuple[Annotated[int, Field(ge=1)], ...] | None, BeforeValidator(as_tuple)] = None
    """The hidden layers, numbered from 1, whose badness is averaged for a prediction. The default is all of them."""

    badness: Literal["mean", "sum"] = "mean"
    """The reduction of a layer's squared activities over its units; the result is the layer's badness.

    Badness is Hinton's goodness with the sign of the objective flipped: it is low for real data. Normalized activity has a mean
    square of one with either reduction.
    """
    objective: Literal["threshold", "pairwise", "sum"] = "threshold"
    """The loss of each layer: badness against a threshold, against the badness of other labels, or the sum of both losses."""
    loss_threshold: Annotated[float, Field(allow_inf_nan=False)] = 1.5
    """The threshold θ of the threshold objective, in units of badness."""
    pairwise_alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 8.0
    """The sharpness α of the pairwise objective: the curvature of its loss at equal badness is proportional to α."""
    should_replace_neg_data: Flag = False
    """Sample the negative labels from a classifier of the label-free activity instead of uniformly at random."""
    negatives_from: Literal["classifier", "badness"] = "classifier"
    """The distribution of the negative labels, if should_replace_neg_data is true.

    It is the softmax of the classifier's logits, or of the network's own badness with the sign flipped. The latter gives harder
    negatives, at the cost of one prediction for each batch.
    """
    negative_temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """The temperature of this softmax: below 1 it favors the likely wrong labels, above 1 it gives more varied ones."""
    negatives: Annotated[int, Field(ge=1)] = 1
    """The number of negative labels of each input, all of them different; at most num_classes − 1."""
    straight_through: Flag = False
    """Use 1 as the derivative of the activation function in the learning rule (a straight-through estimator)."""
    peer_normalization: Annotated[
        float,
        Field(ge=0, allow_inf_nan=False, validation_alias=AliasChoices("peer_normalization", "peer_normalisation")),
    ] = 0.0
    """The strength λ of peer normalization, which pulls a unit's mean activity towards the mean of its layer.

    The older name of this key, peer_normalisation, is accepted.
    """

    epochs: Annotated[int, Field(ge=1)] = 10
    """The number of passes over the training set."""
    ff_optimizer: OptimizerName = "rmsprop"
    """The optimizer of the layers. Its options are in ff_rmsprop, ff_adam or ff_adadelta."""
    ff_rmsprop: Rmsprop = Rmsprop()
    ff_adam: Adam = Adam()
    ff_adadelta: Adadelta = Adadelta()
    classifier_optimizer: OptimizerName = "rmsprop"
    """The optimizer of the classifier that proposes negative labels. Its options are in the sections classifier_…."""
    classifier_rmsprop: Rmsprop = Rmsprop(learning_rate=1e-3)
    classifier_adam: Adam = Adam()
    classifier_adadelta: Adadelta = Adadelta()
    lr_schedule: Literal["step", "cosine"] = "step"
    """The schedule of the layers' learning rate.

    The step schedule multiplies it by lr_gamma after every lr_step_size epochs. The cosine schedule lowers it to zero over the
    whole run.
    """
    lr_step_size: Annotated[int, Field(ge=1)] = 1
    """The number of epochs between two changes of the learning rate in the step schedule."""
    lr_gamma: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The factor of the learning rate at each change in the step schedule."""

    lr_warmup_epochs: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """The number of epochs, or a fraction of one, in which the layers' learning rate rises from zero to its schedule."""
    weight_averaging: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The decay of the exponential average of the weights over the batches, used in evaluation and best.pt; 0 turns it off."""

    should_load_weights: Flag = False
    """Start from the weights of the checkpoint in training.weights. The flag `--weights FILE` sets both keys."""
    should_log_metrics: Flag = False
    """Log to Weights & Biases too. Metrics are always written to the run's folder."""
    skip_profiling: Flag = True
    """Skip the profiler. If false, a torch.profiler trace of a few batches is written to the run's folder."""

    @model_validator(mode="after")
    def _check_residual_connections(self) -> ModelSettings:
        label = len(self.hidden_sizes) + 1
        for source, target in self.residual_connections:
            if not (1 <= target < label and source <= label and abs(source - target) > 1):
                raise ValueError(
                    f"model.residual_connections: [{source}, {target}] must lead from a layer 0..{label} (0 is the input, "
                    f"{label} the label) to a hidden layer 1..{label - 1} that is not next to it"
                )
        if len(set(self.residual_connections)) < len(self.residual_connections):
            raise ValueError("model.residual_connections: a pair is listed twice; name each once")
        return self

    @model_validator(mode="after")
    def _check_convolution(self) -> ModelSettings:
        if self.convolution is not None and self.receptive_field:
            raise ValueError(
                f"model.receptive_field = {self.receptive_field}: a convolution has receptive fields of its own, of kernel_size; "
                "leave out one of model.receptive_field and [model.convolution]"
            )
        return self

    @property
    def ranks_only(self) -> bool:
        """True if the objective only compares labels: its gradients cancel where all labels have the same badness."""
        return self.objective == "pairwise"

    @property
    def learning_needs_label(self) -> bool:
        """True if a layer has nothing to learn until the label has reached it."""
        return self.ranks_only and not self.peer_normalization

    @property
    def label_delay(self) -> int:
        """The number of timesteps that the label needs to reach a layer that reads the input (one connection per timestep)."""
        label = len(self.hidden_sizes) + 1
        goals = {1} | {target for source, target in self.residual_connections if source == 0}
        reached, timesteps = {label}, 0
        while not reached & goals:
            by_residuals = {target for source, target in self.residual_connections if source in reached}
            neighbors = {layer for layer in range(1, label) if {layer - 1, layer + 1} & reached}
            reached, timesteps = reached | neighbors | by_residuals, timesteps + 1
        return timesteps

    @model_validator(mode="after")
    def _check_prediction_layers(self) -> ModelSettings:
        layers = self.prediction_layers
        if layers is not None and (not layers or max(layers) > len(self.hidden_sizes) or len(set(layers)) < len(layers)):
            raise ValueError(
                f"model.prediction_layers: {list(layers)} must name layers from 1 to {len(self.hidden_sizes)}, each once, "
                "and at least one"
            )
        return self

    @model_validator(mode="after")
    def _check_prelabel_timesteps(self) -> ModelSettings:
        if self.should_replace_neg_data and self.prelabel_timesteps == 0:
            raise ValueError(
                "model.prelabel_timesteps = 0: should_replace_neg_data needs at least 1, "
                "because its classifier reads the activity before the label is shown"
            )
        return self
