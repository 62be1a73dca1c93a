"""What all methods of peft have in common: a model of peft around the base model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.methods.base import Method
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from torch.nn import Module


class PeftMethod(Method):
    """A method whose adapter is made, saved and loaded by peft.

    Attributes:
        peft_type: peft's name for it, as in `adapter_config.json`.
    """

    peft_type = ""


def wrap_model(model: Module, settings: Any) -> Module:
    """Put an adapter onto a model, as settings of peft describe it.

    Raises:
        ConfigError: peft has no such adapter for a layer of this model.
    """
    from peft import get_peft_model

    try:
        return get_peft_model(model, settings)
    except (ValueError, TypeError) as error:
        raise ConfigError(one_line(error, 300), where="method.kind", hint=_("Use lora.")) from error
