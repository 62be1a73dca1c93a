"""The parts of advice: a case, the traps that are tried on it, and their findings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.duration import Duration, count_run_steps


@dataclass(frozen=True)
class Advice:
    """One finding. `fix` is `{dotted path: value}`, to be applied with one key; None without a sure fix."""

    code: str
    text: str
    reason: str
    fix: dict[str, Any] | None = None
    serious: bool = False


@dataclass(frozen=True)
class Case:
    """A run that traps are tried on. `data` has no rows, and `facts` is None, if nothing is known."""

    config: RunConfig
    facts: ModelFacts | None
    data: DataFacts
    duration: Duration | None

    @property
    def run_steps(self) -> int:
        """Count the optimizer steps of the run; 0 if the rows are not known."""
        return count_run_steps(self.config, self.data.rows) if self.data.rows else 0


Trap = Callable[[Case], Advice | None]
TRAPS: dict[str, Trap] = {}  # by code; filled by the modules of traps


def register_trap(look: Trap) -> Trap:
    """Register a trap; its function's name is the code of its findings."""
    # Codes are part of the JSON output, so a trap's function must not be renamed
    TRAPS[look.__name__] = look
    return look


def make_trap_finding(
    text: str, reason: str, fix: dict[str, Any] | None = None, serious: bool = False
) -> Advice:
    """Make a finding; `list_trap_findings` adds its code."""
    return Advice("", text, reason, fix, serious)
