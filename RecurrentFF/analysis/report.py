"""The report of a trained network: one HTML file with all pictures, which opens without a network connection."""

from __future__ import annotations

import base64
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from RecurrentFF.analysis.figures import DPI, png_of
from RecurrentFF.analysis.samples import whole_number
from RecurrentFF.analysis.sections import Look, Picture, Section, sections
from RecurrentFF.atomic_files import write_text
from RecurrentFF.errors import OutputError, printable
from RecurrentFF.model.integrity import require_network
from RecurrentFF.model.network import Network
from RecurrentFF.paths import expanded
from RecurrentFF.registry import name_of
from RecurrentFF.training.figures import drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = Path(__file__).with_name("report.html")
"""The page, with places for its content."""
PIXELS_PER_INCH = 96
"""The pixels of a browser in an inch."""


def write_report(
    network: Network,
    data: Any,
    path: str | Path,
    *,
    name: str = "",
    split: str = "",
    opened: str = "",
    samples: int = 500,
    seed: int = 0,
) -> dict[str, Any]:
    """Write a report of a trained network: all pictures of this package on one page, with the numbers and how to read them.

    Args:
        network: the network.
        data: labeled samples as for `rff.evaluate`: a pair (samples, labels), a DataLoader, a task, or `run.data`.
        path: the file to write, HTML. It needs no other file and no network connection.
        name: the title of the page, for instance the name of the run; by default that of the network's task.
        split: what the samples are, "validation", "test", "train", "images", or another word for the page.
        opened: the Python lines that open the network and the data, which the page shows; by default a comment.
        samples: the largest number of samples that are recorded under true and wrong labels. All samples are predicted.
        seed: the seed of the draw of these samples and of the wrong labels.

    Returns:
        The key numbers: "accuracy" of all "samples"; "recorded", the number of those that are recorded; "cancellation", see
        `cancellation`; "never_active", the number of such units and of all units, by layer; "neighbors", see
        `neighbors_of_the_same_class`, or None.

    Raises:
        InputError: the samples don't fit the network, or there are none.
        DivergenceError: badness or a logit is not finite because of the weights.
        OutputError: a picture can't be drawn, or the file can't be written.

    Examples:
        >>> write_report(network, (images, labels), "report.html")["accuracy"]
        0.9933
    """
    from RecurrentFF import __version__

    require_network(network, "write_report(network, data, path)")
    file = expanded(path, OutputError, "can't be written")
    look = Look(network, data, whole_number(samples, "samples", 1), whole_number(seed, "seed"))
    shown = [_rendered(section, file) for section in sections(look)]
    title = printable(name or (network.task.name if network.task is not None else "network"))
    page = {"version": __version__, "title": title, "facts": _facts(look, split), "notes": _notes(look, split), "sections": shown}
    write_text(file, _page(**page, setup=_setup(look, opened)))
    return {
        "accuracy": look.evaluation.accuracy,
        "samples": look.evaluation.samples,
        "recorded": len(look.samples),
        "cancellation": look.cancellation,
        "never_active": {layer: (one.never_active, one.units) for layer, one in look.sparsity.items()},
        "neighbors": look.neighbors,
    }


def _setup(look: Look, opened: str) -> str:
    """The Python lines that the calls on the page follow."""
    opening = opened or "# network and data are those that were passed to analysis.write_report"
    return (
        f"import RecurrentFF as rff\nfrom RecurrentFF import analysis\n\n{opening}\n"
        f"samples = analysis.choose(network, data, {len(look.samples)}, seed={look.seed})\n"
        f"both = analysis.record_both(network, samples, seed={look.seed})"
    )


def _page(**content: Any) -> str:
    """The page with its content. All texts are escaped."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(**content)


def _rendered(section: Section, file: Path) -> dict[str, Any]:
    """A section with its pictures as texts."""
    pictures = [_picture(picture, file) for picture in section.pictures]
    findings = [line.replace(" %", "\N{NO-BREAK SPACE}%") for line in section.findings]
    return {**section._asdict(), "pictures": pictures, "findings": findings}


def _picture(picture: Picture, file: Path) -> dict[str, Any]:
    """A picture as a text, with its width in pixels of the page."""
    with drawing(file), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names of classes may have characters that the fonts do not have
        figure: Figure = picture.draw()
        content = base64.b64encode(png_of(figure)).decode("ascii")
    width, height = (round(inches * PIXELS_PER_INCH) for inches in figure.get_size_inches())
    return {"source": f"data:image/png;base64,{content}", "alt": picture.alt, "width": width, "height": height, "dpi": DPI}


def _facts(look: Look, split: str) -> list[tuple[str, str]]:
    """The key facts, as names and values."""
    network, settings, found = look.network, look.network.settings, look.evaluation
    options = settings.network
    weights = sum(weight.numel() for weight in network.parameters())
    first, last = settings.prediction_window
    task = "network inputs" if network.task is None else network.task.name
    inputs = "" if network.task is None else f", as {name_of(network.task.transform)}"
    facts = [
        ("Accuracy", f"{100 * found.accuracy:.2f} % of {found.samples:,} {_samples(split)}"),
        ("Data", f"{task}{inputs}; {network.num_classes} classes"),
        ("Recorded", f"{len(look.samples):,} of these samples, drawn with seed {look.seed}"),
        ("Network", f"{'-'.join(map(str, network.sizes.values()))} units, {weights:,} weights"),
        ("Timesteps", f"{options.prelabel_timesteps} before the label and {options.label_timesteps} with it"),
        ("Prediction", f"by {found.method}" + ("" if found.method == "readout" else f", timesteps {first} to {last}")),
        ("Objective", name_of(settings.objective)),
        ("Negative data", name_of(settings.negatives)),
        ("Optimizer", name_of(settings.optimizer)),
        ("Training", f"{settings.training.epochs} epochs, seed {settings.training.seed}"),
    ]
    return [(name, printable(value)) for name, value in facts]


def _samples(split: str) -> str:
    """The name of the samples of a split."""
    return "images" if split == "images" else f"{split} samples".strip()


def _notes(look: Look, split: str) -> list[str]:
    """The notes on the samples, for the top of the page."""
    notes = {
        "validation": "The best epoch was chosen by these validation samples, so that the accuracy on new samples may be lower. "
        "The test samples were not read for this page.",
        "test": "These are the test samples.",
        "train": "The network was trained with these samples, so that the accuracy on new samples may be lower.",
    }
    found = [notes[split]] if split in notes else []
    if len(look.samples) < min(look.count, look.evaluation.samples):
        found.append(f"Only {len(look.samples):,} samples are recorded, since the record of more would not fit into the memory.")
    return found
