"""What advice is made of: a case that is looked at, the looks, and what one finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.duration import Duration, steps_in


@dataclass(frozen=True)
class Advice:
    """One finding. `fix` is `{dotted path: value}`, to be applied with one key; None where none is sure."""

    code: str
    text: str
    reason: str
    fix: dict[str, Any] | None = None
    serious: bool = False


@dataclass(frozen=True)
class Case:
    """What is looked at. `data` has no rows, and `facts` is None, where nothing is known."""

    config: RunConfig
    facts: ModelFacts | None
    data: DataFacts
    duration: Duration | None

    @property
    def steps(self) -> int:
        """Optimizer steps of the run; 0 where the rows are not known."""
        return steps_in(self.config, self.data.rows) if self.data.rows else 0


Trap = Callable[[Case], Advice | None]
TRAPS: dict[str, Trap] = {}  # by code; filled by the modules of traps


def trap(look: Trap) -> Trap:
    """Register a look at a case; its name is the code of what it finds."""
    TRAPS[look.__name__] = look
    return look


def found(text: str, reason: str, fix: dict[str, Any] | None = None, serious: bool = False) -> Advice:
    """What a look has found; its code is added by whoever calls the looks."""
    return Advice("", text, reason, fix, serious)
