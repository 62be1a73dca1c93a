"""Streams the rows of a job, each with its input for the model or a problem."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_tuner.config.schema import DataSection, RunConfig
from tui_tuner.data.records import Record, Row
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.data.sources.datafile import DataFile
from tui_tuner.data.sources.files import resolve_data_paths
from tui_tuner.errors import DataError, UsageError
from tui_tuner.inference.predicting.inputs import InputBuilder
from tui_tuner.inference.predicting.job import Job
from tui_tuner.inference.predicting.roles import Roles, find_input_roles, find_roles
from tui_tuner.inference.predicting.template import check_prompt_placeholders
from tui_tuner.locales import _
from tui_tuner.text import one_line

SAMPLE_ROWS = 200
HEAD = 1 << 16  # bytes at the beginning of a file, which are hashed to detect changes
COUNTED = 5000  # rows between two messages while counting


@dataclass(frozen=True)
class InputRow:
    """A row of the input files.

    Args:
        number: Counted from 0 over all files.
        record: The model's input; None if there is a `problem`.
    """

    number: int
    row: Row
    record: Record | None = None
    problem: str = ""


class InputFiles:
    """Reads the files of a job, and finds the columns of each.

    Args:
        config: The config of the model's run, whose columns are tried first; None for other models.

    Raises:
        DataError, UsageError, HubError: there is nothing to read.
    """

    def __init__(self, job: Job, config: RunConfig | None) -> None:
        self.job = job
        self.asking = InputBuilder(job)
        self._trained: Mapping[str, str] = (config.data.columns or {}) if config is not None else {}
        section = DataSection(path=job.path, format=job.format, field=job.part or None)
        resolved = resolve_data_paths(section)
        self.files: list[DataFile] = [file for one in resolved for file in one.files]
        self.notes = [note for one in resolved for note in one.notes]
        self._known: dict[tuple[str, ...], Roles] = {}

    def fingerprint_files(self) -> list[list[Any]]:
        """Return name, size, time and a hash of the beginning of each file, for detecting changes."""
        found = []
        for path in dict.fromkeys(file.path for file in self.files):
            try:
                status = os.stat(path)
                with open(path, "rb") as file:
                    # The time alone is not enough: copying a file keeps it or changes it, depending on the
                    # tool
                    head = hashlib.sha256(file.read(HEAD)).hexdigest()
            except OSError:
                # A file on a hub or inside this package does not change
                found.append([path, 0, 0, ""])
                continue
            found.append([os.path.abspath(path), status.st_size, status.st_mtime_ns, head])
        return found

    def find_first_roles(self) -> Roles | None:
        """Find the columns of the first file with readable rows; None if there is none.

        Raises:
            DataError, UsageError: they are ambiguous.
        """
        for file in self.files:
            head = list(itertools.islice(file.iterate_rows(), SAMPLE_ROWS))
            if any(not row.problem for row in head):
                return self._find_file_roles(file, head)
        return None

    def count_rows(self, counted: Callable[[int], None]) -> int:
        """Read all files once; return the number of rows after checking that all can be used.

        Raises:
            DataError, UsageError: a file cannot be read, its columns are ambiguous, or a row already has the
                column to be added.
        """
        count = 0
        for file in self.files:
            for row in self._read_checked(file):
                self._check_field(row)
                count += 1
                if count % COUNTED == 0:
                    counted(count)
        counted(count)
        if not count:
            raise DataError(_("holds no rows."), where=one_line(self.job.path))
        return count

    def read_inputs(self, skip: int = 0) -> Iterator[InputRow]:
        """Yield the rows after the first `skip`, each with its input."""
        number = itertools.count()
        for file in self.files:
            rows = file.iterate_rows()
            head = list(itertools.islice(rows, SAMPLE_ROWS))
            usable = any(not row.problem for row in head)
            roles = self._find_file_roles(file, head) if usable else None
            for row in itertools.chain(head, rows):
                at = next(number)
                if roles is None and not row.problem:
                    roles = self._find_file_roles(file, [row])
                if at >= skip:
                    yield self._make_input_row(at, row, roles)

    def _read_checked(self, file: DataFile) -> Iterator[Row]:
        rows = file.iterate_rows()
        head = list(itertools.islice(rows, SAMPLE_ROWS))
        if any(not row.problem for row in head):
            self._find_file_roles(file, head)
        yield from itertools.chain(head, rows)

    def _find_file_roles(self, file: DataFile, head: list[Row]) -> Roles:
        usable = [row.values for row in head if not row.problem]
        # Files with the same columns are read alike, so their roles are found once
        key = tuple(dict.fromkeys(str(name) for values in usable for name in values))
        found = self._known.get(key)
        if found is None:
            found = self._find_new_roles(one_line(file.name), usable, list(key))
            # Files whose rows all have different columns must not fill the memory
            if len(self._known) < 1000:
                self._known[key] = found
        return found

    def _find_new_roles(self, where: str, usable: list[dict[str, Any]], names: list[str]) -> Roles:
        self._check_names(names, where)
        template = self.asking.template
        if self.asking.uses_columns_only:
            assert template is not None
            check_prompt_placeholders(template, names, self.asking.fixed, "--prompt")
            if self.job.columns:
                raise UsageError(
                    _("the prompt already names the columns."),
                    where="--column",
                    hint=_(
                        "Leave out --column, and write the column into the prompt as {place}.", place="{name}"
                    ),
                )
            return Roles({})
        kind = find_input_roles(self.job.task_kind, text_alone=self.asking.own)
        return find_roles(kind, usable, self.job.columns, self._trained, where)

    def _make_input_row(self, number: int, row: Row, roles: Roles | None) -> InputRow:
        if row.problem or roles is None:
            return InputRow(number, row, problem=_(row.problem) if row.problem else _("unreadable"))
        try:
            return InputRow(number, row, self.asking.build_input(row.values, roles.columns))
        except RowProblem as problem:
            return InputRow(number, row, problem=str(problem))

    def _check_field(self, row: Row) -> None:
        if self.job.field in row.values and not row.problem:
            self._check_names([self.job.field], str(row.origin))

    def _check_names(self, names: list[str], where: str) -> None:
        if self.job.field in names:
            raise UsageError(
                _("there already is a column {name!r}.", name=one_line(self.job.field, 60)),
                where=where,
                hint=_(
                    "Choose another name with --field, such as --field {name}2.",
                    name=one_line(self.job.field, 60),
                ),
            )

    def holds_target(self, target: Path) -> bool:
        """Return whether a file is one of the inputs, or would be the next time the inputs are read."""
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
            # An output inside the input folder would be read as input when the job is resumed
            return os.path.commonpath([top, inside]) == top
        return not named.exists() and os.path.abspath(target) in _match_target(named, target)


def _match_target(pattern: Path, target: Path) -> set[str]:
    """Return the target in a set if the pattern matches it; else an empty set."""
    import fnmatch

    whole, name = os.path.abspath(pattern), os.path.abspath(target)
    return {name} if fnmatch.fnmatch(name, whole) else set()
