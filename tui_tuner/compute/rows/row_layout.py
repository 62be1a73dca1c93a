"""Layout of examples in the rows of forward passes, for the way that a run uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tui_tuner.compute import shared_prefix
from tui_tuner.compute.check_rows import cut_check_example
from tui_tuner.compute.forward import (
    ForwardWay,
    MicroBatch,
    MicroSize,
    Rows,
    lay_flat_row,
    lay_padded_rows,
    pack_rows,
    pad_groups,
)
from tui_tuner.compute.rows.filler import fill_row
from tui_tuner.compute.rows.row_dealer import deal_rows
from tui_tuner.compute.rows.row_sizes import (
    choose_row_sizes,
    find_row_size,
    find_step_piece_size,
    measure_filler_waste,
    round_padded_length,
    round_row_size,
)
from tui_tuner.data.records import Example


class RowLayout:
    """Lays out rows, and chooses their allowed lengths if these come from a small set.

    Args:
        pad: The token id of padding.
        limit: The most tokens of an example.
        usual: Tokens of some typical optimizer steps.
    """

    def __init__(self, pad: int = 0, limit: int = 0, usual: Sequence[int] = ()) -> None:
        self.pad, self.limit = pad, limit
        self.usual = list(usual)
        self._sizes: dict[int, tuple[int, ...]] = {}

    def lay_alone(self, data: Rows, rows: Sequence[int]) -> MicroBatch:
        """Lay out examples plainly, as the reference for other ways: one a row, padded to the longest."""
        return lay_padded_rows(data, rows, self.pad)

    def change_others(self, micro: MicroBatch) -> MicroBatch:
        """Return the pass with other tokens in every second example, from the first, and in the filler."""
        import torch

        pieces = list(micro.input_ids.split(micro.segment_lengths, dim=1))
        filler = range(len(micro.lengths), len(pieces))
        for place in {*range(0, len(pieces), 2), *filler}:
            pieces[place] = pieces[place].roll(1, dims=1)
        return replace(micro, input_ids=torch.cat(pieces, dim=1))

    def cut_example(self, example: Example, longest: int) -> Example:
        """Cut an example to at most `longest` tokens for a check, so that some of its labels are left."""
        return cut_check_example(example, longest)

    def share_beginnings(self, saved: float) -> None:
        """Expect shorter rows from now on: sharing prefixes saves this share of the tokens of a step."""
        self.usual = [round(tokens * (1 - saved)) for tokens in self.usual]
        self._sizes.clear()

    def group_rows(
        self, way: ForwardWay, data: Rows, rows: Sequence[int], size: MicroSize
    ) -> list[list[int]]:
        """Group the examples that share a forward pass."""
        if not way.packing:
            return pad_groups(rows, data.lengths, size)
        return (deal_rows if way.filled else pack_rows)(rows, data.lengths, size)

    def lay_rows(
        self,
        way: ForwardWay,
        data: Rows,
        rows: Sequence[int],
        training: bool = True,
        sizes: Sequence[int] = (),
    ) -> MicroBatch:
        """Lay out a forward pass of these examples.

        Args:
            sizes: The allowed lengths of flat rows that are filled up; if empty, a row gets the next round
                length.
        """
        if not way.packing:
            longest = max(int(data.lengths[row]) for row in rows)
            return lay_padded_rows(
                data, rows, self.pad, round_padded_length(longest, self.limit) if way.filled else 0
            )
        micro = shared_prefix.lay_shared(data, rows) if training and way.shared else lay_flat_row(data, rows)
        return fill_flat_row(micro, way, sizes)

    def list_step_sizes(self, most: int) -> tuple[int, ...]:
        """Return the allowed lengths of flat rows in training; a resumed run gets the same.

        Args:
            most: The most tokens of a row.
        """
        if most not in self._sizes:
            self._sizes[most] = choose_row_sizes(most, self._list_pieces(most))
        return self._sizes[most]

    def expect_filler(self, most: int) -> tuple[tuple[int, ...], float | None]:
        """Return those lengths, and the share of filler in typical steps; None if no step is known."""
        sizes, pieces = self.list_step_sizes(most), self._list_pieces(most)
        return sizes, measure_filler_waste(pieces, sizes) if pieces else None

    def _list_pieces(self, most: int) -> list[int]:
        return [find_step_piece_size(tokens, most) for tokens in self.usual if tokens]


def fill_flat_row(micro: MicroBatch, way: ForwardWay, sizes: Sequence[int] = ()) -> MicroBatch:
    """Fill a flat row up to one of these lengths, or to a round one, if the way fills rows."""
    if not way.filled:
        return micro
    tokens = micro.input_ids.shape[1]
    return fill_row(micro, find_row_size(tokens, sizes) if sizes else round_row_size(tokens))


def list_group_sizes(data: Rows, groups: Sequence[Sequence[int]], size: MicroSize) -> tuple[int, ...]:
    """Return the allowed lengths of flat rows for these groups."""
    return choose_row_sizes(size.tokens, [sum(int(data.lengths[row]) for row in group) for group in groups])
