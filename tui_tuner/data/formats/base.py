"""What a record format is: implement this. A module in this folder holds one, or a family of close ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tui_tuner.data.formats.parts.columns import Sample
from tui_tuner.data.formats.parts.values import Columns, Values
from tui_tuner.data.records import Record
from tui_tuner.errors import DataError
from tui_tuner.locales import _
from tui_tuner.text import one_line


@dataclass
class Match:
    """Rows fit a format: the column for each role, how sure it is (0 to 1), and why."""

    columns: Columns
    confidence: float
    why: str


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
    """

    name: str
    needed: tuple[str, ...]
    more: tuple[str, ...] = ()
    rank: int = 50
    rank_told: int | None = None

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

    def fits_told(self, told: Columns, sample: Sample) -> bool:
        """Whether roles that the user has named make this format."""
        return set(self.needed) <= set(told)


def ask(sample: Sample, role: str, candidates: Sequence[str], others: Mapping[str, str]) -> Ambiguous:
    """What to raise if several columns could be one role; `others` are the roles that are clear."""
    names = [one_line(name, 40) for name in candidates]
    given = ", ".join(f"{key}: {value}" for key, value in {**others, role: names[0]}.items())
    return Ambiguous(
        _("several columns could be the {role}: {names}.", role=role, names=", ".join(names)),
        where=sample.where,
        hint=_("Say which one, such as --set 'data.columns={{{given}}}'.", given=given),
    )
