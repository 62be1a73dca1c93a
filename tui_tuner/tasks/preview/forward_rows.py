"""What one forward pass of a run would hold: sequences side by side, or below each other with padding."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tui_tuner.compute.forward import MicroSize, pack, pad_groups
from tui_tuner.config.schema import RunConfig
from tui_tuner.locales import _
from tui_tuner.tasks.preview.around import Around

# Shown where micro_batch is auto, which is decided by the machine when a run starts.
_AUTO_PACKED, _AUTO_PADDED = 1, 4


@dataclass(frozen=True)
class Laid:
    """One sequence in a forward pass: the row it came of (from 1), and which of its tokens are trained."""

    row: int
    piece: int
    trained: np.ndarray

    def __len__(self) -> int:
        return len(self.trained)


@dataclass(frozen=True)
class ForwardRows:
    """`lines` of sequences, as the model reads them, each filled with padding to `width` tokens.

    Packed there is one line, and no padding. `assumed`: micro_batch is auto, and the figure an example.
    """

    lines: list[list[Laid]]
    width: int
    packing: bool
    micro_batch: int
    most: int
    assumed: bool

    @property
    def padding(self) -> int:
        """Places that hold no token of a row."""
        return sum(self.width - sum(map(len, line)) for line in self.lines)

    def to_json(self) -> dict[str, Any]:
        """Plain values. `start` counts tokens from the beginning of a line."""
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
            "padding": self.padding,
            "lines": lines,
        }


def forward_rows(around: Around, row: int, config: RunConfig) -> ForwardRows | None:
    """The forward pass with a row in it, were this row and those after it an optimizer step.

    A run deals rows out in a random order, so its neighbours will be others. None if the row has no tokens.
    """
    numbers = [number for number, _trained in around.pieces]
    if row not in numbers:
        return None
    start = numbers.index(row)
    order = [*range(start, len(numbers)), *range(start)][: config.training.batch_size]
    packing = config.packs
    wanted = config.training.micro_batch
    assumed = wanted == "auto"
    micro = (_AUTO_PACKED if packing else _AUTO_PADDED) if assumed else int(wanted)
    size = MicroSize(micro, micro * config.data.max_length)
    lengths = np.asarray([len(trained) for _row, trained in around.pieces])
    groups = (pack if packing else pad_groups)(order, lengths, size)
    group = next(group for group in groups if start in group)
    laid = [_laid(around, numbers, place) for place in group]
    lines = [laid] if packing else [[one] for one in laid]
    width = max(sum(map(len, line)) for line in lines)
    return ForwardRows(lines, width, packing, micro, size.tokens, assumed)


def _laid(around: Around, numbers: Sequence[int], place: int) -> Laid:
    row, trained = around.pieces[place]
    return Laid(row, place - numbers.index(row), trained)


def drawn(line: Sequence[Laid], width: int, cells: int) -> list[tuple[str, str]]:
    """A line as (text, what) parts of `cells` cells: `edge` │, `trained` █, `read` ░, `padding` ·.

    Every sequence has an edge on its left and at least one cell; a cell is trained if most of its tokens are.
    """
    parts: list[tuple[str, str]] = []
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


def sums(laid: ForwardRows) -> str:
    """What a forward pass holds, in words, with the signs it is drawn in."""
    tokens = sum(len(one) for line in laid.lines for one in line)
    if laid.packing:
        return _(
            "{tokens:,} tokens of at most {most:,}, {padding:,} of padding; █ trained ░ read │ edge · "
            "padding",
            tokens=tokens,
            most=laid.most,
            padding=laid.padding,
        )
    return _(
        "{tokens:,} tokens, {padding:,} of padding; █ trained ░ read │ edge · padding",
        tokens=tokens,
        padding=laid.padding,
    )
