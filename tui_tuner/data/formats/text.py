"""Plain text: a document in each row."""

from __future__ import annotations

from typing import Any

from tui_tuner.data.formats.base import Format, Match
from tui_tuner.data.formats.parts import troubles
from tui_tuner.data.formats.parts.columns import Sample
from tui_tuner.data.formats.parts.values import Columns, Values, text_of
from tui_tuner.data.records import Text
from tui_tuner.locales import _
from tui_tuner.text import one_line


class PlainText(Format):
    name = "text"
    needed = ("text",)
    rank = 90

    def recognise(self, sample: Sample, asked: bool) -> Match | None:
        named = sample.get("text")
        texts = sample.of_kind("text")
        if named and (named.mostly("text") or named.worded):
            return Match({"text": named.name}, 0.9 if len(texts) > 1 else 0.99, _("a column named text"))
        if len(texts) == 1 and len(sample.columns) == 1:
            return Match({"text": texts[0].name}, 0.8, _("the only column holds text"))
        candidates = sample.named("text", "text")
        if len(candidates) != 1:
            return None
        name = candidates[0].name
        return Match(
            {"text": name}, 0.9 if len(texts) == 1 else 0.6, _("{name} holds text", name=one_line(name, 40))
        )

    def convert(self, values: Values, columns: Columns) -> Text:
        value = values.get(columns["text"])
        return Text(text_of(_joined(value) if isinstance(value, list) else value, troubles.TEXT))

    def fits_told(self, told: Columns, sample: Sample) -> bool:
        return set(told) == {"text"}


def _joined(value: list[Any]) -> Any:
    """Tokens, or axolotl's segments, as one text: only a column that the user names holds them."""
    if value and all(isinstance(item, str) for item in value):
        return " ".join(value)
    if value and all(isinstance(item, dict) and isinstance(item.get("text"), str) for item in value):
        return "".join(item["text"] for item in value)
    return value


FORMATS = (PlainText(),)
