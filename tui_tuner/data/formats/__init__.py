"""How rows are laid out: a module for each format, found by its name in `config.kinds.RECORD_FORMATS`."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from tui_tuner.config.kinds import RECORD_FORMATS
from tui_tuner.data.formats.base import Ambiguous, Format, Match

# Formats that share a module, which has the name of the family.
_FAMILIES = {"text_label": "labelled", "sentence_pair": "labelled"}


@cache
def find_format(name: str) -> Format:
    """The format of a name in `config.kinds.RECORD_FORMATS`.

    Raises:
        KeyError: there is no such format. A config that was built has a known one, or `auto`, which is none.
    """
    if name not in format_names():  # nothing but a known name is ever imported
        raise KeyError(name)
    formats: tuple[Format, ...] = import_module(f"{__name__}.{_FAMILIES.get(name, name)}").FORMATS
    return {format.name: format for format in formats}[name]


def format_names() -> list[str]:
    """Every format, in the order of `RECORD_FORMATS`."""
    return [name for name in RECORD_FORMATS if name != "auto"]


__all__ = ["Ambiguous", "Format", "Match", "find_format", "format_names"]
