"""Tests of sequences of different lengths: padding, masks, splits, and the same predictions as without padding."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import RecurrentFF as rff
from RecurrentFF import streams
from RecurrentFF.data.dataset import SequenceDataset
from RecurrentFF.data.sequences import LabeledSequences, pad_sequences
from RecurrentFF.errors import DataError, InputError, RecurrentFFError

LENGTHS = (4, 7, 1, 5, 9, 6, 3, 8)
LABELS = ["yes", "no"] * 4


def words(shape: tuple[int, ...] = (3,), lengths: tuple[int, ...] = LENGTHS, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, *shape, generator=generator) * 2 + 5 for length in lengths]


def new_network(task: rff.Task, **arguments: Any) -> rff.Network:
    options: dict[str, Any] = {"hidden_sizes": [6, 5], "prelabel_timesteps": 2, "label_timesteps": 6, "epochs": 2,
                               "batch_size": 4, "device": "cpu", "precision": "float32"}  # fmt: skip
    return rff.build(task=task, **(options | arguments))


def refusal(call: Callable[[], object], error: type[RecurrentFFError] = InputError) -> str:
    with pytest.raises(error) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- padding


@pytest.mark.parametrize("timesteps", [None, 5, 12])
def test_padding_equals_the_reference_sequence_by_sequence(timesteps: int | None) -> None:
    sequences = words()
    samples, mask = pad_sequences(sequences, timesteps)
    count = timesteps or max(LENGTHS)
    assert samples.shape == (count, 8, 3) and mask.shape == (count, 8) and mask.dtype is torch.bool
    for number, sequence in enumerate(sequences):
        for t in range(count):
            assert torch.equal(samples[t, number], sequence[min(t, len(sequence) - 1)])
            assert bool(mask[t, number]) == (t < len(sequence))


def test_all_forms_of_sequences_are_the_same() -> None:
    sequences = words()
    expected = pad_sequences(sequences)
    array = np.empty(8, dtype=object)
    array[:] = [sequence.numpy() for sequence in sequences]
    for form in (tuple(sequences), array, [sequence.tolist() for sequence in sequences]):
        samples, mask = pad_sequences(form)
        torch.testing.assert_close(samples.float(), expected.samples)
        assert torch.equal(mask, expected.mask)
    equal = torch.stack(words(lengths=(4, 4)))
    assert torch.equal(pad_sequences(equal).samples, equal.transpose(0, 1)) and pad_sequences(equal).mask.all()
    assert pad_sequences([[1.0, 2.0], [3.0]]).samples.squeeze(2).tolist() == [[1.0, 3.0], [2.0, 3.0]]


def test_selected_sequences_are_those_of_the_list() -> None:
    sequences = words()
    all_of_them = LabeledSequences(torch.cat(sequences), torch.tensor(LENGTHS), torch.arange(8))
    for index in (slice(2, 5), slice(0, 0), torch.tensor([6, 0, 3]), slice(None)):
        chosen = all_of_them[index]
        assert len(chosen) == len(chosen.labels) == len(chosen.lengths)
        ends = chosen.lengths.cumsum(0).tolist()
        for position, number in enumerate(chosen.labels.tolist()):
            assert torch.equal(chosen.frames[ends[position] - LENGTHS[number] : ends[position]], sequences[number])
        assert len(chosen.frames) == sum(chosen.lengths.tolist())


def spoiled(value: float, number: int = 1, shape: tuple[int, ...] = (3,)) -> list[Tensor]:
    """Sequences with one value that is not finite, in timestep 2."""
    sequences = words(shape)
    sequences[number][(2, *[1] * len(shape))] = value
    return sequences


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "no sequences": (lambda: pad_sequences([]), "no sequences; give at least one"),
    "one that is empty": (lambda: pad_sequences([torch.ones(2, 3), torch.ones(0, 3)]), "sequence 1: it has no frames"),
    "other features": (
        lambda: pad_sequences([torch.ones(2, 3), torch.ones(2, 4)]),
        "sequence 1: its frames have the shape (4,), but those of sequence 0 have (3,)",
    ),
    "texts": (lambda: pad_sequences(["one", "two"]), "sequence 0: frames of type str"),
    "a text": (lambda: pad_sequences("one"), "sequences of type str: expected a list of arrays"),
    "a number": (lambda: pad_sequences(3), "sequences of type int: expected a list of arrays"),
    "no timesteps": (lambda: pad_sequences([torch.ones(2, 3)], 0), "timesteps = 0: expected a whole number of at least 1"),
    "too few labels": (lambda: rff.SequenceTask(words(), LABELS[:5]), "8 sequences and 5 labels"),
    "one class": (lambda: rff.SequenceTask(words(), ["a"] * 8), "expected at least two"),
    "a transform of images": (lambda: rff.SequenceTask(words(), LABELS, transform="pixels"), "Pixels: it takes no sequences"),
    "a loader": (
        lambda: rff.SequenceTask(words(), LABELS, test=[(torch.ones(2, 3), torch.ones(2))] * 3),
        "test of type list: expected (sequences, labels), a fraction or a number",
    ),
    "other frames in the test": (
        lambda: rff.SequenceTask(words(), LABELS, test=(words((4,)), LABELS)),
        "test: frames of shape (4,): expected (3,), as in training",
    ),
    "an unknown class": (
        lambda: rff.SequenceTask(words(), LABELS, classes=["yes", "no"], test=(words(), ["maybe"] * 8)),
        "test: label 'maybe' of sample 0: unknown class",
    ),
    "a NaN": (
        lambda: rff.SequenceTask(spoiled(torch.nan, 3), LABELS),
        "sequence 3, timestep 2, feature 1 is nan; replace missing values first",
    ),
    "infinity in the test": (
        lambda: rff.SequenceTask(words(), LABELS, test=(spoiled(-torch.inf, 7), LABELS)),
        "test: sequence 7, timestep 2, feature 1 is -inf",
    ),
    "a NaN in padded sequences": (lambda: pad_sequences(spoiled(torch.nan, 1)), "sequence 1, timestep 2, feature 1 is nan"),
    "a NaN in the last of them": (lambda: pad_sequences([torch.ones(2), [1, torch.nan]]), "sequence 1, timestep 1, feature 0 is"),
    "a NaN in an image": (lambda: pad_sequences(spoiled(torch.nan, 0, (2, 2))), "sequence 0, timestep 2, value (1, 1) is nan"),
    "a single sequence": (
        lambda: pad_sequences(words()[1]),
        "one array of shape (7, 3): expected a list of arrays; give [array] for one sequence of 7 timesteps",
    ),
    "a matrix": (lambda: pad_sequences(np.ones((7, 3))), "array[:, :, None] for 7 sequences of 3 plain numbers"),
    "an array of one number": (lambda: pad_sequences(np.array(5)), "sequences of type ndarray: expected a list of arrays"),
    "a tensor of one number": (lambda: pad_sequences(torch.tensor(5)), "sequences of type Tensor: expected a list of arrays"),
    "an array of numbers": (lambda: pad_sequences(torch.ones(5)), "sequence 0: it is a single number; expected an array"),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_sequences_are_refused_in_one_line(case: str) -> None:
    call, words_of_it = BAD[case]
    assert words_of_it in refusal(call)


# ---------------------------------------------------------------- the task


def test_the_data_sets_of_a_task_have_masks_and_statistics_of_the_training_sequences() -> None:
    sequences = words()
    task = rff.SequenceTask(sequences, LABELS, validation=2, test=(words(seed=1), LABELS))
    splits = task.splits(timesteps=8, train_subset_samples=3)
    train, validation, test, subset = splits
    assert isinstance(train, SequenceDataset) and isinstance(test, SequenceDataset) and isinstance(subset, SequenceDataset)
    assert validation is not None and (len(train), len(validation), len(test), len(subset)) == (6, 2, 8, 3)
    raw = torch.cat([sequences[LENGTHS.index(length)] for length in task._parts["train"].lengths.tolist()])
    mean, std = raw.mean(0), raw.std(0, correction=0)
    torch.testing.assert_close(torch.tensor(task.transform.mean), mean)  # type: ignore[attr-defined]
    for number, length in enumerate(task._parts["train"].lengths.tolist()):
        expected = (sequences[LENGTHS.index(length)][:8] - mean) / std
        torch.testing.assert_close(train.inputs[: len(expected), number], expected)
        assert train.mask is not None and train.mask[:, number].tolist() == [t < length for t in range(8)]
    assert task.splits().train.inputs.shape[0] == max(task._parts["train"].lengths.tolist())  # type: ignore[attr-defined]
    assert task.splits(validation_samples=0).validation is None
    assert "train_samples = 9, but the task has 6 train samples" in refusal(lambda: task.splits(train_samples=9), DataError)


def test_sequences_of_one_length_need_no_mask() -> None:
    task = rff.SequenceTask(torch.stack(words(lengths=(8,) * 8)), LABELS, validation=None)
    (batch,) = task.splits(timesteps=8).train.batches(8)
    assert batch.mask is None and batch.inputs.shape == (8, 8, 3)


def test_longer_sequences_are_cut_off_with_a_note(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_noted", set[str]())
    task = rff.SequenceTask(words(), LABELS, validation=None)
    for train_samples in (0, 5):  # other numbers are not said again
        assert len(task.splits(timesteps=6, train_samples=train_samples).train.inputs) == 6  # type: ignore[attr-defined]
    assert capsys.readouterr().err == (
        "note: 3 of 8 training sequences have more than the 6 timesteps of the network, which does not see the rest: the longest "
        "has 9 (network.prelabel_timesteps + network.label_timesteps)\n"
    )


def test_training_sequences_that_end_before_the_label_are_said_or_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_noted", set[str]())
    task = rff.SequenceTask(words(), LABELS, classes=["yes", "no"], validation=None)
    relabeled = rff.SequenceTask(words(), LABELS, classes=["no", "yes"], validation=None)
    network = new_network(task, prelabel_timesteps=4, epochs=1)
    for data in (task, relabeled):  # said once
        rff.fit(network, data, quiet=True)
    assert capsys.readouterr().err == (
        "note: 3 of 8 training sequences end before the label is shown, and nothing is learned from them; lower "
        "network.prelabel_timesteps, which is 4\n"
    )
    for data in (task, relabeled):
        network = new_network(task, prelabel_timesteps=9)
        weights = [parameter.clone() for parameter in network.parameters()]
        assert refusal(lambda: rff.fit(network, data, quiet=True)) == (  # noqa: B023
            "8 of 8 training sequences end before the label is shown, and nothing is learned from them; lower "
            "network.prelabel_timesteps, which is 9"
        )
        assert all(map(torch.equal, weights, network.parameters()))
    rff.fit(new_network(task, prelabel_timesteps=0, epochs=1), task, quiet=True)
    assert "before the label" not in capsys.readouterr().err


def test_labels_without_training_sequences_are_said_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_noted", set[str]())
    for _ in range(2):
        task = rff.SequenceTask(words(), LABELS, validation=None, test=(words(), ["maybe", "never"] * 4))
    assert task.classes == ("maybe", "never", "no", "yes")
    assert capsys.readouterr().err == (
        "note: no training sequence has the label 'maybe', 'never', which only validation or test sequences have\n"
    )
    rff.SequenceTask(words(), LABELS, classes=["yes", "no", "other"], validation=None)  # as the program says
    assert capsys.readouterr().err == ""


def test_padded_sequences_of_another_length_are_refused_with_the_remedy() -> None:
    network = new_network(rff.SequenceTask(words(), LABELS))
    assert refusal(lambda: network.predict(*pad_sequences(words()[:5]))).endswith(
        "give sequences 8 timesteps, as in rff.pad_sequences(sequences, 8)"
    )


def test_videos_of_different_lengths_are_frames() -> None:
    videos = [torch.randint(256, (length, 4, 4), dtype=torch.uint8) for length in (3, 5, 2, 4)]
    task = rff.SequenceTask(videos, [0, 1, 0, 1], validation=None)
    assert type(task.transform).__name__ == "Frames" and task.input_size == 16
    network = new_network(task)
    assert len(network.predict(*pad_sequences(videos, network.settings.timesteps))) == 4


def test_a_saved_network_predicts_padded_sequences_as_in_training(tmp_path: Any) -> None:
    sequences = words(lengths=(8, 5, 6, 3, 8, 7, 4, 8))
    task = rff.SequenceTask(sequences, LABELS, validation=(sequences, LABELS))
    network = new_network(task, negatives={"name": "readout", "optimizer": "adam"}, prediction_window=[0, 5])
    history = rff.fit(network, task, quiet=True)
    rff.save(network, tmp_path / "words.safetensors")
    loaded = rff.load(tmp_path / "words.safetensors")
    samples, mask = pad_sequences(sequences, loaded.settings.timesteps)
    predicted = loaded.predict(samples, mask)
    result = rff.evaluate(loaded, task)
    assert list(result.predictions) == predicted and result.accuracy == max(m.validation_accuracy or 0 for m in history)
    assert rff.evaluate(loaded, [(samples, LABELS, mask)]).predictions == result.predictions
    for number, sequence in enumerate(sequences):  # what follows the end does not change the badness of a sequence
        alone, own_mask = pad_sequences([sequence], 8)
        alone[len(sequence) :] = 1e3
        torch.testing.assert_close(loaded.badness(alone, own_mask)[0], loaded.badness(samples, mask)[number])


def test_a_network_of_other_class_numbers_trains_on_the_task() -> None:
    first = rff.SequenceTask(words(), LABELS, classes=["yes", "no"], validation=(words(), LABELS))
    network = new_network(first)
    second = rff.SequenceTask(words(seed=3), LABELS, classes=["no", "yes"], validation=(words(seed=3), LABELS))
    rff.fit(network, second, quiet=True)
    adapted = second.adapted_to(first).splits(timesteps=8)
    assert adapted.validation is not None
    (batch,) = adapted.validation.batches(8)
    assert batch.labels.tolist() == [0, 1] * 4
    frames = pad_sequences(words(seed=3), 8).samples
    torch.testing.assert_close(batch.inputs, first.inputs(frames))


def test_sequences_are_learned_by_their_order_of_frames() -> None:
    """Two classes with the same frames: rising and falling. Lengths of 4 to 8 frames."""
    generator = torch.Generator().manual_seed(0)
    ramps = [torch.linspace(-1, 1, int(length)) for length in torch.randint(4, 9, (120,), generator=generator)]
    sequences = [
        torch.stack([ramp, torch.ones_like(ramp)], 1) * (1 if number % 2 else torch.tensor([-1.0, 1.0]))
        for number, ramp in enumerate(ramps)
    ]
    task = rff.SequenceTask(sequences, ["falling", "rising"] * 60, validation=0.25)
    options: dict[str, Any] = {"objective": "pairwise", "optimizer": {"name": "adam", "learning_rate": 3e-3}}
    options |= {"hidden_sizes": [30, 30], "prelabel_timesteps": 1, "label_timesteps": 7, "prediction_window": [0, 6]}
    network = new_network(task, epochs=6, batch_size=15, **options)
    history = rff.fit(network, task, quiet=True)
    assert (history[-1].validation_accuracy or 0) > 0.9
