"""The methods, which decide which weights are trained: a module for each, or for a family of them."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.methods.attached import find_model_method, remember_method
from tui_tuner.methods.method import Method
from tui_tuner.models.libraries import QUANTISING, hide_packages

if TYPE_CHECKING:
    from torch.nn import Module

    from tui_tuner.config.schema import RunConfig

CAUSAL = "CAUSAL_LM"


@cache
def find_method(name: str) -> Method:
    """Return the method of a name in `config.kinds.methods.METHODS`.

    Raises:
        KeyError: there is no such method, which cannot happen with a validated config.
    """
    # Raises for unknown names, so that a config can never name another module to import
    kind = METHODS[name]
    family: tuple[Method, ...] = import_module(f"{__name__}.{kind.module or name}").METHODS
    return {method.name: method for method in family}[name]


def attach(model: Module, config: RunConfig, peft_type: str = CAUSAL) -> Module:
    """Prepare a loaded model: freeze what is not trained, and add what is. Draws from the global seed.

    Args:
        peft_type: PEFT's name for the task (`Task.peft_type`).

    Raises:
        ConfigError: the method does not fit this model.
    """
    # peft imports the quantising packages if it finds them, which takes seconds; a model with quantised
    # weights has imported its own already
    with hide_packages(*QUANTISING):
        method = find_method(config.method.kind)
        model = method.attach(model, config, peft_type)
    remember_method(model, method)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(_("no weight of this model would be trained."), where="method", field="method.kind")
    return model


def merge(model: Module) -> Module:
    """Return the model with its adapter merged into its weights; a whole model is returned as it is.

    Raises:
        ModelError: the method, or a model with quantised weights, cannot be merged.
    """
    return find_model_method(model).merge_weights(model)


def count_model_parameters(model: Module) -> tuple[int, int]:
    """Return the numbers of trained and of all parameters; packed 4-bit weights are counted one by one."""
    trained = total = 0
    for parameter in model.parameters():
        count = parameter.numel()
        # bitsandbytes stores two 4-bit weights in a byte, and keeps the real shape in its state
        if type(parameter).__name__ == "Params4bit":
            count = parameter.quant_state.shape.numel() if parameter.quant_state else count * 2
        total += count
        trained += count if parameter.requires_grad else 0
    return trained, total


__all__ = ["Method", "attach", "count_model_parameters", "find_method", "merge"]
