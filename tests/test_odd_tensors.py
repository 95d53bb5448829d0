"""Tensors, arrays and lists of all kinds as inputs, labels and masks: they are converted, or refused in one line."""

import re
import warnings
import weakref
from array import array
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

import RecurrentFF as rff
from RecurrentFF.errors import DivergenceError
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.network import Network
from RecurrentFF.tensors import as_inputs, as_labels, as_mask, as_numbers, check_labels, without_invalid
from tests.helpers import DATA_SIZE, clusters, small_settings, video
from tests.refusals import refusal

INPUTS, LABELS = clusters(20)
MASKED = np.ma.masked_array(INPUTS.numpy(), INPUTS.numpy() > 0)


class OwnTensor(Tensor):
    """A subclass, as that of the transforms of torchvision."""


def as_own_tensor(tensor: Tensor) -> Tensor:
    return tensor.as_subclass(OwnTensor)


def weights(network: Network) -> Tensor:
    return torch.cat([parameter.flatten() for parameter in network.parameters()])


NO_INPUTS: dict[str, tuple[Any, str]] = {
    "nothing": (None, "type NoneType"),
    "text": ("abc", "type str"),
    "bytes": (b"abc", "type bytes"),
    "a number": (3.5, "type float"),
    "a class": (int, "type type"),
    "a set": ({1, 2}, "type set"),
    "a dictionary": ({"inputs": INPUTS}, "give one of its values"),
    "a generator": ((row for row in INPUTS), r"list\(…\)"),
    "an image": (Image.new("L", (7, 7)), r"give \[image\]"),
    "sparse": (INPUTS.to_sparse(), r"to_dense\(\)"),
    "sparse rows": (INPUTS.to_sparse_csr(), r"to_dense\(\)"),
    "nested": (torch.nested.nested_tensor([INPUTS[0], INPUTS[1, :3]]), "to_padded_tensor"),
    "quantized": (torch.quantize_per_tensor(INPUTS, 0.1, 0, torch.quint8), r"dequantize\(\)"),
    "without data": (INPUTS.to("meta"), "device meta"),
    "complex": (INPUTS.to(torch.complex64), "real numbers"),
    "complex of numpy": (INPUTS.numpy().astype(complex), "real numbers"),
    "packed": (pack_padded_sequence(video(5, 4), [5, 4, 3, 2]), "pad_packed_sequence.*mask"),
    "unequal rows": ([[1.0, 2.0], [1.0]], "equal rows"),
    "unequal tensors": ([INPUTS[0], INPUTS[1, :3]], "unequal shapes; make them equal; for sequences use rff.SequenceTask"),
    "unequal arrays": (
        [INPUTS[0].numpy(), INPUTS[1, :3].numpy()],
        "unequal shapes; make them equal; for sequences use rff.SequenceTask",
    ),
    "a sparse tensor in a list": ([row.to_sparse() for row in INPUTS], r"to_dense\(\)"),
    "objects": (np.array([["a"], [1]], dtype=object), "texts"),
    "missing values": (pd.DataFrame({"a": [1, None], "b": [2, 3]}, dtype="Int64"), "missing values"),
    "records": (np.zeros(20, dtype=[("a", "f4"), ("b", "f4")]), "fields a, b"),
    "masked": (MASKED, r"filled\(0\)"),
    "dates": (np.zeros((20, 7), "datetime64[s]"), "datetime64"),
    "truth values": (INPUTS > 0, r"inputs.float\(\)"),
    "whole numbers": (INPUTS.long(), r"inputs.float\(\)"),
    "a single sample": (INPUTS[0], r"inputs\[None\]"),
    "features first": (INPUTS.T, r"inputs\.T"),
    "the batch first": (video(6, 5), r"transpose\(0, 1\)"),
    "a loader": (torch.utils.data.DataLoader(torch.utils.data.TensorDataset(INPUTS)), r"rff\.evaluate"),
}


@pytest.mark.parametrize("case", NO_INPUTS)
def test_what_is_no_dense_real_tensor_is_refused_by_prediction_and_training(case: str) -> None:
    value, message = NO_INPUTS[case]
    network = Network(small_settings())
    before = weights(network)
    for call in (lambda: network.predict(value), lambda: Learner(network).train_batch(value, LABELS)):
        words = refusal(call)
        assert re.search(message, words), words
    assert torch.equal(weights(network), before)


