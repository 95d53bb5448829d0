"""Every valid configuration trains, predicts, can be saved and loaded, and is reproducible."""

import math
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import RecurrentFF as rff
from RecurrentFF.errors import SettingsError
from tests.helpers import class_numbers

probability = st.one_of(st.just(0.0), st.floats(0, 0.9))
rate = st.floats(1e-6, 0.1)
field = st.one_of(st.just(0), st.integers(1, 3))

CONFIGURATIONS = st.fixed_dictionaries(
    {
        "data_size": st.sampled_from([4, 9, 9, 9, 16]),
        "num_classes": st.integers(2, 4),
        "hidden_sizes": st.lists(st.integers(1, 6), min_size=1, max_size=4),
        "prelabel_timesteps": st.integers(0, 3),
        "iterations": st.integers(1, 4),
        "train_batch_size": st.just(4),
        "test_batch_size": st.integers(1, 5),
    },
    optional={
        "residual_connections": st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4)).map(list), max_size=2, unique_by=tuple),
        "ff_activation": st.sampled_from(["leaky_relu", "relu", "elu", "gelu", "silu", "tanh"]),
        "damping_factor": st.floats(0.01, 1),
        "epsilon": st.floats(1e-12, 1),
        "dropout": probability,
        "activity_dropout": probability,
        "hard_example_fraction": st.sampled_from([1.0, 0.4]),
        "adversarial_noise": st.sampled_from([0.0, 0.3]),
        "input_dropout": probability,
        "convolution": st.fixed_dictionaries(
            {
                "channels": st.integers(1, 3),
                "kernel_size": st.integers(1, 3),
                "stride": st.integers(1, 2),
                "padding": st.integers(0, 1),
                "lateral_kernel_size": st.sampled_from([1, 3]),
            }
        ),
        "receptive_field": field,
        "lateral_field": field,
        "prediction_window": st.tuples(st.integers(0, 3), st.integers(0, 3)).map(list),
        "prediction_layers": st.lists(st.integers(1, 4), min_size=1, max_size=2, unique=True),
        "badness": st.sampled_from(["mean", "sum"]),
        "objective": st.sampled_from(["threshold", "pairwise", "sum"]),
        "loss_threshold": st.floats(-5, 5),
        "pairwise_alpha": st.floats(0.01, 50),
        "should_replace_neg_data": st.booleans(),
        "negatives_from": st.sampled_from(["classifier", "badness"]),
        "negative_temperature": st.floats(0.01, 100),
        "negatives": st.integers(1, 3),
        "straight_through": st.booleans(),
        "peer_normalization": probability,
        "ff_optimizer": st.sampled_from(["rmsprop", "adam", "adadelta"]),
        "ff_rmsprop": st.fixed_dictionaries({"learning_rate": rate, "momentum": st.floats(0, 0.9)}),
        "ff_adam": st.fixed_dictionaries({"learning_rate": rate, "weight_decay": probability}),
        "classifier_optimizer": st.sampled_from(["rmsprop", "adam", "adadelta"]),
        "weight_averaging": probability,
        "lr_warmup_epochs": st.floats(0, 2),
        "precision": st.sampled_from(["float32", "bfloat16"]),
    },
)


def trained(arguments: dict[str, Any]) -> rff.Network:
    network = rff.build(**arguments, device="cpu", epochs=1)
    inputs = torch.randn(7, network.data_size, generator=torch.Generator().manual_seed(0))
    history = rff.fit(network, (inputs, class_numbers(7, classes=network.num_classes)), quiet=True)
    assert torch.isfinite(torch.tensor(history[0].layer_loss)).all()
    return network


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(CONFIGURATIONS)
def test_every_valid_configuration_trains_and_predicts(tmp_path: Path, arguments: dict[str, Any]) -> None:
    if "convolution" in arguments:  # give the first layer the size that the convolution has
        chosen, side = arguments["convolution"], math.isqrt(arguments["data_size"])
        out = (side + 2 * chosen["padding"] - chosen["kernel_size"]) // chosen["stride"] + 1
        first = max(1, chosen["channels"] * out**2)
        arguments = arguments | {"hidden_sizes": [first, *arguments["hidden_sizes"][1:]], "receptive_field": 0}
    try:
        rff.build(**arguments, device="cpu")
    except SettingsError as error:
        assert "\n" not in str(error)
        return
    network, again = trained(arguments), trained(arguments)
    rff.save(network, tmp_path / "network.pt")
    frames = torch.randn(network.settings.timesteps, 3, network.data_size, generator=torch.Generator().manual_seed(1))
    badness = network.badness(frames)
    assert badness.shape == (3, network.num_classes) and badness.isfinite().all()
    assert torch.equal(network.predict(frames), badness.argmin(1))
    for same in (again, rff.load(tmp_path / "network.pt", "cpu")):
        assert torch.equal(same.badness(frames), badness)
