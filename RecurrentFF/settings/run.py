"""[device], [data_config] and [training]: what a network is trained on and where, and the run around it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from RecurrentFF.settings.fields import Flag, Section, as_device, as_directions, as_switch


class DeviceSettings(Section):
    """[device]: what computes, and how."""

    device: Annotated[str, AfterValidator(as_device)] = "auto"
    """Where to compute: "auto" (cuda, then mps, then cpu), "cpu", "cuda", "cuda:N" or "mps"."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the matrix products' operands; weights, activity and optimiser state stay float32.
    "auto" takes bfloat16 where the hardware multiplies it fast."""
    compile: Annotated[bool | str, BeforeValidator(as_switch)] = "auto"
    """Whether a layer's timestep is compiled (torch.compile): faster, after some seconds of compiling.
    "auto" compiles for a training of some minutes or more, on a GPU or a CPU with AMX."""


OF_ONE_BENCHMARK = {
    "mnist": [
        "shift",
        "rotation",
        "scaling",
        "bending",
        "cutout",
        "deskew",
        "size_normalisation",
        "edge_directions",
        "edge_places",
    ],
    "moving_mnist": ["fresh_velocities"],
    "seq_mnist": ["moves_per_timestep", "delay_line", "repeat_strokes"],
}
"""Keys of [data_config] that mean something to one benchmark only."""


class DataSettings(Section):
    """[data_config]: the data set and how it is cut."""

    dataset: str | None = None
    """Name of the data set, filled in by the benchmark."""
    data_dir: str | None = None
    """An existing data folder instead of the built-in data; `--data-dir` sets it."""
    data_size: Annotated[int, Field(ge=1)] | None = None
    """Inputs per timestep, filled in by the benchmark."""
    num_classes: Annotated[int, Field(ge=2)] | None = None
    fresh_velocities: Flag = True
    """Moving MNIST: training digits move otherwise in every epoch, instead of always in the same way."""
    shift: Annotated[int, Field(ge=0, lt=28)] = 0
    """MNIST: training images are shifted by up to so many pixels, in every epoch anew, as in the distortions below."""
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    """MNIST: training images are rotated by up to so many degrees."""
    scaling: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """MNIST: training images grow or shrink by up to this share of their sides."""
    bending: Annotated[float, Field(ge=0, lt=28)] = 0.0
    """MNIST: training images are bent, by a smooth random field of up to so many pixels (elastic distortion)."""
    cutout: Annotated[int, Field(ge=0, le=28)] = 0
    """MNIST: a square of this side is covered in training images."""
    deskew: Flag = False
    """MNIST: all images, distorted ones after that, have their slant taken out and their ink moved to the middle
    (`data.moments`), which undoes `shift`."""
    size_normalisation: Annotated[float, Field(ge=0, le=1)] = 0.0
    """MNIST: how far the width and height of all images' ink, which moves to the middle too, are brought to those of a usual
    digit: 0 leaves them, 1 makes them so, and undoes most of `scaling`."""
    edge_directions: Annotated[int, AfterValidator(as_directions)] = 0
    """MNIST: instead of pixels, the input is how strong the edges that face each of so many directions are at each of
    edge_places × edge_places places (`data.edges`), after all of the above; 0 for pixels."""
    edge_places: Annotated[int, Field(ge=1, le=28)] = 7
    """MNIST: places at which edges are told, across, and as many down."""
    moves_per_timestep: Annotated[int, Field(ge=1)] = 4
    """Seq MNIST: new pen moves at every timestep."""
    delay_line: Annotated[int, Field(ge=1)] = 32
    """Seq MNIST: the newest moves, those of earlier timesteps among them, that the input shows at a timestep."""
    repeat_strokes: Flag = False
    """Seq MNIST: a digit that is drawn begins again, instead of timesteps that show nothing and don't count."""
    iterations: Annotated[int, Field(ge=1)] = 10
    """Timesteps with the label shown (in training; a prediction stops after its window)."""
    train_batch_size: Annotated[int, Field(ge=1)] = 500
    test_batch_size: Annotated[int, Field(ge=1)] = 500
    """Samples predicted at once; each stands for num_classes rows."""
    train_samples: Annotated[int, Field(ge=0)] = 0
    """Training samples used; 0 means all that are left beside the validation samples."""
    validation_samples: Annotated[int, Field(ge=0)] = 5000
    """Samples cut from the end of the training set to decide which epoch is best; 0 trains on all, and keeps the last epoch."""
    test_samples: Annotated[int, Field(ge=0)] = 0
    """Test samples used; 0 means all."""

    @model_validator(mode="after")
    def _edges_are_the_whole_input(self) -> DataSettings:
        values = self.edge_directions * self.edge_places**2
        if values and self.data_size not in (None, values):
            raise ValueError(
                f"data_config.data_size = {self.data_size}: edges of {self.edge_directions} directions at {self.edge_places} × "
                f"{self.edge_places} places of MNIST's images are {values} values; set data_config.data_size = {values} or leave "
                "it out, or data_config.edge_directions = 0"
            )
        return self

    @model_validator(mode="after")
    def _the_delay_line_takes_in_what_is_new(self) -> DataSettings:
        if self.delay_line < self.moves_per_timestep:
            raise ValueError(
                f"data_config.delay_line = {self.delay_line}: must be at least data_config.moves_per_timestep = "
                f"{self.moves_per_timestep}, or moves would never be shown"
            )
        return self


class TrainingSettings(Section):
    """[training]: the run around the network."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Of the initial weights, the order of the samples, the negative labels, dropout, and what is random about the data."""
    weights: str | None = None
    """The checkpoint to start from if model.should_load_weights is on."""
    train_accuracy_samples: Annotated[int, Field(ge=0)] = 2000
    """Size of the fixed subset of the training set whose accuracy is reported after every epoch; 0 means none."""
    on_divergence: Literal["stop", "retry"] = "stop"
    """Where the numbers are no longer finite: stop, or go back to the last checkpoint with half the learning rate, again and
    again if need be, but at most five times in a run."""
    test_every_epoch: Flag = True
    """Report the test accuracy after every epoch too. It decides nothing; false reads the test set once, at the end."""
