"""Methods that train the model's own weights: all of them, or the top layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.methods.layers import HEADED, find_final_norms, find_layers
from tui_tuner.methods.method import Method
from tui_tuner.methods.numbers.model_weights import TopLayersNumbers, WholeModelNumbers
from tui_tuner.models.new_weights import new_modules

if TYPE_CHECKING:
    from torch.nn import Module

    from tui_tuner.config.schema import RunConfig


class Full(WholeModelNumbers, Method):
    """Full fine-tuning: every weight is trained."""

    def attach(self, model: Module, config: RunConfig, peft_type: str) -> Module:
        model.requires_grad_(True)
        return model


class Freeze(TopLayersNumbers, Method):
    """Train the last `method.layers` layers, the norm after them, and the head of a task that has one."""

    def attach(self, model: Module, config: RunConfig, peft_type: str) -> Module:
        model.requires_grad_(False)
        layers = find_layers(model)
        count = config.method.layers or 1
        if count > len(layers):
            raise ConfigError(
                _("{asked} is more than this model's {layers} layers.", asked=count, layers=len(layers)),
                where="method.layers",
            )
        for layer in layers[-count:]:
            layer.requires_grad_(True)
        for norm in find_final_norms(model):
            norm.requires_grad_(True)
        # The head that writes text stays frozen: in many models it is the embedding matrix too, and training
        # that would change the input of every frozen layer
        if peft_type in HEADED:
            for name in new_modules(model):
                model.get_submodule(name).requires_grad_(True)
        return model


WHOLE = Full("full")
METHODS = (WHOLE, Freeze("freeze"))
