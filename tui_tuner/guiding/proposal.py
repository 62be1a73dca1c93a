"""What the guide proposes: a config with its reasons, what it costs, and what may go wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.guiding.answers import Answers


@dataclass(frozen=True)
class Setting:
    """A field: what it becomes, and why, from these rows and this GPU."""

    field: str
    value: Any
    why: str


@dataclass(frozen=True)
class Concern:
    """Something about the data or the plan that should be known before it starts.

    Args:
        code: For programs, such as `few_rows`, `wrong_shape`, `too_long`, `does_not_fit`.
        stops: Whether nothing can be trained before it is dealt with.
        fixes: Ways out, each (words, {field: value}); a way that is no setting has no values.
        about: The answer that it is about: task, data, model, machine, budget or judge.
    """

    code: str
    message: str
    way_out: str = ""
    stops: bool = False
    fixes: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    about: str = ""


@dataclass(frozen=True)
class Proposal:
    """One page: what will happen.

    Args:
        values: The config as plain values, ready for `build_config`; what is `auto` is left out.
        summary: What will happen, in sentences.
        settings: In the order in which they are read.
        seconds: How long it takes: (least, likely, most); None where nobody can tell.
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
        """Whether nothing stands in the way."""
        return not any(concern.stops for concern in self.concerns)
