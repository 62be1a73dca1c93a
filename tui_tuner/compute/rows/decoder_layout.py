"""Layout of sources and targets in the forward passes of a model with an encoder and a decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tui_tuner.compute.encoders import unwrap_model
from tui_tuner.compute.forward import ForwardWay, MicroBatch, MicroSize, Rows, stack_columns
from tui_tuner.compute.rows.label_weights import pick_label_weights
from tui_tuner.compute.rows.row_layout import RowLayout
from tui_tuner.compute.rows.row_sizes import round_padded_length
from tui_tuner.data.records import IGNORE, Example

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SOURCE = "source"  # the column with the number of an example's tokens that the encoder reads

OPEN = 64  # rows that may get more examples, while a pass is packed

Sides = tuple[int, int]  # tokens of a source and of a target
# Turns labels [1, T] into what the decoder reads, [1, T]
Shift = Callable[["Tensor"], "Tensor"]


class DecoderLayout(RowLayout):
    """Lays the first tokens of each example out for the encoder and the rest for the decoder.

    Args:
        pad: The token id of padding.
        limits: The most tokens of a source, and of a target.
        shift: The model's own way to make the decoder's input from labels.
        room: The tokens of a row's sides that several examples may share.
    """

    def __init__(self, pad: int, limits: Sides, shift: Shift, room: Sides = (0, 0)) -> None:
        super().__init__(pad, sum(limits))
        self.limits, self.room, self._shift = limits, room, shift

    def group_rows(
        self, way: ForwardWay, data: Rows, rows: Sequence[int], size: MicroSize
    ) -> list[list[int]]:
        targets = data.trained_tokens
        sources = data.lengths - targets
        if not way.packing:
            return pad_pairs(rows, sources, targets, size)
        sides = {row: (int(sources[row]), int(targets[row])) for row in rows}
        packed = pack_pairs(sides, self.room, size.tokens if size.sequences == 1 else sum(self.limits))
        starts = range(0, len(packed), size.sequences)
        return [[row for line in packed[at : at + size.sequences] for row in line] for at in starts]

    def lay_rows(
        self,
        way: ForwardWay,
        data: Rows,
        rows: Sequence[int],
        training: bool = True,
        sizes: Sequence[int] = (),
    ) -> MicroBatch:
        parts = [data[row] for row in rows]
        if not way.packing:
            return self._lay_lines(rows, [[part] for part in parts], way.filled)
        lines: list[list[Example]] = []
        held: Sides = (0, 0)
        for part in parts:
            sides = split_lengths(part)
            # A row begins where `pack_pairs` began one: what came next did not fit into the row before.
            if lines and fits_room(held, sides, self.room):
                lines[-1].append(part)
                held = (held[0] + sides[0], held[1] + sides[1])
            else:
                lines.append([part])
                held = sides
        return self._lay_lines(rows, lines, way.filled, packed=True)

    def lay_alone(self, data: Rows, rows: Sequence[int]) -> MicroBatch:
        return self._lay_lines(rows, [[data[row]] for row in rows], False)

    def _lay_lines(
        self, rows: Sequence[int], lines: Sequence[Sequence[Example]], filled: bool, packed: bool = False
    ) -> MicroBatch:
        """Lay examples side by side in the lines of a pass, whose sides are padded to the longest."""
        import torch

        sums = [np.sum([split_lengths(part) for part in line], axis=0) for line in lines]
        wide, long = (int(size) for size in np.max(sums, axis=0))
        if filled:
            wide, long = map(round_padded_length, (wide, long), self.limits)
        ids = np.full((len(lines), wide), self.pad, dtype=np.int64)
        read = np.full((len(lines), long), self.pad, dtype=np.int64)
        labels = np.full((len(lines), long), IGNORE, dtype=np.int64)
        owners, owned = np.zeros_like(ids), np.zeros_like(read)
        number = 0
        for at, line in enumerate(lines):
            first, begun = 0, 0
            for part in line:
                number += 1
                source, target = split_lengths(part)
                here, there = slice(first, first + source), slice(begun, begun + target)
                ids[at, here], owners[at, here] = part.ids[:source], number
                written = torch.from_numpy(part.ids[source:].astype(np.int64))[None]
                # One by one, because mBART's shift depends on where the target ends.
                read[at, there], owned[at, there] = self._shift(written)[0].numpy(), number
                labels[at, there] = part.labels[source:]
                first, begun = first + source, begun + target
        keep = labels != IGNORE
        parts = [part for line in lines for part in line]
        return MicroBatch(
            list(rows),
            torch.from_numpy(ids),
            torch.from_numpy(keep),
            torch.from_numpy(labels[keep]),
            [len(part) for part in parts],
            attention_mask=torch.from_numpy((owners > 0).astype(np.int64)),
            columns=stack_columns(parts),
            decoder_ids=torch.from_numpy(read),
            source_parts=torch.from_numpy(owners) if packed else None,
            decoder_parts=torch.from_numpy(owned) if packed else None,
            weights=pick_label_weights(parts, np.concatenate([part.labels != IGNORE for part in parts])),
        )

    def change_others(self, micro: MicroBatch) -> MicroBatch:
        import torch

        assert micro.source_parts is not None and micro.decoder_parts is not None
        assert micro.decoder_ids is not None
        sides = ((micro.input_ids, micro.source_parts), (micro.decoder_ids, micro.decoder_parts))
        ids, read = (torch.where(parts % 2 == 1, one.roll(1, dims=1), one) for one, parts in sides)
        return replace(micro, input_ids=ids, decoder_ids=read)

    def cut_example(self, example: Example, longest: int) -> Example:
        if len(example) <= longest:
            return example
        source = int(example.columns[SOURCE])
        target = min(len(example) - source, max(longest // 2, longest - source))
        kept = min(source, longest - target)
        places = np.r_[:kept, source : source + target]
        weights = None if example.weights is None else example.weights[places]
        return Example(
            example.ids[places], example.labels[places], {**example.columns, SOURCE: kept}, weights
        )


def split_lengths(example: Example) -> Sides:
    """Return the tokens of an example's source and of its target."""
    source = int(example.columns[SOURCE])
    return source, len(example) - source


