"""A text, or two, with a class: for classifiers and for telling how two sentences relate."""

from __future__ import annotations

from typing import Any

from tui_tuner.data.formats.base import Format, Match, Way, ask
from tui_tuner.data.formats.parts import troubles
from tui_tuner.data.formats.parts.columns import LABEL_NAMES, Column, Sample
from tui_tuner.data.formats.parts.troubles import Troubles
from tui_tuner.data.formats.parts.values import Columns, Values, is_nan, text_of
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import Labelled
from tui_tuner.locales import N_, _
from tui_tuner.text import listed, one_line

PAIRS = (
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("sentence_a", "sentence_b"),
    ("text1", "text2"),
    ("text_1", "text_2"),
    ("text_a", "text_b"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("string1", "string2"),
    ("anchor", "positive"),
)

FIRST = Troubles(
    N_("the first sentence is not text"),
    N_("the first sentence is empty"),
    N_("the first sentence is missing"),
)
SECOND = Troubles(
    N_("the second sentence is not text"),
    N_("the second sentence is empty"),
    N_("the second sentence is missing"),
)


class TextLabel(Format):
    name = "text_label"
    needed = ("text", "label")
    rank = 80
    rank_told = 65

    def recognise(self, sample: Sample, asked: bool) -> Match | None:
        labels = sample.named(LABEL_NAMES, "text", "number", "bool")
        texts = [column for column in sample.named("text", "text") if column not in labels]
        if not labels or not texts:
            return None
        if len(texts) > 1 and not {"text"} & {column.plain for column in texts}:
            raise ask(sample, "text", [column.name for column in texts], {"label": labels[0].name})
        if len(labels) > 1 and labels[0].plain != "label":
            raise ask(sample, "label", [column.name for column in labels], {"text": texts[0].name})
        why = _(
            "{text} with a class in {label}",
            text=one_line(texts[0].name, 40),
            label=one_line(labels[0].name, 40),
        )
        sure = 0.93 if _are_classes(labels[0], len(sample.rows)) else 0.6
        return Match({"text": texts[0].name, "label": labels[0].name}, sure, why)

    def convert(self, values: Values, columns: Columns) -> Labelled:
        label = _label_of(values.get(columns["label"]))
        if label is None or label == "":
            raise RowProblem(N_("the label is missing"))
        return Labelled(text_of(values.get(columns["text"]), troubles.TEXT), label)

    def otherwise(self, columns: Columns, values: Values) -> Way:
        roles = {"prompt": columns["text"], "response": columns["label"]}
        return Way(N_("To learn to write the class as an answer: {command}."), "sft", roles)


class SentencePair(Format):
    name = "sentence_pair"
    needed = ("text", "pair")
    more = ("label",)
    rank = 60

    def recognise(self, sample: Sample, asked: bool) -> Match | None:
        for first, second in PAIRS:
            one, two = sample.get(first), sample.get(second)
            if one and two and one.mostly("text") and two.mostly("text"):
                roles = {"text": one.name, "pair": two.name}
                if labels := sample.named(LABEL_NAMES):
                    roles["label"] = labels[0].name
                return Match(roles, 0.97, listed((first, second)))
        return None

    def convert(self, values: Values, columns: Columns) -> Labelled:
        first = text_of(values.get(columns["text"]), FIRST)
        second = text_of(values.get(columns["pair"]), SECOND)
        label = _label_of(values.get(columns["label"])) if "label" in columns else None
        return Labelled(first, label, second)

    def otherwise(self, columns: Columns, values: Values) -> Way:
        if "label" not in columns:
            words = N_("To learn the first text alone: {command}.")
            return Way(words, "pretraining", {"text": columns["text"]})
        roles = {"prompt": columns["text"], "input": columns["pair"], "response": columns["label"]}
        return Way(N_("To learn to write the class as an answer: {command}."), "sft", roles)


def _are_classes(column: Column, rows: int) -> bool:
    """Whether values come again, or are short: long texts that all differ are no classes."""
    return rows < 20 or column.mean_length < 30 or 2 * len(column.values) < min(column.filled, 200)


def _label_of(value: Any) -> str | int | float | None:
    if is_nan(value):
        return None
    if value is None or isinstance(value, str | int | float):
        return value
    raise RowProblem(N_("the label is neither text nor a number"), type(value).__name__)


FORMATS = (TextLabel(), SentencePair())
