"""PyTorch's flex attention over the sequences of a flat row, for capped scores and for sinks.

Compiled once for all lengths. Four numbers per token say which keys it sees, so windows and shared prefixes
run the same code as plain sequences. The block mask is built once per forward pass, without testing every
pair of tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tui_tuner.compute.attention.spans import AttentionAsk, Spans
from tui_tuner.compute.kernels.available_kernels import VARIANTS
from tui_tuner.compute.transfer import send_tensor

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 128  # tokens
NARROWEST = 16  # elements of a head


@cache
def compile_flex() -> Callable[..., Any]:
    """Return flex attention compiled for any lengths; only another cap or scale compiles it again."""
    from torch.nn.attention.flex_attention import flex_attention

    compiled = torch.compile(flex_attention, dynamic=True)

    def call(*tensors: Tensor, **options: Any) -> Any:
        # Floats such as the cap are compiled into the code: as inputs they would become CPU tensors.
        # Beyond the limit torch would run uncompiled, with the scores of the whole row in memory.
        with torch._dynamo.config.patch(specialize_float=True, recompile_limit=VARIANTS):
            return compiled(*tensors, **options)

    return call


def attend_flex(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    spans: Spans,
    ask: AttentionAsk,
    call: Callable[..., Any] | None = None,
) -> Tensor:
    """Compute attention of [1, heads, tokens, head_dim]; returns [1, tokens, heads, value_dim].

    Args:
        call: `flex_attention` or an equivalent; None for the compiled one.
    """
    from torch.nn.attention.flex_attention import AuxRequest

    scale = query.shape[-1] ** -0.5 if ask.scaling is None else ask.scaling
    value_dim = value.shape[-1]
    query, key, value = (_widen_heads(part) for part in (query, key, value))
    options: dict[str, Any] = {
        "score_mod": _make_score_cap(ask.softcap),
        "block_mask": _get_block_mask(spans, ask, query.device),
        "scale": scale,
        "enable_gqa": query.shape[1] != key.shape[1],
    }
    call = call or compile_flex()
    if ask.sinks is None:
        out = call(query, key, value, **options)
    else:
        out, sums = call(query, key, value, return_aux=AuxRequest(lse=True), **options)
        # The kernel's softmax leaves the sink out. With it in the denominator, the keys get this share of all
        # weights: exp(lse) / (exp(lse) + exp(sink)).
        share = torch.sigmoid(sums.lse - ask.sinks.float().view(1, -1, 1))
        out = out * share[..., None].to(out.dtype)
    return out.transpose(1, 2)[..., :value_dim]


def _widen_heads(tensor: Tensor) -> Tensor:
    missing = NARROWEST - tensor.shape[-1]
    return torch.nn.functional.pad(tensor, (0, missing)) if missing > 0 else tensor


@cache
def _make_score_cap(softcap: float | None) -> Callable[..., Any] | None:
    """Return a function that caps scores; the same object for the same cap, so nothing compiles again."""
    if not softcap:
        return None

    def bend(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return softcap * torch.tanh(score / softcap)

    return bend


def _get_block_mask(spans: Spans, ask: AttentionAsk, device: torch.device) -> Any:
    """Return the block mask of the keys that each query sees; kept for the next layers."""
    name = ("flex", ask.window, ask.causal, str(device))
    if name not in spans.made:
        spans.made[name] = _make_block_mask(spans, ask, device)
    return spans.made[name]


def _make_block_mask(spans: Spans, ask: AttentionAsk, device: torch.device) -> Any:
    from torch.nn.attention.flex_attention import BlockMask

    reach = find_key_ranges(spans, ask)
    counts, indices = find_key_blocks(reach)
    # Tensors: the mask function below is compiled, and must not hold numbers that differ in each batch.
    first, end, prefix, prefix_end = (
        send_tensor(torch.from_numpy(part), device) for part in reach.astype(np.int32)
    )

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        own = (key >= first[query]) & (key < end[query])
        return own | ((key >= prefix[query]) & (key < prefix_end[query]))

    return BlockMask.from_kv_blocks(
        send_tensor(torch.from_numpy(counts)[None, None], device),
        send_tensor(torch.from_numpy(indices)[None, None], device),
        BLOCK_SIZE=BLOCK,
        mask_mod=sees,
        seq_lengths=(spans.token_count, spans.token_count),
    )


def find_key_ranges(spans: Spans, ask: AttentionAsk) -> np.ndarray:
    """Return [4, tokens]: the start and end of each token's own keys, and of those in a shared prefix."""
    found = np.zeros((4, spans.token_count), dtype=np.int64)
    window = ask.window if ask.window is not None else spans.token_count + spans.longest_key
    for one in spans.stretches:
        tokens = np.arange(one.start, one.start + one.length)
        last = one.start + one.length
        found[0, tokens] = np.maximum(one.start, tokens - window + 1)
        found[1, tokens] = tokens + 1 if ask.causal else np.minimum(last, tokens + window)
        if one.prefix:
            # The first prefix token that the window of each token still reaches.
            reached = one.prefix - (window - 1 - (tokens - one.start))
            found[2, tokens] = one.prefix_start + np.clip(reached, 0, one.prefix)
            found[3, tokens] = one.prefix_start + one.prefix
    return found


def find_key_blocks(reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how many key blocks each query block sees, [blocks] int32, and which, [blocks, blocks] int32."""
    tokens = reach.shape[1]
    blocks = -(-tokens // BLOCK)
    # A range of key blocks adds 1 at its start and -1 after its end; the running sum is positive inside.
    looked = np.zeros((blocks, blocks + 1), dtype=np.int64)
    rows = np.arange(tokens) // BLOCK
    for begin, end in ((reach[0], reach[1]), (reach[2], reach[3])):
        some = end > begin
        np.add.at(looked, (rows[some], begin[some] // BLOCK), 1)
        np.add.at(looked, (rows[some], (end[some] - 1) // BLOCK + 1), -1)
    seen = np.cumsum(looked[:, :-1], axis=1) > 0
    # flex_attention reads the first `count` indices of each row, so the seen blocks come first, in order.
    order = np.argsort(~seen, axis=1, kind="stable")
    return seen.sum(axis=1).astype(np.int32), order.astype(np.int32)
