"""LoRA, DoRA and rank-stabilised LoRA, through peft."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tui_tuner.errors import ConfigError
from tui_tuner.methods.layers import (
    embedding_names,
    last_layers,
    outside_layers,
    saved_modules,
    target_names,
    transposed,
)
from tui_tuner.methods.numbers.matrices import DORA, LORA, RSLORA, LowRankNumbers
from tui_tuner.methods.numbers.rates import Rates
from tui_tuner.methods.peft_method import PeftMethod
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from torch.nn import Module

    from tui_tuner.config.schema import RunConfig


class Lora(LowRankNumbers, PeftMethod):
    """Low-rank matrices beside linear layers.

    Args:
        rates: Customary learning rates.
        magnitudes: The length of each output's weights is trained apart from their direction: DoRA.
        stabilised: Updates are scaled by alpha / sqrt(rank) instead of alpha / rank: rsLoRA.
    """

    peft_type = "LORA"

    def __init__(
        self, name: str, rates: Rates, *, magnitudes: bool = False, stabilised: bool = False
    ) -> None:
        super().__init__(name)
        self.rates = rates
        self.magnitudes = magnitudes
        self.stabilised = stabilised

    def attach(self, model: Module, config: RunConfig, peft_type: str) -> Module:
        from peft import LoraConfig, get_peft_model

        method = config.method
        targets = target_names(model, method.targets)
        options: dict[str, Any] = {}
        if method.layers is not None:
            options["layers_to_transform"] = last_layers(model, method.layers)
        kept = saved_modules(model, peft_type)
        if method.train_embeddings:
            kept += [name for name in embedding_names(model) if name not in kept]
            options["ensure_weight_tying"] = True
        if kept:
            options["modules_to_save"] = kept
        try:
            settings = LoraConfig(
                r=method.rank,
                lora_alpha=method.alpha,
                lora_dropout=method.dropout,
                target_modules=targets,
                exclude_modules=outside_layers(model, method.targets),
                use_dora=self.magnitudes,
                use_rslora=self.stabilised,
                fan_in_fan_out=transposed(model),
                bias="none",
                task_type=peft_type,
                **options,
            )
            return get_peft_model(model, settings)
        except ValueError as error:
            raise ConfigError(one_line(error, 300), where="method", field="method.kind") from error


METHODS = (
    Lora("lora", LORA),
    Lora("dora", DORA, magnitudes=True),
    Lora("rslora", RSLORA, stabilised=True),
)
