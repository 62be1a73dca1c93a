"""LoHa (arXiv 2108.06098): updates that are Hadamard products of two low-rank products, through peft."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui_tuner.methods.layers import name_targets
from tui_tuner.methods.numbers.matrices import HadamardNumbers
from tui_tuner.methods.peft_method import PeftMethod, wrap_model

if TYPE_CHECKING:
    from torch.nn import Module

    from tui_tuner.config.schema import RunConfig


class LoHa(HadamardNumbers, PeftMethod):
    """Two pairs of matrices next to each linear layer, whose products are multiplied element by element."""

    peft_type = "LOHA"

    def attach(self, model: Module, config: RunConfig, peft_type: str) -> Module:
        from peft import LoHaConfig

        method = config.method
        settings = LoHaConfig(r=method.rank, alpha=method.alpha, **name_targets(model, config, peft_type))
        model = wrap_model(model, settings)
        for module in model.modules():
            if hasattr(module, "module_dropout"):
                # peft skips the update unless a random number is above this, and 0 can be drawn
                module.module_dropout = dict.fromkeys(module.module_dropout, -1.0)
        return model


METHODS = (LoHa("loha"),)
