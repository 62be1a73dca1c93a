"""Attention within each sequence of a flat row: the available kernels, and the choice between them."""

from __future__ import annotations

from tui_tuner.compute.attention.entry import NAME, attend_segments, caps_attention_scores, register_attention
from tui_tuner.compute.attention.kernel_choice import (
    AttentionNeed,
    Kernel,
    KernelMeans,
    choose_kernel,
    replaces_attention,
)
from tui_tuner.compute.attention.kernel_state import (
    describe_device_attention,
    list_used_kernels,
    take_kernel_warnings,
)
from tui_tuner.compute.attention.processor import (
    attend_by_products,
    attend_each_segment,
    attend_layout,
    is_short_stretch,
    make_causal_bias,
)
from tui_tuner.compute.attention.spans import find_attention_spans, find_segment_bounds

__all__ = [
    "NAME",
    "AttentionNeed",
    "Kernel",
    "KernelMeans",
    "attend_by_products",
    "attend_each_segment",
    "attend_layout",
    "attend_segments",
    "caps_attention_scores",
    "choose_kernel",
    "describe_device_attention",
    "find_attention_spans",
    "find_segment_bounds",
    "is_short_stretch",
    "list_used_kernels",
    "make_causal_bias",
    "register_attention",
    "replaces_attention",
    "take_kernel_warnings",
]
