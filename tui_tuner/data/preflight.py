"""Checks before training: what would waste the run stops it, what may be right is a warning.

Each problem names rows, the reason and the fix.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tui_tuner.config.advice import Hint, advise, hints, setting
from tui_tuner.errors import PreflightError
from tui_tuner.locales import N_, _

if TYPE_CHECKING:
    from tui_tuner.data.examples.encoder import Facts
    from tui_tuner.data.examples.store import TokenizedRows


@dataclass
class Problem:
    """One finding. `level` is error or warning; `rows` holds a few of the `count` rows concerned."""

    code: str
    level: str
    message: str
    hint: str = ""
    count: int = 0
    rows: list[str] = field(default_factory=list)
    on_screen: str = ""  # the hint for a screen, where it differs
    fixes: list[dict[str, Any]] = field(default_factory=list)  # the ways that it tells: `config.advice`

    def __post_init__(self) -> None:
        if isinstance(self.hint, Hint):
            self.on_screen = self.hint.on_screen if self.hint.on_screen != self.hint else ""
            self.fixes = list(self.hint.fixes)

    def sentence(self) -> str:
        """The message with the rows."""
        if not self.rows:
            return self.message
        rows = ", ".join([*self.rows, "…"] if self.count > len(self.rows) else self.rows)
        return _("{message} Rows: {rows}", message=self.message, rows=rows)


@dataclass
class Report:
    """All findings."""

    problems: list[Problem] = field(default_factory=list)

    @property
    def errors(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.level == "error"]

    @property
    def warnings(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.level == "warning"]

    def stop(self) -> None:
        """Raise `PreflightError` if there is an error."""
        if not self.errors:
            return
        first = self.errors[0]
        message = "\n".join(problem.sentence() for problem in self.errors)
        told = Hint(first.hint, first.on_screen or first.hint, tuple(first.fixes))
        warn = setting({"data.preflight": "warn"})
        raise PreflightError(
            message,
            where=first.rows[0] if first.rows else "",
            hint=hints(told, advise(N_("To train all the same: {command}.", command=warn))),
            field=next((path for fix in first.fixes for path in fix), "data.preflight"),
        )

    def to_json(self) -> list[dict[str, Any]]:
        return [asdict(problem) for problem in self.problems]

    @classmethod
    def from_json(cls, items: list[dict[str, Any]]) -> Report:
        return cls([Problem(**item) for item in items])


def noted(facts: Facts, what: str, code: str, level: str, message: str, hint: str = "") -> list[Problem]:
    """The problem with the rows that were noted for it; none where no row was."""
    count = facts.count(what)
    return [Problem(code, level, message, hint, count, facts.rows(what))] if count else []


def trained_too(train: TokenizedRows, validation: TokenizedRows) -> np.ndarray:
    """Which rows of a validation file have the texts of a trained row, bool [rows]; by their hashes."""
    if validation.store is train.store:  # rows with the same texts are on one side
        return np.zeros(int(validation.store.meta["rows"]), dtype=bool)
    trained = np.unique(np.asarray(train.store.row["content"]))
    return np.isin(np.asarray(validation.store.row["content"]), trained)


def repeated_rows(train: TokenizedRows) -> int:
    """How many rows have the texts of another row, too. Where many do, held-out rows have them as well."""
    content = np.asarray(train.store.row["content"])
    counts = np.unique(content, return_counts=True)[1]
    return int(counts[counts > 1].sum())


def check_split(report: Report, train: TokenizedRows, validation: TokenizedRows | None) -> None:
    """What shows only once training and validation rows are told apart."""
    if not len(train):
        report.problems.append(
            Problem(
                "nothing_to_train",
                "error",
                _("All rows are held out, none is left to train on."),
                _("Lower data.validation."),
            )
        )
    if validation is None or validation.store is train.store:
        return
    both = trained_too(train, validation)
    if both.any():
        share = both.mean()
        rows = [str(validation.store.origin(int(row))) for row in np.flatnonzero(both)[:5]]
        report.problems.append(
            Problem(
                "leakage",
                "error" if share > 0.5 else "warning",
                _(
                    "{both:,} of {held:,} validation rows are also trained on, so the "
                    "validation loss would flatter the model.",
                    both=both.sum(),
                    held=len(both),
                ),
                _("Take them out of one of the two files."),
                int(both.sum()),
                rows,
            )
        )
