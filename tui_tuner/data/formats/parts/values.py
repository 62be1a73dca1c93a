"""A value of a row as text."""

from __future__ import annotations

from typing import Any

from tui_tuner.data.formats.parts.troubles import Troubles
from tui_tuner.data.problems import RowProblem
from tui_tuner.locales import _

Values = dict[str, Any]  # a row: column -> value
Columns = dict[str, str]  # role -> column


def text_of(value: Any, wrong: Troubles, required: bool = True) -> str:
    """A column's value as text; numbers and booleans are written out."""
    if isinstance(value, str):
        text = value
    elif value is None:
        text = ""
    elif isinstance(value, bool | int | float):
        text = str(value)
    else:
        raise RowProblem(wrong.not_text, _("it is a {kind}", kind=type(value).__name__))
    if required and not text.strip():
        raise RowProblem(wrong.empty if value is not None else wrong.missing)
    return text
