"""Reconstructions, completions and generated samples for the files of a run: errors, and three pictures.

All of it is in the space of the network's inputs, which the task's transform arranges as images. For features such as oriented
gradients, the pictures show the features, and the errors are those of the features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from RecurrentFF.data.dataset import Dataset
from RecurrentFF.data.task import Task
from RecurrentFF.errors import printable
from RecurrentFF.model import imagination, projection
from RecurrentFF.model.network import Network
from RecurrentFF.registry import name_of
from RecurrentFF.training.figures import picture, show_unchanged
from RecurrentFF.training.image_grid import FONT, Grid, Row
from RecurrentFF.training.sample_plots import LONGEST_LABEL

COLUMNS = 10
"""The number of samples in a picture."""
STEPS = 10
"""The number of steps of the completions in the picture."""


@torch.no_grad()
def reconstruction_errors(network: Network, dataset: Dataset, limit: int = 10_000) -> dict[str, float]:
    """The mean squared error of reconstructions without a label, by the level that they are projected from.

    Args:
        network: a network with a circuit.
        dataset: network inputs.
        limit: the number of samples that are read, from the beginning.

    Returns:
        For each level a mean over inputs and samples. Where the transform can be undone, it is that of samples, so that of images
        it is in squared units of pixels from 0 to 1; else it is that of network inputs. Of inputs that change over time, each
        one before the label is predicted from the timesteps before it; without two of them, the result is empty.
    """
    totals = dict.fromkeys(projection.levels(network), 0.0)
    count = samples = 0
    for batch in dataset.batches(network.settings.training.prediction_batch_size):
        x = network.input_sequence(batch.inputs, batch.mask)
        errors = {level: _errors(network, x, level) for level in totals}
        valid = _valid(batch.mask, errors["h1"])
        for level, error in errors.items():
            totals[level] += float((error * valid).sum())
        count += int(valid.sum())
        samples += x.shape[3]
        if samples >= limit:
            break
    return {level: total / count for level, total in totals.items()} if count else {}


def _errors(network: Network, x: Tensor, level: str) -> Tensor:
    """The mean squared error of each predicted input, (predicted timesteps, batch), of (timesteps or 1, features, 1, batch)."""
    predicted = projection.clipped(network, projection.projected_inputs(network, x, None, level))
    if len(x) > 1:  # what is predicted after a timestep is the input of the next one
        x, predicted = x[1 : len(predicted)], predicted[:-1]
    return (in_sample_scale(network, predicted) - in_sample_scale(network, x)).square().mean(2)


def _valid(mask: Tensor | None, errors: Tensor) -> Tensor:
    """The errors that are those of inputs before the end of a sequence: true or false, of the shape of `errors`."""
    if mask is None:
        return torch.ones_like(errors, dtype=torch.bool)
    return mask[1 : len(errors) + 1].to(errors.device, torch.bool)


def in_sample_scale(network: Network, inputs: Tensor) -> Tensor:
    """Inputs (timesteps, features, 1, batch) as (timesteps, batch, features), of the scale of samples where that is possible."""
    flat = inputs[:, :, 0].transpose(1, 2)
    values = None if network.task is None else network.task.transform.inverse(flat)
    return flat if values is None else values


def pictures(network: Network, x: Tensor, labels: Tensor, folder: Paths) -> dict[Path, Callable[[], None]]:
    """The pictures of a network with a circuit: for each file the function that draws it.

    Inputs that change over time have no completions and no generated samples, and a circuit without a latent code has none.

    Args:
        network: the network, which has a task.
        x: inputs to reconstruct and to complete, (timesteps or 1, features, 1, batch). The first of each class are shown.
        labels: their class numbers, (batch,).
        folder: the files to write.
    """
    shown = one_of_each_class(labels, COLUMNS)
    x, labels = x[..., shown], labels[shown]
    names = [_label(_task(network), number) for number in labels.tolist()]
    found: dict[Path, Callable[[], None]] = {}
    if len(x) == 1 or network.settings.network.prelabel_timesteps > 1:
        found[folder.reconstructions] = lambda: plot_reconstructions(network, x, names, folder.reconstructions)
    if len(x) == 1 and imagination.learned_classes(network):
        found[folder.completions] = lambda: plot_completions(network, x, names, folder.completions)
        found[folder.generated] = lambda: plot_generated(network, folder.generated)
    return found


class Paths(NamedTuple):
    """The files of the pictures."""

    reconstructions: Path
    """Samples, and their reconstructions from every level."""
    completions: Path
    """Samples of which a part is hidden, and their completions."""
    generated: Path
    """Ten generated samples of each class."""


def one_of_each_class(labels: Tensor, count: int) -> list[int]:
    """The indices of the first samples of as many classes as possible, in the order of the classes; at most `count`."""
    first: dict[int, int] = {}
    for index, number in enumerate(labels.tolist()):
        first.setdefault(number, index)
    return [first[number] for number in sorted(first)][:count]


def plot_reconstructions(network: Network, x: Tensor, names: Sequence[str], path: Path) -> None:
    """Draw samples and their reconstructions without a label, a row for each level, with the mean squared errors."""
    if len(x) > 1:
        return _plot_predicted_sequences(network, x, names, path)
    rows = [_row(network, "sample", _images(network, x))]
    for level in projection.levels(network):
        inputs = projection.clipped(network, projection.projected_inputs(network, x, None, level))
        error = float((in_sample_scale(network, inputs) - in_sample_scale(network, x)).square().mean())
        rows.append(_row(network, f"from {_level_name(level)},\nerror {error:.4f}", _images(network, inputs)))
    title = f"{_task(network).name}: samples, and their reconstructions from the activity of each layer without a label"
    note = f"error: mean squared difference from the sample, of {_unit(network)}{_shown(network)}"
    return plot_grid([*rows, Row(note)], names, title, path)


def _plot_predicted_sequences(network: Network, x: Tensor, names: Sequence[str], path: Path) -> None:
    """Draw what the circuit predicts of the next input of some sequences, below the inputs."""
    predicted = projection.clipped(network, projection.projected_inputs(network, x, None, "h1"))
    timesteps = range(1, min(len(predicted), COLUMNS))
    rows: list[Row] = []
    for sample in range(min(3, len(names))):
        one, guess = x[..., sample : sample + 1], predicted[..., sample : sample + 1]
        rows.append(_row(network, f"input, {names[sample]}", [_images(network, one[t : t + 1])[0] for t in timesteps]))
        rows.append(_row(network, "its prediction", [_images(network, guess[t - 1 : t])[0] for t in timesteps]))
    title = f"{_task(network).name}: each input, and its prediction from the activity of layer 1 at the timestep before"
    plot_grid([*rows, Row(f"t: timestep{_shown(network)}")], [f"t = {t}" for t in timesteps], title, path)


def plot_completions(network: Network, x: Tensor, names: Sequence[str], path: Path) -> None:
    """Draw samples whose lower half, or a random quarter, is hidden, and their completions without a label."""
    features = x.shape[1]
    rows = [_row(network, "sample", _images(network, x))]
    for name, visible in hidden_parts(_task(network).image_shape or (features,)).items():
        seen = visible.reshape(features, 1, 1).to(x.device)
        completed = imagination.completed_inputs(network, x, seen, STEPS)
        gray = torch.where(seen, x, _middle(network, x))
        rows += [_row(network, f"{name} hidden", _images(network, gray)), _row(network, "completed", _images(network, completed))]
    title = f"{_task(network).name}: samples of which a part is hidden, shown gray, and their completions without a label"
    note = f"the hidden part is projected from the latent code of the activity, in {STEPS} steps{_shown(network)}"
    plot_grid([*rows, Row(note)], names, title, path)


def hidden_parts(shape: tuple[int, ...]) -> dict[str, Tensor]:
    """The masks of the two kinds of completions: true where an input is visible, of the shape of an image or (features,).

    In one the lower half of an image is hidden, or the second half of the features; in the other a random quarter of the pixels.
    """
    lower, plane = torch.ones(shape, dtype=torch.bool), shape[-2:] if len(shape) > 1 else shape
    if len(shape) > 1:
        lower[..., shape[-2] // 2 :, :] = False
    else:
        lower[shape[0] // 2 :] = False
    quarter = torch.rand(plane, generator=torch.Generator().manual_seed(0)) >= 0.25
    return {"lower half" if len(shape) > 1 else "second half": lower, "random quarter": quarter.expand(shape)}


def plot_generated(network: Network, path: Path) -> None:
    """Draw ten generated samples of each of the first ten classes that the circuit has learned."""
    task, rows = _task(network), []
    for number in imagination.learned_classes(network)[:COLUMNS]:
        numbers = torch.full((COLUMNS,), number, device=network.device)
        noise = imagination.drawn_noise(network, numbers, seed=number)
        inputs = imagination.generated_inputs(network, numbers, noise, steps=1)[None]
        rows.append(_row(network, _label(task, number), _images(network, inputs)))
    title = f"{task.name}: {COLUMNS} generated samples of each label"
    note = f"each is projected from a latent code that is drawn at random for its label{_shown(network)}"
    plot_grid([*rows, Row(note)], (), title, path)


def plot_grid(rows: list[Row], columns: Sequence[str], title: str, path: Path) -> None:
    """Draw a grid of images, and save it as a PNG.

    Args:
        rows: the rows.
        columns: a title for each column.
        title: the title of the picture.
        path: the file to write.

    Raises:
        OutputError: it can't be drawn, or the file can't be written.
    """
    grid = Grid(rows, columns)
    with picture(path, max(6.0, grid.width), grid.height + 0.4, dpi=100) as figure:
        show_unchanged([figure.suptitle(title, fontsize=FONT + 2)])
        grid.draw(figure.subplots())


def _label(task: Task, number: int) -> str:
    return printable(f"label {task.classes[number]}", LONGEST_LABEL)


def _level_name(level: str) -> str:
    """Name a level as a reader does who does not know the names of blocks: "layer 2" in place of "h2"."""
    return (
        f"layer {level[1:]}" if level[:1] == "h" and level[1:].isdigit() else f"the {level} code" if level == "latent" else level
    )


def _row(network: Network, label: str, images: list[Tensor]) -> Row:
    """A row of network inputs as images: pixels look as those of the samples, and high values of features are dark."""
    task = _task(network)
    return Row(label, images, dark=task.high_is_dark or task.image_shape is None)


def _images(network: Network, inputs: Tensor) -> list[Tensor]:
    """Inputs of one timestep, (1, features, 1, batch), as images, (height, width) each."""
    task = _task(network)
    return list(task.transform.show(inputs[0, :, 0].T, task.input_shape)[0])


def _middle(network: Network, x: Tensor) -> Tensor:
    """The value in which a hidden input is shown: the middle of its range."""
    limits = _task(network).transform.limits or (float(x.min()), float(x.max()))
    return x.new_tensor(sum(limits) / 2)


def _shown(network: Network) -> str:
    """The end of a note where the images are no samples, but the features that the network has in place of them."""
    return "" if _can_be_undone(network) else f"; shown as features, those of the transform {name_of(_task(network).transform)}"


def _unit(network: Network) -> str:
    """The values whose errors `reconstruction_errors` returns."""
    if not _can_be_undone(network):
        return "features"
    return "pixels from 0 to 1" if _task(network).transform.limits is not None else "values"


def _can_be_undone(network: Network) -> bool:
    return _task(network).transform.inverse(torch.zeros(1, network.input_size)) is not None


def _task(network: Network) -> Task:
    assert network.task is not None, "the callback draws networks with a task"
    return network.task
