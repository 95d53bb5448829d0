"""The target "json": the files of a run's folder, which `rff runs` and `rff report` read."""

from __future__ import annotations

import json
from functools import cache, partial
from typing import Any

from hypothesis import strategies as st

from RecurrentFF.benchmarks import report, runs
from RecurrentFF.settings import Settings
from tools.fuzz.contract import ContractError, answer
from tools.fuzz.mutations import mutated
from tools.fuzz.parts import folder_with, packed, unpacked
from tools.fuzz.target import Target
from tools.fuzz.trees import edited, values

ABSENT = b"(absent)"
"""The content of a file that is not there."""


def check(example: bytes) -> None:
    """List the run, and report on it."""
    files = {name: content for name, content in unpacked(example).items() if content != ABSENT}
    folder = folder_with(files)
    table = answer(partial(runs.table, folder), str(folder))
    if table is not None:
        require_lines(table, 2)

    def reported() -> str:
        groups = report.read_groups([folder])
        return f"{report.table(groups)}\n{report.as_csv(groups)}"

    text = answer(reported, str(folder))
    if text is not None:
        require_lines(text, None)


def require_lines(text: str, number: int | None) -> None:
    """Check what a command prints.

    Raises:
        ContractError: there is another number of lines than `number`, or a line that is not printable.
    """
    lines = text.split("\n")
    if number is not None and len(lines) != number:
        raise ContractError("a table with another number of lines", f"{len(lines)}")
    odd = next((line for line in lines if not line.isprintable()), None)
    if odd is not None:
        raise ContractError("a line of a table that is not printable", repr(odd)[:200])


@cache
def samples() -> dict[str, list[Any]]:
    """Valid contents of each file, as trees: of a network, of a former version, and of a baseline."""
    accuracies: dict[str, Any] = {"train_accuracy": None, "validation_accuracy": 0.5, "test_accuracy": None}
    epoch = {"epoch": 1, "seconds": 0.5, "samples_per_second": 99.9, "learning_rate": 0.001, "loss": 0.7} | accuracies
    layers = {name: [0.5, 0.25] for name in ("layer_loss", "badness_pos", "badness_neg", "weight_norm")}
    epochs = [epoch | layers | {"epoch": number} for number in (1, 2)]
    summary = {"epochs": 2, "best_epoch": 2, "validation_accuracy": 0.5, "test_accuracy": 0.25, "seconds": 1.5}
    settings = Settings.from_arguments(data={"name": "mnist"}, epochs=2, hidden_sizes=[5, 4])
    former = {
        "model": {"hidden_sizes": [5, 4], "epochs": 2},
        "data_config": {"dataset": "MNIST", "data_size": 784},
        "training": {},
    }
    return {
        "config.toml": [settings.to_tree(), former],
        "summary.json": [summary, summary | {"baseline": "gru"}, summary | {"validation_accuracy": None, "test_accuracy": None}],
        "metrics.jsonl": [epochs, epochs[:1]],
    }


def as_text(name: str, tree: Any) -> bytes:
    """A tree as the content of a file of this name."""
    if name == "config.toml":
        from tools.fuzz.settings_texts import as_document

        return as_document(tree)
    try:
        lines = tree if name == "metrics.jsonl" and isinstance(tree, list) else [tree]
        return b"".join(json.dumps(line, default=str).encode() + b"\n" for line in lines)
    except (ValueError, RecursionError):
        return b"[]"


def examples() -> st.SearchStrategy[bytes]:
    """Folders of a run in which mostly one file is not valid."""
    fine = {name: st.sampled_from([as_text(name, tree) for tree in trees]) for name, trees in samples().items()}
    odd = {
        name: st.one_of(
            edited(trees, VALUES).map(partial(as_text, name)),
            edited(trees, VALUES).map(partial(as_text, name)),
            mutated([as_text(name, tree) for tree in trees], text=True),
            st.just(ABSENT),
        )
        for name, trees in samples().items()
    }
    folders = [st.fixed_dictionaries(fine | {name: odd[name]}) for name in fine]
    return st.one_of(*folders, st.fixed_dictionaries(odd)).map(packed)


VALUES = values()
"""Any values."""

TARGETS = [Target("json", examples, check)]
