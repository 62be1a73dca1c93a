"""Where the sequences of a flat row lie, made once for all layers of a forward pass."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NamedTuple

from tui_tuner.compute.transfer import send_numbers


@dataclass(frozen=True)
class Ask:
    """What a layer asks of attention, besides its tensors.

    Args:
        scaling: Factor of the scores; 1/sqrt(head_dim) where None.
        window: Keys that a query sees, its own included; None for all.
        softcap: Scores become softcap * tanh(score / softcap); None where they are taken as they are.
        sinks: [heads]: a score of each head that takes its part of the weights and gives nothing.
    """

    causal: bool = True
    scaling: float | None = None
    window: int | None = None
    dropout: float = 0.0
    softcap: float | None = None
    sinks: Any = None


class Stretch(NamedTuple):
    """Queries of a flat row and the keys they see: `prefix` of them from `prefix_start`, and their own."""

    start: int
    length: int
    prefix_start: int = 0
    prefix: int = 0


@dataclass
class Spans:
    """The sequences of a flat row.

    Args:
        stretches: In the order of their queries, which are all tokens of the row.
        query_bounds, key_bounds: [sequences + 1] int32 on the device: where the queries of each begin and
            end, and its keys, once they are gathered.
        longest_query, longest_key: Tokens.
        places: [keys] int64 on the device: the tokens that are gathered as keys; None where each sequence
            sees its own tokens alone.
        made: What kernels keep for the next layers.
    """

    stretches: list[Stretch]
    query_bounds: Any
    key_bounds: Any
    longest_query: int
    longest_key: int
    places: Any = None
    made: dict[Any, Any] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        last = self.stretches[-1]
        return last.start + last.length


_last_bounds: tuple[Any, Any] | None = None
_last_spans: tuple[Any, Spans] | None = None


def segment_bounds(lengths: tuple[int, ...], device: Any) -> tuple[Any, int]:
    """Where each segment begins and ends ([segments + 1] int32, on the device), and the longest one.

    The last answer is kept: all layers of a forward pass ask for the same.
    """
    import torch

    global _last_bounds
    name = (lengths, device)
    if _last_bounds is None or _last_bounds[0] != name:
        _last_bounds = (name, send_numbers([0, *accumulate(lengths)], device, torch.int32))
    return _last_bounds[1], max(lengths)


def spans_of(lengths: list[int], layout: Any, device: Any) -> Spans:
    """The sequences of a flat row on a device.

    Args:
        layout: How they share beginnings (`shared_prefix.Layout`); then `lengths` is not read.
    """
    if layout is not None:
        return _shared_spans(layout, device)
    global _last_spans
    name = (tuple(lengths), device)
    if _last_spans is None or _last_spans[0] != name:
        bounds, longest = segment_bounds(name[0], device)
        starts = accumulate((0, *lengths[:-1]))
        stretches = [Stretch(start, length) for start, length in zip(starts, lengths, strict=True)]
        _last_spans = (name, Spans(stretches, bounds, bounds, longest, longest))
    return _last_spans[1]


def _shared_spans(layout: Any, device: Any) -> Spans:
    """Keys of a shared prefix are gathered before those of each sequence; queries stand at their end."""
    kept: dict[Any, Spans] = layout.spans
    if device not in kept:
        places, queries, keys, longest_query, longest_key = layout.bounds(device)
        stretches = [Stretch(one.start, one.length, one.prefix_start, one.prefix) for one in layout.segments]
        kept[device] = Spans(stretches, queries, keys, longest_query, longest_key, places)
    return kept[device]


def by_token(tensor: Any, places: Any = None, heads: int = 0, width: int = 0) -> Any:
    """[1, heads, tokens, numbers] as [tokens, heads, numbers], the layout of kernels for sequences.

    Args:
        places: Tokens to gather; None for all, as they are.
        heads: Repeat the heads to as many; 0 for as they are.
        width: Fill each head with zeros up to as many numbers; 0 for as it is.
    """
    import torch

    found = tensor[0].transpose(0, 1)
    if places is not None:
        found = found.index_select(0, places)
    if heads and heads != found.shape[1]:
        found = found[:, :, None].expand(-1, -1, heads // found.shape[1], -1).flatten(1, 2)
    if width > found.shape[-1]:
        found = torch.nn.functional.pad(found, (0, width - found.shape[-1]))
    return found
