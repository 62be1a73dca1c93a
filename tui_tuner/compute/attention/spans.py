"""Positions of the sequences in a flat row, computed once for all layers of a forward pass."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from tui_tuner.compute.transfer import send_numbers

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class AttentionAsk:
    """The options of a layer's attention call, apart from its tensors.

    Args:
        scaling: Factor of the scores; 1/sqrt(head_dim) if None.
        window: Keys that a query sees, including its own; None for all.
        softcap: Scores become softcap * tanh(score / softcap); None for uncapped scores.
        sinks: [heads]: a score of each head that takes part in the softmax but has no value.
    """

    causal: bool = True
    scaling: float | None = None
    window: int | None = None
    dropout: float = 0.0
    softcap: float | None = None
    sinks: Tensor | None = None


class Stretch(NamedTuple):
    """Queries of a flat row and the keys they see: their own, and `prefix` keys from `prefix_start`."""

    start: int
    length: int
    prefix_start: int = 0
    prefix: int = 0


@dataclass
class Spans:
    """The sequences of a flat row.

    Args:
        stretches: In the order of their queries, which cover all tokens of the row.
        query_bounds, key_bounds: [sequences + 1] int32 on the device: start and end of the queries of each
            sequence, and of its gathered keys.
        longest_query, longest_key: Tokens.
        places: [keys] int64 on the device: the tokens that are gathered as keys; None if each sequence
            sees only its own tokens.
        made: Data that kernels keep for the next layers.
    """

    stretches: list[Stretch]
    query_bounds: Tensor
    key_bounds: Tensor
    longest_query: int
    longest_key: int
    places: Tensor | None = None
    made: dict[Any, Any] = field(default_factory=dict)

    @property
    def token_count(self) -> int:
        last = self.stretches[-1]
        return last.start + last.length


_last_bounds: tuple[Any, Any] | None = None
_last_spans: tuple[Any, Spans] | None = None


def find_segment_bounds(lengths: tuple[int, ...], device: torch.device) -> tuple[Tensor, int]:
    """Return the bounds of each segment ([segments + 1] int32, on the device), and the longest length."""
    import torch

    # All layers of a forward pass ask for the same bounds, so the last ones are kept.
    global _last_bounds
    name = (lengths, device)
    if _last_bounds is None or _last_bounds[0] != name:
        _last_bounds = (name, send_numbers([0, *accumulate(lengths)], device, torch.int32))
    return _last_bounds[1], max(lengths)


def find_attention_spans(lengths: list[int], layout: Any, device: torch.device) -> Spans:
    """Return the sequences of a flat row on a device; the last ones are kept for the next layers.

    Args:
        layout: How they share prefixes (`shared_prefix.Layout`); then `lengths` is not read.
    """
    if layout is not None:
        return _find_shared_spans(layout, device)
    global _last_spans
    name = (tuple(lengths), device)
    if _last_spans is None or _last_spans[0] != name:
        bounds, longest = find_segment_bounds(name[0], device)
        starts = accumulate((0, *lengths[:-1]))
        stretches = [Stretch(start, length) for start, length in zip(starts, lengths, strict=True)]
        _last_spans = (name, Spans(stretches, bounds, bounds, longest, longest))
    return _last_spans[1]


def _find_shared_spans(layout: Any, device: torch.device) -> Spans:
    """Return spans in which the keys of a shared prefix come before each sequence's own keys."""
    # Kept in the layout: it belongs to one micro-batch, and is used by all of its layers.
    kept: dict[Any, Spans] = layout.spans
    if device not in kept:
        places, queries, keys, longest_query, longest_key = layout.find_bounds(device)
        stretches = [Stretch(one.start, one.length, one.prefix_start, one.prefix) for one in layout.segments]
        kept[device] = Spans(stretches, queries, keys, longest_query, longest_key, places)
    return kept[device]


def lay_heads_by_token(
    tensor: Tensor, places: Tensor | None = None, heads: int = 0, width: int = 0
) -> Tensor:
    """Return [1, heads, tokens, width] as [tokens, heads, width], the layout of the varlen kernels.

    Args:
        places: Tokens to gather; None for all, in their order.
        heads: Repeat the heads to this number; 0 to keep them.
        width: Pad each head with zeros to this many elements; 0 to keep its width.
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
