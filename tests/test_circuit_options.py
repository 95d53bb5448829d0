"""The options of a generative circuit in all the places where they can be given, and circuits and modules of one's own."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch
from hypothesis import given, settings
from pydantic import Field
from torch import Tensor, nn

import RecurrentFF as rff
from RecurrentFF import cli
from RecurrentFF.errors import SettingsError
from RecurrentFF.model.activations import Activation
from RecurrentFF.model.draws import BatchDraws
from RecurrentFF.model.generative import GenerativeCircuit, Reconstruction, ReconstructionCircuit, TopDownMap
from RecurrentFF.model.layers import BlockState, LearningContext, LocalModule, LocalResult, StepContext
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.network import Network
from RecurrentFF.model.optimizers import Adam, Torch
from RecurrentFF.registry import register
from RecurrentFF.settings import Settings
from RecurrentFF.training import build
from tests.circuit_oracle import circuit_of, latent_of
from tests.helpers import CLASSES, clusters, components, generator, small_settings
from tests.refusals import refusal
from tests.test_circuit_beside import layers_of, require_same, train
from tests.test_oracle import PATHS

# ---------------------------------------------------------------- options


def test_the_default_is_no_circuit() -> None:
    assert Settings().generative is None and "generative" not in Settings().to_tree()
    assert not circuit_of(Network(small_settings()))


@pytest.mark.parametrize(
    "given_as",
    ["reconstruction", {"name": "reconstruction"}, ReconstructionCircuit(), {"name": "reconstruction", "latent_size": 64}],
    ids=str,
)
def test_a_circuit_is_given_by_name_by_options_or_as_an_object(given_as: Any) -> None:
    found = small_settings(generative=given_as)
    assert found.generative == ReconstructionCircuit()
    assert Settings.from_toml(found.to_toml()) == found
    names = [(module.name, module.sources) for module in circuit_of(Network(found))]
    assert names == [
        ("predict_h3", ("h3",)),
        ("predict_h2", ("h3", "h2")),
        ("predict_h1", ("h2", "h1")),
        ("predict_x", ("h1", "x")),
    ]


def test_options_from_a_file_and_from_the_command_line_reach_the_modules() -> None:
    text = '[generative]\nname = "reconstruction"\nlatent_size = 5\nnoise = 0.25\noptimizer = "rmsprop"\n'
    chosen = Settings.from_toml(text).generative
    assert isinstance(chosen, ReconstructionCircuit)
    assert (chosen.latent_size, chosen.noise, chosen.optimizer.learning_rate) == (5, 0.25, 5e-5)
    optimizer = 'generative.optimizer={ name = "adam", learning_rate = 0.5 }'
    changed = Settings().override(["generative=reconstruction", "generative.latent_size=6", optimizer])
    assert changed.generative == ReconstructionCircuit(latent_size=6, optimizer=Adam(0.5))
    named = Settings().override(["generative.name=reconstruction", "generative.freeze_layers=true"])
    assert named.generative == ReconstructionCircuit(freeze_layers=True)
    options = ReconstructionCircuit(5, 0.25, Torch("SGD", 0.5))
    circuit = circuit_of(Network(small_settings(generative=options)))
    assert latent_of(Network(small_settings(generative=options))).size == 5
    assert all(module.noise == 0.25 and module.optimizer == options.optimizer for module in circuit)
    activation = small_settings().network.activation
    assert [m.activation for m in circuit if isinstance(m, Reconstruction)] == [activation, activation, None]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(circuit=components("generative"))
def test_all_options_survive_a_file(circuit: Any) -> None:
    found = Settings.from_arguments(generative=circuit)
    assert Settings.from_toml(found.to_toml()).generative == found.generative == circuit


def test_the_list_of_keys_has_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "--keys"]) in (0, None)
    printed = capsys.readouterr().out
    section = printed[printed.index("[generative]") :]
    for option in ("latent_size = 64", "noise = 0.1", "freeze_layers = false", "feedback = 0.0"):
        assert option in section


REFUSED: dict[str, tuple[Any, str]] = {
    "latent_size": ({"latent_size": 0}, "generative.latent_size = 0: expected at least 1"),
    "large latent_size": ({"latent_size": 10_001}, "generative.latent_size = 10001: expected at most 10000"),
    "noise": ({"noise": -0.1}, "generative.noise = -0.1: expected at least 0"),
    "infinite noise": ({"noise": float("inf")}, "generative.noise = inf: expected a finite number"),
    "feedback": ({"feedback": -1}, "generative.feedback = -1: expected at least 0"),
    "freeze_layers": ({"freeze_layers": "perhaps"}, "generative.freeze_layers = 'perhaps': expected true or false"),
    "unknown option": ({"latent": 3}, "unknown key 'generative.latent'; did you mean 'latent_size'?"),
    "unknown optimizer": ({"optimizer": "adm"}, "generative.optimizer"),
    "learning rate": ({"optimizer": {"name": "adam", "learning_rate": 0}}, "generative.optimizer.learning_rate = 0: expected"),
    "unknown name": ({"name": "reconstructions"}, "generative.name = 'reconstructions'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_options_are_refused_in_one_line(case: str) -> None:
    options, message = REFUSED[case]
    found = refusal(lambda: small_settings(generative={"name": "reconstruction"} | options), SettingsError)
    assert found.startswith(f"arguments: {message}"), found


def test_an_unknown_name_is_corrected() -> None:
    assert "reconstruction" in refusal(lambda: small_settings(generative="reconstructoin"), SettingsError)
    for wrong in (3, ["reconstruction"], torch.ones(1), ReconstructionCircuit):
        refusal(lambda wrong=wrong: small_settings(generative=wrong), SettingsError)  # type: ignore[misc]


# ---------------------------------------------------------------- a circuit of one's own


@register("generative", "test_first_layer")
@dataclass(frozen=True)
class FirstLayer(GenerativeCircuit):
    """A circuit that predicts the input alone, from the first layer."""

    noise: Annotated[float, Field(ge=0)] = 0.0
    """The noise on what it reads."""
    freeze_layers: bool = False
    """Let only the circuit learn."""

    def make(
        self, sizes: Mapping[str, int], activation: Activation, dtype: torch.dtype, generator: torch.Generator
    ) -> list[TopDownMap]:
        return [Reconstruction("x", "h1", sizes["x"], sizes["h1"], noise=self.noise, dtype=dtype, generator=generator)]


@dataclass(frozen=True)
class Unregistered(FirstLayer):
    """The same, without a name."""


NOISY: dict[str, Any] = {"name": "test_first_layer", "noise": 0.5}
FAST = Adam(0.02)


@pytest.mark.parametrize("circuit", [FirstLayer(), "test_first_layer", NOISY, Unregistered()], ids=str)
@pytest.mark.parametrize("path", PATHS)
def test_a_circuit_of_ones_own_learns_and_reconstructs(circuit: Any, path: str) -> None:
    """Its optimizer is that of the layers, since it names none."""
    without = Network(small_settings(optimizer=FAST), fused=path == "fused")
    network = Network(small_settings(optimizer=FAST, generative=circuit), fused=path == "fused")
    train(without)
    train(network)
    require_same(layers_of(network), layers_of(without))
    (module,) = circuit_of(network)
    inputs, labels = clusters(30)
    learner, before = Learner(network), (network.reconstruct(inputs) - inputs).square().mean()
    for _ in range(25):
        learner.train_batch(inputs, labels)
    assert module.optimizer is None and (network.reconstruct(inputs) - inputs).square().mean() < 0.7 * before
    assert refusal(lambda: network.generate(1)).startswith("generate: the circuit has no code above the top layer")


def test_a_circuit_of_ones_own_is_saved_by_its_name(tmp_path: Path) -> None:
    network = Network(small_settings(generative=FirstLayer(0.5)))
    rff.save(network, tmp_path / "own.safetensors")
    loaded = rff.load(tmp_path / "own.safetensors")
    assert loaded.settings.generative == FirstLayer(0.5)
    inputs, _ = clusters(3)
    assert torch.equal(loaded.reconstruct(inputs), network.reconstruct(inputs))


def test_a_circuit_of_ones_own_learns_beside_frozen_layers() -> None:
    network = Network(small_settings(generative=FirstLayer(freeze_layers=True)))
    before = layers_of(network)
    train(network)
    require_same(layers_of(network), before)
    assert replace(FirstLayer(), noise=1.0).feedback == 0.0


# ---------------------------------------------------------------- modules of one's own beside the layers


class MeanInput(LocalModule):
    """A module beside the layers that learns the mean of the input, and makes its timesteps in predictions too."""

    is_hidden_layer = False

    def __init__(self, units: int, learning_rate: float | None = None) -> None:
        super().__init__()
        self.name, self.units, self.sources = "mean", units, ("x",)
        self.bias = nn.Parameter(torch.zeros(units), requires_grad=False)
        self.optimizer = None if learning_rate is None else Torch("SGD", learning_rate)
        self.timesteps = 0

    def initial_state(self, batch: int, compute_dtype: torch.dtype, draws: BatchDraws | None) -> BlockState:
        activity = torch.zeros(self.units, 1, batch)
        return BlockState(activity, activity)

    def step(self, patterns: Mapping[str, Tensor], before: BlockState, context: StepContext) -> BlockState:
        self.timesteps += 1
        return before._replace(activity=patterns["x"] - self.bias[:, None, None])

    def local_gradients(
        self,
        patterns: Mapping[str, Tensor],
        before: BlockState,
        after: BlockState,
        context: StepContext,
        learning: LearningContext,
    ) -> LocalResult:
        error = after.activity[:, 0]
        loss = (learning.sample_weight * error.square()).sum() / 2
        return LocalResult(loss, None, {"bias": -(learning.sample_weight * error).sum(1)})


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("options", [{}, {"activity_dropout": 0.3, "dropout": 0.2, "negatives": "readout"}], ids=str)
def test_a_module_of_ones_own_learns_beside_the_layers(options: dict[str, Any], path: str) -> None:
    configured = small_settings(**options)
    without = Network(configured, fused=path == "fused")
    layers, own = Network(configured).hidden_layers(), MeanInput(7, learning_rate=0.5)
    network = Network(configured, modules=[*layers, own], fused=path == "fused")
    assert isinstance(network.path, PATHS[path]) and network.sizes == without.sizes
    train(without)
    train(network)
    require_same({name: w for name, w in network.state_dict().items() if "mean" not in name}, without.state_dict())
    inputs, labels = clusters(50)
    learner = Learner(network)
    for _ in range(30):
        metrics = learner.train_batch(inputs, labels)
    if not options:
        torch.testing.assert_close(own.bias, inputs.mean(0), rtol=1e-4, atol=1e-4)
    assert metrics.loss.shape == (3, 3)
    own.timesteps = 0
    assert network.predict(inputs[:5]).shape == (5,) and own.timesteps > 0
    assert refusal(lambda: network.generate(1)).startswith("generate: the network has no generative circuit")


@pytest.mark.parametrize("path", PATHS)
def test_the_modules_of_a_circuit_can_be_given_beside_layers_of_ones_own(path: str, tmp_path: Path) -> None:
    configured = small_settings()

    def made() -> Network:
        layers = Network(configured).hidden_layers()
        sizes = Network(configured).sizes
        circuit = ReconstructionCircuit(latent_size=2).make(sizes, configured.network.activation, torch.float32, generator())
        return Network(configured, modules=[*layers, *circuit], fused=path == "fused")

    network = made()
    learner = Learner(network)
    for batch in range(5):
        learner.train_batch(*clusters(30, seed=batch))
    assert network.generate([0, 1, 2, 3, 4]).shape == (CLASSES, 7)
    rff.save(network, tmp_path / "own.safetensors")
    loaded = rff.load(tmp_path / "own.safetensors", network=made())
    assert torch.equal(loaded.generate([1, 2], n=2), network.generate([1, 2], n=2))


def test_a_circuit_without_timesteps_before_the_label_is_refused() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_arguments(generative="reconstruction", prelabel_timesteps=0)
    assert "network.prelabel_timesteps = 0: the generative circuit needs at least 1" in str(caught.value)


@pytest.mark.parametrize(("timesteps", "residuals", "needed"), [(2, [], 3), (1, [[1, 3]], 2), (3, [], 0), (2, [[0, 2]], 0)])
def test_a_code_that_no_input_reaches_is_noted(
    timesteps: int, residuals: list[list[int]], needed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    monkeypatch.setattr(build, "note_once", notes.append)
    sizes: dict[str, Any] = {
        "input_size": 4,
        "num_classes": 2,
        "hidden_sizes": [3, 3, 3],
        "prelabel_timesteps": timesteps,
        "device": "cpu",
    }
    rff.build(generative="reconstruction", residual_connections=residuals, **sizes)
    rff.build(residual_connections=residuals, **sizes)
    assert len(notes) == (needed > 0)
    assert not needed or f"the input needs {needed} to reach the top layer" in notes[0]
