"""The rows of a job, read as they stream: each with what is asked of it, or why it cannot be used."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_tuner.config.schema import DataSection, RunConfig
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import Record, Row
from tui_tuner.data.sources.datafile import DataFile
from tui_tuner.data.sources.files import resolve
from tui_tuner.errors import DataError, UsageError
from tui_tuner.inference.predicting.asking import Asking
from tui_tuner.inference.predicting.job import Job
from tui_tuner.inference.predicting.roles import Roles, find_roles, roles_of
from tui_tuner.inference.predicting.template import check_places
from tui_tuner.locales import _
from tui_tuner.text import one_line

SAMPLE_ROWS = 200
HEAD = 1 << 16  # bytes at the beginning of a file that tell whether it is still the same
COUNTED = 5000  # rows between two messages while they are counted


@dataclass(frozen=True)
class Asked:
    """A row of the input.

    Args:
        number: From 0, over all files.
        record: What is asked, or None and `problem`.
    """

    number: int
    row: Row
    record: Record | None = None
    problem: str = ""


class Source:
    """The files of a job, with the columns of each.

    Args:
        config: Of the model's run, whose columns are tried first; None for a model that no run made.

    Raises:
        DataError, UsageError, HubError: there is nothing to read.
    """

    def __init__(self, job: Job, config: RunConfig | None) -> None:
        self.job = job
        self.asking = Asking(job)
        self._trained: Mapping[str, str] = (config.data.columns or {}) if config is not None else {}
        section = DataSection(path=job.path, format=job.format, field=job.part or None)
        resolved = resolve(section)
        self.files: list[DataFile] = [file for one in resolved for file in one.files]
        self.notes = [note for one in resolved for note in one.notes]
        self._known: dict[tuple[str, ...], Roles] = {}

    def fingerprint(self) -> list[list[Any]]:
        """What tells whether the files are still the same: name, size, time, and a hash of the beginning."""
        found = []
        for path in dict.fromkeys(file.path for file in self.files):
            try:
                status = os.stat(path)
                with open(path, "rb") as file:
                    head = hashlib.sha256(file.read(HEAD)).hexdigest()
            except OSError:
                found.append([path, 0, 0, ""])  # of a hub, or inside this package
                continue
            found.append([os.path.abspath(path), status.st_size, status.st_mtime_ns, head])
        return found

    def roles(self) -> Roles | None:
        """The columns of the first file; None where no row of it can be read.

        Raises:
            DataError, UsageError: it is not clear which they are.
        """
        for file in self.files:
            head = list(itertools.islice(file.rows(), SAMPLE_ROWS))
            if any(not row.problem for row in head):
                return self._roles(file, head)
        return None

    def survey(self, counted: Callable[[int], None]) -> int:
        """Read everything once: how many rows there are, and whether every file can be used.

        Raises:
            DataError, UsageError: a file cannot be read, its columns are not clear, or a row has the column
                that is to be added.
        """
        count = 0
        for file in self.files:
            for row in self._checked(file):
                self._check_field(row)
                count += 1
                if count % COUNTED == 0:
                    counted(count)
        counted(count)
        if not count:
            raise DataError(_("holds no rows."), where=one_line(self.job.path))
        return count

    def rows(self, skip: int = 0) -> Iterator[Asked]:
        """Every row but the first so many, with what is asked of it."""
        number = itertools.count()
        for file in self.files:
            rows = file.rows()
            head = list(itertools.islice(rows, SAMPLE_ROWS))
            usable = any(not row.problem for row in head)
            roles = self._roles(file, head) if usable else None
            for row in itertools.chain(head, rows):
                at = next(number)
                if roles is None and not row.problem:
                    roles = self._roles(file, [row])
                if at >= skip:
                    yield self._asked(at, row, roles)

    def _checked(self, file: DataFile) -> Iterator[Row]:
        rows = file.rows()
        head = list(itertools.islice(rows, SAMPLE_ROWS))
        if any(not row.problem for row in head):
            self._roles(file, head)
        yield from itertools.chain(head, rows)

    def _roles(self, file: DataFile, head: list[Row]) -> Roles:
        usable = [row.values for row in head if not row.problem]
        key = tuple(dict.fromkeys(str(name) for values in usable for name in values))
        found = self._known.get(key)
        if found is None:
            found = self._found(one_line(file.name), usable, list(key))
            if len(self._known) < 1000:
                self._known[key] = found
        return found

    def _found(self, where: str, usable: list[dict[str, Any]], names: list[str]) -> Roles:
        self._check_names(names, where)
        template = self.asking.template
        if self.asking.columns_alone:
            assert template is not None
            check_places(template, names, self.asking.fixed, "--prompt")
            if self.job.columns:
                raise UsageError(
                    _("the prompt names the columns itself."),
                    where="--column",
                    hint=_(
                        "Leave --column out, and write the column into the prompt as {place}.", place="{name}"
                    ),
                )
            return Roles({})
        kind = roles_of(self.job.kind, text_alone=self.asking.own)
        return find_roles(kind, usable, self.job.columns, self._trained, where)

    def _asked(self, number: int, row: Row, roles: Roles | None) -> Asked:
        if row.problem or roles is None:
            return Asked(number, row, problem=_(row.problem) if row.problem else _("unreadable"))
        try:
            return Asked(number, row, self.asking.ask(row.values, roles.columns))
        except RowProblem as problem:
            return Asked(number, row, problem=str(problem))

    def _check_field(self, row: Row) -> None:
        if self.job.field in row.values and not row.problem:
            self._check_names([self.job.field], str(row.origin))

    def _check_names(self, names: list[str], where: str) -> None:
        if self.job.field in names:
            raise UsageError(
                _("there is a column {name!r} already.", name=one_line(self.job.field, 60)),
                where=where,
                hint=_(
                    "Name the new one with --field, such as --field {name}2.",
                    name=one_line(self.job.field, 60),
                ),
            )

    def holds(self, target: Path) -> bool:
        """Whether a file is, or would be at the next time, one of those that are read."""
        for path in dict.fromkeys(file.path for file in self.files):
            try:
                if target.exists() and os.path.samefile(path, target):
                    return True
            except OSError:
                continue
        named = Path(self.job.path).expanduser()
        inside = os.path.realpath(target.parent)
        if named.is_dir():
            top = os.path.realpath(named)
            return os.path.commonpath([top, inside]) == top
        return not named.exists() and os.path.abspath(target) in _matching(named, target)


def _matching(pattern: Path, target: Path) -> set[str]:
    """The target itself where a pattern would find it."""
    import fnmatch

    whole, name = os.path.abspath(pattern), os.path.abspath(target)
    return {name} if fnmatch.fnmatch(name, whole) else set()
