"""The frozen weights under LoRA: how a layer multiplies by them, forward and back.

Nothing that is made of a weight for a product (a dequantised copy, one in another dtype) is kept until the
backward pass: it is made again there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import linear

DENSE, TRANSPOSED, FOUR_BITS, EIGHT_BITS = "dense", "transposed", "4-bit", "8-bit"


def kind_of(base: Any) -> str:
    """What sort of weight a frozen layer holds; empty if it is none that is known here."""
    from transformers.pytorch_utils import Conv1D

    if type(base) is torch.nn.Linear:
        return DENSE
    if type(base) is Conv1D:
        return TRANSPOSED
    own = type(base).__module__.startswith("bitsandbytes.")
    if own and type(base).__name__ in ("Linear4bit", "LinearNF4", "LinearFP4"):
        return FOUR_BITS
    if own and type(base).__name__ == "Linear8bitLt":
        return EIGHT_BITS
    return ""


@dataclass
class Base:
    """The frozen weight of a layer as it is in one forward pass.

    Args:
        layer: The frozen layer.
        weight: Its weight; quantised where the layer is.
        state: What dequantises it (bitsandbytes); None for plain numbers.
        kind: One of the kinds above.
    """

    layer: Any
    weight: Any
    state: Any
    kind: str

    def times(self, rows: Any) -> Any:
        """`rows W^T + bias` for rows [tokens, inputs]: a tensor of its own, in the dtype of the rows."""
        bias = self.layer.bias
        if bias is not None and bias.dtype != rows.dtype:
            bias = bias.to(rows.dtype)
        if self.kind == FOUR_BITS:
            import bitsandbytes

            return bitsandbytes.matmul_4bit(rows, self.weight.t(), quant_state=self.state, bias=bias)
        if self.kind == EIGHT_BITS:
            return self.layer(rows)
        return linear(rows, self.numbers(rows.dtype), bias)

    def numbers(self, dtype: Any) -> Any:
        """W [outputs, inputs] in plain numbers, as bitsandbytes makes them for a gradient."""
        if self.kind == FOUR_BITS:
            import bitsandbytes

            return bitsandbytes.functional.dequantize_4bit(self.weight, self.state).to(dtype)
        if self.kind == EIGHT_BITS:
            rows = self.state.SCB.unsqueeze(1).mul(1.0 / 127.0)
            return self.state.CB.to(dtype, copy=True).mul_(rows)
        weight = self.weight.t() if self.kind == TRANSPOSED else self.weight
        return weight.to(dtype)


def base_of(layer: Any, kind: str) -> Base:
    """The frozen weight of a layer as it is now."""
    if kind == FOUR_BITS:
        weight = layer.weight
        return Base(layer, weight.data, weight.quant_state, kind)
    return Base(layer, layer.weight, layer.state if kind == EIGHT_BITS else None, kind)


def is_packed(layer: Any) -> bool:
    """Whether bitsandbytes has packed a 4-bit weight for a processor's own kernel, which has no way back."""
    return bool(getattr(getattr(layer.weight, "quant_state", None), "packing_format_for_cpu", False))
