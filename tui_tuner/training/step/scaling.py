"""Whether a loss scaler skipped the last optimizer step, without a question to the device."""

from __future__ import annotations

from typing import Any


class ScaleWatch:
    """Compares a scaler's scale with that of the step before: it falls where gradients overflowed.

    accelerate's `optimizer_step_was_skipped` is always False with a fused optimizer, the default on a GPU:
    that one takes the scaler's verdict into its kernel and skips there, and accelerate sees only the call.

    Args:
        scaler: `accelerator.scaler`; None where the loss is not scaled.
    """

    def __init__(self, scaler: Any) -> None:
        self._scaler = scaler
        self._before: Any = None

    def skipped(self) -> Any:
        """Call once after each optimizer step. A bool, or a tensor with one, still on the device."""
        # `get_scale` reads the number from the device, which waits for everything that was asked of it.
        scale = None if self._scaler is None else self._scaler._scale
        if scale is None:
            return False
        before = self._scaler._init_scale if self._before is None else self._before
        self._before = scale.detach().clone()  # the scaler changes it in place
        return self._before < before
