"""Read the values of a row as text."""

from __future__ import annotations

from typing import Any

from tui_tuner.data.formats.parts.troubles import TextProblems
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.locales import _

Values = dict[str, Any]  # a row: column -> value
Columns = dict[str, str]  # role -> column


def is_nan(value: Any) -> bool:
    """Return whether a value is NaN, which means a missing value in tables."""
    # NaN is the only value that differs from itself.
    return isinstance(value, float) and value != value


def is_empty(value: Any) -> bool:
    """Return whether a cell is empty: None, NaN, or an empty text, list or object."""
    return value is None or is_nan(value) or (isinstance(value, str | list | dict | tuple) and not value)


def read_text_value(value: Any, wrong: TextProblems, required: bool = True) -> str:
    """Return a column's value as text; numbers and booleans are written out, NaN is a missing value."""
    if isinstance(value, str):
        text = value
    elif value is None or is_nan(value):
        value, text = None, ""
    elif isinstance(value, bool | int | float):
        text = str(value)
    else:
        raise RowProblem(wrong.not_text, _("it is a {kind}", kind=type(value).__name__))
    if required and not text.strip():
        raise RowProblem(wrong.empty if value is not None else wrong.missing)
    return text
