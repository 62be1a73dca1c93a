"""Filler at the end of a flat row: tokens without labels that bring it to one of few lengths.

The filler repeats the beginnings of the row's own examples, each as a separate segment. A causal model
computes the same for them as for the examples, so they add nothing new (no larger activation, no expert
overloaded by one repeated token). No example sees them, they see no example, and token counts exclude them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tui_tuner.compute.forward import MicroBatch
from tui_tuner.compute.shared_prefix import Layout, Segment


def fill_row(micro: MicroBatch, length: int) -> MicroBatch:
    """Return a flat row filled up to `length` tokens; the same row if it has them already."""
    import torch

    begun = micro.input_ids.shape[1]
    pieces = _cut_pieces(_list_beginnings(micro), length - begun)
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
        layout = Layout([*layout.segments, *_move_pieces(pieces, begun)])
    return replace(
        micro,
        input_ids=torch.cat([micro.input_ids, *ids], dim=1),
        position_ids=torch.cat([micro.position_ids, *places], dim=1),
        keep=torch.nn.functional.pad(micro.keep, (0, length - begun)),
        layout=layout,
        token_types=types,
        filler=[(piece.row, piece.length) for piece in pieces],
    )


def _list_beginnings(micro: MicroBatch) -> list[Segment]:
    """List the stretches of a row that begin at position 0, longest first."""
    if micro.layout is not None:
        found = [segment for segment in micro.layout.segments if not segment.prefix]
    else:
        found, start = [], 0
        for row, length in zip(micro.rows, micro.lengths, strict=True):
            found.append(Segment(start, length, row=row))
            start += length
    return sorted((one for one in found if one.length), key=lambda one: (-one.length, one.start))


def _cut_pieces(beginnings: list[Segment], missing: int) -> list[Segment]:
    """Cut beginnings of `missing` tokens in total, none longer than its stretch."""
    # Longest first, and again from the start if all together are too short.
    found: list[Segment] = []
    while missing > 0 and beginnings:
        for one in beginnings:
            length = min(one.length, missing)
            found.append(Segment(one.start, length, row=one.row))
            missing -= length
            if not missing:
                break
    return found


def _move_pieces(pieces: list[Segment], start: int) -> list[Segment]:
    """Return the pieces with their places in the filled row, one after the other from `start`."""
    found: list[Any] = []
    for piece in pieces:
        found.append(replace(piece, start=start))
        start += piece.length
    return found
