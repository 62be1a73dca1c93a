"""What a record format is: implement this. A module in this folder holds one, or a family of close ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tui_tuner.config.advice import Hint, Setting, advise, setting
from tui_tuner.data.formats.parts.columns import Sample
from tui_tuner.data.formats.parts.leftovers import leftovers
from tui_tuner.data.formats.parts.values import Columns, Values
from tui_tuner.data.records import Record
from tui_tuner.errors import DataError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line


@dataclass
class Match:
    """Rows fit a format: the column for each role, how sure it is (0 to 1), and why."""

    columns: Columns
    confidence: float
    why: str


@dataclass
class Way:
    """Another way to read the same rows: `words` with a place for the command, the task, and the roles.

    `better`: it makes more of these rows than the format itself, so it is told unasked.
    """

    words: str
    task: str
    columns: Columns
    better: bool = False

    def hint(self, more: Mapping[str, Any] | None = None) -> Hint:
        """What to do, for people; `more` settings come with it."""
        fix = {"task": self.task, **(more or {}), "data.columns": dict(self.columns)}
        return advise(N_(self.words, command=setting(fix)))


class Ambiguous(DataError):
    """Columns that look alike: the user has to say which is which."""


class Format(ABC):
    """Everything that is particular to one layout of rows.

    A format is named in `config.kinds.RECORD_FORMATS`; its module has the same name, and an instance of it in
    the tuple `FORMATS`. It keeps no state: one instance serves all files.

    Attributes:
        name: As in `RECORD_FORMATS`.
        needed: Roles that it cannot do without, such as `("prompt", "response")`. The user names columns by
            role in `data.columns`.
        more: Roles that rows may have or lack. A column that only rows after the sample have may still become
            one of them (`columns.SELDOM`), by its name.
        rank: Formats are asked from low to high, from the particular to the general, and the first that fits
            is taken: 10 for one that nothing else could be, 90 for one that almost anything could be.
        rank_told: The same where the user has named the columns, if it differs.
        joins: Rows are turns, and several make a record: see `turns.Flat`.
    """

    name: str
    needed: tuple[str, ...]
    more: tuple[str, ...] = ()
    rank: int = 50
    rank_told: int | None = None
    joins: bool = False

    @abstractmethod
    def recognise(self, sample: Sample, asked: bool) -> Match | None:
        """Whether rows are in this format, by the names and values of their columns.

        Args:
            asked: The user asked for this format, so values may be odd as long as the columns are there.

        Raises:
            Ambiguous: several columns could be the same one (`ask`).
        """

    @abstractmethod
    def convert(self, values: Values, columns: Columns) -> Record:
        """One record.

        Args:
            values: The row.
            columns: The column for each role; all of `needed`, some of `more`.

        Raises:
            RowProblem: the row lacks what the format needs, or holds something else.
        """

    def lacking(self, told: Columns) -> list[str]:
        """Roles that these, which the user has named, do not suffice without."""
        return [role for role in self.needed if role not in told]

    def leftovers(self, values: Values, columns: Columns) -> set[tuple[str, str]]:
        """What a row holds that nothing is made of: ("column" or "key", its name)."""
        return leftovers(values, columns)

    def goes_on(self, before: Values, values: Values, columns: Columns) -> bool:
        """Whether a row belongs to the record of the row before it, where a format `joins` rows."""
        return False

    def join(self, rows: Sequence[Values], columns: Columns) -> Values:
        """The rows of one record as the row that `convert` gets, where a format `joins` them."""
        return rows[0]

    def otherwise(self, columns: Columns, values: Values) -> Way | None:
        """How the same rows can be trained on by a task that takes no records of this format, if at all."""
        return None

    def complete(self, told: Columns, sample: Sample) -> Columns:
        """Roles that the user has named, with those that follow from them."""
        return told

    def fits_told(self, told: Columns, sample: Sample) -> bool:
        """Whether roles that the user has named make this format."""
        return set(self.needed) <= set(told)


def set_columns(roles: Mapping[str, str], **more: Any) -> Setting:
    """The setting that says which column is what, after `more` fields of `data`."""
    return setting({**{f"data.{name}": value for name, value in more.items()}, "data.columns": dict(roles)})


def ask(sample: Sample, role: str, candidates: Sequence[str], others: Mapping[str, str]) -> Ambiguous:
    """What to raise if several columns could be one role; `others` are the roles that are clear."""
    names = [one_line(name, 40) for name in candidates]
    command = set_columns({**others, role: candidates[0]})
    return Ambiguous(
        _("several columns could be the {role}: {names}.", role=role, names=", ".join(names)),
        where=sample.where,
        hint=advise(N_("Say which one, such as {command}.", command=command)),
        field="data.columns",
    )
