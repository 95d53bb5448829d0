"""Tests of affine grids and image warping."""

import torch
from torch.nn import functional as F

from RecurrentFF.data.warp import affine_grid, warp


def test_the_affine_grid_equals_that_of_torch() -> None:
    matrices = torch.randn(7, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for side in (5, 28):
        expected = F.affine_grid(matrices, [7, 1, side, side], align_corners=False)
        assert (affine_grid(matrices, side) - expected).abs().max() < 1e-12


def test_warping_translates_pixels_and_fills_with_background() -> None:
    image = torch.full((1, 4, 4), -2.0)
    image[0, 1, 2] = 5.0
    one_pixel_to_the_left = torch.tensor([[[1.0, 0.0, 2 / 4], [0.0, 1.0, 0.0]]])
    warped = warp(image, affine_grid(one_pixel_to_the_left, 4), background=-2.0)
    expected = torch.full((1, 4, 4), -2.0)
    expected[0, 1, 1] = 5.0
    assert torch.allclose(warped, expected, atol=1e-5)
    far_away = torch.tensor([[[1.0, 0.0, 9.0], [0.0, 1.0, 0.0]]])
    assert torch.allclose(warp(image, affine_grid(far_away, 4), background=-2.0), torch.full((1, 4, 4), -2.0))
