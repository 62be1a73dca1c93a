"""Find record formats: a module for each, under its name in `config.kinds.formats.RECORD_FORMATS`."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from tui_tuner.config.kinds.formats import RECORD_FORMATS
from tui_tuner.data.formats.record_format import AmbiguousColumns, FormatMatch, RecordFormat

# Formats that share a module, by the name of the module.
_FAMILIES = {"text_label": "labelled", "sentence_pair": "labelled"}


@cache
def find_format(name: str) -> RecordFormat:
    """The format of a name in `config.kinds.formats.RECORD_FORMATS`.

    Raises:
        KeyError: there is no such format. A valid config has a known one, or `auto`, which is not a format.
    """
    # Only a known name is ever imported: this one may come from a config.
    if name not in list_format_names():
        raise KeyError(name)
    formats: tuple[RecordFormat, ...] = import_module(f"{__name__}.{_FAMILIES.get(name, name)}").FORMATS
    return {format.name: format for format in formats}[name]


def list_format_names() -> list[str]:
    """List the names of all formats, in the order of `RECORD_FORMATS`."""
    return [name for name in RECORD_FORMATS if name != "auto"]


__all__ = ["AmbiguousColumns", "FormatMatch", "RecordFormat", "find_format", "list_format_names"]
