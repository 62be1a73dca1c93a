"""How a forward pass is computed: the ways there are, what a model is given for each, and its logits."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from tui_tuner.compute.attention import NAME, segment_bounds
from tui_tuner.compute.batches import MicroBatch


@dataclass(frozen=True)
class ForwardWay:
    """One way to compute a forward pass. All ways of a model give the same numbers, or are not taken.

    Args:
        packing: Flat rows without padding; else padded ones.
        compact: Logits at labelled positions only; else at every position.
        segments: Attention per segment through `attention.NAME`; else the model's own, which keeps flat
            examples apart by `position_ids`.
        autocast: A torch dtype to compute in, or None.
        device: `cpu` or `cuda`, for autocast.
        shared: A beginning that examples of a flat row have in common is computed once.
        virtual: Positions of virtual tokens that the model puts before each example (prompt methods).
        chunked: Head and cross-entropy of a few positions at a time, where all their logits would be large.
    """

    packing: bool
    compact: bool
    segments: bool
    autocast: Any = None
    device: str = "cpu"
    shared: bool = False
    virtual: int = 0
    chunked: bool = False

    def computing(self) -> contextlib.AbstractContextManager[Any]:
        """The numeric context of a forward pass."""
        import torch

        if self.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.partition(":")[0], dtype=self.autocast)


def model_inputs(model: Any, micro: MicroBatch, way: ForwardWay) -> dict[str, Any]:
    """What a model of transformers is called with."""
    inputs: dict[str, Any] = {"input_ids": micro.input_ids}
    if micro.position_ids is None:
        return inputs | {"attention_mask": micro.attention_mask}
    inputs["position_ids"] = micro.position_ids
    if way.segments:
        # A mask of four dimensions is taken as it is, so none is built; the attention reads the lengths.
        inputs["attention_mask"] = micro.input_ids.new_zeros((1, 1, 1, 1), dtype=bool)
        inputs["segment_lengths"] = micro.lengths
        if micro.layout is not None:
            inputs["segment_layout"] = micro.layout
        return inputs
    bounds, longest = segment_bounds(tuple(micro.lengths), micro.input_ids.device)
    if getattr(model.config, "_attn_implementation", "").startswith("flash"):
        inputs.update(cu_seq_lens_q=bounds, cu_seq_lens_k=bounds)
        inputs.update(max_length_q=longest, max_length_k=longest)
    return inputs


def target_logits(model: Any, micro: MicroBatch, way: ForwardWay) -> Any:
    """Logits of a causal model at the positions with a label, [K, vocabulary]."""
    import torch

    inputs = model_inputs(model, micro, way) | {"use_cache": False}
    keep = micro.keep
    if way.compact and micro.places is not None and not way.virtual:
        return model(**inputs, logits_to_keep=micro.places).logits.flatten(0, 1)
    if way.virtual:
        keep = torch.nn.functional.pad(keep, (way.virtual, 0))
    if way.compact:
        return model(**inputs, logits_to_keep=keep).logits
    return model(**inputs).logits[keep]


def switch_attention(model: Any, way: ForwardWay, stock: str) -> None:
    """Use our attention for segments, and the model's own (`stock`) where the way does not need ours."""
    current = model.config._attn_implementation
    if way.segments and current != NAME:
        model.set_attn_implementation(NAME)
    elif not way.segments and current == NAME:
        model.set_attn_implementation(stock if stock != NAME else "sdpa")
