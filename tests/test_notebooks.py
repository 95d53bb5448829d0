"""The notebooks run from top to bottom, on small settings, and their stored outputs are complete."""

import ast
import base64
import re
import struct
from pathlib import Path
from typing import Any

import pytest

from tools.notebooks import EXAMPLES, WIDTH, execute, read

PATHS = sorted(EXAMPLES.glob("*.ipynb"))
SMALL = {
    "generate": "train_samples, epochs, hidden_sizes = 1000, 1, [30, 20]",
    "many_processes": "train_samples, epochs, hidden_sizes = 500, 1, [20, 20]",
    "mnist_in_five_minutes": "train_samples, epochs = 1000, 2",
    "search": "trials, samples, epochs, final_samples, final_epochs = 4, 500, 1, 500, 1",
    "sequences": "train_samples, validation_samples, test_samples, epochs, gestures, gesture_epochs = 300, 100, 20, 1, 60, 1",
    "what_the_layers_know": ("train_samples, epochs, hidden_sizes, recorded_samples, test_samples = 1000, 1, [30, 20], 40, 400"),
    "your_own_data": "table_epochs, images_per_class, image_epochs = 2, 20, 2",
    "your_own_objective": "samples, epochs, seeds = 600, 1, 2",
}
"""For each notebook, what replaces its cell of parameters."""
LARGEST_FILE = 400_000
"""The largest size of a notebook in bytes."""
PRIVATE = re.compile(r"(?<![\w.])(?:/(?:tmp|work|root|home|Users|private|usr|opt|var)\b|[A-Z]:\\)|0x[0-9a-f]{8}")
"""What belongs to a machine: absolute paths, and addresses in memory."""


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def problems(path: Path) -> list[str]:
    """What a reader of the stored notebook would complain about."""
    notebook = read(path)
    cells = code_cells(notebook)
    return [
        *_problems_of_prose(notebook),
        *(f"cell {cell.id}: executed as number {cell.execution_count}, not {n}" for n, cell in enumerate(cells, 1)
          if cell.execution_count != n),
        *(f"cell {cell.id}: no output" for cell in cells if _displays(cell.source) and not cell.outputs),
        *(f"cell {cell.id}: {problem}" for cell in cells for output in cell.outputs for problem in _problems_of_output(output)),
        *(f"cell {cell.id}: metadata {key}" for cell in notebook.cells for key in cell.metadata if key != "tags"),
        *([f"the file has {path.stat().st_size:,} bytes"] if path.stat().st_size > LARGEST_FILE else []),
    ]  # fmt: skip


def _displays(source: str) -> bool:
    """True if a cell prints or draws something outside of functions, or ends with an expression that is shown."""
    tree = ast.parse(source)
    statements = [each for each in tree.body if not isinstance(each, ast.FunctionDef | ast.ClassDef)]
    calls = [node for statement in statements for node in ast.walk(statement) if isinstance(node, ast.Call)]
    names = {getattr(call.func, "id", getattr(call.func, "attr", "")) for call in calls if not any(
        keyword.arg == "quiet" for keyword in call.keywords)}  # fmt: skip
    ends_with_value = isinstance(tree.body[-1], ast.Expr) and not source.endswith(";")
    return ends_with_value or bool(names & {"print", "show", "display", "fit"})


def _problems_of_output(output: Any) -> list[str]:
    texts = [output.get("text", ""), *(str(value) for kind, value in output.get("data", {}).items() if kind.startswith("text"))]
    found = [f"shows {match[0]}" for text in texts for match in PRIVATE.finditer(text)]
    if output.output_type == "error" or output.get("name") == "stderr":
        found.append(f"an error or a warning: {output.get('text', '') or output.evalue}")
    if "\r" in "".join(texts) or "\x1b" in "".join(texts):
        found.append("control characters of a terminal")
    if "image/png" in output.get("data", {}):
        (width,) = struct.unpack(">I", base64.b64decode(output.data["image/png"])[16:20])
        found += [f"a picture of {width} pixels"] if width > WIDTH else []
    return found


def _problems_of_prose(notebook: Any) -> list[str]:
    first, second, *others = notebook.cells
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", prose) if "://" not in link]
    return [
        *([] if first.source.startswith("# ") and prose.count("\n# ") == 0 else ["the title is not the first line"]),
        *([] if "processor core" in first.source else ["the first cell does not say how long it takes"]),
        *([] if tagged == [second] else ["not the second cell, and only it, has the parameters"]),
        *([] if "## Where to continue" in others[-1].source and links else ["no section 'Where to continue'"]),
        *(f"there is no {link}" for link in links if not (EXAMPLES / link).exists()),
    ]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_stored_outputs_are_complete(path: Path) -> None:
    assert problems(path) == []


def test_each_notebook_has_small_settings_for_its_parameters() -> None:
    assert sorted(SMALL) == [path.stem for path in PATHS]
    for path in PATHS:
        names: list[set[str]] = []
        for source in (read(path).cells[1].source, SMALL[path.stem]):
            values: dict[str, object] = {}
            exec(source, values)
            names.append(set(values) - {"__builtins__"})
        assert names[0] == names[1], path.stem


@pytest.mark.notebooks
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_runs(path: Path) -> None:
    notebook = read(path)
    stored = [[output.output_type for output in cell.outputs] for cell in code_cells(notebook)]
    execute(notebook, SMALL[path.stem])
    assert [[output.output_type for output in cell.outputs] for cell in code_cells(notebook)] == stored
    assert not [output.text for cell in code_cells(notebook) for output in cell.outputs if output.get("name") == "stderr"]
