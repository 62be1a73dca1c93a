"""The attention function that transformers models call: within each sequence of a flat row, never across.

Registered under `NAME`; a model that uses it and is called without `segment_lengths` (for generation, or with
padded rows) gets PyTorch's scaled dot product attention with the usual masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tui_tuner.compute.attention.kernel_state import allow_hub_kernels
from tui_tuner.compute.attention.processor import attend_each_segment, attend_layout
from tui_tuner.compute.attention.spans import AttentionAsk, find_attention_spans
from tui_tuner.compute.router_loss import COUNTS_ONLY

if TYPE_CHECKING:
    import torch
    from torch import Tensor

NAME = "tui_tuner_segments"
_SINKS = ("s_aux", "sinks")


def register_attention(function: Callable[..., Any] | None = None, hub: bool = False) -> None:
    """Make `NAME` an attention implementation of transformers.

    Args:
        function: Registered instead of `attend_segments`.
        hub: Whether kernels may be loaded from the hub, through the package `kernels`.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    allow_hub_kernels(hub)
    AttentionInterface.register(NAME, function or attend_segments)
    AttentionMaskInterface.register(NAME, make_padding_mask)


def make_padding_mask(*args: Any, attention_mask: Tensor | None = None, **kwargs: Any) -> Tensor | None:
    """Return the usual mask of padded rows; None for a flat row, whose attention reads the lengths."""
    from transformers.masking_utils import sdpa_mask

    if getattr(attention_mask, COUNTS_ONLY, False):
        return None
    return sdpa_mask(*args, attention_mask=attention_mask, **kwargs)


def attend_segments(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    segment_lengths: list[int] | None = None,
    segment_layout: Any = None,
    **extras: Any,
) -> tuple[Tensor, None]:
    """Compute attention of [1, heads, tokens, head_dim] within segments.

    Returns: [1, tokens, heads, head_dim], and None for the weights.

    Raises:
        ValueError: the model needs something unsupported: position biases, and on a CPU also soft caps
            and sinks.
    """
    # Models pass soft caps and sinks as plain keyword arguments, under names that differ between families.
    softcap = extras.get("softcap")
    sinks = next((extras[name] for name in _SINKS if extras.get(name) is not None), None)
    causal = extras.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    # Without lengths the rows are padded, as in generation and in plain passes.
    if segment_lengths is None:
        if softcap is None and sinks is None:
            return _attend_by_torch(module, query, key, value, attention_mask, dropout, scaling, extras)
        ask = AttentionAsk(bool(causal), scaling, None, dropout, softcap, sinks)
        return _attend_in_the_clear(query, key, value, attention_mask, ask), None
    on_gpu = _is_on_gpu(query)
    _refuse_extras(extras, softcap, sinks, segment_layout, causal, on_gpu)
    query, key, value = _cast_as_autocast(query, key, value)
    if on_gpu:
        from tui_tuner.compute.attention.gpu import attend_on_gpu

        ask = AttentionAsk(bool(causal), scaling, sliding_window, dropout, softcap, sinks)
        return attend_on_gpu(
            query, key, value, find_attention_spans(segment_lengths, segment_layout, query.device), ask
        ), None
    if segment_layout is not None:
        return attend_layout(query, key, value, segment_layout, dropout, scaling, sliding_window), None
    return attend_each_segment(
        query, key, value, segment_lengths, dropout, scaling, sliding_window, causal
    ), None


def _is_on_gpu(tensor: Tensor) -> bool:
    return bool(tensor.is_cuda)


def _refuse_extras(
    extras: Any, softcap: Any, sinks: Tensor | None, layout: Any, causal: Any, on_gpu: bool
) -> None:
    """Raise `ValueError` for options that would silently be ignored."""
    asked = {"position_bias": extras.get("position_bias")}
    if not on_gpu:
        asked |= {"softcap": softcap, "s_aux": sinks}
    unknown = [name for name, what in asked.items() if what is not None]
    if unknown:
        raise ValueError(f"attention per sequence does not support {unknown[0]}")
    if layout is not None and not causal:
        raise ValueError("only causal attention can share a prefix")


def caps_attention_scores(model: torch.nn.Module) -> bool:
    """Return whether a model of transformers caps its attention scores."""
    return bool(getattr(model.config.get_text_config(), "attn_logit_softcapping", None))


def _attend_by_torch(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    dropout: float,
    scaling: float | None,
    extras: Any,
) -> Any:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    return sdpa_attention_forward(module, query, key, value, mask, dropout=dropout, scaling=scaling, **extras)


def _attend_in_the_clear(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, ask: AttentionAsk
) -> Tensor:
    """Compute padded rows with capped scores or sinks, which PyTorch's attention would ignore."""
    from tui_tuner.compute.attention.padded_attention import attend_explicit_scores

    return attend_explicit_scores(query, key, value, mask, ask).transpose(1, 2).contiguous()


def _cast_as_autocast(*tensors: Tensor) -> Iterator[Tensor]:
    """Cast the inputs of a kernel to autocast's dtype on a GPU, as PyTorch does for its own attention."""
    import torch

    # Rotary embeddings leave queries and keys in float32 if the trained weights are, and autocast does not
    # know the kernels for segments.
    casting = tensors[0].is_cuda and torch.is_autocast_enabled("cuda")
    dtype = torch.get_autocast_dtype("cuda") if casting else None
    return (tensor.to(dtype) if casting else tensor for tensor in tensors)
