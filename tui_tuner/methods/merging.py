"""Folding an adapter into the weights it was trained beside."""

from __future__ import annotations

from typing import Any

from tui_tuner.errors import ModelError
from tui_tuner.locales import _
from tui_tuner.methods.prompts import virtual_tokens


def merge(model: Any) -> Any:
    """The model without adapter layers, whose weights compute the same; one without an adapter is returned.

    LoRA's products are added to the weights, IA3's factors multiplied into them, both rounded to their dtype.

    Raises:
        ModelError: virtual tokens are no weights; weights in 4 or 8 bits would be rounded a second time.
    """
    if not hasattr(model, "peft_config"):
        return model
    if virtual_tokens(model):
        raise ModelError(
            _(
                "prompt tuning, P-tuning and prefix tuning cannot be merged: what they train stands before "
                "the text and changes no weight."
            ),
            where="method.kind",
            hint=_("Use the adapter with peft beside its model, or train with lora or ia3."),
        )
    if getattr(model.get_base_model(), "is_quantized", False):
        raise ModelError(
            _("an adapter cannot be merged into quantised weights without rounding them once more."),
            where="model.quantization",
            hint=_("Load the model in 16 or 32 bits, put the adapter on it, and merge that."),
        )
    return model.merge_and_unload(safe_merge=True)
