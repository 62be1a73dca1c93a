"""The guide's proposal: a config with reasons, its cost, and concerns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.guiding.guide_answers import Answers


@dataclass(frozen=True)
class Setting:
    """A field's value and the reason for it, from these rows and this GPU."""

    field: str
    value: Any
    why: str


@dataclass(frozen=True)
class Concern:
    """A warning about the data or the plan that the user should see before the start.

    Args:
        code: For programs, such as `few_rows`, `wrong_shape`, `too_long`, `does_not_fit`.
        stops: Whether training cannot start until it is resolved.
        fixes: Each (label, {field: value}); one that changes no setting has no values.
        about: The answer it concerns: task, data, model, machine, budget or judge.
    """

    code: str
    message: str
    way_out: str = ""
    stops: bool = False
    fixes: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    about: str = ""


@dataclass(frozen=True)
class Proposal:
    """Everything about a planned run that one page shows.

    Args:
        values: The config as plain values, ready for `build_config`, without fields left at `auto`.
        summary: Sentences about the run.
        settings: In the order of the config's fields.
        seconds: Duration as (least, likely, most); None if unknown.
        cost: The same in money; None without a price.
    """

    answers: Answers
    values: Mapping[str, Any] = field(default_factory=dict)
    summary: tuple[str, ...] = ()
    settings: tuple[Setting, ...] = ()
    concerns: tuple[Concern, ...] = ()
    seconds: tuple[float, float, float] | None = None
    cost: tuple[float, float, float] | None = None

    @property
    def can_start(self) -> bool:
        """Return whether no concern blocks the start."""
        return not any(concern.stops for concern in self.concerns)
