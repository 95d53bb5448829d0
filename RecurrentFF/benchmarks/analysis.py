"""The command `rff analyse`: a report on the network of a run."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from RecurrentFF.analysis import open_run, write_report
from RecurrentFF.analysis.records import signed
from RecurrentFF.analysis.report import place_of
from RecurrentFF.analysis.samples import counted
from RecurrentFF.benchmarks.cli import plugins_of_checkpoint, with_plugin_hint
from RecurrentFF.benchmarks.evaluation import refuse_baseline, require_other_file
from RecurrentFF.errors import CheckpointError, SettingsError, printable
from RecurrentFF.paths import kind_of
from RecurrentFF.streams import write_output


def run(arguments: argparse.Namespace) -> None:
    """Write the report of a run, and print its key numbers and its path.

    Args:
        arguments: the values of `run` and of the flags of `add_analysis_flags`.

    Raises:
        RecurrentFFError: the checkpoint or the data can't be read, or do not fit, or the file can't be written.
    """
    path: Path = arguments.run
    for flag, value, least in (("--samples", arguments.samples, 1), ("--seed", arguments.seed, 0)):
        if not least <= value < 2**63:
            raise SettingsError(f"{flag} {value}: expected a whole number of at least {least}")
    refuse_baseline(path)
    folder = path if kind_of(path, CheckpointError) == "folder" else path.parent
    output: Path = arguments.output or folder / "analysis.html"
    require_other_file("--output", output, path)
    place_of(output)
    options = {"split": arguments.split, "data_dir": arguments.data_dir, "device": arguments.device}
    opened = with_plugin_hint(lambda: open_run(path, **options), lambda: plugins_of_checkpoint(path))
    found = write_report(
        opened.network,
        opened.data,
        output,
        name=folder.resolve().name,
        split=opened.split,
        opened=_python(arguments, opened.split),
        samples=arguments.samples,
        seed=arguments.seed,
    )
    kind = opened.name if opened.split == "images" else f"{opened.name}, {opened.split} samples"
    write_output("\n".join([f"data        {printable(kind)}", *_key_numbers(found), f"written to  {printable(str(output))}"]))


def _python(arguments: argparse.Namespace, split: str) -> str:
    """The Python lines that open the network and the data as this command did."""
    options = [] if split == "images" else [f"split={_quoted(split)}"]
    options += [] if arguments.data_dir is None else [f"data_dir={_quoted(arguments.data_dir)}"]
    imports = [f"import {name}" for name in arguments.plugins]
    opening = f"run = analysis.open_run({', '.join([_quoted(arguments.run), *options])})"
    return "\n".join([*imports, opening, "network, data = run.network, run.data"])


def _quoted(value: object) -> str:
    """A text or a path as Python writes it, in double quotes, with escapes for what is not printable."""
    text = json.dumps(str(value), ensure_ascii=False)
    return printable(text, len(text))


def _key_numbers(found: dict[str, Any]) -> list[str]:
    """The key numbers of a report, as lines of text."""
    lines = [f"accuracy    {100 * found['accuracy']:.2f} % of {counted(found['samples'], 'sample')}"]
    lines += [
        f"top-down    {each.layer}: cosine with the bottom-up drive {signed(each.cosine_true)} under true labels, "
        f"{signed(each.cosine_wrong)} under wrong ones"
        for each in found["cancellation"]
    ]
    inactive = ", ".join(f"{layer} {never} of {units}" for layer, (never, units) in found["never_active"].items())
    lines.append(f"inactive    units that are never active in {counted(found['recorded'], 'sample')}: {inactive}")
    if found["neighbors"] is not None:
        lines.append(f"map         {100 * found['neighbors']:.1f} % have a nearest neighbor of their class before the label")
    return lines
