"""What the screen of models knows so far, and what of it is shown; no widgets, no threads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tui_tuner.config.options import options
from tui_tuner.models.catalog import find
from tui_tuner.models.hub.kinds import HUGGINGFACE
from tui_tuner.ui.base_models.fits import MISFIT, UNSUITED, Fit
from tui_tuner.ui.base_models.rows import (
    HUB,
    KNOWN,
    TYPED,
    Row,
    View,
    embedded,
    known,
    licences,
    matching,
    merged,
    ordered,
    typed,
)
from tui_tuner.ui.base_models.told import Told
from tui_tuner.ui.form import at


@dataclass
class Hunt:
    """A search among the models of this machine and of a hub.

    Args:
        source: The hub that is searched.
        query: What is typed.
        asked: The query that the hub was asked, or is being asked.
        answered: The query that `found` answers.
        error: Why the hub gave no answer.
        shown: The rows of the screen by their keys.
        cursor: The key of the row under the cursor.
    """

    source: str = HUGGINGFACE
    query: str = ""
    asked: str = ""
    answered: str = ""
    error: str = ""
    view: View = field(default_factory=View)
    here: list[Row] = field(default_factory=embedded)
    found: list[Row] = field(default_factory=list)
    told: dict[str, Told] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    fits: dict[str, Fit] = field(default_factory=dict)
    shown: Mapping[str, Row] = field(default_factory=dict)
    cursor: str = ""
    looked: bool = False  # whether the models of this machine have been listed

    @property
    def waiting(self) -> bool:
        """Whether the hub has been asked and has not answered."""
        return bool(self.asked) and self.asked != self.answered and not self.error

    @property
    def rows(self) -> list[Row]:
        """What is shown, in its order."""
        rows = ordered(self._told_rows(), self.view.order)
        if self.view.licence:
            rows = [row for row in rows if row.licence == self.view.licence]
        if self.view.fitting:
            rows = [row for row in rows if not self._misfits(row)]
        return rows

    def _told_rows(self) -> list[Row]:
        """All rows for what is typed, each with what has been told of its model."""
        others = known() if self.source == HUGGINGFACE else []
        found = self.found if self.answered == self.query else matching(self.found, self.query)
        rows = merged(matching(self.here, self.query), found, matching(others, self.query))
        rows += typed(self.query, self.source, rows)
        return [self._with_told(row) for row in rows]

    def _with_told(self, row: Row) -> Row:
        told, fit = self.told.get(row.key), self.fits.get(row.key)
        if fit is not None and fit.parameters and row.parameters is None:
            row = replace(row, parameters=fit.parameters)
        if told is None:
            return row
        row = replace(
            row,
            parameters=row.parameters or told.parameters,
            licence=row.licence or told.licence,
            gated=row.gated or told.gated,
            updated=row.updated or told.updated,
        )
        if row.partial:
            return replace(row, total=told.total or row.total)
        if not row.here and told.total:
            return replace(row, bytes=told.total, derived=False)
        return row

    def _misfits(self, row: Row) -> bool:
        fit = self.fits.get(row.key)
        return fit is not None and fit.state in (MISFIT, UNSUITED)

    @property
    def licences(self) -> list[str]:
        """The licences of the rows, however they are filtered."""
        return licences(self._told_rows())

    def list_here(self, rows: list[Row]) -> None:
        """These models are on this machine. Those that were listed before stay where they are."""
        places = {row.key: place for place, row in enumerate(self.here)} if self.looked else {}
        self.here, self.looked = sorted(rows, key=lambda row: places.get(row.key, -1)), True

    def see(self, rows: list[Row], cursor: str) -> None:
        """These rows are on the screen, in this list; threads look them up by their keys."""
        self.shown, self.cursor = {row.key: row for row in rows}, cursor

    def to_ask(self, in_sight: list[Row]) -> list[str]:
        """The rows to ask about next, the one under the cursor first.

        Of models that a hub has found only those in sight, and of those known beforehand only the one under
        the cursor: each costs requests.
        """
        rows = [row for row in (self.shown.get(self.cursor), *in_sight) if row is not None]
        keys = [row.key for row in rows if self._asks(row)]
        return [key for key in dict.fromkeys(keys) if key not in self.told and key not in self.failed]

    def _asks(self, row: Row) -> bool:
        if row.folder is not None or not row.on_hub:
            return row.folder is not None
        return row.here or row.place in (HUB, TYPED) or row.key == self.cursor

    def to_plan(self, in_sight: list[Row]) -> list[str]:
        """The rows whose fit to work out next: those in sight, and all where only what fits is shown."""
        rows = [row for row in (self.shown.get(self.cursor), *in_sight) if row is not None]
        rows += self.shown.values() if self.view.fitting else ()
        keys = [row.key for row in rows if row.key not in self.fits]
        return [key for key in dict.fromkeys(keys) if self._can_plan(self.shown[key])]

    def _can_plan(self, row: Row) -> bool:
        """Whether its shape is known, or nobody will tell."""
        known_here = row.folder is not None or not row.on_hub or row.place == KNOWN
        return known_here or row.key in self.told or row.key in self.failed or find(row.name) is not None

    def hear(self, key: str, told: Told | None, failed: str) -> None:
        """What was told of a row, or why nothing was. Its fit is worked out anew by it."""
        if told is not None:
            self.told[key] = told
        else:
            self.failed[key] = failed
        if told is None or told.config:
            self.fits.pop(key, None)

    def forget_failures(self) -> None:
        """Ask again for what no hub has told, or has told only in part to somebody who was not logged in."""
        in_part = [key for key, told in self.told.items() if not told.config]
        for key in (*self.failed, *in_part):
            self.fits.pop(key, None)
            self.told.pop(key, None)
        self.failed.clear()


def values_for(draft: Mapping[str, Any], row: Row, remote_code: bool = False) -> Mapping[str, Any]:
    """What taking a model changes in a draft, by the dotted names of its fields; the name is always among it.

    Code of the model before is no longer agreed to, its revision is none of this one, and weights take the
    place of random ones.
    """
    wanted: dict[str, Any] = {
        "model.revision": row.revision,
        "model.architecture": None,
        "model.trust_remote_code": remote_code,
        "model.hub": row.source or HUGGINGFACE,
    }
    changed = {
        path: value for path, value in wanted.items() if path in options() and at(draft, path) != value
    }
    return {"model.name": row.name, **changed}
