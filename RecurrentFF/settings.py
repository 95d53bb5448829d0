"""The configuration: one typed tree with a default for every key, read from TOML and written back to TOML.

Precedence, lowest first: the defaults below, the configuration file, `--set section.key=value`.
`Settings()` alone is the tutorial network with the threshold objective; old configuration files load unchanged.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import toml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from RecurrentFF.errors import SettingsError
from RecurrentFF.wording import in_words, nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ActivationName = Literal["leaky_relu", "relu", "elu", "gelu", "silu", "tanh"]
OptimizerName = Literal["rmsprop", "adam", "adadelta"]


def _tuple(value: object) -> object:
    """TOML arrays arrive as lists; the tree is immutable and holds tuples."""
    return tuple(_tuple(item) for item in value) if isinstance(value, list) else value


def _flag(value: object) -> object:
    """Old files write switches as 0 and 1 as well as false and true."""
    return bool(value) if type(value) is int and value in (0, 1) else value


def _switch(value: object) -> object:
    """A flag that may be left to the program."""
    value = _flag(value)
    if value != "auto" and not isinstance(value, bool):
        raise ValueError('expected "auto", true or false')
    return value


def _device_name(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise ValueError('expected "auto", "cpu", "cuda", "cuda:N" (N a number) or "mps"')
    return name


Flag = Annotated[bool, BeforeValidator(_flag)]
Pair = tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]
LearningRate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Section(BaseModel):
    """Strict types (an int may stand for a float), no unknown keys, immutable."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Rmsprop(_Section):
    """torch.optim.RMSprop, its smoothing constant 0.99."""

    learning_rate: LearningRate = 5e-5
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Adam(_Section):
    """torch.optim.AdamW, its betas 0.9 and 0.999: Adam, with a weight decay that the gradients' size does not matter to."""

    learning_rate: LearningRate = 1e-3
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Share by which weights and biases shrink in a step, times the learning rate."""


class Adadelta(_Section):
    """torch.optim.Adadelta, its rho 0.9."""

    learning_rate: LearningRate = 1.0


class DeviceSettings(_Section):
    """[device]: what computes, and how."""

    device: Annotated[str, AfterValidator(_device_name)] = "auto"
    """Where to compute: "auto" (cuda, then mps, then cpu), "cpu", "cuda", "cuda:N" or "mps"."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the matrix products' operands; weights, activity and optimiser state stay float32.
    "auto" takes bfloat16 where the hardware multiplies it fast."""
    compile: Annotated[bool | str, BeforeValidator(_switch)] = "auto"
    """Whether a layer's timestep is compiled (torch.compile): faster, after some seconds of compiling.
    "auto" compiles for a training of some minutes or more, on a GPU or a CPU with AMX."""


class ModelSettings(_Section):
    """[model]: the network, what it wants and how it learns."""

    hidden_sizes: Annotated[tuple[Annotated[int, Field(gt=0)], ...], BeforeValidator(_tuple), Field(min_length=1)] = (
        200,
        200,
        200,
    )
    """Units of each hidden layer, bottom to top."""
    residual_connections: Annotated[tuple[Pair, ...], BeforeValidator(_tuple)] = ()
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
    prediction_window: Annotated[Pair | None, BeforeValidator(_tuple)] = None
    """First and last label timestep (from 0, both counted) whose badness is averaged for a prediction.
    Left out: [T//2 − T//10, T//2 + T//10] for T = data_config.iterations."""

    prediction_layers: Annotated[tuple[Annotated[int, Field(ge=1)], ...] | None, BeforeValidator(_tuple)] = None
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


class DataSettings(_Section):
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
    def _the_delay_line_takes_in_what_is_new(self) -> DataSettings:
        if self.delay_line < self.moves_per_timestep:
            raise ValueError(
                f"data_config.delay_line = {self.delay_line}: must be at least data_config.moves_per_timestep = "
                f"{self.moves_per_timestep}, or moves would never be shown"
            )
        return self


class TrainingSettings(_Section):
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


class Settings(_Section):
    """Everything that a run depends on. Sections and keys are those of the TOML file."""

    device: DeviceSettings = DeviceSettings()
    model: ModelSettings = ModelSettings()
    data_config: DataSettings = DataSettings()
    training: TrainingSettings = TrainingSettings()

    @model_validator(mode="after")
    def _window_lies_within_iterations(self) -> Settings:
        first, last = self.prediction_window
        if not first <= last < self.data_config.iterations:
            raise ValueError(
                f"model.prediction_window: [{first}, {last}] must be two rising timesteps below "
                f"data_config.iterations = {self.data_config.iterations}"
            )
        return self

    @model_validator(mode="after")
    def _there_are_enough_wrong_labels(self) -> Settings:
        classes = self.data_config.num_classes
        if classes is not None and self.model.negatives >= classes:
            raise ValueError(f"model.negatives = {self.model.negatives}: of {classes} classes only {classes - 1} are wrong")
        return self

    @model_validator(mode="after")
    def _there_is_time_to_move_an_input(self) -> Settings:
        model, iterations = self.model, self.data_config.iterations
        waits = model.objective == "pairwise" and not model.peer_normalisation
        learned, label = model.label_hops if waits else 1, len(model.hidden_sizes) + 1
        if model.adversarial_noise and iterations <= learned:
            raise ValueError(
                f"data_config.iterations = {iterations}: adversarial_noise moves inputs only after timestep {learned} with "
                "the label, when a layer that reads them has learned from it; give it more"
                + (f", or connect the label with residual_connections = [[{label}, 1]]" if learned > 1 else "")
            )
        return self

    @property
    def prediction_window(self) -> tuple[int, int]:
        """First and last label timestep that count in a prediction, both included."""
        timesteps = self.data_config.iterations
        middle, half_width = timesteps // 2, timesteps // 10
        return self.model.prediction_window or (middle - half_width, middle + half_width)

    @property
    def timesteps(self) -> int:
        """Timesteps of a training sequence: those before the label and those with it."""
        return self.model.prelabel_timesteps + self.data_config.iterations

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any], origin: str = "settings") -> Settings:
        """Settings from nested dictionaries; `origin` names their source in messages. Raises SettingsError."""
        try:
            return cls.model_validate(dict(tree))
        except ValidationError as error:
            raise SettingsError(f"{origin}: {in_words(error, cls)}") from None

    @classmethod
    def from_file(cls, path: str | Path) -> Settings:
        """Settings from a TOML file. Raises SettingsError."""
        try:
            return cls.from_toml(Path(path).read_text(encoding="utf-8"), str(path))
        except FileNotFoundError:
            raise SettingsError(f"{path}: no such configuration file") from None
        except OSError as error:
            raise SettingsError(f"{path}: the configuration file can't be read ({error.strerror})") from None
        except UnicodeDecodeError:
            raise SettingsError(f"{path}: not a text file; a configuration is TOML in UTF-8") from None

    @classmethod
    def from_toml(cls, text: str, origin: str = "settings") -> Settings:
        """Settings from TOML; `origin` names their source in messages. Raises SettingsError."""
        try:
            tree = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{origin}: not valid TOML ({error})") from None
        return cls.from_dict(tree, origin)

    @classmethod
    def from_arguments(cls, **arguments: Any) -> Settings:
        """Settings from keys alone: `Settings.from_arguments(hidden_sizes=[100], device="cpu", seed=3)`. Raises SettingsError."""
        return cls().with_arguments(**arguments)

    def with_arguments(self, **arguments: Any) -> Settings:
        """A copy with some keys set. Each key of the configuration has one section, so the section need not be named.

        Raises:
            SettingsError: a key or value is not one.
        """
        tree = self.model_dump()
        for key, value in arguments.items():
            homes = [section for section in tree.values() if key in section]
            if not homes:
                known = [name for section in tree.values() for name in section]
                raise SettingsError(f"arguments: unknown key '{key}'{nearest(key, known)}")
            homes[0][key] = value
        return self.from_dict(tree, "arguments")

    def override(self, overrides: Sequence[str], written: Sequence[str] | None = None) -> Settings:
        """A copy with "section.key=value" assignments; the value is written as in TOML, text may go unquoted.

        Args:
            overrides: the assignments.
            written: for each, how the user wrote it, for messages; by default as --set.

        Raises:
            SettingsError: names the assignment at fault.
        """
        tree = self.model_dump()
        written = written or [f"--set {override}" for override in overrides]
        for override, name in zip(overrides, written, strict=True):
            _assign(tree, override, name)
        try:
            return type(self).model_validate(tree)
        except ValidationError as error:
            place = ".".join(str(part) for part in error.errors()[0]["loc"])
            keys = [override.partition("=")[0].strip() for override in overrides]
            at_fault = [name for key, name in zip(keys, written, strict=True) if f"{place}.".startswith(f"{key}.")]
            raise SettingsError(f"{' '.join(at_fault or written)}: {in_words(error, type(self))}") from None

    def to_toml(self) -> str:
        """The whole tree as TOML; keys without a value are left out. `from_toml` gives it back."""
        return toml.dumps(self.model_dump(mode="json", exclude_none=True))


def _assign(tree: dict[str, Any], override: str, written: str) -> None:
    """Set one key of the tree from "section.key=value"."""
    path, separator, text = override.partition("=")
    if not separator or "." not in path:
        raise SettingsError(f"{written}: write it as section.key=value, for instance model.epochs=3")
    *parents, key = path.strip().split(".")
    for depth, parent in enumerate(parents):
        if not isinstance(tree.get(parent), dict):
            where = ".".join(parents[: depth + 1])
            raise SettingsError(f"{written}: there is no section '{where}'{nearest(parent, tree)}")
        tree = tree[parent]
    tree[key] = _toml_value(text.strip())


def _toml_value(text: str) -> Any:
    """`text` as TOML reads it, or as it stands where TOML can't: `cuda:1` need not be quoted on a command line."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
