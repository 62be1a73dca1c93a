"""Show the sequences that one forward pass of a run would contain, with packing or with padding."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tui_tuner.compute.forward import MicroSize, pack_rows, pad_groups
from tui_tuner.compute.rows.decoder_layout import pad_pairs
from tui_tuner.config.schema import RunConfig
from tui_tuner.locales import _
from tui_tuner.tasks.preview.row_window import RowWindow

# Shown if micro_batch is auto: its value depends on the machine and is decided when a run starts.
_AUTO_PACKED, _AUTO_PADDED = 1, 4


@dataclass(frozen=True)
class LaidSequence:
    """One sequence in a forward pass.

    Args:
        row: The row that it is from (from 1).
        piece: Its number among the sequences of that row (from 0).
        trained: bool [length], True where a token is trained.
    """

    row: int
    piece: int
    trained: np.ndarray

    def __len__(self) -> int:
        return len(self.trained)


@dataclass(frozen=True)
class ForwardRows:
    """The lines of sequences that the model reads, each padded to `width` tokens.

    With packing there is one line and no padding.

    Args:
        most: Most tokens of a forward pass.
        assumed: micro_batch is auto, so this is an example.
    """

    lines: list[list[LaidSequence]]
    width: int
    packing: bool
    micro_batch: int
    most: int
    assumed: bool

    @property
    def count_padding(self) -> int:
        """Count the positions that hold no token of a row."""
        return sum(self.width - sum(map(len, line)) for line in self.lines)

    def to_json(self) -> dict[str, Any]:
        """Return plain values. `start` counts tokens from the beginning of a line."""
        lines = []
        for line in self.lines:
            starts = np.cumsum([0, *map(len, line)]).tolist()
            lines.append(
                [
                    {
                        "row": s.row,
                        "piece": s.piece,
                        "start": at,
                        "length": len(s),
                        "trained": int(s.trained.sum()),
                    }
                    for s, at in zip(line, starts, strict=False)
                ]
            )
        return {
            "packing": self.packing,
            "micro_batch": self.micro_batch,
            "micro_batch_assumed": self.assumed,
            "tokens_at_most": self.most,
            "width": self.width,
            "padding": self.count_padding,
            "lines": lines,
        }


def lay_forward_rows(around: RowWindow, row: int, config: RunConfig) -> ForwardRows | None:
    """Return the forward pass with a row, as if an optimizer step consisted of it and the following rows.

    A run shuffles rows, so the real neighbours differ. None if the row has no tokens.
    """
    numbers = [number for number, _trained in around.pieces]
    if row not in numbers:
        return None
    start = numbers.index(row)
    # Near the end of the data the batch is filled from its beginning.
    order = [*range(start, len(numbers)), *range(start)][: config.training.batch_size]
    packing = config.may_pack
    wanted = config.training.micro_batch
    assumed = wanted == "auto"
    micro = (_AUTO_PACKED if packing else _AUTO_PADDED) if assumed else int(wanted)
    size = MicroSize(micro, micro * config.data.max_length)
    lengths = np.asarray([len(trained) for _row, trained in around.pieces])
    if config.task_kind.encoder_decoder:
        targets = np.asarray([int(trained.sum()) for _row, trained in around.pieces])
        groups = pad_pairs(order, lengths - targets, targets, size)
    else:
        groups = (pack_rows if packing else pad_groups)(order, lengths, size)
    group = next(group for group in groups if start in group)
    laid = [_lay_sequence(around, numbers, place) for place in group]
    lines = [laid] if packing else [[one] for one in laid]
    width = max(sum(map(len, line)) for line in lines)
    if config.task_kind.encoder_decoder:
        # Each side is padded to its own longest.
        width = int((lengths - targets)[group].max() + targets[group].max())
    return ForwardRows(lines, width, packing, micro, size.tokens, assumed)


def _lay_sequence(around: RowWindow, numbers: Sequence[int], place: int) -> LaidSequence:
    row, trained = around.pieces[place]
    return LaidSequence(row, place - numbers.index(row), trained)


def draw_forward_line(line: Sequence[LaidSequence], width: int, cells: int) -> list[tuple[str, str]]:
    """Return a line as (text, what) parts of `cells` cells: `edge` │, `trained` █, `read` ░, `padding` ·.

    Every sequence has an edge on its left and at least one cell; a cell counts as trained if at least half
    of its tokens are.
    """
    parts: list[tuple[str, str]] = []
    # The edges need a cell each, and one more at the end of the line.
    room = max(1, cells - len(line) - 1)
    for one in line:
        count = max(1, round(len(one) / max(1, width) * room))
        cuts = np.linspace(0, len(one), count + 1).astype(int)
        marks = "".join(
            "█" if one.trained[low : max(high, low + 1)].mean() >= 0.5 else "░"
            for low, high in itertools.pairwise(cuts)
        )
        parts.append(("│", "edge"))
        for mark in marks:
            parts.append((mark, "trained" if mark == "█" else "read"))
    parts.append(("│", "edge"))
    left = cells - sum(len(text) for text, _what in parts)
    if left > 0 and sum(map(len, line)) < width:
        parts.append(("·" * left, "padding"))
    return parts


def describe_rows(laid: ForwardRows) -> str:
    """Describe a forward pass in numbers, with a key to the signs it is drawn in."""
    tokens = sum(len(one) for line in laid.lines for one in line)
    if laid.packing:
        return _(
            "{tokens:,} tokens of at most {most:,}, {padding:,} of padding; █ trained ░ read │ edge · "
            "padding",
            tokens=tokens,
            most=laid.most,
            padding=laid.count_padding,
        )
    return _(
        "{tokens:,} tokens, {padding:,} of padding; █ trained ░ read │ edge · padding",
        tokens=tokens,
        padding=laid.count_padding,
    )
