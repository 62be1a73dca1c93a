"""A text, or two, with a class, several classes or a number: for classifiers and regressions.

Several classes are a list of names, or a column of 0 and 1 for each class.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from tui_tuner.data.formats.base import Format, Match, Way, ask
from tui_tuner.data.formats.parts import troubles
from tui_tuner.data.formats.parts.columns import LABEL_NAMES, Column, Sample, loads_if_json
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


# Pairs whose columns other formats have, too: they are pairs where there is a label
LABELLED_PAIRS = (("question", "sentence"), ("question", "passage"), ("sentence", "question"))
LABELS = ("text", "number", "bool", "texts", "numbers", "list")  # what a label may be
MOST_FLAGS = 1000  # columns of 0 and 1
_FLAGS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True, "": False}
_IDS = ("id", "idx", "index", "guid", "uid", "uuid", "example_id", "unnamed:_0", "")
_LISTED = 10_000  # characters of a list that a table holds as text


class TextLabel(Format):
    name = "text_label"
    needed = ("text", "label")
    rank = 80
    rank_told = 65

    def recognise(self, sample: Sample, asked: bool) -> Match | None:
        labels = sample.named(LABEL_NAMES, *LABELS)
        texts = [column for column in sample.named("text", "text") if column not in labels]
        if not labels:
            return _flagged(sample, texts, asked)
        if not texts:
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
        flags = {role: name for role, name in columns.items() if role.startswith("label")}
        label = _label_of(values.get(columns["label"])) if len(flags) == 1 else _flags_of(values, flags)
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
                if labels := sample.named(LABEL_NAMES, *LABELS):
                    roles["label"] = labels[0].name
                return Match(roles, 0.97, listed((first, second)))
        labels = sample.named(LABEL_NAMES, *LABELS)
        for first, second in LABELLED_PAIRS if labels else ():
            one, two = sample.get(first), sample.get(second)
            if one and two and one.mostly("text") and two.mostly("text"):
                roles = {"text": one.name, "pair": two.name, "label": labels[0].name}
                return Match(roles, 0.97, listed((first, second, labels[0].name)))
        return None

    def convert(self, values: Values, columns: Columns) -> Labelled:
        first = text_of(values.get(columns["text"]), FIRST)
        second = text_of(values.get(columns["pair"]), SECOND)
        label = _label_of(values.get(columns["label"])) if "label" in columns else None
        if label == "-" and columns["label"] == "gold_label":
            label = None  # in SNLI and MNLI: those who were asked did not agree
        return Labelled(first, label, second)

    def otherwise(self, columns: Columns, values: Values) -> Way:
        if "label" not in columns:
            words = N_("To learn the first text alone: {command}.")
            return Way(words, "pretraining", {"text": columns["text"]})
        roles = {"prompt": columns["text"], "input": columns["pair"], "response": columns["label"]}
        return Way(N_("To learn to write the class as an answer: {command}."), "sft", roles)


def _flagged(sample: Sample, texts: Sequence[Column], asked: bool) -> Match | None:
    """A text, and a column of 0 and 1 for each of several classes.

    Such columns may mean anything beside a text, so there have to be a few of them, and nothing else, unless
    the user says what the rows are.
    """
    flags = [column for column in sample.columns.values() if _is_flag(column)]
    names = {column.name for column in flags}  # comparing columns themselves takes the square of their number
    others = [column for column in sample.columns.values() if column.name not in names and column.filled]
    if not texts:
        words = [column for column in others if column.mostly("text") and column.plain not in _IDS]
        texts = sorted(words, key=lambda column: -column.mean_length)[:1]
    if not texts or len(flags) < 2 or len(flags) > MOST_FLAGS:
        return None
    alone = all(column is texts[0] or column.plain in _IDS for column in others)
    numbers = all(column.mostly("number") or column.mostly("text") for column in flags)
    if not asked and not (alone and numbers and len(flags) >= 3):
        return None
    why = _(
        "{text} with {count} columns of 0 and 1, a class each",
        text=one_line(texts[0].name, 40),
        count=len(flags),
    )
    return Match({"text": texts[0].name, **label_roles([column.name for column in flags])}, 0.9, why)


def label_roles(names: Sequence[str]) -> dict[str, str]:
    """Roles for columns of 0 and 1, one for each class."""
    return {"label" if number == 1 else f"label {number}": name for number, name in enumerate(names, 1)}


def _is_flag(column: Column) -> bool:
    """Whether a column holds 0 and 1, and nothing else."""
    return (
        bool(column.filled)
        and column.plain not in _IDS
        and column.mostly("number", "bool", "text")
        and len(column.values) <= 4
        and all(value.strip().lower() in _FLAGS for value in column.values)
    )


def _flags_of(values: Values, flags: Columns) -> list[str | int | float] | None:
    """The classes that apply to a row; None where none of the columns says anything.

    Raises:
        RowProblem: a column holds something else than 0 and 1.
    """
    found: list[str | int | float] = []
    said = 0
    for name in flags.values():
        value = values.get(name)
        if value is None or is_nan(value) or value == "":
            continue
        said += 1
        flag = _FLAGS.get(str(value).strip().lower())
        if flag is None:
            raise RowProblem(
                N_("a column of a class holds something else than 0 and 1"), f"{name}: {one_line(value, 60)}"
            )
        if flag:
            found.append(name)
    return found if said else None


def _are_classes(column: Column, rows: int) -> bool:
    """Whether values come again, or are short: long texts that all differ are no classes."""
    return rows < 20 or column.mean_length < 30 or 2 * len(column.values) < min(column.filled, 200)


def _label_of(value: Any) -> str | int | float | list[str | int | float] | None:
    """A label as it stands, or a list of them; a list may be written out, as tables do.

    Raises:
        RowProblem: it is something else.
    """
    if is_nan(value):
        return None
    if isinstance(value, str) and value[:1] == "[" and value.rstrip()[-1:] == "]":
        value = _read_list(value)
    if isinstance(value, list | tuple):
        if not all(isinstance(item, str | int | float) and not is_nan(item) for item in value):
            raise RowProblem(N_("a label is neither text nor a number"), one_line(value, 80))
        return list(value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise RowProblem(N_("the label is neither text nor a number"), type(value).__name__)


def _read_list(text: str) -> Any:
    """A list that is written as JSON or as Python writes it; any other text as it is."""
    found = loads_if_json(text)
    if isinstance(found, list) or len(text) > _LISTED:
        return found
    try:
        read = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return read if isinstance(read, list) else text


FORMATS = (TextLabel(), SentencePair())
