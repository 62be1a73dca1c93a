"""What a run computes in, from its config and device."""

from __future__ import annotations

from typing import Any

from tui_tuner.config.schema import RunConfig


def scaled(config: RunConfig, device: str) -> bool:
    """Whether gradients need a loss scaler: autocast in float16."""
    import torch

    return bool(config.training.autocast) and device != "cpu" and not torch.cuda.is_bf16_supported()


def autocast_dtype(config: RunConfig, device: str) -> Any:
    """What autocast computes in, or None."""
    import torch

    if not config.training.autocast or config.training.autocast == "auto":
        return None
    return torch.float16 if scaled(config, device) or config.model.dtype == "float16" else torch.bfloat16
