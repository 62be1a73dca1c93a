"""Read translations: a column with the same text in several languages, as in the data sets of WMT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tui_tuner.config.advice import build_hint
from tui_tuner.data.formats.parts import troubles
from tui_tuner.data.formats.parts.columns import Column, ColumnSample
from tui_tuner.data.formats.parts.values import Columns, Values, read_text_value
from tui_tuner.data.formats.record_format import (
    AmbiguousColumns,
    FormatMatch,
    RecordFormat,
    make_columns_setting,
)
from tui_tuner.data.records import Chat, Message
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.locales import N_, _
from tui_tuner.text import join_first_names, one_line

NAMES = ("translation", "translations")
SHOWN = 8


class Translation(RecordFormat):
    """The languages are keys of an object, from the first to the second of them unless the user says."""

    name = "translation"
    needed = ("translation", "prompt", "response")
    rank = 20
    inside: Mapping[str, str] = {"prompt": "translation", "response": "translation"}

    def recognise_rows(self, sample: ColumnSample, asked: bool) -> FormatMatch | None:
        named = [
            column for name in NAMES if (column := sample.get_filled(name)) and column.is_mostly("object")
        ]
        if not named:
            return None
        languages = _list_languages(named[0])
        if len(languages) < 2:
            return None
        if len(languages) > 2:
            raise _ask_for_languages(sample, named[0], languages)
        first, second = languages
        roles = {"translation": named[0].name, "prompt": first, "response": second}
        return FormatMatch(
            roles, 0.95, _("from {first} to {second}", first=one_line(first, 40), second=one_line(second, 40))
        )

    def complete_roles(self, told: Columns, sample: ColumnSample) -> Columns:
        column = sample.columns.get(told.get("translation", ""))
        languages = _list_languages(column) if column is not None else []
        if len(languages) != 2:
            return told
        # One of two languages tells the other one.
        given = [told.get("prompt"), told.get("response")]
        rest = [name for name in languages if name not in given]
        more = {role: rest.pop(0) for role in ("prompt", "response") if role not in told and rest}
        return {**told, **more}

    def fits_told(self, told: Columns, sample: ColumnSample) -> bool:
        return "translation" in told

    def convert_row(self, values: Values, columns: Columns) -> Chat:
        texts = values.get(columns["translation"])
        if not isinstance(texts, dict):
            raise RowProblem(N_("the translation is not an object with a text in each language"))
        source = read_text_value(texts.get(columns["prompt"]), troubles.PROMPT)
        target = read_text_value(texts.get(columns["response"]), troubles.RESPONSE)
        return Chat([Message("user", source), Message("assistant", target)])


def _list_languages(column: Column) -> list[str]:
    example: Any = column.example
    if not isinstance(example, dict):
        return []
    return [str(key) for key, text in example.items() if isinstance(text, str)]


def _ask_for_languages(sample: ColumnSample, column: Column, languages: list[str]) -> AmbiguousColumns:
    command = make_columns_setting(
        {"translation": column.name, "prompt": languages[0], "response": languages[1]}
    )
    return AmbiguousColumns(
        _(
            "{column} has texts in {count} languages: {names}.",
            column=one_line(column.name, 40),
            count=len(languages),
            names=", ".join(join_first_names(languages, SHOWN)),
        ),
        where=sample.where,
        hint=build_hint(N_("Say from which to which, such as {command}.", command=command)),
        field="data.columns",
    )


FORMATS = (Translation(),)
