"""Tokens with a tag for each, as for named entities."""

from __future__ import annotations

from typing import Any

from tui_tuner.data.formats.base import Format, Match, Way, ask
from tui_tuner.data.formats.parts.columns import Column, Sample, kind_of, loads_if_json
from tui_tuner.data.formats.parts.values import Columns, Values
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import Tagged
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

TOKEN_NAMES = ("tokens", "words")
TAG_NAMES = ("ner_tags", "tags", "pos_tags", "labels", "ner", "ner_labels", "tag", "upos")


class TokenTags(Format):
    name = "token_tags"
    needed = ("tokens", "tags")
    rank = 55

    def recognise(self, sample: Sample, asked: bool) -> Match | None:
        tokens = [one for one in sample.named(TOKEN_NAMES) if _are_lists(one, "texts")]
        tags = [one for one in sample.named(TAG_NAMES) if _are_lists(one, "texts", "numbers")]
        if not tokens or not tags:
            return None
        if len(tags) > 1:
            raise ask(sample, "tags", [column.name for column in tags], {"tokens": tokens[0].name})
        return Match({"tokens": tokens[0].name, "tags": tags[0].name}, 0.98, _("a tag for each token"))

    def fits_told(self, told: Columns, sample: Sample) -> bool:
        return super().fits_told(self.complete(told, sample), sample)

    def complete(self, told: Columns, sample: Sample) -> Columns:
        """Tags alone are enough where a column can only be the tokens."""
        tokens = sample.named(TOKEN_NAMES, "texts")
        if "tags" not in told or "tokens" in told or not tokens:
            return told
        return {"tokens": tokens[0].name, **told}

    def convert(self, values: Values, columns: Columns) -> Tagged:
        tokens, tags = (loads_if_json(values.get(columns[role])) for role in ("tokens", "tags"))
        if tokens == []:
            raise RowProblem(N_("the row has no words"))
        if not isinstance(tokens, list):
            raise RowProblem(N_("the tokens are not a list of texts"), _kind(tokens, columns["tokens"]))
        if not isinstance(tags, list):
            raise RowProblem(N_("the tags are missing, or no list"), _kind(tags, columns["tags"]))
        if len(tokens) != len(tags):
            raise RowProblem(
                N_("not as many tags as tokens"),
                _("{tokens} tokens, {tags} tags", tokens=len(tokens), tags=len(tags)),
            )
        for place, token in enumerate(tokens, 1):
            if not isinstance(token, str):
                raise RowProblem(N_("a token is not text"), _at(token, place, columns["tokens"]))
        found: list[str | int] = []
        for place, tag in enumerate(tags, 1):
            if isinstance(tag, float) and tag.is_integer():
                tag = int(tag)  # a table with gaps in it writes whole numbers so
            if isinstance(tag, bool) or not isinstance(tag, str | int) or tag == "":
                raise RowProblem(N_("a tag is neither text nor a number"), _at(tag, place, columns["tags"]))
            found.append(tag)
        return Tagged(tokens, found)

    def otherwise(self, columns: Columns, values: Values) -> Way:
        words = N_("To learn the sentences alone, their tokens joined by spaces: {command}.")
        return Way(words, "pretraining", {"text": columns["tokens"]})


def _are_lists(column: Column, *kinds: str) -> bool:
    """Whether a column holds such lists, as they are or, in a table, written as JSON."""
    if column.mostly(*kinds):
        return True
    return column.mostly("text") and kind_of(loads_if_json(column.example)) in kinds


def _kind(value: Any, column: str) -> str:
    if value is None:
        return _("column {column} is empty", column=one_line(column, 40))
    return _("column {column} holds {kind}", column=one_line(column, 40), kind=type(value).__name__)


def _at(value: Any, place: int, column: str) -> str:
    return _(
        "{value} at word {place}, column {column}",
        value=one_line(repr(value), 40),
        place=place,
        column=one_line(column, 40),
    )


FORMATS = (TokenTags(),)
