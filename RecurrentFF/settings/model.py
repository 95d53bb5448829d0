"""[model]: the network, its objective, and how it learns."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from RecurrentFF.settings.fields import Flag, LearningRate, Pair, Section, as_tuple

ActivationName = Literal["leaky_relu", "relu", "elu", "gelu", "silu", "tanh"]
OptimizerName = Literal["rmsprop", "adam", "adadelta"]


class Rmsprop(Section):
    """torch.optim.RMSprop, its smoothing constant 0.99."""

    learning_rate: LearningRate = 5e-5
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Adam(Section):
    """torch.optim.AdamW, its betas 0.9 and 0.999: Adam, with a weight decay that the gradients' size does not matter to."""

    learning_rate: LearningRate = 1e-3
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Share by which weights and biases shrink in a step, times the learning rate."""


class Adadelta(Section):
    """torch.optim.Adadelta, its rho 0.9."""

    learning_rate: LearningRate = 1.0


class ModelSettings(Section):
    """[model]: the network, what it wants and how it learns."""

    hidden_sizes: Annotated[tuple[Annotated[int, Field(gt=0)], ...], BeforeValidator(as_tuple), Field(min_length=1)] = (
        200,
        200,
        200,
    )
    """Units of each hidden layer, bottom to top."""
    residual_connections: Annotated[tuple[Pair, ...], BeforeValidator(as_tuple)] = ()
    """Pairs [source, target] of non-adjacent layers, counted 0 = input, 1..L = hidden, L+1 = label; target is hidden."""
    ff_activation: ActivationName = "leaky_relu"
    damping_factor: Annotated[float, Field(gt=0, le=1)] = 0.7
    """d in h' = (1 − d)·h + d·activation(z), while the label is shown."""
    epsilon: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-8
    """Added to the mean square under the root of the normalised activity."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability that a unit misses one of its drives (forward, lateral, backward) at a training timestep."""
    activity_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability that a unit is silent to all that read it, for a whole training sequence (variational dropout, Gal and
    Ghahramani 2016, arXiv:1512.05287)."""
    input_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The same for an input."""
    adversarial_noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """In training, how far from what was given an input lies at a timestep with the label, as a root mean square over its
    features: up or down the slope of the loss of the layers that read it, as they found it a timestep before (`learning.along`).
    So the first inputs to be moved are those after the timestep at which a layer that reads them has learned from a label."""
    hard_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of a batch that a layer learns from at a timestep, once its activity differs between the labels: the inputs for which
    its loss is steepest. It is flat for what is learned already, whose part in the gradient costs as much and changes little.
    (Peer normalisation pulls through these inputs alone.)"""
    receptive_field: Annotated[int, Field(ge=0)] = 0
    """Side of the square patch of the image that a unit of the first layer reads, in pixels; 0 for all of it."""
    lateral_field: Annotated[int, Field(ge=0)] = 0
    """With receptive fields: a unit of the first layer reads those whose fields begin less than so many pixels off; 0 for all."""

    prelabel_timesteps: Annotated[int, Field(ge=0)] = 3
    """Timesteps with the uniform label, before the label is shown."""
    prediction_window: Annotated[Pair | None, BeforeValidator(as_tuple)] = None
    """First and last label timestep (from 0, both counted) whose badness is averaged for a prediction.
    Left out: [T//2 − T//10, T//2 + T//10] for T = data_config.iterations."""

    prediction_layers: Annotated[tuple[Annotated[int, Field(ge=1)], ...] | None, BeforeValidator(as_tuple)] = None
    """Hidden layers, counted from 1, whose badness is averaged for a prediction. Left out: all."""

    badness: Literal["mean", "sum"] = "mean"
    """Of the squares of a layer's activities, over its units. Normalised activity is of unit mean square either way."""
    objective: Literal["threshold", "pairwise", "sum"] = "threshold"
    loss_threshold: Annotated[float, Field(allow_inf_nan=False)] = 1.5
    """θ of the threshold objective, in units of badness."""
    pairwise_alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 8.0
    """α of the pairwise objective: how sharply it turns at equal badness."""
    should_replace_neg_data: Flag = False
    """Negative labels from the classifier on the label-free activity ("dynamic") instead of uniformly at random."""
    negatives_from: Literal["classifier", "badness"] = "classifier"
    """With should_replace_neg_data: drawn from the softmax of the classifier's logits, or of minus the network's own badness
    under each label (harder, and dearer: a prediction for every batch)."""
    negative_temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """What the logits (or minus badness) are divided by: below 1 for likelier wrong labels, above 1 for more various ones."""
    negatives: Annotated[int, Field(ge=1)] = 1
    """Wrong labels, all different, under which each input is shown."""
    straight_through: Flag = False
    """Learn as if the activation function had slope 1 everywhere."""
    peer_normalisation: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """λ: how strongly a unit's mean activity is pulled towards the mean of its layer."""

    epochs: Annotated[int, Field(ge=1)] = 10
    ff_optimizer: OptimizerName = "rmsprop"
    ff_rmsprop: Rmsprop = Rmsprop()
    ff_adam: Adam = Adam()
    ff_adadelta: Adadelta = Adadelta()
    classifier_optimizer: OptimizerName = "rmsprop"
    classifier_rmsprop: Rmsprop = Rmsprop(learning_rate=1e-3)
    classifier_adam: Adam = Adam()
    classifier_adadelta: Adadelta = Adadelta()
    lr_schedule: Literal["step", "cosine"] = "step"
    """"step": times lr_gamma after every lr_step_size epochs; "cosine": to zero over the whole run. For the layers."""
    lr_step_size: Annotated[int, Field(ge=1)] = 1
    lr_gamma: Annotated[float, Field(gt=0, le=1)] = 1.0

    lr_warmup_epochs: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Epochs, or part of one, in which the layers' learning rate rises from zero to its schedule."""
    weight_averaging: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Above 0, evaluation and best.pt use the exponential average of the weights over the batches, with this decay."""

    should_load_weights: Flag = False
    """Start from the weights of the checkpoint in training.weights, which `--weights FILE` sets."""
    should_log_metrics: Flag = False
    """Log to Weights & Biases too (metrics always go to the run's folder)."""
    skip_profiling: Flag = True
    """False writes a torch.profiler trace of a few batches into the run's folder."""

    @model_validator(mode="after")
    def _residuals_join_layers_that_are_there(self) -> ModelSettings:
        label = len(self.hidden_sizes) + 1
        for source, target in self.residual_connections:
            if not (1 <= target < label and source <= label and abs(source - target) > 1):
                raise ValueError(
                    f"model.residual_connections: [{source}, {target}] must lead from a layer 0..{label} (0 is the input, "
                    f"{label} the label) to a hidden layer 1..{label - 1} that is not next to it"
                )
        if len(set(self.residual_connections)) < len(self.residual_connections):
            raise ValueError("model.residual_connections: a pair stands there twice; name each once")
        return self

    @property
    def only_compares(self) -> bool:
        """Whether the objective only compares the badness of labels: where that is the same under all, its slopes cancel."""
        return self.objective == "pairwise"

    @property
    def waits_for_label(self) -> bool:
        """Whether a layer has nothing to learn until the label has come down to it."""
        return self.only_compares and not self.peer_normalisation

    @property
    def label_hops(self) -> int:
        """Timesteps that the label takes to a layer that reads the input."""
        label = len(self.hidden_sizes) + 1
        goals = {1} | {target for source, target in self.residual_connections if source == 0}
        reached, hops = {label}, 0
        while not reached & goals:
            by_residuals = {target for source, target in self.residual_connections if source in reached}
            neighbours = {layer for layer in range(1, label) if {layer - 1, layer + 1} & reached}
            reached, hops = reached | neighbours | by_residuals, hops + 1
        return hops

    @model_validator(mode="after")
    def _layers_that_predict_are_there(self) -> ModelSettings:
        layers = self.prediction_layers
        if layers is not None and (not layers or max(layers) > len(self.hidden_sizes) or len(set(layers)) < len(layers)):
            raise ValueError(
                f"model.prediction_layers: {list(layers)} must name layers from 1 to {len(self.hidden_sizes)}, each once, "
                "and at least one"
            )
        return self

    @model_validator(mode="after")
    def _the_classifier_has_something_to_read(self) -> ModelSettings:
        if self.should_replace_neg_data and self.prelabel_timesteps == 0:
            raise ValueError(
                "model.prelabel_timesteps = 0: should_replace_neg_data needs at least 1, "
                "for its classifier reads the activity that the input alone has led to"
            )
        return self
