"""Tests of Moving MNIST: comparison with a slow reference, hand-made cases, and reproducibility."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from RecurrentFF.data.mnist import LabeledImages
from RecurrentFF.data.moving_mnist import MovingDigits, render, trajectories, velocities


def reference_positions(velocity: tuple[int, int], timesteps: int) -> list[tuple[int, int]]:
    """Compute the positions of one digit, component by component, with Python integers."""
    position, speed, path = [18, 18], list(velocity), []
    for _ in range(timesteps):
        path.append((position[0], position[1]))
        for axis in (0, 1):
            position[axis] += speed[axis]
            if position[axis] < 0:
                position[axis], speed[axis] = 0, -speed[axis]
            elif position[axis] > 36:
                position[axis], speed[axis] = 36, -speed[axis]
    return path


def reference_frame(digit: Tensor, row: int, column: int) -> Tensor:
    frame = torch.zeros(64, 64)
    for i in range(28):
        for j in range(28):
            frame[row + i, column + j] = digit[i, j]
    return frame


def test_trajectories_equal_the_reference_for_every_velocity() -> None:
    all_velocities = [(down, right) for down in range(-5, 6) for right in range(-5, 6)]
    positions = trajectories(torch.tensor(all_velocities), 40)
    for index, velocity in enumerate(all_velocities):
        assert [tuple(p) for p in positions[:, index].tolist()] == reference_positions(velocity, 40)
    assert positions.min() == 0 and positions.max() == 36


HAND_MADE = {
    "standing still": ((0, 0), [(18, 18)] * 8),
    "into a corner": ((5, 5), [(18, 18), (23, 23), (28, 28), (33, 33), (36, 36), (31, 31), (26, 26), (21, 21)]),
    "against one wall": ((-5, 0), [(18, 18), (13, 18), (8, 18), (3, 18), (0, 18), (5, 18), (10, 18), (15, 18)]),
    "touching a wall without bouncing": (
        (3, 2),
        [(18, 18), (21, 20), (24, 22), (27, 24), (30, 26), (33, 28), (36, 30), (36, 32)],
    ),
}


@pytest.mark.parametrize("case", HAND_MADE)
def test_hand_made_trajectories(case: str) -> None:
    velocity, path = HAND_MADE[case]
    assert [tuple(p) for p in trajectories(torch.tensor([velocity]), 8)[:, 0].tolist()] == path


def test_frames_equal_the_reference() -> None:
    digits = torch.rand(5, 28, 28, generator=torch.Generator().manual_seed(0))
    positions = torch.tensor([[[0, 0], [36, 36], [0, 36], [18, 18], [7, 31]], [[36, 0], [1, 2], [3, 4], [18, 18], [0, 0]]])
    frames = render(digits, positions)
    assert frames.shape == (2, 5, 4096)
    for t in range(2):
        for n in range(5):
            row, column = positions[t, n].tolist()
            assert torch.equal(frames[t, n].view(64, 64), reference_frame(digits[n], row, column))


def test_frames_of_a_one_pixel_digit_and_an_empty_one() -> None:
    digits = torch.zeros(2, 28, 28)
    digits[0, 27, 0] = 1
    frames = render(digits, torch.tensor([[[36, 36], [36, 36]]]))
    assert frames[0, 0].nonzero().tolist() == [[63 * 64 + 36]] and frames[0, 1].abs().sum() == 0


def test_velocities_are_uniform_and_their_components_independent() -> None:
    drawn = velocities(0, "train", torch.arange(121_000))
    histogram = torch.zeros(11, 11).index_put_((drawn[:, 0] + 5, drawn[:, 1] + 5), torch.ones(121_000), accumulate=True)
    assert histogram.min() > 870 and histogram.max() < 1130  # 1000 expected, standard deviation 32


def test_a_velocity_depends_only_on_seed_split_sample_and_epoch() -> None:
    samples = torch.arange(1000)
    drawn = velocities(7, "train", samples, epoch=2)
    assert torch.equal(drawn[::3], velocities(7, "train", samples[::3], epoch=2))
    assert torch.equal(drawn.flip(0), velocities(7, "train", samples.flip(0), epoch=2))
    for different in (velocities(8, "train", samples, 2), velocities(7, "test", samples, 2), velocities(7, "train", samples, 3)):
        assert 0.8 < (different != drawn).any(1).float().mean() < 1


def test_another_process_draws_the_same_velocities() -> None:
    code = "import torch\nfrom RecurrentFF.data.moving_mnist import velocities\n"
    code += "print(velocities(3, 'test', torch.arange(9)).tolist())"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == str(velocities(3, "test", torch.arange(9)).tolist())


def videos(samples: int = 10, fresh_velocities: bool = False) -> MovingDigits:
    """Make videos in which digit i is a single pixel of value i + 1 in its upper left corner."""
    images = torch.zeros(samples, 28, 28, dtype=torch.uint8)
    images[:, 0, 0] = torch.arange(1, samples + 1)
    return MovingDigits(
        LabeledImages(images, torch.arange(samples) % 3), 6, seed=1, split="train", fresh_velocities=fresh_velocities
    )


def test_batches_follow_the_order_and_a_slice_keeps_its_velocities() -> None:
    all_inputs = next(videos().batches(10))[0]
    order = torch.tensor([4, 2, 9])
    inputs, labels, _ = next(videos().batches(3, order))
    assert torch.equal(inputs, all_inputs[:, order]) and labels.tolist() == [1, 2, 0]
    assert torch.equal(next(videos()[3:7].batches(10))[0], all_inputs[:, 3:7])
    assert [len(batch.labels) for batch in videos().batches(4)] == [4, 4, 2] and videos().batch_count(4) == 3
    assert list(videos().batches(4, order[:0])) == []


def test_only_fresh_velocities_change_with_the_epoch() -> None:
    first, second = (next(videos(50).batches(50, epoch=epoch))[0] for epoch in (0, 1))
    assert torch.equal(first, second)
    fresh = [next(videos(50).with_fresh_velocities(True).batches(50, epoch=epoch))[0] for epoch in (0, 1, 1)]
    assert torch.equal(fresh[0], first) and torch.equal(fresh[1], fresh[2]) and not torch.equal(fresh[0], fresh[1])


def test_inputs_have_unit_mean_square() -> None:
    from RecurrentFF.data import mnist

    train, _ = mnist.read()
    inputs, _, _ = next(MovingDigits(train, 10, seed=0, split="train").batches(500))
    assert inputs.shape == (10, 500, 4096)
    assert inputs.square().mean().item() == pytest.approx(1, abs=0.06)
