"""The report of a trained network: one HTML file with all pictures, which opens without a network connection."""

from __future__ import annotations

import base64
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from RecurrentFF.analysis.figures import DPI, png_of
from RecurrentFF.analysis.look import Look
from RecurrentFF.analysis.samples import counted, data_of, whole_number
from RecurrentFF.analysis.sections import Picture, Section, sections
from RecurrentFF.atomic_files import write_text
from RecurrentFF.data.loading import kept_randomness
from RecurrentFF.data.task import Task
from RecurrentFF.errors import OutputError, printable
from RecurrentFF.model.integrity import require_network
from RecurrentFF.model.network import Network
from RecurrentFF.paths import expanded, kind_of
from RecurrentFF.registry import name_of
from RecurrentFF.training.architecture import weight_count
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
        data: labeled samples as for `choose`: a pair (samples, labels), a DataLoader that does not shuffle, a task, or
            `run.data`.
        path: the file to write, HTML. It needs no other file and no network connection.
        name: the title of the page, for instance the name of the run; by default that of the network's task.
        split: what the samples are, "validation", "test", "train", "images", or another word for the page; by default the part
            of a task that is read, and nothing for other data.
        opened: the Python lines that open the network and the data, which the page shows; by default a comment.
        samples: the largest number of samples that are recorded under true and wrong labels. All samples are predicted.
        seed: the seed of the draw of these samples and of the wrong labels.

    Returns:
        The key numbers: "accuracy" of all "samples"; "recorded", the number of those that are recorded; "cancellation", see
        `cancellation`; "never_active", the number of such units and of all units, by layer; "neighbors", see
        `neighbors_of_the_same_class`, or None.

    Raises:
        InputError: the samples don't fit the network, there are none, or they come in another order each time.
        DivergenceError: badness or a logit is not finite because of the weights.
        OutputError: a picture can't be drawn, or the file can't be written.

    Examples:
        >>> write_report(network, (images, labels), "report.html")["accuracy"]
        0.9933
    """
    from RecurrentFF import __version__

    require_network(network, "write_report(network, data, path)")
    file = place_of(path)
    numbers = whole_number(samples, "samples", 1), whole_number(seed, "seed")
    with kept_randomness(data):  # a loader draws from it, and the import of scikit-learn, too
        found, part = data_of(network, data, "write_report")
        look, split = Look(network, found, *numbers), split or part
        shown = [_rendered(section, file) for section in sections(look)]
        title = printable(name or (network.task.name if network.task is not None else "network"))
        notes, setup = _notes(look, split), _setup(look, opened or _opening(network, data, part))
        text = _page(version=__version__, title=title, facts=_facts(look, split), notes=notes, sections=shown, setup=setup)
    write_text(file, text.encode("utf-8", "backslashreplace").decode("utf-8"))  # names may have what UTF-8 lacks
    return {
        "accuracy": look.evaluation.accuracy,
        "samples": look.evaluation.samples,
        "recorded": len(look.samples),
        "cancellation": look.cancellation,
        "never_active": {layer: (one.never_active, one.units) for layer, one in look.sparsity.items()},
        "neighbors": look.neighbors,
    }


def place_of(path: str | Path) -> Path:
    """The path of a file to write, checked before the work.

    Raises:
        OutputError: it is a folder, or in a folder that is not there.
    """
    failure = "can't be written"
    file = expanded(path, OutputError, failure)
    if kind_of(file, OutputError, failure) == "folder":
        raise OutputError(f"{file}: {failure} (it is a folder; name a file)")
    if kind_of(file.parent, OutputError, failure) != "folder":
        raise OutputError(f"{file}: {failure} (there is no folder {file.parent}; make it, or name another one)")
    return file


def _opening(network: Network, data: Any, part: str) -> str:
    """The Python lines that open the network and the data, for what a program has passed."""
    if not isinstance(data, Task):
        return "# network and data are those that were passed to analysis.write_report"
    adapted = "" if network.task is None else ".adapted_to(network.task)"
    return (
        "# network and task are those that were passed to analysis.write_report\n"
        f"data = task{adapted}.splits(timesteps=network.settings.timesteps).{part}"
    )


def _setup(look: Look, opening: str) -> str:
    """The Python lines that the calls on the page follow."""
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
    findings = [printable(line, len(line)).replace(" %", "\N{NO-BREAK SPACE}%") for line in section.findings]
    return {**section._asdict(), "pictures": pictures, "findings": findings}


def _picture(picture: Picture, file: Path) -> dict[str, Any]:
    """A picture as a text, with its width in pixels of the page."""
    with drawing(file), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names of classes may have characters that the fonts do not have
        figure: Figure = picture.draw()
        content = base64.b64encode(png_of(figure)).decode("ascii")
    width, height = (round(inches * PIXELS_PER_INCH) for inches in figure.get_size_inches())
    return {
        "source": f"data:image/png;base64,{content}",
        "alt": printable(picture.alt),
        "width": width,
        "height": height,
        "dpi": DPI,
    }


def _facts(look: Look, split: str) -> list[tuple[str, str]]:
    """The key facts, as names and values."""
    network, settings, found = look.network, look.network.settings, look.evaluation
    options = settings.network
    first, last = settings.prediction_window
    task = "network inputs" if network.task is None else network.task.name
    inputs = "" if network.task is None else f", as {name_of(network.task.transform)}"
    facts = [
        ("Accuracy", f"{100 * found.accuracy:.2f} % of {_samples(found.samples, split)}"),
        ("Data", f"{task}{inputs}; {network.num_classes} classes"),
        ("Recorded", f"{len(look.samples):,} of these samples, drawn with seed {look.seed}"),
        ("Network", f"{'-'.join(map(str, network.sizes.values()))} units, {weight_count(network):,} weights"),
        ("Timesteps", f"{options.prelabel_timesteps} before the label and {options.label_timesteps} with it"),
        ("Prediction", f"by {found.method}" + ("" if found.method == "readout" else f", timesteps {first} to {last}")),
        ("Objective", name_of(settings.objective)),
        ("Negative data", name_of(settings.negatives)),
        ("Optimizer", name_of(settings.optimizer)),
        ("Training", f"{settings.training.epochs} epochs, seed {settings.training.seed}"),
    ]
    return [(name, printable(value)) for name, value in facts]


def _samples(number: int, split: str) -> str:
    """A number of samples of a split, in words."""
    return counted(number, "image" if split == "images" else f"{split} sample".strip())


def _notes(look: Look, split: str) -> list[str]:
    """The notes on the samples, for the top of the page."""
    notes = {
        "validation": "The best epoch was chosen by these validation samples, so that the accuracy on new samples may be lower. "
        "No prediction was made for the test samples.",
        "test": "These are the test samples.",
        "train": "The network was trained with these samples, so that the accuracy on new samples may be lower.",
        "images": "Images that the network was trained with may be among these, so that the accuracy on new images may be lower.",
    }
    found = [notes[split]] if split in notes else []
    if len(look.samples) < min(look.count, look.evaluation.samples):
        recorded = counted(len(look.samples), "sample")
        found.append(f"The record has {recorded} only, since that of more would not fit into the memory.")
    return found
