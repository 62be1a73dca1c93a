"""The loss scaler of float16, and whether it skipped a step, without a question to the device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from tui_tuner.compute.numeric import needs_scaler
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.models.device import Device

if TYPE_CHECKING:
    from torch.amp import GradScaler


def create_scaler(device: Device, config: ResolvedConfig) -> GradScaler | None:
    """Create the scaler of a run that computes in float16; None for all others."""
    return torch.amp.GradScaler(device.kind) if needs_scaler(device, config) else None


class ScaleWatch:
    """Compares a scaler's scale with that of the step before: it falls where gradients overflowed.

    Whether `optimizer.step` was called does not tell: a fused optimizer, the default on a GPU, takes the
    scaler's verdict into its kernel and skips there.

    Args:
        scaler: None where the loss is not scaled.
    """

    def __init__(self, scaler: Any) -> None:
        self._scaler = scaler
        self._before: Any = None

    def was_skipped(self) -> Any:
        """Call once after each optimizer step. A bool, or a tensor with one, still on the device."""
        # `get_scale` reads the number from the device, which waits for everything that was asked of it.
        scale = None if self._scaler is None else self._scaler._scale
        if scale is None:
            return False
        before = self._scaler._init_scale if self._before is None else self._before
        self._before = scale.detach().clone()  # the scaler changes it in place
        return self._before < before
