"""LoHa (arXiv 2108.06098): updates that are Hadamard products of two low-rank products, through peft."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from tui_tuner.methods.layers import name_peft_targets
from tui_tuner.methods.numbers.matrices import HadamardNumbers
from tui_tuner.methods.numbers.target_names import list_targets
from tui_tuner.methods.peft_method import PeftMethod, wrap_peft_model
from tui_tuner.methods.refusals import refuse_rank, refuse_transposed

if TYPE_CHECKING:
    from pathlib import Path

    from torch.nn import Module

    from tui_tuner.config.schema import RunConfig
    from tui_tuner.models.facts import ModelFacts


class LoHa(HadamardNumbers, PeftMethod):
    """Two pairs of matrices next to each linear layer, whose products are multiplied element by element."""

    peft_type = "LOHA"
    names: ClassVar[Mapping[str, str]] = {"rank": "r", "alpha": "alpha"}
    stacks = True

    def check_model(self, config: RunConfig, facts: ModelFacts) -> None:
        refuse_transposed(self, facts)
        if facts.verified:
            sides = {one.name: min(one.inputs, one.outputs) for one in list_targets(config.method, facts)}
            widest = max(sides, key=sides.__getitem__, default="")
            if widest and config.method.rank > sides[widest]:
                raise refuse_rank(config.method.rank, sides[widest], widest)

    def attach(self, model: Module, config: RunConfig, peft_type: str) -> Module:
        from peft import LoHaConfig

        method = config.method
        settings = LoHaConfig(
            r=method.rank, alpha=method.alpha, **name_peft_targets(model, config, peft_type)
        )
        return never_leave_out(wrap_peft_model(model, settings))

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
