r"""Linear memories of one value: m ← A·m + B·s, with K values m = (m_1, …, m_K), and s the value that is remembered.

    leaky          m_k ← (1 − 1/τ_k)·m_k + s/τ_k                  running means with time constants τ_k, in timesteps
    oscillating    m_k ← exp(−1/τ_k + 2πi/period_k)·m_k + s       damped oscillations; a complex number is two values
    legendre       the Legendre coefficients of the last θ timesteps of s
    total          m ← m + s                                      the sum of all that s was

A and B are fixed. A layer reads memories of its sources through a `traces.Traces` connection.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Dynamics(NamedTuple):
    """A linear memory of one value: m ← A·m + B·s."""

    transition: Tensor
    """A, (K, K)."""
    input: Tensor
    """B, (K,)."""


def leaky(time_constants: Sequence[float]) -> Dynamics:
    """Running means with the given time constants, in timesteps, at least 1. That of 1 is the present value."""
    rates = 1 / torch.tensor(time_constants, dtype=torch.float64)
    return Dynamics(torch.diag(1 - rates), rates)


def total() -> Dynamics:
    """The sum of all values."""
    return Dynamics(torch.ones(1, 1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))


def joined(memories: Sequence[Dynamics]) -> Dynamics:
    """Several memories of the same value, side by side."""
    return Dynamics(_block_diagonal([each.transition for each in memories]), torch.cat([each.input for each in memories]))


def oscillating(time_constants: Sequence[float], periods: Sequence[float]) -> Dynamics:
    """Damped oscillations: the real and the imaginary part of m ← exp(−1/τ + 2πi/period)·m + s.

    Args:
        time_constants: τ of each oscillation, in timesteps, above 0.
        periods: the period of each oscillation, in timesteps.
    """
    blocks = []
    for tau, period in zip(time_constants, periods, strict=True):
        rho, angle = math.exp(-1 / tau), 2 * math.pi / period
        rotation = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        blocks.append(rho * torch.tensor(rotation, dtype=torch.float64))
    return Dynamics(_block_diagonal(blocks), torch.tensor([1.0, 0.0], dtype=torch.float64).repeat(len(blocks)))


def legendre(order: int, window: float) -> Dynamics:
    """The first Legendre coefficients of a sliding window of the value.

    They are the exact solution, for a value that is constant within a timestep, of θ·dm/dt = A·m + B·s with
    A_ij = (2i + 1)·(−1 if i < j else (−1)^(i − j + 1)) and B_i = (2i + 1)·(−1)^i (A. Voelker, I. Kajić and C. Eliasmith,
    "Legendre memory units", NeurIPS 2019, equations 1 and 2).

    Args:
        order: the number of coefficients K.
        window: the length θ of the window, in timesteps.
    """
    i = torch.arange(order, dtype=torch.float64)
    rows, columns = i.unsqueeze(1), i
    sign = torch.where(rows < columns, -1.0, (-1.0) ** (rows - columns + 1))
    a, b = (2 * rows + 1) * sign / window, (2 * i + 1) * (-1.0) ** i / window
    # The exponential of the matrix [[a, b], [0, 0]] has the solution for both (zero-order hold).
    joint = torch.zeros(order + 1, order + 1, dtype=torch.float64)
    joint[:order, :order], joint[:order, order] = a, b
    solution = torch.linalg.matrix_exp(joint)
    return Dynamics(solution[:order, :order], solution[:order, order])


def _block_diagonal(blocks: Sequence[Tensor]) -> Tensor:
    matrix: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    return matrix
