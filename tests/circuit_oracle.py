"""The generative circuit with plain autograd in float64, timestep by timestep, beside a training of the package.

What the hidden layers do is proven elsewhere. Here `SpyPath` shows the reference what the modules read at each timestep, and
`CircuitOracle` computes from it what the circuit does. It shares no arithmetic with the package.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from RecurrentFF.model.generative import LatentReconstruction, Reconstruction, TopDownMap
from RecurrentFF.model.layers import LearningContext, LocalModule, LocalResult, StepContext
from RecurrentFF.model.learner import Learner, Observer
from RecurrentFF.model.network import Network
from RecurrentFF.model.paths import ComputePath
from RecurrentFF.model.reference import Reference
from RecurrentFF.model.state import State
from tests.helpers import batch_draws
from tests.oracle import activate, make_optimizer


@dataclass
class CircuitTrace:
    """The events of a batch: for each timestep with the label a dictionary by the names of the modules."""

    predictions: list[dict[str, Tensor]] = field(default_factory=list)
    codes: list[Tensor] = field(default_factory=list)
    losses: list[dict[str, Tensor]] = field(default_factory=list)
    gradients: list[dict[str, Tensor]] = field(default_factory=list)
    parameters: list[dict[str, Tensor]] = field(default_factory=list)


def circuit_of(network: Network) -> list[TopDownMap]:
    """The modules of the circuit, from the top to the input."""
    return [module for module in network.local_modules if isinstance(module, TopDownMap)]


class CircuitOracle:
    """A circuit with the present weights and the settings of a network's.

    Attributes:
        weight, bias: G and c of each module by name.
        codes: for each class the codes that have been seen, each with its weight in the statistics.
        decay: the fraction of a code's weight that remains after a further batch of its class.
        seed: that of the learner.
    """

    def __init__(self, network: Network, decay: float, seed: int = 0) -> None:
        self.settings, self.options = network.settings, network.settings.generative
        self.names = [module.name for module in circuit_of(network)]
        self.target = {module.name: module.target for module in circuit_of(network)}
        self.source = {module.name: module.source for module in circuit_of(network)}
        self.weight: dict[str, Tensor] = {}
        self.bias: dict[str, Tensor] = {}
        for module in circuit_of(network):
            assert isinstance(module, LatentReconstruction | Reconstruction)
            self.weight[module.name] = module.weight.detach().clone().requires_grad_()
            self.bias[module.name] = module.bias.detach().clone().requires_grad_()
        options: Any = self.options
        optimizers = [make_optimizer(options.optimizer, [self.weight[name], self.bias[name]]) for name in self.names]
        self.optimizers = dict(zip(self.names, optimizers, strict=True))
        self.noise, self.decay = options.noise, decay
        self.codes: list[list[list[Any]]] = [[] for _ in range(network.num_classes)]
        self.seed, self.samples = seed, 0
        self.draws = batch_draws(0, seed)
        self.trace = CircuitTrace()
        self.labels, self.mask = torch.empty(0), torch.empty(0)

    # ---------------------------------------------------------------- events of a training batch

    def start_batch(self, labels: Tensor, mask: Tensor) -> CircuitTrace:
        """Prepare for a batch.

        Args:
            labels: (label timesteps, batch) class numbers.
            mask: (label timesteps, batch), true where a sequence has not ended.
        """
        self.labels, self.mask, self.trace = labels, mask, CircuitTrace()
        self.draws = batch_draws(labels.shape[1], self.seed, first=self.samples)
        self.samples += labels.shape[1]
        return self.trace

    @torch.enable_grad()
    def learn(self, reads: dict[str, Tensor]) -> None:
        """A timestep with learning.

        Args:
            reads: the pattern of each block under the positive candidate at the previous timestep, (batch, units).
        """
        timestep = len(self.trace.losses)
        for record in (self.trace.losses, self.trace.gradients, self.trace.predictions):
            record.append({})
        for name in self.names:
            noise = self.drawn(name)
            code = self.code(name, reads, noise)
            prediction = self.predicted(name, reads[self.source[name]] + noise, code)
            valid = self.mask[timestep].double()
            error = ((reads[self.target[name]] - prediction) ** 2).mean(1) / 2
            loss = (valid * error).sum() / len(valid)
            exact = self.code(name, reads, None)  # without noise, and before the update
            self.update(name, loss)
            self.trace.predictions[-1][name] = prediction.detach()
            if code is not None:
                self.trace.codes.append(code)
                if timestep == 0:
                    assert exact is not None
                    self.remember(exact, self.labels[timestep], self.mask[timestep])
        self.trace.parameters.append({n: value.detach().clone() for n, value in self.parameters().items()})

    # ---------------------------------------------------------------- the equations

    def code(self, name: str, reads: dict[str, Tensor], noise: Tensor | None) -> Tensor | None:
        """The code of least error with a unit prior, by least squares over stacked equations; None of a map."""
        if self.source[name] != self.target[name]:
            return None
        pattern = reads[self.source[name]] + (0 if noise is None else noise)
        weight = self.weight[name].detach()
        prior = torch.eye(weight.shape[1], dtype=torch.float64)
        right = torch.cat([(pattern - self.bias[name].detach()).T, torch.zeros(len(prior), len(pattern), dtype=torch.float64)])
        solution: Tensor = torch.linalg.lstsq(torch.cat([weight, prior]), right).solution
        return solution.T

    def predicted(self, name: str, read: Tensor, code: Tensor | None) -> Tensor:
        """The prediction, (batch, units): linear from the code and for the input, else by the activation of the layers."""
        z = (read if code is None else code) @ self.weight[name].T + self.bias[name]
        if code is not None or self.target[name] == "x":
            return z
        a = activate(self.settings.network.activation, z)
        return a.detach() + z - z.detach() if self.settings.network.straight_through else a

    def normalized(self, name: str, prediction: Tensor) -> Tensor:
        """A prediction as it is read by the next map."""
        if self.target[name] == "x":
            return prediction
        return prediction / torch.sqrt((prediction**2).mean(1, keepdim=True) + 1e-8)

    def update(self, name: str, loss: Tensor) -> None:
        """A gradient step of one module."""
        parameters = {f"{name}.weight": self.weight[name], f"{name}.bias": self.bias[name]}
        self.optimizers[name].zero_grad()
        loss.backward(inputs=list(parameters.values()))  # type: ignore[no-untyped-call]
        for key, parameter in parameters.items():
            assert parameter.grad is not None
            self.trace.gradients[-1][key] = parameter.grad.clone()
        self.trace.losses[-1][name] = loss.detach()
        self.optimizers[name].step()

    def drawn(self, name: str) -> Tensor:
        """Noise, (batch, features)."""
        is_latent = self.source[name] == self.target[name]
        features = self.weight[name].shape[0] if is_latent else self.weight[name].shape[1]
        noise: Tensor = self.draws.normal(f"noise {name}", features) * self.noise
        return noise.double().T

    def remember(self, codes: Tensor, labels: Tensor, valid: Tensor) -> None:
        """Add the codes of a batch to the statistics of their classes."""
        present = {int(label) for label, real in zip(labels, valid, strict=True) if real}
        for number in present:
            for entry in self.codes[number]:
                entry[0] *= self.decay
        for code, label, real in zip(codes, labels, valid, strict=True):
            if real:
                self.codes[int(label)].append([1.0, code])

    def statistics(self, number: int) -> tuple[Tensor, Tensor]:
        """The weighted mean and covariance of the codes of a class."""
        weights = torch.tensor([weight for weight, _ in self.codes[number]], dtype=torch.float64)
        codes = torch.stack([code for _, code in self.codes[number]])
        mean = (weights[:, None] * codes).sum(0) / weights.sum()
        centered = codes - mean
        return mean, (weights[:, None, None] * centered[:, :, None] * centered[:, None]).sum(0) / weights.sum()

    def parameters(self) -> dict[str, Tensor]:
        """All weights and biases."""
        weights = {f"{name}.weight": value for name, value in self.weight.items()}
        return weights | {f"{name}.bias": value for name, value in self.bias.items()}


class SpyPath:
    """A compute path that shows the reference what the circuit reads at each timestep."""

    def __init__(self, path: ComputePath, network: Network, oracle: CircuitOracle) -> None:
        self.path, self.oracle = path, oracle
        self.first = circuit_of(network)[0]
        self.blocks = list(network.sizes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.path, name)

    def learn(self, module: LocalModule, state: State, context: StepContext, learning: LearningContext) -> LocalResult:
        if module is self.first:
            self.oracle.learn(self.reads(state))
        return self.path.learn(module, state, context, learning)

    def reads(self, state: State) -> dict[str, Tensor]:
        """Copies of the patterns under the positive candidate, (batch, units)."""
        return {name: state.patterns[name][:, 0].T.clone() for name in self.blocks}


class CircuitRecorder(Observer):
    """Notes what the circuit does, in the layout of the reference."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.circuit = circuit_of(network)
        self.trace = CircuitTrace()

    def on_local_gradients(self, timestep: int, module: LocalModule, result: LocalResult) -> None:
        if not isinstance(module, TopDownMap):
            return
        for record in (self.trace.losses, self.trace.gradients):
            if len(record) == timestep:
                record.append({})
        self.trace.losses[timestep][module.name] = result.loss
        named = {f"{module.name}.{name}": gradient.clone() for name, gradient in result.gradients.items()}
        self.trace.gradients[timestep].update(named)

    def on_timestep(self, timestep: int, state: State) -> None:
        blocks = {module.name: state.blocks[module.name] for module in self.circuit}
        self.trace.predictions.append({name: block.activity[:, 0].T.clone() for name, block in blocks.items()})
        self.trace.codes += [code[:, 0].T.clone() for block in blocks.values() for code in block.memory]
        named = {f"{m.name}.{name}": p.clone() for m in self.circuit for name, p in m.named_parameters()}
        self.trace.parameters.append(named)