SAME_INPUTS: dict[str, Any] = {
    "requires gradients": INPUTS.clone().requires_grad_(),
    "a parameter": torch.nn.Parameter(INPUTS.clone()),
    "a subclass": as_own_tensor(INPUTS.clone()),
    "negative strides": np.ascontiguousarray(INPUTS.numpy()[::-1])[::-1],
    "other byte order": INPUTS.numpy().astype(">f4"),
    "columns first": np.asfortranarray(INPUTS.numpy()),
    "every second column": np.repeat(INPUTS.numpy(), 2, axis=1)[:, ::2],
    "read only": np.frombuffer(INPUTS.numpy().tobytes(), "f4").reshape(20, 7),
    "long doubles": INPUTS.numpy().astype(np.longdouble),
    "numbers as objects": INPUTS.numpy().astype(object),
    "nothing masked": np.ma.masked_array(INPUTS.numpy()),
    "a matrix": np.asmatrix(INPUTS.numpy()),
    "a list of lists": INPUTS.tolist(),
    "a list of tensors": list(INPUTS),
    "a tuple of arrays": tuple(INPUTS.numpy()),
    "a frame": pd.DataFrame(INPUTS.numpy()),
    "a frame of nullable columns": pd.DataFrame(INPUTS.numpy()).convert_dtypes(),
}


@pytest.mark.parametrize("case", SAME_INPUTS)
def test_the_same_numbers_in_another_form_give_the_same_predictions_and_training(case: str) -> None:
    networks = [Network(small_settings()) for _ in range(2)]
    for network, inputs in zip(networks, (INPUTS, SAME_INPUTS[case]), strict=True):
        Learner(network).train_batch(inputs, LABELS)
    badness = [network.badness(inputs) for network, inputs in zip(networks, (INPUTS, SAME_INPUTS[case]), strict=True)]
    assert type(badness[1]) is Tensor and not badness[1].requires_grad
    for pair in (badness, [*map(weights, networks)]):
        if as_numbers(SAME_INPUTS[case]).is_contiguous():
            assert torch.equal(*pair)
        else:  # torch adds in another order
            torch.testing.assert_close(*pair)


def test_small_floating_point_types_are_converted_exactly() -> None:
    coarse = INPUTS.to(torch.float8_e4m3fn)
    assert torch.equal(Network(small_settings()).badness(coarse), Network(small_settings()).badness(coarse.float()))
    assert as_numbers(coarse).dtype == torch.float32 and as_inputs(INPUTS.half()).dtype == torch.float16


def test_a_tensor_that_needs_no_conversion_is_not_copied() -> None:
    assert as_inputs(INPUTS) is INPUTS and as_labels(LABELS) is LABELS
    values = INPUTS.numpy().copy()
    assert as_numbers(values).data_ptr() == values.ctypes.data


def test_an_array_that_torch_can_share_is_not_copied(tmp_path: Path) -> None:
    np.save(tmp_path / "inputs.npy", INPUTS.numpy())
    mapped = np.load(tmp_path / "inputs.npy", mmap_mode="r")
    locked, columns_first = INPUTS.numpy().copy(), np.asfortranarray(INPUTS.numpy())
    locked.setflags(write=False)
    frame = pd.DataFrame(INPUTS.numpy().copy())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of arrays that can't be written to
        for each in (mapped, locked, locked[::2], locked.T, np.broadcast_to(locked[0], (4, 7)), columns_first, frame.to_numpy()):
            assert as_numbers(each).data_ptr() == each.ctypes.data
            assert np.array_equal(as_numbers(each).numpy(), each)
    assert not locked.flags["W"] and as_numbers(frame).data_ptr() == frame.to_numpy().ctypes.data


def test_the_memory_of_a_shared_array_lives_as_long_as_the_tensor() -> None:
    locked = np.frombuffer(INPUTS.numpy().tobytes(), "f4").reshape(20, 7)
    alive = weakref.finalize(locked, int)
    tensor = as_numbers(locked)
    del locked
    assert alive.alive and torch.equal(tensor, INPUTS)
    del tensor
    assert not alive.alive


