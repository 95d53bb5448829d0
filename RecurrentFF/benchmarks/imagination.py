"""The measurements of a generative circuit on MNIST: python -m RecurrentFF.benchmarks.imagination RUN --classifier RUN.

It prints, for the network of a run with a circuit on pixels:

    reconstruction   the mean squared error of test images from every level, beside that of principal component analysis with as
                     many components as the level has numbers
    completion       the mean squared error of hidden pixels, and how many completed digits are recognized by another network, the
                     classifier
    generation       how many generated digits get the class that was asked for from a logistic regression and from the
                     classifier, which were trained on real digits alone; how varied they are; and whether they are copies
    detection        how well badness tells other images from digits, with and without the circuit's feedback

Pixels are from 0 to 1. The logistic regression, the principal components and the neighbors are those of scikit-learn
(`pip install "RecurrentFF[sklearn]"`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from RecurrentFF.benchmarks.flags import Parser, exit_code
from RecurrentFF.data import fashion_mnist, mnist
from RecurrentFF.errors import InputError
from RecurrentFF.model import projection
from RecurrentFF.model.network import Network
from RecurrentFF.registry import tree_of
from RecurrentFF.streams import write_output
from RecurrentFF.training.checkpoint import load
from RecurrentFF.training.imagined import STEPS, hidden_parts

PER_CLASS = 100
"""The number of generated digits of each class."""
COMPLETED = 2000
"""The number of test images that are completed."""
DETECTED = 2000
"""The number of test images and of other images whose badness is compared."""
STEPS_OF_GENERATION = (1, 0, 2)
"""The numbers of steps by which digits are generated: the default, and others."""
FEEDBACKS = (0.5, 1.0, 2.0, 4.0)
"""The strengths of feedback that are compared with none."""


class Digits(NamedTuple):
    """Images of a data set, and their classes."""

    pixels: Tensor
    """(n, 784) from 0 to 1."""
    labels: Tensor
    """(n,)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure a run, and print the results.

    Returns:
        The exit code: 0, or 2 after an error.
    """
    return exit_code(lambda: _run(_parser().parse_args(argv)))


def _parser() -> Parser:
    parser = Parser(prog="python -m RecurrentFF.benchmarks.imagination", description="Measure a generative circuit on MNIST.")
    parser.add_argument("run", type=Path, help="a run with a generative circuit on the pixels of MNIST, or a checkpoint")
    parser.add_argument("--classifier", type=Path, required=True, help="a run of another network, trained on real digits alone")
    parser.add_argument("--device", default="auto", help="the device of both networks (default: auto)")
    parser.add_argument("--fashion-dir", type=Path, help="a folder of the files of Fashion-MNIST (default: download them)")
    parser.add_argument("--seed", type=int, default=0, help="the seed of what is generated and hidden (default: 0)")
    return parser


def _run(arguments: argparse.Namespace) -> bool:
    network, classifier = load(arguments.run, arguments.device), load(arguments.classifier, arguments.device)
    projection.require_circuit(network, str(arguments.run))
    if network.task is None or network.task.image_shape != (28, 28) or network.num_classes != 10:
        raise InputError(f"{arguments.run}: this command measures networks on the pixels of MNIST")
    train, test = (_digits(part) for part in mnist.read())
    for lines in (
        reconstruction_lines(network, train, test),
        completion_lines(network, classifier, test),
        generation_lines(network, classifier, train, test, arguments.seed),
        detection_lines(network, test, arguments.seed, arguments.fashion_dir),
    ):
        write_output("\n".join(lines))
    return True


def _digits(part: Any) -> Digits:
    return Digits(part.images.flatten(1).float() / 255, part.labels.long())


def reconstruction_lines(network: Network, train: Digits, test: Digits) -> list[str]:
    """The errors of reconstructions of all test images, without and with their true label, and those of principal components."""
    from sklearn.decomposition import PCA

    sizes = {layer.name: layer.units for layer in network.hidden_layers()} | {"latent": _latent_size(network)}
    lines = [
        "reconstruction  mean squared error of a pixel: without label, with the true label, and by PCA of as many components"
    ]
    images = _images(test.pixels)
    for level in projection.levels(network):
        errors = [_error(network.reconstruct(images, label, level), test.pixels) for label in (None, test.labels)]
        components = min(sizes[level], train.pixels.shape[1])
        pca = PCA(components, svd_solver="covariance_eigh").fit(train.pixels.numpy())
        reduced = pca.inverse_transform(pca.transform(test.pixels.numpy()))
        by_pca = _error(torch.as_tensor(reduced).clamp(0, 1), test.pixels)
        lines.append(f"    {level:<8}{errors[0]:.5f}   {errors[1]:.5f}   PCA of {components}: {by_pca:.6f}")
    return lines


def completion_lines(network: Network, classifier: Network, test: Digits) -> list[str]:
    """The errors of completions of hidden pixels, and the fraction of completed digits that the classifier recognizes."""
    pixels, labels = test.pixels[:COMPLETED], test.labels[:COMPLETED]
    images = _images(pixels)
    lines = [f"completion      mean squared error of the hidden pixels of {COMPLETED:,} digits; recognized by the classifier"]
    for name, visible in hidden_parts((28, 28)).items():
        hidden = ~visible.flatten()
        blank = torch.where(visible, images, 0.0)
        for text, result in (
            ("left blank", blank),
            ("completed", network.complete(images, visible, STEPS)),
            ("completed with the true label", network.complete(images, visible, STEPS, labels)),
        ):
            error = _error(result.flatten(1)[:, hidden], pixels[:, hidden])
            lines.append(f"    {name + ', ' + text:<50}{error:.4f}   {_percent(classifier, result, labels)}")
    return lines


def generation_lines(network: Network, classifier: Network, train: Digits, test: Digits, seed: int) -> list[str]:
    """The fractions of generated digits that are recognized, their variety, and their distance to training images."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import NearestNeighbors

    regression = LogisticRegression(max_iter=200, tol=1e-3, C=0.1).fit(train.pixels.numpy(), train.labels.numpy())
    neighbors = NearestNeighbors(n_neighbors=1).fit(train.pixels.numpy())
    labels = torch.arange(10).repeat_interleave(PER_CLASS)

    def line(name: str, pixels: Tensor, true: Tensor) -> str:
        by_regression = float((torch.as_tensor(regression.predict(pixels.numpy())) == true).float().mean())
        distances = torch.as_tensor(neighbors.kneighbors(pixels[:1000].numpy())[0])
        return (
            f"    {name:<28}{100 * by_regression:6.2f} %   {_percent(classifier, _images(pixels), true)}   "
            f"{_variance(pixels, true) / _variance(test.pixels, test.labels):.2f}   {float(distances.median()):.2f}, "
            f"{float(distances.min()):.2f}"
        )

    lines = [
        "generation      recognized by logistic regression, by the classifier; variance within a class relative to real digits; "
        "distance to the nearest training image, median and least"
    ]
    for steps in STEPS_OF_GENERATION:
        made = network.generate(list(range(10)), PER_CLASS, seed, steps=steps).flatten(1).cpu()
        lines.append(line(f"generated, steps = {steps}", made, labels))
    return [*lines, line("real test digits", test.pixels, test.labels)]


