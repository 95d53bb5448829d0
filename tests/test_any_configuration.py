"""Every valid configuration trains, predicts, can be saved and loaded, and is reproducible."""

import math
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import RecurrentFF as rff
from RecurrentFF.errors import SettingsError
from tests.helpers import class_numbers, components

probability = st.one_of(st.just(0.0), st.floats(0, 0.9))
alphas = st.fixed_dictionaries({"name": st.just("pairwise")}, optional={"alpha": st.floats(0.01, 50)})
thetas = st.fixed_dictionaries({"name": st.just("threshold")}, optional={"theta": st.floats(-5, 5), "beta": st.floats(0.1, 50)})
sums = st.fixed_dictionaries({"name": st.just("sum"), "objectives": st.lists(st.one_of(alphas, thetas), min_size=1, max_size=2)})
rate: dict[str, st.SearchStrategy[Any]] = {"learning_rate": st.floats(1e-6, 0.1)}
optimizers = st.one_of(
    st.fixed_dictionaries({"name": st.just("rmsprop")}, optional=rate | {"momentum": st.floats(0, 0.9)}),
    st.fixed_dictionaries({"name": st.just("adam")}, optional=rate | {"weight_decay": probability}),
    st.just("adadelta"),
    st.fixed_dictionaries(rate | {"name": st.just("torch"), "optimizer": st.sampled_from(["SGD", "Adamax"])}),
)
negatives: dict[str, st.SearchStrategy[Any]] = {"count": st.integers(1, 3), "temperature": st.floats(0.01, 100)}
convolutions = st.fixed_dictionaries(
    {
        "name": st.just("convolution"),
        "channels": st.integers(1, 3),
        "kernel_size": st.integers(1, 3),
        "stride": st.integers(1, 2),
        "padding": st.integers(0, 1),
    },
    optional={"lateral_kernel_size": st.sampled_from([1, 3]), "sources": st.sampled_from([["forward"], ["forward", "lateral"]])},
)
fields = st.fixed_dictionaries(
    {"name": st.just("receptive_field"), "side": st.integers(1, 3)},
    optional={
        "lateral": st.integers(0, 3),
        "sources": st.lists(st.sampled_from(["forward", "lateral", "backward", "label"]), unique=True, max_size=2),
    },
)
dense = st.fixed_dictionaries(
    {"name": st.just("dense")},
    optional={
        "layers": st.lists(st.integers(1, 3), max_size=2),
        "sources": st.lists(st.sampled_from(["forward", "lateral", "backward", "label"]), unique=True, max_size=2),
    },
)

CONFIGURATIONS = st.fixed_dictionaries(
    {
        "input_size": st.sampled_from([4, 9, 9, 9, 16]),
        "num_classes": st.integers(2, 4),
        "hidden_sizes": st.lists(st.integers(1, 6), min_size=1, max_size=4),
        "prelabel_timesteps": st.integers(0, 3),
        "label_timesteps": st.integers(1, 4),
        "batch_size": st.just(4),
        "prediction_batch_size": st.integers(1, 5),
    },
    optional={
        "residual_connections": st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4)).map(list), max_size=2, unique_by=tuple),
        "activation": components("activation"),
        "damping_factor": st.floats(0.01, 1),
        "epsilon": st.floats(1e-12, 1),
        "dropout": probability,
        "activity_dropout": probability,
        "hard_example_fraction": st.sampled_from([1.0, 0.4]),
        "adversarial_noise": st.sampled_from([0.0, 0.3]),
        "input_dropout": probability,
        "connections": st.one_of(st.lists(st.one_of(fields, dense), max_size=2), st.lists(convolutions, min_size=1, max_size=1)),
        "prediction_window": st.tuples(st.integers(0, 3), st.integers(0, 3)).map(list),
        "prediction_layers": st.lists(st.integers(1, 4), min_size=1, max_size=2, unique=True),
        "badness": st.sampled_from(["mean", "sum"]),
        "objective": st.one_of(alphas, thetas, sums),
        "negatives": st.one_of(
            st.fixed_dictionaries({"name": st.just("uniform")}, optional={"count": st.integers(1, 3)}),
            st.fixed_dictionaries({"name": st.just("readout")}, optional=negatives | {"optimizer": optimizers}),
            st.fixed_dictionaries({"name": st.just("badness")}, optional=negatives),
        ),
        "straight_through": st.booleans(),
        "peer_normalization": probability,
        "optimizer": optimizers,
        "schedule": components("schedule"),
        "weight_averaging": probability,
        "precision": st.sampled_from(["float32", "bfloat16"]),
    },
)


def trained(arguments: dict[str, Any]) -> rff.Network:
    network = rff.build(**arguments, device="cpu", epochs=1)
    inputs = torch.randn(7, network.input_size, generator=torch.Generator().manual_seed(0))
    history = rff.fit(network, (inputs, class_numbers(7, classes=network.num_classes)), quiet=True)
    assert torch.isfinite(torch.tensor(history[0].layer_loss)).all()
    return network


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(CONFIGURATIONS)
def test_every_valid_configuration_trains_and_predicts(tmp_path: Path, arguments: dict[str, Any]) -> None:
    chosen = arguments.get("connections", [{"name": ""}])
    if chosen and chosen[0]["name"] == "convolution":  # give the first layer the size that the convolution has
        side = math.isqrt(arguments["input_size"])
        out = (side + 2 * chosen[0]["padding"] - chosen[0]["kernel_size"]) // chosen[0]["stride"] + 1
        arguments = arguments | {"hidden_sizes": [max(1, chosen[0]["channels"] * out**2), *arguments["hidden_sizes"][1:]]}
    try:
        rff.build(**arguments, device="cpu")
    except SettingsError as error:
        assert "\n" not in str(error)
        return
    network, again = trained(arguments), trained(arguments)
    rff.save(network, tmp_path / "network.pt")
    frames = torch.randn(network.settings.timesteps, 3, network.input_size, generator=torch.Generator().manual_seed(1))
    badness = network.badness(frames)
    assert badness.shape == (3, network.num_classes) and badness.isfinite().all()
    assert torch.equal(network.predict(frames), badness.argmin(1))
    for same in (again, rff.load(tmp_path / "network.pt", "cpu")):
        assert torch.equal(same.badness(frames), badness)
