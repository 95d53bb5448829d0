"""The population code of pen strokes and the augmentation of strokes, against computations move by move."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor

import RecurrentFF as rff
from RecurrentFF.data import mnist
from RecurrentFF.data.dataset import SplitOptions
from RecurrentFF.data.pen_strokes import PenStrokes
from RecurrentFF.data.population_code import DRAWING_RMS, MOVE_LEVEL, PopulationCode, pen_path
from RecurrentFF.data.seq_mnist import SeqMnist, StrokeDataset
from RecurrentFF.data.stroke_augmentation import PURPOSE, StrokeAugmentation, augment_moves
from RecurrentFF.data.stroke_files import Sequences
from RecurrentFF.errors import InputError, SettingsError
from RecurrentFF.random_bits import random_numbers

A = [[3, 9, 0, 0], [1, 1, 0, 0], [0, -1, 0, 0], [0, 0, 1, 1]]
B = [[4, 4, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [-2, 7, 0, 0], [0, 1, 0, 0], [-3, 2, 0, 0], [0, 0, 1, 1]]
EDGES = [[1, 1, 0, 0], [27, 0, 0, 0], [0, 27, 0, 0], [-27, -27, 0, 0], [0, 0, 1, 1]]
SEQUENCES: tuple[list[list[int]], ...] = (A, B, [], EDGES)


def sequences(*moves: list[list[int]]) -> Sequences:
    flat = torch.tensor([move for sequence in moves for move in sequence], dtype=torch.int8).view(-1, 4)
    return Sequences(flat, torch.tensor([len(sequence) for sequence in moves]), torch.arange(len(moves)))


def code_of(lines: list[tuple[float, float, float, float]], transform: PopulationCode) -> Tensor:
    """The code of straight lines (x, y, dx, dy), which start at pixel (x, y): every place and direction in turn."""
    grid, code = transform.grid_size, torch.zeros(transform.directions, transform.grid_size, transform.grid_size)
    for x, y, dx, dy in lines:
        u, v = ((middle + 0.5) * grid / 28 - 0.5 for middle in (x + dx / 2, y + dy / 2))
        u, v = min(max(u, 0.0), grid - 1.0), min(max(v, 0.0), grid - 1.0)
        angle = math.atan2(dy, dx) * transform.directions / math.tau
        for d, i, j in product(range(transform.directions), range(grid), range(grid)):
            turn = abs((angle - d + transform.directions / 2) % transform.directions - transform.directions / 2)
            near, across, down = (max(0.0, 1 - distance) for distance in (turn, abs(u - j), abs(v - i)))
            code[d, i, j] += math.hypot(dx, dy) * near * across * down
    return code.flatten()


def lines_of(sequence: list[list[int]]) -> list[tuple[float, float, float, float] | None]:
    """What each move draws; None if the pen is in the air."""
    lines: list[tuple[float, float, float, float] | None] = []
    x, y, in_air = -1, -1, True
    for dx, dy, lifts, ends in sequence:
        lines.append(None if in_air or lifts else (x, y, dx, dy))
        x, y, in_air = x + dx, y + dy, bool(lifts)
        if ends:
            x, y = -1, -1
    return lines


@pytest.mark.parametrize("accumulate", [True, False])
@pytest.mark.parametrize("repeat", [True, False])
@pytest.mark.parametrize(("stride", "directions", "grid"), [(1, 8, 10), (3, 5, 4), (2, 12, 2)])
def test_the_code_equals_that_of_each_line(accumulate: bool, repeat: bool, stride: int, directions: int, grid: int) -> None:
    transform = PopulationCode(
        moves_per_timestep=stride, directions=directions, grid_size=grid, accumulate=accumulate, repeat=repeat
    )
    timesteps = 6
    (batch,) = StrokeDataset(sequences(*SEQUENCES), timesteps, transform).batches(9)
    assert batch.mask is None and batch.inputs.shape == (timesteps, 4, directions * grid**2)
    for sample, sequence in enumerate(SEQUENCES):
        moves = lines_of(sequence * 18 if repeat else sequence)
        for t in range(timesteps):
            first = 0 if accumulate else t * stride
            expected = code_of([line for line in moves[first : (t + 1) * stride] if line is not None], transform)
            if accumulate:
                rms = float(expected.square().mean().sqrt())
                expected = expected * (DRAWING_RMS / rms if rms else 0)
            else:
                expected = MOVE_LEVEL * expected
            torch.testing.assert_close(batch.inputs[t, sample], expected, rtol=1e-4, atol=1e-5)


def test_timesteps_after_the_last_move_can_be_masked() -> None:
    transform = PopulationCode(moves_per_timestep=2, accumulate=False, mask_ends=True)
    (batch,) = StrokeDataset(sequences(A, B, []), 4, transform).batches(9)
    assert batch.mask is not None
    assert batch.mask.T.tolist() == [[True, True, False, False], [True] * 4, [False] * 4]
    with pytest.raises(SettingsError, match="mask_ends = true: with accumulate or repeat"):
        PopulationCode(mask_ends=True)


def test_images_of_any_size_are_coded_and_others_refused() -> None:
    image = torch.zeros(1, 40, 20, dtype=torch.uint8)
    image[0, 10:30, 10] = 255
    prepared = PopulationCode(accumulate=False).prepare(image, None)
    strongest = prepared.inputs.sum(0)[0].view(8, 10, 10).sum((0, 1))
    assert strongest.argmax() == 5 and prepared.inputs.shape[2] == 800
    with pytest.raises(InputError, match="PopulationCode: samples of shape"):
        PopulationCode().output_size((3, 28, 28))


def test_augmentation_maps_every_pixel_of_the_path() -> None:
    strokes = StrokeDataset(sequences(A, B, EDGES, []), 7, PopulationCode(moves_per_timestep=1, repeat=True))
    moves, samples = strokes.moves(torch.arange(4)), torch.tensor([5, 6, 7, 8])
    config = StrokeAugmentation(translate=2.0, rotation=40.0, scale=0.3, shear=0.2)
    mapped = augment_moves(moves, config, samples, seed=3, epoch=2, side=28)
    assert torch.equal(mapped[..., 2:], moves[..., 2:].float()) and not mapped[3].any()
    for index in range(3):
        # The points of a path in a plane determine an affine map.
        old, new = (pen_path(each)[0][index] + pen_path(each)[1][index] / 2 for each in (moves, mapped))
        on_paper = (moves[index, :, 2] == 0).nonzero().flatten()
        design = torch.cat([old[on_paper], torch.ones(len(on_paper), 1)], 1)
        fitted = torch.linalg.lstsq(design, new[on_paper]).solution
        torch.testing.assert_close(design @ fitted, new[on_paper], rtol=1e-4, atol=1e-3)
        matrix, center = fitted[:2].T, torch.tensor([13.5, 13.5])
        moved = matrix @ center + fitted[2] - center  # the center of the image moves by the translation alone
        assert (moved.abs() <= 2.001).all() and moved.abs().max() > 1e-3
        assert 0.45 < torch.linalg.det(matrix) < 1.75
    still = StrokeAugmentation(rotation=40.0, scale=0.3, shear=0.2)
    center = torch.tensor([[[14, 14, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]]], dtype=torch.int8)  # the pixel (13, 13)
    path = pen_path(augment_moves(center, still, samples[:1], seed=3, epoch=2, side=28))
    uniform = random_numbers(3, PURPOSE, samples[:1], 2, 6)[0].tolist()
    a, width, height, slant = math.radians(40) * uniform[0], 1 + 0.3 * uniform[1], 1 + 0.3 * uniform[2], 0.2 * uniform[3]
    rotation = torch.tensor([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    matrix = rotation @ torch.tensor([[width, slant], [0.0, height]])
    expected = torch.tensor([13.5, 13.5]) + matrix @ torch.tensor([-0.5, -0.5])  # the center of the image stays
    torch.testing.assert_close(path.middle[0, 0] + path.step[0, 0] / 2, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(path.step[0, 1:3].T, matrix, rtol=1e-5, atol=1e-5)
    again = augment_moves(moves, config, samples, seed=3, epoch=2, side=28)
    assert torch.equal(mapped, again)
    assert not torch.equal(mapped, augment_moves(moves, config, samples, seed=3, epoch=3, side=28))
    assert augment_moves(moves, StrokeAugmentation(), samples, seed=3, epoch=2, side=28) is moves


def test_only_training_strokes_are_augmented() -> None:
    task = SeqMnist(augmentation=StrokeAugmentation(rotation=20.0)).task(PopulationCode())
    counts = {"train_samples": 20, "validation_samples": 5, "test_samples": 5, "train_subset_samples": 5}
    options = SplitOptions(device=torch.device("cpu"), timesteps=3, seed=1, **counts)
    plain = SeqMnist().task(PopulationCode()).make_splits(options)
    splits = task.make_splits(options)
    first, second = (next(splits.train.batches(20, epoch=epoch)).inputs for epoch in (0, 1))
    assert not torch.equal(first, second) and not torch.equal(first, next(plain.train.batches(20)).inputs)
    for name in ("validation", "test", "train_subset"):
        own, expected = getattr(splits, name), getattr(plain, name)
        assert torch.equal(next(own.batches(5, epoch=1)).inputs, next(expected.batches(5)).inputs)


def test_a_delay_line_can_be_augmented_and_a_new_drawing_is_predicted_as_in_training() -> None:
    train, _ = mnist.read()
    task = rff.TensorTask(train.images[:12], train.labels[:12], transform=PopulationCode(), validation=2)
    prepared = task.prepare(train.images[:3], 13)
    digits = StrokeDataset(sequences(), 13, PopulationCode())
    assert prepared.inputs.shape == (13, 3, 800) and len(digits) == 0
    strokes = StrokeDataset(sequences(A, B), 3, PenStrokes(), augmentation=StrokeAugmentation(rotation=90.0), seed=1)
    plain = StrokeDataset(sequences(A, B), 3, PenStrokes())
    assert not torch.equal(next(strokes.batches(2)).inputs, next(plain.batches(2)).inputs)
