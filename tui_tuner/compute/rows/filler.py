"""Tokens at the end of a flat row that bring it to one of few lengths, and that nobody is trained on.

They are the beginnings of the row's own examples once more, each a segment for itself: a causal model
computes for them what it computes for the examples, so nothing comes up that the row did not have (no larger
activation, no expert that is overrun by one repeated token). They see no example, none sees them, no label is
theirs, and no count of tokens knows them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tui_tuner.compute.forward import MicroBatch
from tui_tuner.compute.shared_prefix import Layout, Segment


def fill(micro: MicroBatch, length: int) -> MicroBatch:
    """A flat row brought to so many tokens; the row as it is where it has them already."""
    import torch

    begun = micro.input_ids.shape[1]
    pieces = _pieces(_beginnings(micro), length - begun)
    if not pieces:
        return micro
    ids = [micro.input_ids[:, piece.start : piece.start + piece.length] for piece in pieces]
    places = [torch.arange(piece.length, device=micro.input_ids.device)[None] for piece in pieces]
    types = micro.token_types
    if types is not None:
        parts = [types[:, piece.start : piece.start + piece.length] for piece in pieces]
        types = torch.cat([types, *parts], dim=1)
    layout = micro.layout
    if layout is not None:
        layout = Layout([*layout.segments, *_moved(pieces, begun)])
    return replace(
        micro,
        input_ids=torch.cat([micro.input_ids, *ids], dim=1),
        position_ids=torch.cat([micro.position_ids, *places], dim=1),
        keep=torch.nn.functional.pad(micro.keep, (0, length - begun)),
        layout=layout,
        token_types=types,
        filler=[(piece.row, piece.length) for piece in pieces],
    )


def _beginnings(micro: MicroBatch) -> list[Segment]:
    """The stretches of a row that begin at position 0, longest first."""
    if micro.layout is not None:
        found = [segment for segment in micro.layout.segments if not segment.prefix]
    else:
        found, start = [], 0
        for row, length in zip(micro.rows, micro.lengths, strict=True):
            found.append(Segment(start, length, row=row))
            start += length
    return sorted((one for one in found if one.length), key=lambda one: (-one.length, one.start))


def _pieces(beginnings: list[Segment], missing: int) -> list[Segment]:
    """Beginnings of `missing` tokens together, none longer than what it is the beginning of."""
    found: list[Segment] = []
    while missing > 0 and beginnings:
        for one in beginnings:
            length = min(one.length, missing)
            found.append(Segment(one.start, length, row=one.row))
            missing -= length
            if not missing:
                break
    return found


def _moved(pieces: list[Segment], start: int) -> list[Segment]:
    """The same pieces where they stand in the filled row, one after the other from `start` on."""
    found: list[Any] = []
    for piece in pieces:
        found.append(replace(piece, start=start))
        start += piece.length
    return found
