"""Execute the notebooks in examples/ with their full parameters, and store their outputs.

`python -m tools.notebooks` executes all of them, and `python -m tools.notebooks sequences search` those two.
"""

from __future__ import annotations

import base64
import io
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbclient
import nbformat
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"
WIDTH = 900
"""The largest width of a stored picture in pixels."""
PROGRESS = re.compile(r"(\x1b\[\w+|\s)*")
"""The text that progress bars leave when they are removed."""
WARNINGS = "ignore:IProgress not found"
"""The value of PYTHONWARNINGS: no warning that ipywidgets, which draws the progress bars of other libraries, is not installed."""


def read(path: Path) -> Any:
    """Read a notebook."""
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def smaller(png: str) -> str:
    """Return a picture in base64 at 100 pixels per inch or fewer, of at most `WIDTH` pixels, with 256 colors."""
    picture = Image.open(io.BytesIO(base64.b64decode(png)))
    scale = min(1.0, 100 / picture.info.get("dpi", (100, 100))[0], WIDTH / picture.width)
    size = round(picture.width * scale), round(picture.height * scale)
    content = io.BytesIO()
    resized = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    resized.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(content, format="png", optimize=True)
    return base64.b64encode(content.getvalue()).decode()


def execute(notebook: Any, parameters: str = "") -> None:
    """Execute all cells in a temporary folder, and replace the outputs. Times and the folder's path are not stored.

    Args:
        notebook: the notebook, which is changed.
        parameters: the source that replaces the cell with the tag "parameters"; empty for none.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell has failed.
    """
    if parameters:
        (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
        cell.source = parameters
    with tempfile.TemporaryDirectory() as name:
        folder = str(Path(name).resolve())
        options: dict[str, Any] = {"timeout": 900, "record_timing": False, "coalesce_streams": True}
        client = nbclient.NotebookClient(notebook, resources={"metadata": {"path": folder}}, **options)
        client.execute(env=os.environ | {"PYTHONWARNINGS": WARNINGS})
        notebook.metadata.language_info = {"name": "python"}
        for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
            for output in cell.outputs:
                if output.output_type == "stream":
                    output.text = output.text.replace(f"{folder}{os.sep}", "").replace(folder, ".")
                elif "image/png" in output.data:
                    output.data["image/png"] = smaller(output.data["image/png"])
            cell.outputs = [each for each in cell.outputs if not PROGRESS.fullmatch(each.get("text", "-"))]


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"  # the numbers of the stored outputs depend on it
    for path in [EXAMPLES / f"{name}.ipynb" for name in sys.argv[1:]] or sorted(EXAMPLES.glob("*.ipynb")):
        notebook = read(path)
        execute(notebook)
        nbformat.write(notebook, path)  # type: ignore[no-untyped-call]
        print(f"{path.name}: {path.stat().st_size // 1024} KB")
