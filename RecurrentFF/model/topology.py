"""Who reads whom: the network as a row of blocks [x | n(h_1) | … | n(h_L) | y], numbered 0..L+1.

A hidden layer reads its neighbours and itself, three adjacent blocks, and whatever residual connections lead to it. Adjacent
blocks are one run of columns, hence one matrix product.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

from RecurrentFF.model.dynamics import Connection


@dataclass(frozen=True)
class Topology:
    """The blocks and the connections between them.

    Args:
        widths: units of every block: input, hidden layers, label.
        residuals: pairs (source, target) of blocks that are not adjacent; the target is a hidden layer.
    """

    widths: tuple[int, ...]
    residuals: tuple[tuple[int, int], ...] = ()

    @property
    def hidden(self) -> range:
        """Numbers of the hidden layers, 1..L."""
        return range(1, len(self.widths) - 1)

    @property
    def label(self) -> int:
        """Number of the label's block, L+1."""
        return len(self.widths) - 1

    @cached_property
    def _edges(self) -> tuple[int, ...]:
        return tuple(accumulate(self.widths, initial=0))

    @property
    def width(self) -> int:
        """Columns of the whole row."""
        return self._edges[-1]

    def columns(self, first: int, last: int | None = None) -> slice:
        """Columns of block `first`, or of blocks `first` to `last`."""
        return slice(self._edges[first], self._edges[(first if last is None else last) + 1])

    def sources(self, layer: int) -> tuple[int, ...]:
        """The blocks that a hidden layer reads, bottom to top."""
        return tuple(sorted({layer - 1, layer, layer + 1} | {s for s, target in self.residuals if target == layer}))

    def connections(self, layer: int, *, merged: bool = True) -> tuple[Connection, ...]:
        """The columns of the state that a layer reads, with those of its weight: one run for adjacent blocks, or one for
        each block where `merged` is false (dropout tells the drives apart)."""
        runs: list[list[int]] = []
        for source in self.sources(layer):
            if merged and runs and source == runs[-1][-1] + 1:
                runs[-1].append(source)
            else:
                runs.append([source])
        reads = [self.columns(run[0], run[-1]) for run in runs]
        return tuple(Connection(read, columns) for read, columns in zip(reads, _side_by_side(reads), strict=True))


def _side_by_side(runs: Sequence[slice]) -> list[slice]:
    """The same runs without the gaps between them."""
    edges = list(accumulate((run.stop - run.start for run in runs), initial=0))
    return [slice(start, stop) for start, stop in pairwise(edges)]
