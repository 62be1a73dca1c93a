"""Examples laid into the rows of forward passes, by the way that a run has settled on."""

from __future__ import annotations

from collections.abc import Sequence

from tui_tuner.compute import shared_prefix
from tui_tuner.compute.forward import (
    ForwardWay,
    MicroBatch,
    MicroSize,
    Rows,
    lay_flat,
    lay_padded,
    pack,
    pad_groups,
)
from tui_tuner.compute.rows.dealing import deal
from tui_tuner.compute.rows.filler import fill
from tui_tuner.compute.rows.sizes import (
    next_size,
    padded_length,
    pieces_of,
    row_sizes,
    size_for,
    waste,
)


class Laying:
    """Lays rows, and knows the lengths that they may have where they come from a small set.

    Args:
        pad: The token id of padding.
        limit: Tokens that no example exceeds.
        usual: Tokens of some optimizer steps.
    """

    def __init__(self, pad: int = 0, limit: int = 0, usual: Sequence[int] = ()) -> None:
        self.pad, self.limit = pad, limit
        self.usual = list(usual)
        self._sizes: dict[int, tuple[int, ...]] = {}

    def share(self, saved: float) -> None:
        """Beginnings are shared from now on: this share of the tokens of a step is not computed."""
        self.usual = [round(tokens * (1 - saved)) for tokens in self.usual]
        self._sizes.clear()

    def groups(self, way: ForwardWay, data: Rows, rows: Sequence[int], size: MicroSize) -> list[list[int]]:
        """Which examples share a forward pass."""
        if not way.packing:
            return pad_groups(rows, data.lengths, size)
        return (deal if way.filled else pack)(rows, data.lengths, size)

    def lay(
        self,
        way: ForwardWay,
        data: Rows,
        rows: Sequence[int],
        training: bool = True,
        sizes: Sequence[int] = (),
    ) -> MicroBatch:
        """A forward pass of these examples.

        Args:
            sizes: The lengths that flat rows may have, where they are filled up; without any, a row gets a
                round length of its own.
        """
        if not way.packing:
            longest = max(int(data.lengths[row]) for row in rows)
            return lay_padded(data, rows, self.pad, padded_length(longest, self.limit) if way.filled else 0)
        micro = shared_prefix.lay_shared(data, rows) if training and way.shared else lay_flat(data, rows)
        return fill_up(micro, way, sizes)

    def sizes_of_steps(self, most: int) -> tuple[int, ...]:
        """The lengths that flat rows of training may have; the same in a run that is resumed.

        Args:
            most: Tokens that a row may have.
        """
        if most not in self._sizes:
            self._sizes[most] = row_sizes(most, self._pieces(most))
        return self._sizes[most]

    def expected(self, most: int) -> tuple[tuple[int, ...], float | None]:
        """Those lengths, and the share of filler in usual steps; None where no step is known."""
        sizes, pieces = self.sizes_of_steps(most), self._pieces(most)
        return sizes, waste(pieces, sizes) if pieces else None

    def _pieces(self, most: int) -> list[int]:
        return [pieces_of(tokens, most) for tokens in self.usual if tokens]


def fill_up(micro: MicroBatch, way: ForwardWay, sizes: Sequence[int] = ()) -> MicroBatch:
    """A flat row in one of these lengths, or in a round one of its own, where the way fills rows up."""
    if not way.filled:
        return micro
    tokens = micro.input_ids.shape[1]
    return fill(micro, size_for(tokens, sizes) if sizes else next_size(tokens))


def sizes_of_groups(data: Rows, groups: Sequence[Sequence[int]], size: MicroSize) -> tuple[int, ...]:
    """The lengths that flat rows of these groups may have."""
    return row_sizes(size.tokens, [sum(int(data.lengths[row]) for row in group) for group in groups])
