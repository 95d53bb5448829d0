"""The layers that a configuration describes: connections, initial weights, receptive fields."""

import math
from typing import Any

import pytest
import torch

from RecurrentFF.errors import SettingsError
from RecurrentFF.model import receptive_fields
from RecurrentFF.model.assembly import make_layers, sources_of_layers
from RecurrentFF.model.initialization import initial_weight
from RecurrentFF.model.network import Network
from tests.helpers import dense, generator, small_settings


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_initial_weights(layer: int) -> None:
    settings = small_settings(input_size=784, hidden_sizes=[300, 200, 250], num_classes=10)
    own = make_layers(settings, torch.float64, generator())[layer]
    forward, lateral, backward = dense(own).weights().values()
    bound = math.sqrt(6 / forward.shape[1])
    assert 0.99 * bound < forward.abs().max() <= bound
    assert forward.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    torch.testing.assert_close(lateral @ lateral.T, 2 * torch.eye(own.units, dtype=torch.float64))
    if layer == 2:
        assert backward.std().item() == pytest.approx(3 * math.sqrt(2 / 10), rel=0.05)
    else:
        assert 0.0499 < backward.abs().max() <= 0.05
        assert backward.std().item() == pytest.approx(0.05 / math.sqrt(3), rel=0.02)
    assert own.bias.eq(0).all()


def test_weights_have_the_sign_of_the_equations_and_are_stored_with_that_of_the_product() -> None:
    layer = make_layers(small_settings(), torch.float64, generator())[0]
    forward, lateral, backward = dense(layer).weights().values()
    assert torch.equal(dense(layer).weight, torch.cat([forward, lateral, -backward], 1))


def test_initial_weights_are_drawn_from_the_input_to_the_label_with_the_sign_of_the_equations() -> None:
    layers, source = make_layers(small_settings(), torch.float64, generator(4)), generator(4)
    sizes, kinds = {"x": 7, "h1": 9, "h2": 5, "h3": 8, "y": 5}, {"x": "forward", "y": "label"}
    for layer in layers:
        for name, found in dense(layer).weights().items():
            kind = kinds.get(name, "lateral" if name == layer.name else "forward" if name < layer.name else "backward")
            assert torch.equal(found, initial_weight(kind, found.shape, torch.float64, source))  # type: ignore[arg-type]
            assert found.shape == (layer.units, sizes[name])


def test_layers_read_their_neighbors_themselves_and_residual_sources() -> None:
    settings = small_settings(residual_connections=[[0, 3], [4, 1], [1, 3]])
    assert sources_of_layers(settings) == {
        "h1": ("x", "h1", "h2", "y"),
        "h2": ("h1", "h2", "h3"),
        "h3": ("x", "h1", "h2", "h3", "y"),
    }


def test_two_modules_of_one_name_and_absent_blocks_are_refused() -> None:
    layers = make_layers(small_settings(), torch.float32, generator())
    with pytest.raises(ValueError, match="h2 reads h1, but the blocks are x, h2, h3, y"):
        Network(small_settings(), modules=layers[1:])
    with pytest.raises(ValueError, match="a name of its own"):
        Network(small_settings(), modules=[*layers, layers[0]])


def test_every_weight_of_a_unit_outside_its_receptive_field_is_zero() -> None:
    settings = small_settings(input_size=36, connections=[{"name": "receptive_field", "side": 3, "lateral": 2}])
    first, second, _ = make_layers(settings, torch.float64, generator())
    mask = dense(first).mask
    assert mask is not None and dense(second).mask is None
    assert torch.equal(dense(first).weight != 0, mask.bool())
    assert mask[:, :36].sum(1).eq(9).all() and mask[:, 36 + 9 :].eq(1).all()
    near = receptive_fields.lateral_field(9, 36, field=3, lateral=2)
    assert torch.equal(mask[:, 36 : 36 + 9].bool(), near) and 9 < near.sum() < 81


