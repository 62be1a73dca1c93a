"""What methods of peft ask of the matrices they are put on: their shapes, and which way round they lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.methods.ia3 import find_widths
from tui_tuner.methods.method import Method
from tui_tuner.models.facts import ModelFacts

if TYPE_CHECKING:
    from torch.nn import Module

TRANSPOSED = ("gpt2", "openai-gpt", "imagegpt", "decision_transformer")


def refuse_transposed(method: Method, facts: ModelFacts) -> None:
    """Raise `ConfigError` for a model whose weights are stored as [inputs, outputs]."""
    if facts.model_type in TRANSPOSED:
        raise ConfigError(
            _(
                "{method} does not work with {model_type}, whose matrices lie the other way round.",
                method=_(method.kind.label),
                model_type=facts.model_type,
            ),
            where="method.kind",
            field="method.kind",
            hint=_("Use lora."),
        )


def list_shapes(model: Module, where: Mapping[str, Any]) -> list[tuple[int, int]]:
    """List [inputs, outputs] of the linear layers that get an adapter, of whatever layers are chosen.

    Args:
        where: What `layers.name_targets` returns.
    """
    named, left = where["target_modules"], where.get("exclude_modules") or ()
    shapes = [
        find_widths(module)
        for name, module in model.named_modules()
        if name not in left and any(f".{name}".endswith(f".{end}") for end in named)
    ]
    return [shape for shape in shapes if shape is not None]
