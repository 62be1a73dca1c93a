"""The state of the model screen: known models and which of them are shown; no widgets, no threads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tui_tuner.config.options import list_options
from tui_tuner.models.catalog import find_catalog_config
from tui_tuner.models.hub.kinds import HUGGINGFACE
from tui_tuner.ui.base_models.fits import MISFIT, UNSUITED, Fit
from tui_tuner.ui.base_models.model_description import ModelSummary
from tui_tuner.ui.base_models.model_rows import (
    HUB,
    KNOWN,
    TYPED,
    ModelRow,
    RowFilter,
    filter_model_rows,
    list_embedded_models,
    list_known_models,
    list_licences,
    make_typed_rows,
    merge_rows,
    sort_model_rows,
)
from tui_tuner.ui.form_values import find_draft_value


@dataclass
class ModelSearch:
    """A search among the models of this machine and of a hub.

    Args:
        source: The hub that is searched.
        query: The typed text.
        asked: The last query that was sent to the hub.
        answered: The query that `found` answers.
        error: Why the hub did not answer.
        shown: The rows of the screen by their keys.
        cursor: The key of the row under the cursor.
    """

    source: str = HUGGINGFACE
    query: str = ""
    asked: str = ""
    answered: str = ""
    error: str = ""
    view: RowFilter = field(default_factory=RowFilter)
    here: list[ModelRow] = field(default_factory=list_embedded_models)
    found: list[ModelRow] = field(default_factory=list)
    told: dict[str, ModelSummary] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    fits: dict[str, Fit] = field(default_factory=dict)
    shown: Mapping[str, ModelRow] = field(default_factory=dict)
    cursor: str = ""
    looked: bool = False  # whether the models of this machine have been listed

    @property
    def is_waiting(self) -> bool:
        """True while an answer of the hub is awaited."""
        return bool(self.asked) and self.asked != self.answered and not self.error

    @property
    def shown_rows(self) -> list[ModelRow]:
        """The rows to show, in order."""
        rows = sort_model_rows(self._told_rows(), self.view.order)
        if self.view.licence:
            rows = [row for row in rows if row.licence == self.view.licence]
        if self.view.fitting:
            rows = [row for row in rows if not self._is_misfit(row)]
        return rows

    def _told_rows(self) -> list[ModelRow]:
        """Return all rows for the typed text, each with what is known about its model."""
        others = list_known_models() if self.source == HUGGINGFACE else []
        # Until the hub answers, what it found for the last text is filtered, so that the list does not go
        # empty.
        found = self.found if self.answered == self.query else filter_model_rows(self.found, self.query)
        rows = merge_rows(
            filter_model_rows(self.here, self.query), found, filter_model_rows(others, self.query)
        )
        rows += make_typed_rows(self.query, self.source, rows)
        return [self._with_told(row) for row in rows]

    def _with_told(self, row: ModelRow) -> ModelRow:
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
        if row.is_partial:
            # Its `bytes` are those on the disk, which the hub does not know.
            return replace(row, total=told.total or row.total)
        if not row.is_here and told.total:
            return replace(row, bytes=told.total, derived=False)
        return row

    def _is_misfit(self, row: ModelRow) -> bool:
        fit = self.fits.get(row.key)
        return fit is not None and fit.state in (MISFIT, UNSUITED)

    @property
    def licences(self) -> list[str]:
        """The licences of all rows, including those filtered out."""
        return list_licences(self._told_rows())

    def list_here(self, rows: list[ModelRow]) -> None:
        """Set the models of this machine. Those listed before keep their order."""
        # A row that moves while the user reaches for it would get the key that was meant for another.
        places = {row.key: place for place, row in enumerate(self.here)} if self.looked else {}
        self.here, self.looked = sorted(rows, key=lambda row: places.get(row.key, -1)), True

    def note_shown(self, rows: list[ModelRow], cursor: str) -> None:
        """Note the rows on the screen; threads look them up by their keys."""
        self.shown, self.cursor = {row.key: row for row in rows}, cursor

    def to_ask(self, in_sight: list[ModelRow]) -> list[str]:
        """Return the keys of rows to ask about next, the one under the cursor first.

        Only visible search results, and of models in the catalogue only the one under the cursor, because
        each costs requests.
        """
        rows = [row for row in (self.shown.get(self.cursor), *in_sight) if row is not None]
        keys = [row.key for row in rows if self._is_worth_asking(row)]
        return [key for key in dict.fromkeys(keys) if key not in self.told and key not in self.failed]

    def _is_worth_asking(self, row: ModelRow) -> bool:
        if row.folder is not None or not row.on_hub:
            return row.folder is not None
        return row.is_here or row.place in (HUB, TYPED) or row.key == self.cursor

    def to_plan(self, in_sight: list[ModelRow]) -> list[str]:
        """Return the keys of rows to plan next: visible ones, or all if only fitting models are shown."""
        rows = [row for row in (self.shown.get(self.cursor), *in_sight) if row is not None]
        rows += self.shown.values() if self.view.fitting else ()
        keys = [row.key for row in rows if row.key not in self.fits]
        return [key for key in dict.fromkeys(keys) if self._can_plan(self.shown[key])]

    def _can_plan(self, row: ModelRow) -> bool:
        """Return whether a model's shapes are known, or will not become known."""
        known_here = row.folder is not None or not row.on_hub or row.place == KNOWN
        return (
            known_here
            or row.key in self.told
            or row.key in self.failed
            or find_catalog_config(row.name) is not None
        )

    def take_answer(self, key: str, told: ModelSummary | None, failed: str) -> None:
        """Store the answer about a row, or why there is none. Its fit is then computed again."""
        if told is not None:
            self.told[key] = told
        else:
            self.failed[key] = failed
        if told is None or told.config:
            self.fits.pop(key, None)

    def forget_failures(self) -> None:
        """Forget failed and partial answers, to ask again (for example after logging in)."""
        # A hub lists a gated model without its config to users who are not logged in.
        in_part = [key for key, told in self.told.items() if not told.config]
        for key in (*self.failed, *in_part):
            self.fits.pop(key, None)
            self.told.pop(key, None)
        self.failed.clear()


def find_model_values(
    draft: Mapping[str, Any], row: ModelRow, remote_code: bool = False
) -> Mapping[str, Any]:
    """Return the values that choosing a model changes in a draft, by dotted name; always with the name.

    Consent to remote code and the revision of the previous model do not carry over, and random weights are
    replaced by the model's.
    """
    wanted: dict[str, Any] = {
        "model.revision": row.revision,
        "model.architecture": None,
        "model.trust_remote_code": remote_code,
        "model.hub": row.source or HUGGINGFACE,
    }
    changed = {
        path: value
        for path, value in wanted.items()
        if path in list_options() and find_draft_value(draft, path) != value
    }
    return {"model.name": row.name, **changed}
