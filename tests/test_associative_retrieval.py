"""Associative retrieval: the samples, their transform, and the recipe with fast weights."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import RecurrentFF as rff
from RecurrentFF.benchmarks.recurrent_baselines import GRU, RNN
from RecurrentFF.cli import main
from RecurrentFF.data.associative_retrieval import (
    AssociativeRetrieval,
    OneHotSymbols,
    as_symbols,
    as_texts,
    retrieval_samples,
)
from RecurrentFF.errors import DataError, InputError, SettingsError
from RecurrentFF.model.fast_weights import FastWeights

TEXT = "c9k8j3f1??c"


def test_texts_become_symbols_and_back() -> None:
    symbols = as_symbols([TEXT, "a0b1c2d3??d"])
    assert symbols.shape == (2, 11) and symbols[0].tolist() == [2, 35, 10, 34, 9, 29, 5, 27, 36, 36, 2]
    assert as_texts(symbols) == [TEXT, "a0b1c2d3??d"]
    for texts, message in ((TEXT, "a list of texts"), (["a1", "a"], "equal length"), (["a!"], "'!' is none of abc")):
        with pytest.raises(InputError, match=message):
            as_symbols(texts)


def test_samples_ask_for_one_of_their_letters_and_depend_on_their_number_alone() -> None:
    samples = retrieval_samples(0, "train", torch.arange(2000), 4)
    for text, digit in zip(as_texts(samples.samples), samples.labels.tolist(), strict=True):
        letters, digits = text[0:8:2], text[1:8:2]
        assert len(set(letters)) == 4 and letters.isalpha() and digits.isdigit() and text[8:10] == "??"
        assert digits[letters.index(text[10])] == str(digit)
    few = retrieval_samples(0, "train", torch.tensor([7, 3]), 4)
    assert torch.equal(few.samples, samples.samples[[7, 3]]) and torch.equal(few.labels, samples.labels[[7, 3]])
    assert samples.labels.bincount(minlength=10).min() > 150
    asked = (samples.samples[:, -1:] == samples.samples[:, 0:8:2]).long().argmax(1)
    assert asked.bincount(minlength=4).min() > 400
    assert samples.samples[:, 0].bincount(minlength=26).min() > 40
    for seed, split in ((1, "train"), (0, "test")):
        assert (retrieval_samples(seed, split, torch.arange(2000), 4).samples == samples.samples).float().mean() < 0.5


@pytest.mark.parametrize("pairs", [True, False])
def test_each_symbol_is_one_input_and_the_query_stays(pairs: bool) -> None:
    inputs = OneHotSymbols(pairs=pairs, size=3.0)(as_symbols([TEXT]))
    shown = [sorted(as_texts(at.nonzero().T)[0]) for at in inputs[:, 0]]
    expected = ["c9", "k8", "j3", "f1", "?", "c"] if pairs else [*TEXT]
    assert shown == [sorted(each) for each in expected] and set(inputs.flatten().tolist()) == {0.0, 3.0}
    longer = OneHotSymbols(pairs=pairs, size=3.0).prepare(as_symbols([TEXT]), len(inputs) + 2).inputs
    assert torch.equal(longer[: len(inputs)], inputs) and torch.equal(longer[-2:], inputs[-1:].expand(2, -1, -1))


def test_symbols_that_do_not_fit_are_refused() -> None:
    transform = OneHotSymbols()
    with pytest.raises(InputError, match=r"11 symbols need 6 timesteps, and there are 5; raise network\.prelabel_timesteps"):
        transform.prepare(as_symbols([TEXT]), 5)
    for wrong in (torch.full((1, 5), 37), torch.full((1, 5), 0.5), torch.full((1, 5), -1)):
        with pytest.raises(InputError, match="whole numbers from 0 to 36"):
            transform(wrong)
    for shape in ((6,), (3,), (5, 5)):
        with pytest.raises(InputError, match="expected an odd number of symbols, at least 5"):
            transform.output_size(shape)
    with pytest.raises(DataError, match="timesteps is unknown"):
        AssociativeRetrieval().task().splits()
    with pytest.raises(SettingsError, match="pairs"):
        AssociativeRetrieval(pairs=27)


def test_splits_have_the_samples_that_are_asked_for() -> None:
    source = AssociativeRetrieval(pairs=2, train_samples=30, validation_samples=20, test_samples=10)
    train, validation, test, _ = source.task().splits(timesteps=6)
    assert validation is not None and test is not None and (len(train), len(validation), len(test)) == (30, 20, 10)
    batches = [*train.batches(8, torch.arange(29, -1, -1))]
    assert [batch.inputs.shape for batch in batches] == [(6, 8, 37)] * 3 + [(6, 6, 37)] and train.batch_count(8) == 4
    expected = retrieval_samples(0, "train", torch.arange(30), 2)
    assert torch.equal(torch.cat([batch.labels for batch in batches]), expected.labels.flip(0))
    assert torch.equal(batches[0].inputs[:, 0], OneHotSymbols().prepare(expected.samples[29:30], 6).inputs[:, 0])
    assert torch.equal(next(iter(test.batches(10))).labels, retrieval_samples(0, "test", torch.arange(10), 2).labels)


def test_the_recipe_trains_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sizes = ["train_samples=300", "validation_samples=100", "test_samples=100", "pairs=2"]
    keys = [*(f"data.{size}" for size in sizes), "network.hidden_sizes=[30]", "training.epochs=1"]
    arguments = [f"--set={key}" for key in (*keys, "network.prelabel_timesteps=4", "training.batch_size=100")]
    assert main(["train", "associative_retrieval", *arguments]) == 0
    (run,) = Path("runs").iterdir()
    assert json.loads((run / "summary.json").read_text())["test_accuracy"] >= 0
    network = rff.load(run)
    assert any(isinstance(module, FastWeights) for module in network.modules())
    given: Any = as_symbols(["a1b2??a"])
    assert network.badness(given).shape == (1, 10)


@pytest.mark.parametrize("model", [GRU, RNN])
def test_recurrent_baselines_have_at_most_the_weights_of_the_network(model: type[GRU]) -> None:
    network = rff.build(input_size=12, num_classes=4, hidden_sizes=[30, 20], device="cpu")
    made = model(network)
    units = made.recurrent.hidden_size + 1
    larger = nn.ModuleList([model.recurrent_class(12, units), nn.Linear(units, 4)])
    layers = nn.ModuleList(network.hidden_layers())  # without the readout, which nothing trains here
    size, limit, above = (sum(p.numel() for p in each.parameters()) for each in (made, layers, larger))
    assert size <= limit < above and made.description.startswith(f"{made.baseline}, by backpropagation: {units - 1} units")
