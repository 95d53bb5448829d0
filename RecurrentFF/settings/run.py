"""The configuration's sections [device], [data_config] and [training]: hardware, data set, and the run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, model_validator

from RecurrentFF.settings.types import Flag, Section, as_device, as_directions, as_switch


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

    The value "auto" compiles if the training is expected to take minutes, and runs on a GPU or on a CPU with AMX.
    """


BENCHMARK_KEYS = {
    "mnist": [
        "shift",
        "rotation",
        "scaling",
        "bending",
        "cutout",
        "deskew",
        "size_normalization",
        "edge_directions",
        "edge_places",
    ],
    "moving_mnist": ["fresh_velocities"],
    "seq_mnist": ["moves_per_timestep", "delay_line", "repeat_strokes"],
}
"""The keys of [data_config] that only one benchmark uses, by the name of the benchmark."""


class DataSettings(Section):
    """The section [data_config]: the data set, its preprocessing, and its split into training, validation and test samples."""

    dataset: str | None = None
    """The name of the data set. The benchmark sets it."""
    data_dir: str | None = None
    """An existing data folder to read instead of the built-in data. The flag `--data-dir` sets it."""
    data_size: Annotated[int, Field(ge=1)] | None = None
    """The number of input features at a timestep. The benchmark sets it."""
    num_classes: Annotated[int, Field(ge=2)] | None = None
    """The number of classes. The benchmark sets it."""
    fresh_velocities: Flag = True
    """Moving MNIST: draw a new velocity for each training digit in every epoch, instead of the same one in all epochs."""
    shift: Annotated[int, Field(ge=0, lt=28)] = 0
    """MNIST: the largest translation of a training image, in pixels. All distortions are drawn again in every epoch."""
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    """MNIST: the largest rotation of a training image, in degrees."""
    scaling: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """MNIST: the largest change of a training image's size, larger or smaller, as a fraction of its side."""
    bending: Annotated[float, Field(ge=0, lt=28)] = 0.0
    """MNIST: the largest displacement by the elastic distortion (a smooth random field) of a training image, in pixels."""
    cutout: Annotated[int, Field(ge=0, le=28)] = 0
    """MNIST: the side of a square that is masked in each training image, in pixels; 0 means none."""
    deskew: Flag = False
    """MNIST: remove the slant of all images after any distortion, and center their ink, which undoes `shift`."""
    size_normalization: Annotated[
        float, Field(ge=0, le=1, validation_alias=AliasChoices("size_normalization", "size_normalisation"))
    ] = 0.0
    """MNIST: the strength of the normalization of the ink's width and height in all images, which also centers the ink.

    With 0, sizes stay unchanged. With 1, all images get the size of a typical digit, which undoes most of `scaling`. The older
    name of this key, size_normalisation, is accepted.
    """
    edge_directions: Annotated[int, AfterValidator(as_directions)] = 0
    """MNIST: the number of directions of the oriented-gradient features that replace the pixels; 0 means pixels.

    The features are computed after all other preprocessing, on a grid of edge_places × edge_places cells.
    """
    edge_places: Annotated[int, Field(ge=1, le=28)] = 7
    """MNIST: the number of cells of the oriented-gradient features, across and down."""
    moves_per_timestep: Annotated[int, Field(ge=1)] = 4
    """Seq MNIST: the number of new pen moves at a timestep."""
    delay_line: Annotated[int, Field(ge=1)] = 32
    """Seq MNIST: the number of latest pen moves in the input at a timestep, including those of earlier timesteps."""
    repeat_strokes: Flag = False
    """Seq MNIST: start a digit again once it is complete.

    If false, the input is zero from there on, and timesteps that show no pen move are masked out.
    """
    iterations: Annotated[int, Field(ge=1)] = 10
    """The number of timesteps with the label in training. A prediction stops after its window."""
    train_batch_size: Annotated[int, Field(ge=1)] = 500
    """The number of samples of a training batch."""
    test_batch_size: Annotated[int, Field(ge=1)] = 500
    """The number of samples predicted at once. Each is run under all num_classes labels."""
    train_samples: Annotated[int, Field(ge=0)] = 0
    """The number of training samples; 0 means all that are not validation samples."""
    validation_samples: Annotated[int, Field(ge=0)] = 5000
    """The number of samples cut from the end of the training set, which select the best epoch.

    With 0, all samples are trained on, and the weights of the last epoch are kept.
    """
    test_samples: Annotated[int, Field(ge=0)] = 0
    """The number of test samples; 0 means all."""

    @model_validator(mode="after")
    def _check_number_of_features(self) -> DataSettings:
        features = self.edge_directions * self.edge_places**2
        if features and self.data_size not in (None, features):
            raise ValueError(
                f"data_config.data_size = {self.data_size}: the oriented-gradient features of {self.edge_directions} directions "
                f"in {self.edge_places} × {self.edge_places} cells are {features} values; set data_config.data_size = {features} "
                "or leave it out, or set data_config.edge_directions = 0"
            )
        return self

    @model_validator(mode="after")
    def _check_delay_line(self) -> DataSettings:
        if self.delay_line < self.moves_per_timestep:
            raise ValueError(
                f"data_config.delay_line = {self.delay_line}: must be at least data_config.moves_per_timestep = "
                f"{self.moves_per_timestep}, or moves would never be shown"
            )
        return self


class TrainingSettings(Section):
    """The section [training]: seed, checkpoints and evaluation of a run."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """The seed of initial weights, sample order, negative labels, dropout, and random variation of the data."""
    weights: str | None = None
    """The checkpoint to start from, used if model.should_load_weights is true."""
    train_accuracy_samples: Annotated[int, Field(ge=0)] = 2000
    """The number of training samples, always the same, whose accuracy is reported after every epoch; 0 means none."""
    on_divergence: Literal["stop", "retry"] = "stop"
    """The reaction to a loss or a weight that is NaN or infinite.

    The value "stop" ends the run with an error. The value "retry" resumes from the last checkpoint with half the learning rate,
    at most five times in a run.
    """
    test_every_epoch: Flag = True
    """Report the test accuracy after every epoch. It selects nothing. If false, the test set is read once, at the end."""
