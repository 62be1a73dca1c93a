"""The shapes of the matrices that methods of peft are put on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tui_tuner.methods.ia3 import find_linear_widths

if TYPE_CHECKING:
    from torch.nn import Module


def list_shapes(model: Module, where: Mapping[str, Any]) -> list[tuple[int, int]]:
    """List [inputs, outputs] of the linear layers that get an adapter, of whatever layers are chosen.

    Args:
        where: What `layers.name_peft_targets` returns.
    """
    named, left = where["target_modules"], where.get("exclude_modules") or ()
    shapes = [
        find_linear_widths(module)
        for name, module in model.named_modules()
        if name not in left and any(f".{name}".endswith(f".{end}") for end in named)
    ]
    return [shape for shape in shapes if shape is not None]
