"""Training the model's own weights: all of them, or the top layers."""

from __future__ import annotations

from typing import Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.models.new_weights import new_modules

# peft's names for tasks whose model has a head of its own, which every method trains
HEADED = ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS")


def attach_full(model: Any, config: RunConfig, peft_type: str) -> Any:
    """Train every weight."""
    model.requires_grad_(True)
    return model


def attach_freeze(model: Any, config: RunConfig, peft_type: str) -> Any:
    """Train the last `method.layers` layers, the norm after them, and the head of a task that has one.

    The head that writes text is left alone, because in many models it is the embedding matrix, and training
    that would move the input of every frozen layer.
    """
    model.requires_grad_(False)
    layers = decoder_layers(model)
    count = config.method.layers or 1
    if count > len(layers):
        raise ConfigError(
            _("{asked} is more than this model's {layers} layers.", asked=count, layers=len(layers)),
            where="method.layers",
        )
    for layer in layers[-count:]:
        layer.requires_grad_(True)
    for norm in final_norms(model):
        norm.requires_grad_(True)
    if peft_type in HEADED:
        for name in new_modules(model):
            model.get_submodule(name).requires_grad_(True)
    return model


def decoder_layers(model: Any) -> Any:
    """The stack of layers of a model: its longest ModuleList.

    Raises:
        ConfigError: the model has none.
    """
    import torch

    stacks = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    if not stacks:
        raise ConfigError(_("this model has no stack of layers to choose from."), where="method.layers")
    expected = getattr(model.config.get_text_config(), "num_hidden_layers", 0)
    return max(stacks, key=lambda stack: (len(stack) == expected, len(stack)))


def final_norms(model: Any) -> list[Any]:
    """Normalisations beside the stack of layers, such as `model.norm`."""
    layers = decoder_layers(model)
    for module in model.modules():
        children = list(module.children())
        if any(child is layers for child in children):
            return [child for child in children if "norm" in type(child).__name__.lower()]
    return []
