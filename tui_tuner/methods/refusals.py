"""Refusals that several methods share, for models whose matrices do not fit them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from tui_tuner.methods.method import Method
    from tui_tuner.models.facts import ModelFacts

TRANSPOSED = ("gpt2", "openai-gpt", "imagegpt", "decision_transformer")


def refuse_transposed(method: Method, facts: ModelFacts) -> None:
    """Raise `ConfigError` for a model whose weights are stored as [inputs, outputs]."""
    if facts.model_type in TRANSPOSED:
        raise ConfigError(
            _(
                "{method} does not work with {model_type}, whose matrices are stored transposed.",
                method=_(method.kind.label),
                model_type=facts.model_type,
            ),
            where="method.kind",
            field="method.kind",
            hint=_("Use lora."),
        )


def refuse_rank(
    rank: int, most: int, name: str, field: str = "method.rank", alone: bool = False
) -> ConfigError:
    """Make the error for a rank above the smaller side of a matrix.

    Args:
        alone: The method takes ranks of single modules, so that this one can get its own.
    """
    return ConfigError(
        _(
            "rank {rank} is above what the matrix {name} can hold, which is {most}.",
            rank=rank,
            name=one_line(name, 120),
            most=most,
        ),
        where=field,
        field=field,
        hint=_(
            "Use at most {most}, or give that module a rank of its own with method.rank_pattern.", most=most
        )
        if alone
        else _("Use at most {most}.", most=most),
    )
