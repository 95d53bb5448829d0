"""The configuration's sections [training], [device], [distributed] and [tracking]: the run, the hardware, where metrics go."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from RecurrentFF.options import Flag, Section, as_device, as_switch, as_tuple


class TrainingSettings(Section):
    """The section [training]: seed, length, batches, and evaluation of a run."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """The seed of initial weights, sample order, negative labels, dropout, and random variation of the data."""
    epochs: Annotated[int, Field(ge=1)] = 10
    """The number of passes over the training set."""
    batch_size: Annotated[int, Field(ge=1)] = 500
    """The number of samples of a training batch."""
    prediction_batch_size: Annotated[int, Field(ge=1)] = 500
    """The number of samples predicted at once. Each is run under all num_classes labels."""
    weights: str | None = None
    """The checkpoint to start from. The flag `--weights` sets it."""
    label_free: Flag = False
    """Train the layers without labels: the label that they read is uniform, 1/C for each of C classes, at all timesteps.

    They learn to tell real inputs from wrong ones, so that `negatives` must give inputs, as "hybrid" does. Only the readout sees
    the labels, and it predicts: set network.prediction = "readout" (Hinton 2022, arXiv:2212.13345, section 3.2).
    """
    weight_averaging: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The decay of the exponential average of the weights over the batches, which are evaluated and saved; 0 turns it off."""
    early_stopping: Annotated[int, Field(ge=0)] = 0
    """The number of epochs without a better validation accuracy after which training ends; 0 trains all epochs.

    With schedule.readout_epochs, they are counted from the first of these, so that the readout has epochs of its own.
    """
    train_accuracy_samples: Annotated[int, Field(ge=0)] = 2000
    """The number of training samples, always the same, whose accuracy is reported after every epoch; 0 means none."""
    test_every_epoch: Flag = False
    """Report the test accuracy after every epoch. It selects nothing. If false, the test set is read once, at the end."""
    on_divergence: Literal["stop", "retry"] = "stop"
    """The reaction to a loss or a weight that is NaN or infinite.

    The value "stop" ends the run with an error. The value "retry" resumes from the last checkpoint with half the learning rate,
    at most five times in a run.
    """


class DeviceSettings(Section):
    """The section [device]: the device, and how it computes."""

    device: Annotated[str, AfterValidator(as_device)] = "auto"
    """The device: "auto" (the first one available of cuda, mps and cpu), "cpu", "cuda", "cuda:N" or "mps"."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """The data type in which matrix products read their factors: the compute dtype.

    Weights, activity and optimizer state are float32 with each of them. The value "auto" selects bfloat16 where the hardware
    multiplies it fast, else float32.
    """
    compile: Annotated[bool | str, BeforeValidator(as_switch)] = "auto"
    """Compile a layer's timestep with torch.compile, which takes some seconds and then trains faster.

    The value "auto" compiles if a training of two minutes or more becomes faster by it. That is measured once for a machine and
    a form of network, which takes about half a minute, compiling included, and remembered in the user's cache folder. Compiled
    code rounds differently: true or false makes the result independent of the measurement.
    """


class DistributedSettings(Section):
    """The section [distributed]: the division of a training among the processes that `torchrun` starts.

    One process ignores it. The result is that of one process, up to the order of sums.
    """

    mode: Literal["auto", "data", "layer", "none"] = "auto"
    """The division: by the samples of each batch ("data"), or by the layers ("layer"); "auto" takes what should be faster.

    The value "none" lets each process train by itself, for a program that uses several processes for something else.

    With "data", the gradients of every layer are summed over the processes at each timestep. With "layer", processes exchange the
    activity of neighboring layers at each timestep, and no gradient.
    """
    layer_processes: Annotated[int, Field(ge=1)] | None = None
    """The number of processes among which the layers are divided; with fewer than all, the samples are divided, too.

    It must be a divisor of the number of processes. The default is all of them. With mode = "data" it has no effect.
    """
    layers_per_process: Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(as_tuple)] | None = None
    """The number of hidden layers of each of these processes, bottom to top; the default balances their cost.

    With mode = "data" it has no effect.
    """
    reduce_precision: Literal["float32", "bfloat16"] = "float32"
    """The type in which gradients are summed over processes: "float32" (that of the weights), or "bfloat16", half the bytes."""
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 300.0
    """The seconds after which a process that does not answer ends the training.

    It must exceed the time of an evaluation, and that of compiling.
    """

    @model_validator(mode="after")
    def _check_division(self) -> DistributedSettings:
        layers, counts = self.layer_processes, self.layers_per_process
        if counts is not None and layers not in (None, len(counts)):
            raise ValueError(f"distributed.layers_per_process: {len(counts)} numbers, but layer_processes = {layers}")
        return self


class TrackingSettings(Section):
    """The section [tracking]: the destinations of metrics, besides the run's folder."""

    wandb: Flag = False
    """Log to Weights & Biases too."""
    tensorboard: Flag = False
    """Write event files for TensorBoard into the run's folder too."""
    profile: Flag = False
    """Write a torch.profiler trace of a few batches into the run's folder."""
