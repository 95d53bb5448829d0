"""The pages of results are consistent: means with the values of the seeds, and records with their logs."""

import csv
import re
import statistics
from collections import defaultdict
from pathlib import Path

import pytest

RESULTS = Path(__file__).parents[1] / "docs" / "results"
MEASURED = re.compile(r"(\d+\.\d+) ± (\d+\.\d+)(?: %)?(?:\*\*)?(?: |<br>)\(([\d., ]+)\)")
"""A mean, a standard deviation, and the values of the seeds."""


def values(text: str) -> list[float]:
    """Return the numbers of a list that is separated by commas."""
    return [float(value) for value in text.split(", ")]


def errors_in(log: str) -> list[list[float]]:
    """Return the test errors of each group of runs in a log, in the order of the seeds."""
    groups: dict[str, list[float]] = defaultdict(list)
    with (RESULTS / log).open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            groups[row["runs"]] += [float(row["test_error"])] if row["test_error"] else []
    return list(groups.values())


@pytest.mark.parametrize("page", sorted(RESULTS.glob("*.md")), ids=lambda page: page.name)
def test_means_and_deviations_are_those_of_the_values_of_the_seeds(page: Path) -> None:
    for mean, deviation, seeds in MEASURED.findall(page.read_text(encoding="utf-8")):
        # The values of the seeds are rounded to a hundredth themselves.
        assert float(mean) == pytest.approx(statistics.mean(values(seeds)), abs=0.011), seeds
        assert float(deviation) == pytest.approx(statistics.stdev(values(seeds)), abs=0.011), seeds


def test_the_test_errors_of_records_are_those_of_their_logs() -> None:
    checked = 0
    for line in (RESULTS / "index.md").read_text(encoding="utf-8").splitlines():
        log = re.search(r"\[csv\]\((logs/\w+\.csv)\)", line)
        if log:
            first, single = MEASURED.search(line), re.search(r"\| ([\d.]+)<br>\(seed \d\)", line)
            found = values(first[3]) if first else values(single[1]) if single else None
            assert found in errors_in(log[1]), line
            checked += 1
    assert checked > 10