def test_a_kind_of_connection_serves_the_layers_and_sources_that_it_names_and_the_first_kind_wins() -> None:
    def sources(*connections: dict[str, Any]) -> list[list[tuple[str, ...]]]:
        layers = make_layers(small_settings(connections=list(connections)), torch.float32, generator())
        return [[connection.sources for connection in layer.connections] for layer in layers]

    whole = [[("x", "h1", "h2")], [("h1", "h2", "h3")], [("h2", "h3", "y")]]
    assert sources() == sources({"name": "dense"}) == whole
    lateral = {"name": "dense", "layers": [2], "sources": ["lateral"]}
    assert sources(lateral) == [whole[0], [("h2",), ("h1", "h3")], whole[2]]
    above = {"name": "dense", "sources": ["backward", "label"]}
    assert sources(above) == [[("h2",), ("x", "h1")], [("h3",), ("h1", "h2")], [("y",), ("h2", "h3")]]
    assert sources(lateral, {"name": "dense", "layers": [2, 3]}) == sources(lateral)
    with pytest.raises(SettingsError, match=r"connections\[1\] \(dense\) serves nothing: entries before it serve"):
        sources({"name": "dense", "layers": [2]}, lateral)


@pytest.mark.parametrize(("units", "field"), [(200, 5), (500, 7), (1000, 14), (17, 10), (1, 28), (2, 27)])
def test_receptive_fields_reach_the_whole_image(units: int, field: int) -> None:
    begins = receptive_fields.origins(units, 28, field)
    assert begins.shape == (units, 2) and begins.min() == 0 and begins.max() <= 28 - field
    reads = receptive_fields.forward_field(units, 28 * 28, field)
    assert (reads.sum(1) == field**2).all()
    if units > 2:
        assert reads.any(0).all() and begins[0].tolist() == [0, 0] and begins[-1].tolist() == [28 - field] * 2


CONVOLUTION: dict[str, Any] = {"name": "convolution", "channels": 2, "kernel_size": 3, "stride": 2, "padding": 1}


def test_a_convolutional_layer_has_planes_of_units_and_a_bias_for_each_channel() -> None:
    settings = small_settings(input_size=36, hidden_sizes=[18, 5], connections=[CONVOLUTION])
    layer = make_layers(settings, torch.float32, generator())[0]
    assert [connection.sources for connection in layer.connections] == [("x",), ("h1",), ("h2",)]
    assert layer.units == 18 and layer.bias.shape == (2,) and layer.unit_bias.shape == (18,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_sizes": [17, 5]}, "layer 1 has 17 units, but the convolution gives 2 × 3 × 3 = 18; set it to that"),
        ({"input_size": 35}, "needs square images, but an input has 35 values"),
        ({"connections": [CONVOLUTION | {"kernel_size": 9, "padding": 0}]}, "a kernel of side 9 does not fit"),
        (
            {"connections": [CONVOLUTION | {"lateral_kernel_size": 4}]},
            r"^arguments: network.connections\[0\].lateral_kernel_size = 4: expected an odd number",
        ),
        (
            {"connections": [CONVOLUTION | {"layers": [2]}]},
            "convolution of h2: it reads h1, which is not convolutional; make that layer convolutional, too",
        ),
        ({"connections": [CONVOLUTION | {"layers": []}]}, r"set layers = \[1\] \(or others\)"),
        (
            {"connections": [CONVOLUTION | {"sources": ["lateral"]}]},
            "a convolutional layer reads the image or the layer below it",
        ),
        ({"connections": [CONVOLUTION | {"pooling": 4}]}, "pooling = 4: must be from 1 to 3, the smaller side of the output"),
        (
            {"input_size": 64, "transform": {"name": "oriented_gradients", "directions": 4, "grid_size": 4}},
            r"network.connections\[0\]: it needs pixels, but the transform gives features",
        ),
    ],
)
def test_a_convolution_that_does_not_fit_is_refused(options: dict[str, Any], message: str) -> None:
    given = {"input_size": 36, "hidden_sizes": [18, 5], "connections": [CONVOLUTION], **options}
    with pytest.raises(SettingsError, match=message):
        Network(small_settings(**given))
