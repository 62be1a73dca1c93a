"""Attention within each sequence of a flat row: the kernels there are, and which is taken."""

from __future__ import annotations

from tui_tuner.compute.attention.choice import Kernel, Means, Need, choose, replaces
from tui_tuner.compute.attention.entry import NAME, caps_scores, register, segment_attention
from tui_tuner.compute.attention.processor import attend, attend_each, attend_layout, causal_bias, fits
from tui_tuner.compute.attention.spans import segment_bounds, spans_of
from tui_tuner.compute.attention.state import describe_on, kernels_in_use, take_notices

__all__ = [
    "NAME",
    "Kernel",
    "Means",
    "Need",
    "attend",
    "attend_each",
    "attend_layout",
    "caps_scores",
    "causal_bias",
    "choose",
    "describe_on",
    "fits",
    "kernels_in_use",
    "register",
    "replaces",
    "segment_attention",
    "segment_bounds",
    "spans_of",
    "take_notices",
]
