"""The command: python -m tools.fuzz --seconds 30 [--target settings ...] [--seed N], or --replay FILE ..."""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from pathlib import Path

import torch

from tools.fuzz.search import Budget, Find, Outcome, search
from tools.fuzz.targets import BY_NAME

SLICE_SECONDS = 20.0
"""The longest time of a target before the next one has its turn, in seconds."""
MAX_SECONDS = 3600.0
"""The longest time of a target with a number of examples, in seconds."""
SHOWN = 200
"""The number of characters of an example that are printed."""


def main(argv: list[str] | None = None) -> int:
    """Fuzz the targets in turns. Returns the exit code: 1 if an example has failed, else 0."""
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description="Fuzz what reads files and arguments.")
    parser.add_argument("--seconds", type=float, default=30.0, help="time of all targets together, default 30")
    parser.add_argument("--examples", type=int, help="number of examples of each target, in place of a time")
    parser.add_argument("--target", nargs="+", choices=sorted(BY_NAME), default=list(BY_NAME), help="default: all of them")
    parser.add_argument("--seed", type=int, default=0, help="seed of the examples, default 0")
    parser.add_argument("--finds", type=Path, default=Path("fuzz-finds"), help="folder of examples that fail, default fuzz-finds")
    parser.add_argument("--replay", type=Path, nargs="+", metavar="FILE", help="read these examples; a folder names the target")
    arguments = parser.parse_args(argv)
    warnings.simplefilter("ignore")  # of torch, about odd tensors
    torch.set_num_threads(1)  # a process with threads can't be forked
    if arguments.replay:
        return replay(arguments.replay)
    targets, seconds = arguments.target, arguments.seconds / len(arguments.target)
    turns = math.ceil(seconds / SLICE_SECONDS) if arguments.examples is None else 1
    budget = Budget(seconds / turns) if arguments.examples is None else Budget(MAX_SECONDS, arguments.examples)
    outcomes = fuzz(targets, turns, budget, arguments.seed, arguments.finds)
    print("\n".join(line(name, outcome) for name, outcome in outcomes.items()))
    return 1 if any(outcome.finds for outcome in outcomes.values()) else 0


def fuzz(names: list[str], turns: int, budget: Budget, seed: int, folder: Path) -> dict[str, Outcome]:
    """Fuzz targets in turns, and print what is found.

    Args:
        names: the names of the targets.
        turns: the number of turns of each target.
        budget: the time, or the number of examples, of a turn.
        seed: the seed of the examples.
        folder: the folder of the finds.

    Returns:
        The outcome of each target.
    """
    outcomes = {name: Outcome() for name in names}
    for turn in range(turns):
        for name, total in outcomes.items():
            known = {find.place for find in total.finds}
            outcome = search(BY_NAME[name], budget, seed + 1_000_003 * turn, known, folder)
            for find in outcome.finds:
                print(described(find, find.write(folder)), flush=True)
            total.examples += outcome.examples
            total.seconds += outcome.seconds
            total.finds += outcome.finds
    return outcomes


def described(find: Find, file: Path) -> str:
    """Describe an example that failed, which was written to a file."""
    reason = find.error.splitlines()[0][:SHOWN]
    return f"{find.target}: {reason}\n    at {find.place}\n    {short(find.example)}\n    python -m tools.fuzz --replay {file}\n"


def line(name: str, outcome: Outcome) -> str:
    """One line about a target: the number of examples, seconds and failures."""
    return f"{name:<12}{outcome.examples:>9,} examples{outcome.seconds:>8.1f} s{len(outcome.finds):>5} failed"


def short(example: bytes) -> str:
    """An example as one line of limited length."""
    text = repr(example)
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]} … {text[-SHOWN // 2 :]} ({len(example):,} bytes)"


def replay(files: list[Path]) -> int:
    """Read examples again. The name of a file's folder is that of its target. Returns the exit code."""
    for file in files:
        BY_NAME[file.resolve().parent.name].check(file.read_bytes())
        print(f"{file}: right")
    return 0


if __name__ == "__main__":
    sys.exit(main())
