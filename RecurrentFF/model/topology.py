"""Who reads whom: the network as blocks x, n(h_1), …, n(h_L), y, numbered 0..L+1.

A hidden layer reads its neighbours and itself, and whatever residual connections lead to it. Blocks 1..L+1 stand one below the
other in the state, so adjacent ones are one run of rows, hence one matrix product. The input stands apart: it is the same under
all labels, and so is its drive.
"""

from collections.abc import Set
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from RecurrentFF.model.dynamics import Connection

INPUT = 0
"""Number of the input's block."""


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
        return tuple(accumulate(self.widths[1:], initial=0))

    @property
    def height(self) -> int:
        """Rows of the state: all hidden layers' and the label's."""
        return self._edges[-1]

    def rows(self, first: int, last: int | None = None) -> slice:
        """Rows of block `first` (1..L+1), or of blocks `first` to `last`, in the state."""
        return slice(self._edges[first - 1], self._edges[first if last is None else last])

    def sources(self, layer: int) -> tuple[int, ...]:
        """The blocks that a hidden layer reads, bottom to top."""
        return tuple(sorted({layer - 1, layer, layer + 1} | {s for s, target in self.residuals if target == layer}))

    def readers(self, blocks: Set[int]) -> set[int]:
        """The hidden layers that read at least one of these blocks: those that know of them one timestep later."""
        return {layer for layer in self.hidden if not blocks.isdisjoint(self.sources(layer))}

    def connections(
        self, layer: int, *, merged: bool = True, differing: frozenset[int] | None = None, silent: frozenset[int] = frozenset()
    ) -> tuple[Connection, ...]:
        """What a layer reads, with the columns of its weight: the input, then a run of the state's rows for adjacent blocks, or
        one for each block where `merged` is false (dropout tells the drives apart).

        Args:
            differing: the blocks that may differ between the labels; all but the input if left out.
            silent: blocks without activity, which are left out.
        """
        differing = frozenset(range(1, self.label + 1)) if differing is None else differing
        sources = self.sources(layer)
        first_column = dict(zip(sources, accumulate((self.widths[source] for source in sources), initial=0), strict=False))
        runs: list[list[int]] = []
        for source in (source for source in sources if source not in silent):
            last = runs[-1][-1] if runs else INPUT
            if merged and last != INPUT and source == last + 1 and (source in differing) == (last in differing):
                runs[-1].append(source)
            else:
                runs.append([source])
        reads = [None if run == [INPUT] else self.rows(run[0], run[-1]) for run in runs]
        columns = [slice(first_column[run[0]], first_column[run[-1]] + self.widths[run[-1]]) for run in runs]
        return tuple(Connection(*each) for each in zip(reads, columns, (run[0] not in differing for run in runs), strict=True))
