"""The attention that models of transformers call: within each sequence of a flat row, and none between them.

Registered under `NAME`; a model that uses it and is called without `segment_lengths` (for generation, or with
padded rows) gets PyTorch's scaled dot product attention with the usual masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tui_tuner.compute.attention.processor import attend_each, attend_layout
from tui_tuner.compute.attention.spans import Ask, spans_of
from tui_tuner.compute.attention.state import ask_the_hub
from tui_tuner.compute.router_loss import COUNTS_ONLY

NAME = "tui_tuner_segments"
_SINKS = ("s_aux", "sinks")


def register(function: Callable[..., Any] | None = None, hub: bool = False) -> None:
    """Make `NAME` an attention implementation of transformers.

    Args:
        function: Stands in for `segment_attention`.
        hub: Kernels of the hub may be loaded, through the package `kernels`.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    ask_the_hub(hub)
    AttentionInterface.register(NAME, function or segment_attention)
    AttentionMaskInterface.register(NAME, padding_mask)


def padding_mask(*args: Any, attention_mask: Any = None, **kwargs: Any) -> Any:
    """The usual mask of padded rows; None for a flat one, whose attention reads the lengths."""
    from transformers.masking_utils import sdpa_mask

    if getattr(attention_mask, COUNTS_ONLY, False):
        return None
    return sdpa_mask(*args, attention_mask=attention_mask, **kwargs)


def segment_attention(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    segment_lengths: list[int] | None = None,
    segment_layout: Any = None,
    **extras: Any,
) -> tuple[Any, None]:
    """Attention of [1, heads, tokens, head_dim] within segments; returns [1, tokens, heads, head_dim].

    Raises:
        ValueError: the model asks for something that is not done here: position biases, and on a processor
            soft caps and sinks too.
    """
    softcap = extras.get("softcap")
    sinks = next((extras[name] for name in _SINKS if extras.get(name) is not None), None)
    causal = extras.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    if segment_lengths is None:
        if softcap is None and sinks is None:
            return _by_torch(module, query, key, value, attention_mask, dropout, scaling, extras)
        ask = Ask(bool(causal), scaling, None, dropout, softcap, sinks)
        return _in_the_clear(query, key, value, attention_mask, ask), None
    on_gpu = _is_on_gpu(query)
    _check(extras, softcap, sinks, segment_layout, causal, on_gpu)
    query, key, value = _as_autocast(query, key, value)
    if on_gpu:
        from tui_tuner.compute.attention.gpu import attend_on_gpu

        ask = Ask(bool(causal), scaling, sliding_window, dropout, softcap, sinks)
        return attend_on_gpu(
            query, key, value, spans_of(segment_lengths, segment_layout, query.device), ask
        ), None
    if segment_layout is not None:
        return attend_layout(query, key, value, segment_layout, dropout, scaling, sliding_window), None
    return attend_each(query, key, value, segment_lengths, dropout, scaling, sliding_window, causal), None


def _is_on_gpu(tensor: Any) -> bool:
    return bool(tensor.is_cuda)


def _check(extras: Any, softcap: Any, sinks: Any, layout: Any, causal: Any, on_gpu: bool) -> None:
    """Raise `ValueError` for what is not done here."""
    asked = {"position_bias": extras.get("position_bias")}
    if not on_gpu:
        asked |= {"softcap": softcap, "s_aux": sinks}
    unknown = [name for name, what in asked.items() if what is not None]
    if unknown:
        raise ValueError(f"attention per sequence does not know {unknown[0]}")
    if layout is not None and not causal:
        raise ValueError("only causal attention can share a prefix")


def caps_scores(model: Any) -> bool:
    """Whether a model of transformers caps its attention scores."""
    return bool(getattr(model.config.get_text_config(), "attn_logit_softcapping", None))


def _by_torch(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    mask: Any,
    dropout: float,
    scaling: float | None,
    extras: Any,
) -> Any:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    return sdpa_attention_forward(module, query, key, value, mask, dropout=dropout, scaling=scaling, **extras)


def _in_the_clear(query: Any, key: Any, value: Any, mask: Any, ask: Ask) -> Any:
    """Padded rows with capped scores or sinks, which PyTorch's attention would leave out."""
    from tui_tuner.compute.attention.padded import attend_scores

    return attend_scores(query, key, value, mask, ask).transpose(1, 2).contiguous()


def _as_autocast(*tensors: Any) -> Iterator[Any]:
    """Inputs of the kernel in autocast's dtype on a GPU, as PyTorch's own attention takes them there.

    Rotations leave queries and keys in float32 where the trained weights are, and the kernels for segments
    are none of the operations that autocast knows.
    """
    import torch

    casting = tensors[0].is_cuda and torch.is_autocast_enabled("cuda")
    dtype = torch.get_autocast_dtype("cuda") if casting else None
    return (tensor.to(dtype) if casting else tensor for tensor in tensors)
