"""Prompt tuning, P-tuning and prefix tuning, through peft: trained virtual tokens before each sequence."""

from __future__ import annotations

from typing import Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ConfigError
from tui_tuner.text import one_line


def attach_prompt(model: Any, config: RunConfig) -> Any:
    """Freeze the model and put virtual tokens before what it reads."""
    from peft import get_peft_model

    try:
        return get_peft_model(model, _settings(model, config))
    except ValueError as error:
        raise ConfigError(one_line(error, 300), where="method") from error


def _settings(model: Any, config: RunConfig) -> Any:
    from peft import PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig

    method = config.method
    common: dict[str, Any] = {"task_type": "CAUSAL_LM", "num_virtual_tokens": method.virtual_tokens}
    if method.kind == "prompt_tuning":
        return PromptTuningConfig(**common)
    if method.kind == "p_tuning":
        width = model.get_input_embeddings().weight.shape[1]
        return PromptEncoderConfig(encoder_hidden_size=method.encoder_size or width, **common)
    projection = method.encoder_size is not None
    return PrefixTuningConfig(prefix_projection=projection, encoder_hidden_size=method.encoder_size, **common)
