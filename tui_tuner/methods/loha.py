"""LoHa (arXiv 2108.06098): updates that are Hadamard products of two low-rank products, through peft."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from tui_tuner.methods.layers import name_targets
from tui_tuner.methods.numbers.matrices import HadamardNumbers
from tui_tuner.methods.peft_method import PeftMethod, wrap_model

if TYPE_CHECKING:
    from pathlib import Path

    from torch.nn import Module

    from tui_tuner.config.schema import RunConfig


class LoHa(HadamardNumbers, PeftMethod):
    """Two pairs of matrices next to each linear layer, whose products are multiplied element by element."""

    peft_type = "LOHA"
    names: ClassVar[Mapping[str, str]] = {"rank": "r", "alpha": "alpha"}
    stacks = True

    def attach(self, model: Module, config: RunConfig, peft_type: str) -> Module:
        from peft import LoHaConfig

        method = config.method
        settings = LoHaConfig(r=method.rank, alpha=method.alpha, **name_targets(model, config, peft_type))
        return never_leave_out(wrap_model(model, settings))

    def continue_adapter(self, base: Module, folder: Path) -> Module:
        return never_leave_out(super().continue_adapter(base, folder))


def never_leave_out(model: Module) -> Module:
    """Take the chance out of a model with adapters in the manner of LyCORIS: every update counts."""
    for module in model.modules():
        if hasattr(module, "module_dropout"):
            # peft skips the update unless a random number is above this, and 0 can be drawn
            module.module_dropout = dict.fromkeys(module.module_dropout, -1.0)
    return model


METHODS = (LoHa("loha"),)
