"""Read plain text: a document in each row."""

from __future__ import annotations

from typing import Any

from tui_tuner.data.formats.parts import troubles
from tui_tuner.data.formats.parts.columns import ColumnSample
from tui_tuner.data.formats.parts.values import Columns, Values, read_text_value
from tui_tuner.data.formats.record_format import FormatMatch, RecordFormat
from tui_tuner.data.records import Text
from tui_tuner.locales import _
from tui_tuner.text import one_line


class PlainText(RecordFormat):
    name = "text"
    needed = ("text",)
    rank = 90

    def recognise_rows(self, sample: ColumnSample, asked: bool) -> FormatMatch | None:
        named = sample.get_filled("text")
        texts = sample.find_by_kind("text")
        if named and (named.is_mostly("text") or named.is_worded):
            return FormatMatch(
                {"text": named.name}, 0.9 if len(texts) > 1 else 0.99, _("a column named text")
            )
        if len(texts) == 1 and len(sample.columns) == 1:
            return FormatMatch({"text": texts[0].name}, 0.8, _("the only column holds text"))
        candidates = sample.find_named("text", "text")
        if len(candidates) != 1:
            return None
        name = candidates[0].name
        return FormatMatch(
            {"text": name}, 0.9 if len(texts) == 1 else 0.6, _("{name} holds text", name=one_line(name, 40))
        )

    def convert_row(self, values: Values, columns: Columns) -> Text:
        value = values.get(columns["text"])
        return Text(read_text_value(_join_parts(value) if isinstance(value, list) else value, troubles.TEXT))

    def fits_told(self, told: Columns, sample: ColumnSample) -> bool:
        return set(told) == {"text"}


def _join_parts(value: list[Any]) -> Any:
    """Join tokens, or axolotl's segments, into one text."""
    # Only a column that the user has named can hold such lists.
    if value and all(isinstance(item, str) for item in value):
        return " ".join(value)
    if value and all(isinstance(item, dict) and isinstance(item.get("text"), str) for item in value):
        return "".join(item["text"] for item in value)
    return value


FORMATS = (PlainText(),)
