"""Read tokens with a tag for each, as for named entities."""

from __future__ import annotations

from typing import Any

from tui_tuner.data.formats.parts.columns import Column, ColumnSample, find_value_kind, parse_if_json
from tui_tuner.data.formats.parts.values import Columns, Values
from tui_tuner.data.formats.record_format import AlternativeWay, FormatMatch, RecordFormat, ask_for_column
from tui_tuner.data.records import TaggedText
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

TOKEN_NAMES = ("tokens", "words")
TAG_NAMES = ("ner_tags", "tags", "pos_tags", "labels", "ner", "ner_labels", "tag", "upos")


class TokenTags(RecordFormat):
    name = "token_tags"
    needed = ("tokens", "tags")
    rank = 55

    def recognise_rows(self, sample: ColumnSample, asked: bool) -> FormatMatch | None:
        tokens = [one for one in sample.find_named(TOKEN_NAMES) if _are_lists(one, "texts")]
        tags = [one for one in sample.find_named(TAG_NAMES) if _are_lists(one, "texts", "numbers")]
        if not tokens or not tags:
            return None
        if len(tags) > 1:
            raise ask_for_column(sample, "tags", [column.name for column in tags], {"tokens": tokens[0].name})
        return FormatMatch({"tokens": tokens[0].name, "tags": tags[0].name}, 0.98, _("a tag for each token"))

    def fits_told(self, told: Columns, sample: ColumnSample) -> bool:
        return super().fits_told(self.complete_roles(told, sample), sample)

    def complete_roles(self, told: Columns, sample: ColumnSample) -> Columns:
        """Add the tokens if the user has named only the tags."""
        tokens = sample.find_named(TOKEN_NAMES, "texts")
        # Only one column can hold the tokens, so the user need not name it.
        if "tags" not in told or "tokens" in told or not tokens:
            return told
        return {"tokens": tokens[0].name, **told}

    def convert_row(self, values: Values, columns: Columns) -> TaggedText:
        tokens, tags = (parse_if_json(values.get(columns[role])) for role in ("tokens", "tags"))
        # An empty list is a row without words, and not a row of the wrong kind.
        if tokens == []:
            raise RowProblem(N_("the row has no words"))
        if not isinstance(tokens, list):
            raise RowProblem(
                N_("the tokens are not a list of texts"), _describe_kind(tokens, columns["tokens"])
            )
        if not isinstance(tags, list):
            raise RowProblem(N_("the tags are missing or not a list"), _describe_kind(tags, columns["tags"]))
        if len(tokens) != len(tags):
            raise RowProblem(
                N_("not as many tags as tokens"),
                _("{tokens} tokens, {tags} tags", tokens=len(tokens), tags=len(tags)),
            )
        for place, token in enumerate(tokens, 1):
            if not isinstance(token, str):
                raise RowProblem(N_("a token is not text"), _describe_place(token, place, columns["tokens"]))
        found: list[str | int] = []
        for place, tag in enumerate(tags, 1):
            if isinstance(tag, float) and tag.is_integer():
                # A table with empty cells writes whole numbers like this.
                tag = int(tag)
            if isinstance(tag, bool) or not isinstance(tag, str | int) or tag == "":
                raise RowProblem(
                    N_("a tag is neither text nor a number"), _describe_place(tag, place, columns["tags"])
                )
            found.append(tag)
        return TaggedText(tokens, found)

    def suggest_other_way(self, columns: Columns, values: Values) -> AlternativeWay:
        words = N_("To train on the sentences alone, their tokens joined by spaces: {command}.")
        return AlternativeWay(words, "pretraining", {"text": columns["tokens"]})


def _are_lists(column: Column, *kinds: str) -> bool:
    """Return whether a column holds such lists, as they are or written as JSON in a table."""
    if column.is_mostly(*kinds):
        return True
    return column.is_mostly("text") and find_value_kind(parse_if_json(column.example)) in kinds


def _describe_kind(value: Any, column: str) -> str:
    if value is None:
        return _("column {column} is empty", column=one_line(column, 40))
    return _("column {column} holds {kind}", column=one_line(column, 40), kind=type(value).__name__)


def _describe_place(value: Any, place: int, column: str) -> str:
    return _(
        "{value} at word {place}, column {column}",
        value=one_line(repr(value), 40),
        place=place,
        column=one_line(column, 40),
    )


FORMATS = (TokenTags(),)
