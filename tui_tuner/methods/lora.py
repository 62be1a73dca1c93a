"""LoRA, DoRA and rank-stabilised LoRA, through peft."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tui_tuner.errors import ConfigError
from tui_tuner.methods.layers import (
    choose_last_layers,
    choose_targets,
    is_transposed,
    name_embeddings,
    name_outside_layers,
    name_saved_modules,
)
from tui_tuner.methods.numbers.matrices import DORA, LORA, RSLORA, LowRankNumbers
from tui_tuner.methods.numbers.rates import Rates
from tui_tuner.methods.peft_method import PeftMethod
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from torch.nn import Module

    from tui_tuner.config.schema import RunConfig


class Lora(LowRankNumbers, PeftMethod):
    """Low-rank matrices next to linear layers.

    Args:
        rates: Customary learning rates.
        magnitudes: The length of each output's weights is trained separately from their direction: DoRA.
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

    def is_made_by(self, settings: Mapping[str, Any]) -> bool:
        if not super().is_made_by(settings) or self.magnitudes != bool(settings.get("use_dora")):
            return False
        # peft supports both scales for DoRA, and the scale does not make it another method
        return self.magnitudes or self.stabilised == bool(settings.get("use_rslora"))

    def attach(self, model: Module, config: RunConfig, peft_type: str) -> Module:
        from peft import LoraConfig, get_peft_model

        method = config.method
        targets = choose_targets(model, method.targets)
        options: dict[str, Any] = {}
        if method.layers is not None:
            options["layers_to_transform"] = choose_last_layers(model, method.layers)
        kept = name_saved_modules(model, peft_type)
        if method.train_embeddings:
            kept += [name for name in name_embeddings(model) if name not in kept]
            # Otherwise peft trains two separate copies of a matrix that embeddings and head share
            options["ensure_weight_tying"] = True
        if kept:
            options["modules_to_save"] = kept
        try:
            settings = LoraConfig(
                r=method.rank,
                lora_alpha=method.alpha,
                lora_dropout=method.dropout,
                target_modules=targets,
                exclude_modules=name_outside_layers(model, method.targets),
                use_dora=self.magnitudes,
                use_rslora=self.stabilised,
                fan_in_fan_out=is_transposed(model),
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
