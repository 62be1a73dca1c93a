"""Which weights are trained: a registry from `method.kind` to the function that prepares a model.

A new method is named in `config.kinds` (`METHODS`, `METHOD_FIELDS`) and registered here under the same name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.methods.ia3 import attach_ia3
from tui_tuner.methods.lora import attach_lora
from tui_tuner.methods.merging import merge
from tui_tuner.methods.others import attach_loha, attach_vera
from tui_tuner.methods.prompts import attach_prompt
from tui_tuner.methods.weights import attach_freeze, attach_full
from tui_tuner.models.libraries import QUANTISING, without

CAUSAL = "CAUSAL_LM"
METHODS: dict[str, Callable[[Any, RunConfig, str], Any]] = {
    "lora": attach_lora,
    "dora": attach_lora,
    "rslora": attach_lora,
    "full": attach_full,
    "freeze": attach_freeze,
    "loha": attach_loha,
    "vera": attach_vera,
    "ia3": attach_ia3,
    "prompt_tuning": attach_prompt,
    "p_tuning": attach_prompt,
    "prefix_tuning": attach_prompt,
}


def attach(model: Any, config: RunConfig, peft_type: str = CAUSAL) -> Any:
    """Prepare a loaded model: freeze what is not trained, add what is. Draws from the global seed.

    Args:
        peft_type: PEFT's name for the task (`Task.peft_type`).

    Raises:
        ConfigError: the method does not fit this model.
    """
    with without(*QUANTISING):  # a model with quantised weights has imported it
        model = METHODS[config.method.kind](model, config, peft_type)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(_("nothing of this model would be trained."), where="method", field="method.kind")
    return model


def trainable_parameters(model: Any) -> tuple[int, int]:
    """(trained, all) parameters; a 4-bit weight counts as the weights it stands for."""
    trained = total = 0
    for parameter in model.parameters():
        count = parameter.numel()
        if type(parameter).__name__ == "Params4bit":
            count = parameter.quant_state.shape.numel() if parameter.quant_state else count * 2
        total += count
        trained += count if parameter.requires_grad else 0
    return trained, total


__all__ = ["METHODS", "attach", "merge", "trainable_parameters"]
