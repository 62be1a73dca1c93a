"""The frozen weights under LoRA, and the products with them in both passes.

A dequantised or cast copy of a weight is never kept until the backward pass: it is made again there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import linear

if TYPE_CHECKING:
    from torch import Tensor

DENSE, TRANSPOSED, FOUR_BITS, EIGHT_BITS = "dense", "transposed", "4-bit", "8-bit"


def find_base_weight_kind(base: torch.nn.Module) -> str:
    """Return the kind of weight of a frozen layer; empty if it is not supported."""
    from transformers.pytorch_utils import Conv1D

    if type(base) is torch.nn.Linear:
        return DENSE
    if type(base) is Conv1D:
        return TRANSPOSED
    # By name: importing bitsandbytes takes long, and most runs do not need it.
    own = type(base).__module__.startswith("bitsandbytes.")
    if own and type(base).__name__ in ("Linear4bit", "LinearNF4", "LinearFP4"):
        return FOUR_BITS
    if own and type(base).__name__ == "Linear8bitLt":
        return EIGHT_BITS
    return ""


@dataclass
class FrozenBase:
    """The frozen weight of a layer at the time of one forward pass.

    Args:
        layer: The frozen layer.
        weight: Its weight; quantised if the layer is.
        state: The quantisation state (bitsandbytes); None for plain numbers.
        kind: One of the constants above.
    """

    layer: torch.nn.Module
    weight: Tensor
    state: Any
    kind: str

    def multiply_rows(self, rows: Tensor) -> Tensor:
        """Return `rows W^T + bias` for rows [tokens, inputs], as a new tensor in the dtype of the rows."""
        bias = self.layer.bias
        if bias is not None and bias.dtype != rows.dtype:
            bias = bias.to(rows.dtype)
        if self.kind == FOUR_BITS:
            import bitsandbytes

            return bitsandbytes.matmul_4bit(rows, self.weight.t(), quant_state=self.state, bias=bias)
        if self.kind == EIGHT_BITS:
            return self.layer(rows)
        return linear(rows, self.dequantise_weight(rows.dtype), bias)

    def dequantise_weight(self, dtype: torch.dtype) -> Tensor:
        """Return W [outputs, inputs] in plain numbers, as bitsandbytes does for its own gradients."""
        if self.kind == FOUR_BITS:
            import bitsandbytes

            return bitsandbytes.functional.dequantize_4bit(self.weight, self.state).to(dtype)
        if self.kind == EIGHT_BITS:
            # int8 rows scaled by their largest absolute value, so 127 stands for SCB.
            rows = self.state.SCB.unsqueeze(1).mul(1.0 / 127.0)
            return self.state.CB.to(dtype, copy=True).mul_(rows)
        weight = self.weight.t() if self.kind == TRANSPOSED else self.weight
        return weight.to(dtype)


def read_base_weight(layer: torch.nn.Module, kind: str) -> FrozenBase:
    """Read the current frozen weight of a layer."""
    if kind == FOUR_BITS:
        weight = layer.weight
        return FrozenBase(layer, weight.data, weight.quant_state, kind)
    return FrozenBase(layer, layer.weight, layer.state if kind == EIGHT_BITS else None, kind)


def is_base_weight_packed(layer: torch.nn.Module) -> bool:
    """Return whether bitsandbytes packed a 4-bit weight for its CPU kernel, which cannot be dequantised."""
    return bool(getattr(getattr(layer.weight, "quant_state", None), "packing_format_for_cpu", False))
