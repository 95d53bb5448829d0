"""Networks of another type or on another device, copies of them, and training under `torch.inference_mode`."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import RecurrentFF as rff
from RecurrentFF.errors import DeviceError, InputError
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.network import Network
from tests.helpers import CLASSES, clusters, small_settings

INPUTS, LABELS = clusters(40)


def weights(network: Network) -> Tensor:
    return torch.cat([parameter.flatten() for parameter in network.parameters()])


def trained(network: Network) -> Network:
    learner = Learner(network)
    for _ in range(3):
        learner.train_batch(INPUTS, LABELS)
    return network


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("convert", [Network.double, lambda network: network.to(torch.float64)], ids=["double", "to"])
def test_a_network_becomes_one_of_float64(convert: Callable[[Network], Network], fused: bool) -> None:
    network = Network(small_settings(), fused=fused)
    assert convert(network) is network and network.dtype == network.compute_dtype == torch.float64
    expected = Network(small_settings(), torch.float64, fused=fused)
    expected.load_state_dict(network.state_dict())
    assert torch.equal(trained(network).badness(INPUTS), trained(expected).badness(INPUTS))
    assert network.badness(INPUTS).dtype == torch.float64
    rff.fit(network, (INPUTS, LABELS), epochs=1, quiet=True)


def test_a_network_with_coarse_matrix_products_becomes_one_without() -> None:
    network = Network(small_settings(), compute_dtype=torch.bfloat16)
    assert network.float().compute_dtype == torch.bfloat16  # nothing has changed
    assert network.double().float().compute_dtype == torch.float32
    assert torch.equal(network.badness(INPUTS), Network(small_settings()).badness(INPUTS))


def test_types_that_cannot_learn_are_refused_before_anything_changes() -> None:
    network = trained(Network(small_settings()))
    before = network.badness(INPUTS)
    conversions: list[Callable[[], Any]] = [
        network.half,
        network.bfloat16,
        lambda: network.to(torch.complex64),
        lambda: network.type(torch.int64),
        lambda: Network(small_settings(), torch.float16),
        lambda: Network(small_settings(), torch.bfloat16),
    ]
    for convert in conversions:
        with pytest.raises(InputError, match=r'weights must be float32 or float64 .*precision = "bfloat16"'):
            convert()
    assert torch.equal(network.badness(INPUTS), before) and network.dtype == torch.float32


def test_a_learner_of_a_network_that_was_converted_since_is_refused() -> None:
    network = Network(small_settings())
    learner = Learner(network)
    learner.train_batch(INPUTS, LABELS)
    network.double()
    before = weights(network)
    with pytest.raises(InputError, match=r"changed from torch\.float32 on cpu to torch\.float64 on cpu; make a new Learner"):
        learner.train_batch(INPUTS, LABELS)
    assert torch.equal(weights(network), before)
    Learner(network).train_batch(INPUTS, LABELS)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_a_device_that_is_not_there_is_an_error_of_one_line() -> None:
    network = Network(small_settings())
    moves: list[Callable[[], Any]] = [lambda: network.to("cuda"), lambda: network.cuda(1)]
    for move in moves:
        with pytest.raises(DeviceError, match="the network can't be moved there") as caught:
            move()
        assert "\n" not in str(caught.value)


def test_a_network_without_data_gives_the_shape_of_its_predictions() -> None:
    badness = Network(small_settings()).to("meta").badness(INPUTS)
    assert badness.is_meta and badness.shape == (40, CLASSES)


def test_weights_of_another_type_are_loaded_into_a_network_that_keeps_its_own() -> None:
    wide = Network(small_settings(seed=3)).double()
    for assign in (False, True):
        network = Network(small_settings())
        network.load_state_dict(copy.deepcopy(wide.state_dict()), assign=assign)
        assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
        torch.testing.assert_close(network.badness(INPUTS), wide.badness(INPUTS).float())
        trained(network)


@pytest.mark.parametrize("fused", [True, False])
def test_copies_predict_and_learn_as_the_network_does(fused: bool) -> None:
    network = trained(Network(small_settings(), fused=fused))
    expected = trained(copy.deepcopy(network)).badness(INPUTS)
    for other in (pickle.loads(pickle.dumps(network)), copy.deepcopy(network).share_memory(), network):
        assert torch.equal(trained(other).badness(INPUTS), expected)


# ---------------------------------------------------------------- inference mode


@pytest.mark.parametrize("options", [{}, {"optimizer": "adam", "negatives": "readout"}, {"adversarial_noise": 0.1}], ids=str)
@pytest.mark.parametrize("fused", [True, False])
def test_batches_inside_and_outside_of_inference_mode_train_the_same(options: dict[str, Any], fused: bool) -> None:
    networks = []
    for inside in (False, True):
        with torch.inference_mode(inside):
            network = Network(small_settings(**options), fused=fused)
            learner = Learner(network)
            learner.train_batch(INPUTS.clone(), LABELS.clone())
            kept = INPUTS + 0
        learner.train_batch(kept, LABELS)
        with torch.inference_mode(inside):
            learner.train_batch(INPUTS, LABELS)
        learner.train_batch(INPUTS, LABELS)
        networks.append(network)
    assert torch.equal(*map(weights, networks))


def test_a_network_that_was_built_loaded_or_trained_in_inference_mode_is_trained_outside(tmp_path: Path) -> None:
    with torch.inference_mode():
        built = rff.build(small_settings(epochs=2, weight_averaging=0.9))
        rff.save(built, tmp_path / "network.safetensors")
        loaded = rff.load(tmp_path / "network.safetensors", "cpu")
        rff.fit(built, (INPUTS, LABELS), validation=(INPUTS, LABELS), quiet=True)
    for network in (built, loaded):
        history = rff.fit(network, (INPUTS, LABELS), validation=(INPUTS, LABELS), quiet=True)
        assert len(history) == 2
        assert not any(parameter.is_inference() for parameter in network.parameters())


def test_a_network_that_was_copied_in_inference_mode_is_refused_at_the_start() -> None:
    with torch.inference_mode():
        network = copy.deepcopy(Network(small_settings()))
    assert network.predict(INPUTS).shape == (40,)
    with pytest.raises(InputError, match=r"copied under torch\.inference_mode\(\)"):
        rff.fit(network, (INPUTS, LABELS), epochs=1, quiet=True)
    rff.fit(copy.deepcopy(network), (INPUTS, LABELS), epochs=1, quiet=True)


# ---------------------------------------------------------------- other programs


def test_a_network_can_be_exported_and_shows_its_sizes() -> None:
    network = trained(Network(small_settings()))
    exported = torch.export.export(network, (INPUTS,), strict=False).module()
    assert torch.equal(exported(INPUTS.flip(0)), network.predict(INPUTS.flip(0)))
    text = repr(network)
    assert "7-9-5-8-5, timesteps=5" in text and "units=9" in text and "{'x': 7, 'h1': 9, 'h2': 5} -> 9" in text
    convolution = [{"name": "convolution", "channels": 2, "kernel_size": 3}]
    planes = Network(small_settings(input_size=36, hidden_sizes=[32, 5], connections=convolution))
    assert "x (1, 6, 6) -> (2, 4, 4), kernel_size=(3, 3), stride=2" in repr(planes)


def test_a_record_has_the_activity_and_the_drives_of_the_equations() -> None:
    for fused in (True, False):
        network = trained(Network(small_settings(), fused=fused))
        recorded = rff.record(network, INPUTS, LABELS.tolist())
        assert {name: list(drives) for name, drives in recorded.drives.items()} == {
            "h1": ["x", "h1", "h2"],
            "h2": ["h1", "h2", "h3"],
            "h3": ["h2", "h3", "y"],
        }
        assert recorded.activity["h1"].shape == (5, 9, 40) and recorded.badness["h3"].shape == (3, 40)
        over_time = network.badness_over_time(INPUTS)
        torch.testing.assert_close(recorded.badness["h2"], over_time[:, 1, torch.arange(40), LABELS])
        before: Tensor = torch.zeros(())
        for t, damping in enumerate([1.0, 1.0, *[network.settings.network.damping_factor] * 3]):
            layer: Any = network.layers["h3"]
            z = sum(drive[t] for drive in recorded.drives["h3"].values()) + layer.bias[:, None]
            before = (1 - damping) * before + damping * layer.activation.apply(z)
            torch.testing.assert_close(recorded.activity["h3"][t], before)
        label = recorded.drives["h3"]["y"][4]
        torch.testing.assert_close(label, -layer.connections[0].weights()["y"][:, LABELS])  # W_b is subtracted


def test_a_record_takes_raw_samples_and_class_names_and_any_kind_of_connection() -> None:
    task = rff.TensorTask(torch.rand(20, 6, 6), ["a", "b"] * 10)
    convolution = [{"name": "convolution", "channels": 2, "kernel_size": 3}]
    settings = small_settings(input_size=None, num_classes=None, hidden_sizes=[32, 5], connections=convolution)
    network = rff.build(settings, task=task)
    recorded = rff.record(network, torch.rand(4, 6, 6), ["a", "b", "b", "a"], layers=["h1"])
    assert list(recorded.activity) == ["h1"] and recorded.activity["h1"].shape == (5, 32, 4)
    layer: Any = network.layers["h1"]
    z = sum(drive[0] for drive in recorded.drives["h1"].values()) + layer.unit_bias[:, None]
    torch.testing.assert_close(recorded.activity["h1"][0], layer.activation.apply(z))
    with pytest.raises(InputError, match="no hidden layer h7"):
        rff.record(network, torch.rand(4, 6, 6), ["a"] * 4, layers=["h7"])
    with pytest.raises(InputError, match="4 inputs but 3 labels"):
        rff.record(network, torch.rand(4, 6, 6), ["a"] * 3)