def test_arrays_that_torch_can_not_share_are_copied() -> None:
    values = INPUTS.numpy()
    field = np.zeros(20, dtype=[("flag", "u1"), ("value", "f4")])
    field["value"] = values[:, 0]
    shifted = np.frombuffer(b"x" + values.tobytes(), "f4", offset=1).reshape(20, 7)
    for each in (field["value"], shifted, values[::-1], values[:, ::-1], values.astype(">f4")):
        assert np.array_equal(as_numbers(each).numpy(), each)


@pytest.mark.parametrize("labels", [range(3), range(8, 2, -2), deque([0, 2, 1]), array("q", [0, 2, 1]), array("B", [0, 2, 1])])
def test_sequences_of_the_standard_library_are_labels(labels: Any) -> None:
    assert as_labels(labels).tolist() == list(labels)


def test_a_range_of_labels_is_trained_on_and_an_endless_one_refused() -> None:
    networks = [Network(small_settings()) for _ in range(2)]
    for network, labels in zip(networks, (range(5), torch.arange(5)), strict=True):
        Learner(network).train_batch(INPUTS[:5], labels)
    assert torch.equal(*map(weights, networks))
    assert "5 inputs but 4 labels" in refusal(lambda: Learner(networks[0]).train_batch(INPUTS[:5], range(4)))
    for stop in (2**62, 10**30):
        assert "type range" in refusal(lambda stop=stop: as_labels(range(stop)))  # type: ignore[misc]


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64, torch.int8, torch.uint8])
def test_class_numbers_of_any_integer_type_are_labels(dtype: torch.dtype) -> None:
    for labels in (LABELS.to(dtype), LABELS.to(dtype).numpy(), list(LABELS.to(dtype))):
        assert torch.equal(as_labels(labels), LABELS) and as_labels(labels).dtype == torch.int64
    Learner(Network(small_settings())).train_batch(INPUTS, LABELS.to(dtype))
    history = rff.fit(Network(small_settings(epochs=1)), [(INPUTS, LABELS.to(dtype))], validation=[(INPUTS, LABELS.to(dtype))],
                      quiet=True)  # fmt: skip
    assert history[0].validation_accuracy is not None
    assert rff.evaluate(Network(small_settings()), (INPUTS, LABELS.to(dtype))).samples == 20


def test_class_numbers_of_pandas_and_of_one_column_are_labels() -> None:
    column = pd.Series(np.r_[np.zeros(20, int), LABELS.numpy()])[20:]
    for labels in (column, column.astype("category"), column.astype("Int64"), LABELS.numpy().astype(">i8"), LABELS[:, None]):
        network, expected = Network(small_settings()), Network(small_settings())
        Learner(network).train_batch(INPUTS, labels)
        Learner(expected).train_batch(INPUTS, LABELS)
        assert torch.equal(weights(network), weights(expected))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "type NoneType"),
        ([str(label) for label in LABELS.tolist()], "such as '.'.*TensorTask"),
        (np.array(["a"] * 20), "such as 'a'.*TensorTask"),
        (pd.Series(["a"] * 20), "such as 'a'.*TensorTask"),
        (LABELS.to_sparse(), r"to_dense\(\)"),
        (LABELS.to("meta"), "device meta"),
        (LABELS.float(), "integer class numbers"),
        ([float("nan")] * 20, "integer class numbers"),
        ([10**30] * 20, "objects or missing values"),
        (torch.full((20,), 2**63, dtype=torch.uint64), "above"),
        (np.full(20, 2**63, np.uint64), "above"),
        (torch.tensor(1), r"shape \(\)"),
        (LABELS[:5], "20 inputs but 5 labels"),
        (LABELS.expand(2, 20), r"shape \(2, 20\)"),
        (LABELS.expand(3, 20).T, r"labels\.T"),
        (LABELS + 3, "labels run from"),
        (torch.nn.functional.one_hot(LABELS, 5), r"one-hot\? .*argmax\(1\)"),
        (torch.nn.functional.one_hot(LABELS, 5).float(), r"one-hot\? .*argmax\(1\)"),
    ],
)
def test_labels_that_are_no_class_numbers_are_refused_before_anything_is_learned(labels: Any, message: str) -> None:
    network = Network(small_settings())
    before = weights(network)
    words = refusal(lambda: Learner(network).train_batch(INPUTS, labels))
    assert re.search(message, words), words
    assert torch.equal(weights(network), before)


