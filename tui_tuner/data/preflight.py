"""Check data before training: errors stop a run that would be wasted, warnings report what may be intended.

Each problem names rows, the reason and the fix.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tui_tuner.config.advice import Hint, build_hint, join_hints, write_setting
from tui_tuner.errors import PreflightError
from tui_tuner.locales import N_, _

if TYPE_CHECKING:
    from tui_tuner.data.examples.record_encoder import RowFacts
    from tui_tuner.data.examples.store import TokenizedRows


@dataclass
class Problem:
    """One finding. `level` is error or warning; `rows` are a few of the `count` rows concerned."""

    code: str
    level: str
    message: str
    hint: str = ""
    count: int = 0
    rows: list[str] = field(default_factory=list)
    on_screen: str = ""  # the hint for a screen, where it differs
    fixes: list[dict[str, Any]] = field(default_factory=list)  # settings in the hint: `config.advice`

    def __post_init__(self) -> None:
        if isinstance(self.hint, Hint):
            self.on_screen = self.hint.on_screen if self.hint.on_screen != self.hint else ""
            self.fixes = list(self.hint.fixes)

    def format_message(self) -> str:
        """Return the message with the rows."""
        if not self.rows:
            return self.message
        rows = ", ".join([*self.rows, "…"] if self.count > len(self.rows) else self.rows)
        return _("{message} Rows: {rows}", message=self.message, rows=rows)


@dataclass
class PreflightReport:
    """All findings of preflight."""

    problems: list[Problem] = field(default_factory=list)

    @property
    def list_errors(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.level == "error"]

    @property
    def list_warnings(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.level == "warning"]

    def raise_errors(self) -> None:
        """Raise `PreflightError` if there is an error."""
        if not self.list_errors:
            return
        first = self.list_errors[0]
        message = "\n".join(problem.format_message() for problem in self.list_errors)
        told = Hint(first.hint, first.on_screen or first.hint, tuple(first.fixes))
        warn = write_setting({"data.preflight": "warn"})
        raise PreflightError(
            message,
            where=first.rows[0] if first.rows else "",
            hint=join_hints(told, build_hint(N_("To train anyway: {command}.", command=warn))),
            field=next((path for fix in first.fixes for path in fix), "data.preflight"),
        )

    def export_problems(self) -> list[dict[str, Any]]:
        return [asdict(problem) for problem in self.problems]

    @classmethod
    def from_problems(cls, items: list[dict[str, Any]]) -> PreflightReport:
        return cls([Problem(**item) for item in items])


def make_noted_problems(
    facts: RowFacts, what: str, code: str, level: str, message: str, hint: str = ""
) -> list[Problem]:
    """Make a problem of the rows that were noted for it; nothing if there are none."""
    count = facts.get_count(what)
    return [Problem(code, level, message, hint, count, facts.noted_rows(what))] if count else []


def find_trained_rows(train: TokenizedRows, validation: TokenizedRows) -> np.ndarray:
    """Return which rows of a validation file have the same texts as a trained row, bool [rows]."""
    # From one file rows with the same texts are always split to one side.
    if validation.store is train.store:
        return np.zeros(int(validation.store.meta["rows"]), dtype=bool)
    trained = np.unique(np.asarray(train.store.row["content"]))
    return np.isin(np.asarray(validation.store.row["content"]), trained)


def count_repeated_rows(train: TokenizedRows) -> int:
    """Count the rows with the same texts as another row. If there are many, held-out rows have some too."""
    content = np.asarray(train.store.row["content"])
    counts = np.unique(content, return_counts=True)[1]
    return int(counts[counts > 1].sum())


def check_data_split(report: PreflightReport, train: TokenizedRows, validation: TokenizedRows | None) -> None:
    """Check what shows only after training and validation rows are split."""
    if not len(train):
        report.problems.append(
            Problem(
                "nothing_to_train",
                "error",
                _("All rows are held out, so none is left to train on."),
                _("Lower data.validation."),
            )
        )
    if validation is None or validation.store is train.store:
        return
    both = find_trained_rows(train, validation)
    if both.any():
        share = both.mean()
        rows = [str(validation.store.row_origin(int(row))) for row in np.flatnonzero(both)[:5]]
        report.problems.append(
            Problem(
                "leakage",
                # Some overlap may be intended; with more than half the measured loss means nothing.
                "error" if share > 0.5 else "warning",
                _(
                    "{both:,} of {held:,} validation rows are also trained on, so the "
                    "validation loss would be too optimistic.",
                    both=both.sum(),
                    held=len(both),
                ),
                _("Remove them from one of the two files."),
                int(both.sum()),
                rows,
            )
        )
