"""The exception tree. Each error states what was wrong, where, and what to do next.

Exit codes: 0 done, 1 failed, 2 bad usage or config, 3 bad data, 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_CONFIG = 2
EXIT_DATA = 3
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


_FIELD = re.compile(r"(?:model|data|method|training|evaluation|output|hardware)(?:\.[a-z0-9_]+)+")


class TunerError(Exception):
    """Anything the user can understand and act on.

    Args:
        what: What was wrong, one sentence.
        where: The file, line, field or run concerned; shown before `what`.
        hint: What to do next.
        field: The config field that caused it, such as `data.columns`; empty if there is none.
    """

    exit_code = EXIT_FAILED

    def __init__(self, what: str, *, where: str = "", hint: str = "", field: str = "") -> None:
        self.what = what
        self.where = where
        self.hint = hint
        # Many errors name a field as their place; it need not be given twice.
        self.field = field or (where if _FIELD.fullmatch(where) else "")
        super().__init__(str(self))

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text} {self.hint}".strip() if self.hint else text

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling across worker processes (keyword arguments get lost by default)."""
        return (_rebuild_error, (type(self), self.what, self.where, self.hint, self.field))


def _rebuild_error(kind: type[TunerError], what: str, where: str, hint: str, field: str) -> TunerError:
    return kind(what, where=where, hint=hint, field=field)


@contextmanager
def name_error_field(field: str, instead_of: str = "") -> Iterator[None]:
    """Set the config field of errors raised inside that have none, or that have `instead_of`."""
    try:
        yield
    except TunerError as error:
        if error.field in ("", instead_of):
            error.field = field
        raise


class UsageError(TunerError):
    """A command that cannot be understood or carried out as asked."""

    exit_code = EXIT_CONFIG


class ConfigError(TunerError):
    """A configuration with unknown, invalid or contradictory values."""

    exit_code = EXIT_CONFIG


class ModelError(TunerError):
    """A model or tokenizer that cannot be used: missing files, unknown architecture, no template."""

    exit_code = EXIT_CONFIG


class HardwareError(TunerError):
    """A requested device that is absent or unusable."""

    exit_code = EXIT_CONFIG


class HubError(TunerError):
    """A hub that cannot be reached, or that refuses."""


class DataError(TunerError):
    """Data that cannot be read, understood or trained on."""

    exit_code = EXIT_DATA


class RowsError(DataError):
    """Rows that were read and can be shown, but that the task cannot use as they are."""


class PreflightError(DataError):
    """A check before training found something that would waste the run."""


class RunError(TunerError):
    """A run that failed, or a run folder that cannot be used."""


class OutOfMemoryError(RunError):
    """Device memory ran out and the smallest micro-batch does not fit."""


class DiskFullError(RunError):
    """The disk that holds the run is full or cannot be written."""