def test_one_hot_labels_are_not_read_as_labels_that_change_over_time() -> None:
    one_hot = torch.nn.functional.one_hot(torch.tensor([2, 0, 1, 2]), 4)
    assert r"labels.argmax(1), or labels.unsqueeze(2)" in refusal(lambda: check_labels(one_hot, 4, 4, timesteps=4))
    assert torch.equal(check_labels(one_hot.unsqueeze(2), 4, 4, timesteps=4), one_hot)
    over_time = torch.tensor([[2, 0, 1, 3]] * 4)
    assert torch.equal(check_labels(over_time, 4, 4, timesteps=4), over_time)
    assert check_labels(over_time, 4, 4, timesteps=4).dim() == 2


def test_a_mask_is_of_truth_values_or_of_0_and_1() -> None:
    mask = torch.tensor([[True, True], [True, False], [False, False]])
    for value in (mask, mask.float(), mask.int(), mask.numpy(), mask.tolist()):
        assert torch.equal(as_mask(value, 3, 2), mask)
    assert "give mask.T" in refusal(lambda: as_mask(mask.T, 3, 2))
    assert "other than 0 and 1" in refusal(lambda: as_mask(mask * 0.5, 3, 2))
    assert "other than 0 and 1" in refusal(lambda: as_mask(torch.full((3, 2), torch.nan), 3, 2))
    assert "to_dense" in refusal(lambda: as_mask(mask.to_sparse(), 3, 2))


def test_what_is_not_finite_does_not_matter_where_the_mask_is_false() -> None:
    mask = torch.ones(5, 6, dtype=torch.bool)
    mask[3:, 2] = mask[:, 4] = False
    clean = video(5).float() * mask.unsqueeze(2)
    dirty = clean.clone()
    dirty[3, 2], dirty[4, 2], dirty[:, 4] = torch.nan, torch.inf, -torch.inf
    networks = [Network(small_settings()) for _ in range(2)]
    for network, inputs in zip(networks, (clean, dirty), strict=True):
        Learner(network).train_batch(inputs, LABELS[:6], mask)
    assert torch.equal(*map(weights, networks))
    assert torch.equal(networks[0].badness(clean, mask), networks[0].badness(dirty, mask))
    assert "sample 2 has nan" in refusal(lambda: networks[0].badness(dirty))
    dirty[0, 1, 3] = torch.inf
    assert "sample 1 has inf" in refusal(lambda: networks[0].badness(dirty, mask))
    assert torch.equal(without_invalid(clean, mask), clean)
    static = torch.zeros(6, DATA_SIZE)
    static[4] = torch.nan
    assert networks[0].badness(static, mask).isfinite().all()


@pytest.mark.parametrize("prelabel", [0, 2])
@pytest.mark.parametrize("value", [1e19, -3e38])
def test_training_refuses_inputs_whose_gradients_would_not_be_finite_before_it_changes_weights(
    value: float, prelabel: int
) -> None:
    network = Network(small_settings(prelabel_timesteps=prelabel, negatives="readout" if prelabel else "uniform"))
    before, large = weights(network), INPUTS.clone()
    large[4, 2] = value
    assert "too large: sample 4 has" in refusal(lambda: Learner(network).train_batch(large, LABELS))
    assert torch.equal(weights(network), before)
    assert Network(small_settings(), torch.float64).largest_input > 1e70


def test_badness_that_is_not_finite_is_an_error_of_the_first_sample_or_of_the_weights() -> None:
    network, large = Network(small_settings()), INPUTS.clone()
    large[7], large[9] = 3e38, 3e38
    for call in (network.predict, network.badness, network.badness_over_time, network.predict_inputs):
        assert "sample 7" in refusal(called_with(call, large))
    assert "sample 7" in refusal(lambda: rff.evaluate(network, (large, LABELS)))
    next(network.parameters()).data[0] = torch.nan
    assert "weights layers.h1" in refusal(lambda: network.predict(INPUTS), DivergenceError)
    assert "weights layers.h1" in refusal(lambda: rff.evaluate(network, (INPUTS, LABELS)), DivergenceError)


def called_with(call: Callable[..., Any], value: Any) -> Callable[[], Any]:
    return lambda: call(value)
