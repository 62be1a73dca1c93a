"""Define a record format: implement this. A module in this folder has one, or a family of similar ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tui_tuner.config.advice import Hint, Setting, build_hint, write_setting
from tui_tuner.data.formats.parts.columns import ColumnSample
from tui_tuner.data.formats.parts.leftovers import find_leftovers
from tui_tuner.data.formats.parts.values import Columns, Values
from tui_tuner.data.records import Record
from tui_tuner.errors import DataError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line


@dataclass
class FormatMatch:
    """A format that fits rows: the column for each role, the confidence (0 to 1), and the reason."""

    columns: Columns
    confidence: float
    why: str


@dataclass
class AlternativeWay:
    """Another way to read the same rows: `words` with a place for the command, the task, and the roles.

    `better`: it uses more of these rows than the format itself, so it is suggested first.
    """

    words: str
    task: str
    columns: Columns
    better: bool = False

    def make_hint(self, more: Mapping[str, Any] | None = None) -> Hint:
        """Make the hint for people; `more` are further settings."""
        # The task and the columns go together: one without the other fails the next check.
        fix = {"task": self.task, **(more or {}), "data.columns": dict(self.columns)}
        return build_hint(N_(self.words, command=write_setting(fix)))


class AmbiguousColumns(DataError):
    """Columns that look alike: the user must choose."""


class RecordFormat(ABC):
    """Everything that is specific to one layout of rows.

    A format is named in `config.kinds.formats.RECORD_FORMATS`; its module has the same name, and an instance
    of it in the tuple `FORMATS`. It keeps no state: one instance serves all files.

    Attributes:
        name: As in `RECORD_FORMATS`.
        needed: Required roles, such as `("prompt", "response")`. The user names columns by role in
            `data.columns`.
        more: Optional roles. A column that only rows after the sample have may still become one of them
            (`columns.SELDOM`), by its name.
        rank: Formats are tried from low to high, from the specific to the general, and the first that fits
            is used: 10 for one that nothing else could be, 90 for one that almost anything could be.
        rank_told: The rank if the user has named the columns, where it differs.
        inside: Roles that are keys of an object, each with the role of the column that holds the object.
        joins: Rows are turns, and several make a record: see `turns.FlatTurns`.
    """

    name: str
    needed: tuple[str, ...]
    more: tuple[str, ...] = ()
    rank: int = 50
    rank_told: int | None = None
    inside: Mapping[str, str] = {}
    joins: bool = False

    @abstractmethod
    def recognise_rows(self, sample: ColumnSample, asked: bool) -> FormatMatch | None:
        """Match rows with this format, by the names and values of their columns; None if they do not fit.

        Args:
            asked: The user asked for this format, so values may be unusual if the columns are there.

        Raises:
            AmbiguousColumns: several columns could be the same one (`ask_for_column`).
        """

    @abstractmethod
    def convert_row(self, values: Values, columns: Columns) -> Record:
        """Convert a row to a record.

        Args:
            values: The row.
            columns: The column for each role; all of `needed`, some of `more`.

        Raises:
            RowProblem: the row does not have what the format needs.
        """

    def list_missing_roles(self, told: Columns) -> list[str]:
        """List the required roles that are missing from those that the user has named."""
        return [role for role in self.needed if role not in told]

    def list_leftovers(self, values: Values, columns: Columns) -> set[tuple[str, str]]:
        """Return the parts of a row that are not used: ("column" or "key", name)."""
        return find_leftovers(values, columns)

    def continues_record(self, before: Values, values: Values, columns: Columns) -> bool:
        """Return whether a row belongs to the record of the previous row, if the format `joins` rows."""
        return False

    def join_rows(self, rows: Sequence[Values], columns: Columns) -> Values:
        """Join the rows of one record into the row that `convert_row` gets, if the format `joins` rows."""
        return rows[0]

    def suggest_other_way(self, columns: Columns, values: Values) -> AlternativeWay | None:
        """Suggest how a task that takes no records of this format can use the same rows; None if none can."""
        return None

    def complete_roles(self, told: Columns, sample: ColumnSample) -> Columns:
        """Add the roles that follow from those that the user has named."""
        return told

    def fits_told(self, told: Columns, sample: ColumnSample) -> bool:
        """Return whether the roles that the user has named make this format."""
        # All required roles are enough: optional ones may be left to recognition.
        return set(self.needed) <= set(told)


def make_columns_setting(roles: Mapping[str, str], **more: Any) -> Setting:
    """Make the setting that names the columns, after `more` fields of `data`."""
    return write_setting(
        {**{f"data.{name}": value for name, value in more.items()}, "data.columns": dict(roles)}
    )


def ask_for_column(
    sample: ColumnSample, role: str, candidates: Sequence[str], others: Mapping[str, str]
) -> AmbiguousColumns:
    """Make the error for several columns that could be one role; `others` are the roles that are clear."""
    # Names of columns come from the file, and may hold anything.
    names = [one_line(name, 40) for name in candidates]
    # The first candidate is only an example; with the clear roles the command works as it is.
    command = make_columns_setting({**others, role: candidates[0]})
    return AmbiguousColumns(
        _("several columns could be the {role}: {names}.", role=role, names=", ".join(names)),
        where=sample.where,
        hint=build_hint(N_("Choose one, such as {command}.", command=command)),
        field="data.columns",
    )