def fits_room(held: Sides, more: Sides, room: Sides) -> bool:
    """Return whether a row that holds so many tokens has room for more, on both sides."""
    return held[0] + more[0] <= room[0] and held[1] + more[1] <= room[1]


def pack_pairs(sides: Mapping[int, Sides], room: Sides, most: int) -> list[list[int]]:
    """Pack examples into few rows, longest sources first, each into the first row with room for it.

    An example that is longer than the room gets a row to itself.

    Args:
        most: Tokens of a row, both sides together.
    """
    lines: list[list[int]] = []
    open_lines: list[tuple[int, Sides]] = []
    for row in sorted(sides, key=lambda row: (-sides[row][0], -sides[row][1], row)):
        source, target = sides[row]
        for place, (line, held) in enumerate(open_lines):
            if fits_room(held, sides[row], room) and sum(held) + source + target <= most:
                lines[line].append(row)
                open_lines[place] = (line, (held[0] + source, held[1] + target))
                break
        else:
            open_lines.append((len(lines), sides[row]))
            lines.append([row])
            # Few rows are looked at, or packing a large evaluation would take longer than computing it.
            open_lines = open_lines[-OPEN:]
    return lines


def pad_pairs(
    rows: Sequence[int], sources: np.ndarray, targets: np.ndarray, size: MicroSize
) -> list[list[int]]:
    """Group rows whose sides have similar lengths, at most `size.sequences` each.

    Args:
        sources: Tokens of the source of each row. targets: Of the target.
    """
    # By sources first: they are the longer side of most rows, so they need most of the padding.
    ordered = sorted(rows, key=lambda row: (-int(sources[row]), -int(targets[row]), row))
    return [ordered[start : start + size.sequences] for start in range(0, len(ordered), size.sequences)]


def find_shift(model: torch.nn.Module) -> Shift:
    """Return the model's own way to make the decoder's input from labels.

    Models without one shift by one to the right, after `decoder_start_token_id`, as transformers does.
    """
    import torch

    plain = unwrap_model(model)
    own = getattr(plain, "prepare_decoder_input_ids_from_labels", None)
    if own is not None:
        return lambda labels: own(labels=labels)
    start = plain.config.decoder_start_token_id

    def shift(labels: Tensor) -> Tensor:
        return torch.cat((labels.new_full((len(labels), 1), start), labels[:, :-1]), dim=1)

    return shift
