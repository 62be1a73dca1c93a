"""Tokens with a tag for each, as for named entities."""

from __future__ import annotations

from tui_tuner.data.formats.base import Format, Match, Way, ask
from tui_tuner.data.formats.parts.columns import Sample
from tui_tuner.data.formats.parts.values import Columns, Values
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import Tagged
from tui_tuner.locales import N_, _

TOKEN_NAMES = ("tokens", "words")
TAG_NAMES = ("ner_tags", "tags", "pos_tags", "labels", "ner", "ner_labels", "tag", "upos")


class TokenTags(Format):
    name = "token_tags"
    needed = ("tokens", "tags")
    rank = 55

    def recognise(self, sample: Sample, asked: bool) -> Match | None:
        tokens = sample.named(TOKEN_NAMES, "texts")
        tags = sample.named(TAG_NAMES, "texts", "numbers")
        if not tokens or not tags:
            return None
        if len(tags) > 1:
            raise ask(sample, "tags", [column.name for column in tags], {"tokens": tokens[0].name})
        return Match({"tokens": tokens[0].name, "tags": tags[0].name}, 0.98, _("a tag for each token"))

    def convert(self, values: Values, columns: Columns) -> Tagged:
        tokens, tags = values.get(columns["tokens"]), values.get(columns["tags"])
        if not isinstance(tokens, list) or not isinstance(tags, list) or not tokens:
            raise RowProblem(N_("tokens or tags are not a list"))
        if len(tokens) != len(tags):
            raise RowProblem(
                N_("not as many tags as tokens"),
                _("{tokens} tokens, {tags} tags", tokens=len(tokens), tags=len(tags)),
            )
        if not all(isinstance(token, str) for token in tokens):
            raise RowProblem(N_("a token is not text"))
        if not all(isinstance(tag, str | int) for tag in tags):
            raise RowProblem(N_("a tag is neither text nor a number"))
        return Tagged(tokens, tags)

    def otherwise(self, columns: Columns, values: Values) -> Way:
        words = N_("To learn the sentences alone, their tokens joined by spaces: {command}.")
        return Way(words, "pretraining", {"text": columns["tokens"]})


FORMATS = (TokenTags(),)
