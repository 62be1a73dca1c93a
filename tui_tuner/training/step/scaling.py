"""Scale the loss for float16, and find skipped steps without reading from the device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from tui_tuner.compute.numeric import needs_scaler
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.models.device import Device

if TYPE_CHECKING:
    from torch.amp import GradScaler


def create_scaler(device: Device, config: ResolvedConfig) -> GradScaler | None:
    """Create the scaler of a run that computes in float16; return None for all others."""
    return torch.amp.GradScaler(device.kind) if needs_scaler(device, config) else None


class ScaleWatch:
    """Compares a scaler's scale with the one of the step before: it falls when gradients overflow.

    A call of `optimizer.step` proves nothing: a fused optimizer, the default on a GPU, is always called and
    skips the update inside its kernel.

    Args:
        scaler: None if the loss is not scaled.
    """

    def __init__(self, scaler: Any) -> None:
        self._scaler = scaler
        self._before: Any = None

    def was_skipped(self) -> Any:
        """Return a bool, or a tensor with one on the device. Call it once after each optimizer step."""
        # `get_scale` reads the number from the device, which waits until all queued work is done.
        scale = None if self._scaler is None else self._scaler._scale
        if scale is None:
            return False
        before = self._scaler._init_scale if self._before is None else self._before
        # A copy, because the scaler changes its scale in place.
        self._before = scale.detach().clone()
        return self._before < before