def detection_lines(network: Network, test: Digits, seed: int, fashion_dir: Path | None = None) -> list[str]:
    """The area under the ROC curve of how well the lowest badness of an image tells other images from digits."""
    digits, labels = test.pixels[:DETECTED], test.labels[:DETECTED]
    generator = torch.Generator().manual_seed(seed)
    others = {
        "Fashion-MNIST": _digits(fashion_mnist.read(fashion_dir)[1]).pixels[:DETECTED],
        "uniform noise": torch.rand(DETECTED, 784, generator=generator),
        "shuffled pixels": digits[:, torch.randperm(784, generator=generator)],
    }
    lines = [
        "detection       area under the ROC curve of the lowest badness, by the strength of the feedback, and accuracy of "
        "predictions by badness; the same area by the circuit's error from the latent code"
    ]
    for feedback in (0.0, *FEEDBACKS):
        with _feedback(network, feedback):
            own = network.badness(_images(digits)).cpu()
            scores = [network.badness(_images(other)).cpu().amin(1) for other in others.values()]
        right = float((own.argmin(1) == labels).float().mean())
        lines.append(f"    feedback {feedback:<7}{_areas(others, own.amin(1), scores)}; {100 * right:.2f} % right")
    errors = [_errors_of(network, each) for each in (digits, *others.values())]
    return [*lines, f"    error alone     {_areas(others, errors[0], errors[1:])}"]


def _areas(names: Iterable[str], own: Tensor, others: Sequence[Tensor]) -> str:
    """The area under the ROC curve by which a score tells each kind of other images from digits, in words."""
    from sklearn.metrics import roc_auc_score

    texts = []
    for name, other in zip(names, others, strict=True):
        truth = torch.cat([torch.zeros(len(own)), torch.ones(len(other))])
        texts.append(f"{name} {float(roc_auc_score(truth.numpy(), torch.cat([own, other]).numpy())):.4f}")
    return ", ".join(texts)


@contextmanager
def _feedback(network: Network, strength: float) -> Iterator[None]:
    """Set the strength of the feedback of a network's circuit, as a context manager."""
    former = network.settings
    network.settings = former.with_arguments(generative=tree_of(former.generative) | {"feedback": strength})
    try:
        yield
    finally:
        network.settings = former


def _errors_of(network: Network, pixels: Tensor) -> Tensor:
    """The mean squared error of each image's reconstruction from the latent code, (n,)."""
    return (network.reconstruct(_images(pixels), level=projection.LATENT).flatten(1).cpu() - pixels).square().mean(1)


def _images(pixels: Tensor) -> Tensor:
    return pixels.view(-1, 28, 28)


def _error(found: Tensor, expected: Tensor) -> float:
    return float((found.flatten(1).cpu() - expected).square().mean())


def _percent(classifier: Network, images: Tensor, labels: Tensor) -> str:
    right = (torch.as_tensor(classifier.predict(images.view(-1, 28, 28))).cpu() == labels).float().mean()
    return f"{100 * float(right):6.2f} %"


def _variance(pixels: Tensor, labels: Tensor) -> float:
    """The variance of the images of a class around their mean, summed over pixels, and averaged over the classes."""
    return float(torch.stack([pixels[labels == number].var(0).sum() for number in range(10)]).mean())


def _latent_size(network: Network) -> int:
    return int(getattr(network.settings.generative, "latent_size", 0))


if __name__ == "__main__":
    sys.exit(main())