def spied(network: Network, seed: int, decay: float, **arguments: Any) -> tuple[Learner, CircuitOracle, CircuitRecorder]:
    """A learner of a network whose circuit the reference computes beside it."""
    oracle, recorder = CircuitOracle(network, decay, seed), CircuitRecorder(network)
    network.path = SpyPath(network.path, network, oracle)
    return Learner(network, seed, observers=[recorder], **arguments), oracle, recorder


def assert_same_circuit(found: CircuitTrace, expected: CircuitTrace) -> None:
    """Check that two traces agree to 1e-10."""
    for name in ("losses", "gradients", "predictions", "parameters"):
        _assert_same(getattr(found, name), getattr(expected, name))
    _assert_same([dict(enumerate(found.codes))], [dict(enumerate(expected.codes))])


def _assert_same(found: Sequence[dict[Any, Tensor]], expected: Sequence[dict[Any, Tensor]]) -> None:
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys() and one
        for key, value in one.items():
            torch.testing.assert_close(value, other[key], rtol=1e-10, atol=1e-10, msg=f"{key} differs from the reference")


# ---------------------------------------------------------------- what a circuit imagines


class ImaginationOracle(CircuitOracle):
    """The projections of a circuit, from the activity that the float64 reference computes."""

    def __init__(self, network: Network) -> None:
        super().__init__(network, decay=1.0)
        self.reference = Reference(network)

    def activity(self, inputs: Tensor, labels: Tensor | None) -> list[dict[str, Tensor]]:
        """The pattern of each layer after every timestep, for inputs (timesteps, batch, features) and class numbers (batch,)."""
        reference, network, after = self.reference, self.settings.network, []
        h = reference.zero_activity(inputs[0])
        uniform = torch.full((inputs.shape[1], reference.sizes["y"]), 1 / reference.sizes["y"], dtype=torch.float64)
        shown = [(uniform, 1.0)] * network.prelabel_timesteps
        if labels is not None:
            shown += [(reference.one_hot(labels, torch.float64), network.damping_factor)] * network.label_timesteps
        for x, (y, damping) in zip(inputs, shown, strict=False):
            h = {name: activity.detach() for name, activity in reference.timestep(x, y, h, damping).items()}
            after.append({name: reference.pattern(name, activity) for name, activity in h.items()})
        return after

    @torch.no_grad()
    def project(self, pattern: Tensor, level: str) -> Tensor:
        """The prediction of the input, (batch, features), from the pattern or, for "latent", the code of a layer."""
        top = self.names[0]
        if level == "latent":
            return self.project(self.normalized(top, self.predicted(top, pattern, pattern)), self.source[top])
        maps = {self.source[name]: name for name in self.names[1:]}
        while level != "x":
            pattern = self.normalized(maps[level], self.predicted(maps[level], pattern, None))
            level = self.target[maps[level]]
        return pattern

    @torch.no_grad()
    def reconstructions(self, inputs: Tensor, labels: Tensor | None, level: str) -> list[Tensor]:
        """The prediction of the input, (batch, features), after every timestep."""
        top, found = self.names[0], []
        for patterns in self.activity(inputs, labels):
            pattern = self.code(top, patterns, None) if level == "latent" else patterns[level]
            assert pattern is not None
            found.append(self.project(pattern, level))
        return found


def latent_of(network: Network) -> LatentReconstruction:
    """The code above the top layer."""
    (module, *_) = circuit_of(network)
    assert isinstance(module, LatentReconstruction)
    return module


def give_statistics(network: Network, seed: int = 0, samples: int = 20) -> list[Tensor]:
    """Let a circuit have seen random codes of every class, each of another mean. Returns the codes, (samples, size) each."""
    latent, source = latent_of(network), torch.Generator().manual_seed(seed)
    found = []
    for number in range(network.num_classes):
        mixing = torch.randn(latent.size, latent.size, dtype=latent.bias.dtype, generator=source)
        codes = torch.randn(samples, latent.size, dtype=latent.bias.dtype, generator=source) @ mixing + mixing[0]
        latent.track(codes.T, (torch.arange(network.num_classes) == number)[:, None].expand(-1, samples).to(codes))
        found.append(codes)
    return found
