"""VeRA (arXiv 2310.11454): vectors that scale one pair of random matrices for all layers, through peft."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from tui_tuner.methods.layers import is_transposed, name_inside, name_peft_targets
from tui_tuner.methods.numbers.matrices import SharedRandomNumbers
from tui_tuner.methods.peft_method import PeftMethod, wrap_peft_model

if TYPE_CHECKING:
    from torch.nn import Module

    from tui_tuner.config.schema import RunConfig


class Vera(SharedRandomNumbers, PeftMethod):
    """Two vectors next to each linear layer; the random matrices between them are drawn from the seed."""

    peft_type = "VERA"
    names: ClassVar[Mapping[str, str]] = {"rank": "r", "dropout": "vera_dropout"}

    def attach(self, model: Module, config: RunConfig, peft_type: str) -> Module:
        from peft import VeraConfig

        method = config.method
        settings = VeraConfig(
            r=method.rank,
            vera_dropout=method.dropout,
            projection_prng_key=config.training.seed,
            fan_in_fan_out=is_transposed(model),
            **name_inside(model, name_peft_targets(model, config, peft_type)),
        )
        return wrap_peft_model(model, settings)


METHODS = (Vera("vera"),)
