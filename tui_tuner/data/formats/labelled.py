"""Read a text, or two, with a class, several classes or a number, for classification and regression.

Several classes are a list of names, or a column of 0 and 1 for each class.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from tui_tuner.data.formats.parts import troubles
from tui_tuner.data.formats.parts.columns import LABEL_NAMES, Column, ColumnSample, parse_if_json
from tui_tuner.data.formats.parts.troubles import TextProblems
from tui_tuner.data.formats.parts.values import Columns, Values, is_nan, read_text_value
from tui_tuner.data.formats.record_format import AlternativeWay, FormatMatch, RecordFormat, ask_for_column
from tui_tuner.data.records import LabelledText
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.locales import N_, _
from tui_tuner.text import join_sentence_items, one_line

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

FIRST = TextProblems(
    N_("the first sentence is not text"),
    N_("the first sentence is empty"),
    N_("the first sentence is missing"),
)
SECOND = TextProblems(
    N_("the second sentence is not text"),
    N_("the second sentence is empty"),
    N_("the second sentence is missing"),
)


# Pairs of names that other formats have too; they are pairs only if there is a label
LABELLED_PAIRS = (("question", "sentence"), ("question", "passage"), ("sentence", "question"))
LABELS = ("text", "number", "bool", "texts", "numbers", "list")  # kinds of values of a label
MOST_FLAGS = 1000  # columns of 0 and 1
_FLAGS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True, "": False}
_IDS = ("id", "idx", "index", "guid", "uid", "uuid", "example_id", "unnamed:_0", "")
_LISTED = 10_000  # characters of a list that a table holds as text


class TextLabel(RecordFormat):
    name = "text_label"
    needed = ("text", "label")
    rank = 80
    rank_told = 65

    def recognise_rows(self, sample: ColumnSample, asked: bool) -> FormatMatch | None:
        labels = sample.find_named(LABEL_NAMES, *LABELS)
        texts = [column for column in sample.find_named("text", "text") if column not in labels]
        if not labels:
            return _match_flags(sample, texts, asked)
        if not texts:
            return None
        # A column called "text" is certain enough; among others, such as title and body, the user decides.
        if len(texts) > 1 and not {"text"} & {column.normalised_name for column in texts}:
            raise ask_for_column(sample, "text", [column.name for column in texts], {"label": labels[0].name})
        if len(labels) > 1 and labels[0].normalised_name != "label":
            raise ask_for_column(sample, "label", [column.name for column in labels], {"text": texts[0].name})
        why = _(
            "{text} with a class in {label}",
            text=one_line(texts[0].name, 40),
            label=one_line(labels[0].name, 40),
        )
        # Texts that all differ in a column called "label" may be answers, so the user is asked.
        sure = 0.93 if _are_classes(labels[0], len(sample.rows)) else 0.6
        return FormatMatch({"text": texts[0].name, "label": labels[0].name}, sure, why)

    def convert_row(self, values: Values, columns: Columns) -> LabelledText:
        flags = {role: name for role, name in columns.items() if role.startswith("label")}
        label = _read_label(values.get(columns["label"])) if len(flags) == 1 else _read_flags(values, flags)
        if label is None or label == "":
            raise RowProblem(N_("the label is missing"))
        return LabelledText(read_text_value(values.get(columns["text"]), troubles.TEXT), label)

    def suggest_other_way(self, columns: Columns, values: Values) -> AlternativeWay:
        roles = {"prompt": columns["text"], "response": columns["label"]}
        return AlternativeWay(N_("To learn to write the class as an answer: {command}."), "sft", roles)


class SentencePair(RecordFormat):
    name = "sentence_pair"
    needed = ("text", "pair")
    more = ("label",)
    rank = 60

    def recognise_rows(self, sample: ColumnSample, asked: bool) -> FormatMatch | None:
        for first, second in PAIRS:
            one, two = sample.get_filled(first), sample.get_filled(second)
            if one and two and one.is_mostly("text") and two.is_mostly("text"):
                roles = {"text": one.name, "pair": two.name}
                if labels := sample.find_named(LABEL_NAMES, *LABELS):
                    roles["label"] = labels[0].name
                return FormatMatch(roles, 0.97, join_sentence_items((first, second)))
        labels = sample.find_named(LABEL_NAMES, *LABELS)
        for first, second in LABELLED_PAIRS if labels else ():
            one, two = sample.get_filled(first), sample.get_filled(second)
            if one and two and one.is_mostly("text") and two.is_mostly("text"):
                roles = {"text": one.name, "pair": two.name, "label": labels[0].name}
                return FormatMatch(roles, 0.97, join_sentence_items((first, second, labels[0].name)))
        return None

    def convert_row(self, values: Values, columns: Columns) -> LabelledText:
        first = read_text_value(values.get(columns["text"]), FIRST)
        second = read_text_value(values.get(columns["pair"]), SECOND)
        label = _read_label(values.get(columns["label"])) if "label" in columns else None
        if label == "-" and columns["label"] == "gold_label":
            # In SNLI and MNLI this means that the annotators did not agree.
            label = None
        return LabelledText(first, label, second)

    def suggest_other_way(self, columns: Columns, values: Values) -> AlternativeWay:
        if "label" not in columns:
            words = N_("To train on the first text alone: {command}.")
            return AlternativeWay(words, "pretraining", {"text": columns["text"]})
        roles = {"prompt": columns["text"], "input": columns["pair"], "response": columns["label"]}
        return AlternativeWay(N_("To learn to write the class as an answer: {command}."), "sft", roles)


def _match_flags(sample: ColumnSample, texts: Sequence[Column], asked: bool) -> FormatMatch | None:
    """Match a text with a column of 0 and 1 for each of several classes."""
    # Such columns next to a text may mean anything, so there must be at least three of them and nothing else,
    # unless the user asked for this format.
    flags = [column for column in sample.columns.values() if _is_flag(column)]
    names = {column.name for column in flags}  # comparing columns themselves takes the square of their number
    others = [column for column in sample.columns.values() if column.name not in names and column.filled]
    if not texts:
        words = [
            column for column in others if column.is_mostly("text") and column.normalised_name not in _IDS
        ]
        texts = sorted(words, key=lambda column: -column.mean_length)[:1]
    if not texts or len(flags) < 2 or len(flags) > MOST_FLAGS:
        return None
    alone = all(column is texts[0] or column.normalised_name in _IDS for column in others)
    numbers = all(column.is_mostly("number") or column.is_mostly("text") for column in flags)
    if not asked and not (alone and numbers and len(flags) >= 3):
        return None
    why = _(
        "{text} with {count} columns of 0 and 1, a class each",
        text=one_line(texts[0].name, 40),
        count=len(flags),
    )
    return FormatMatch(
        {"text": texts[0].name, **name_label_roles([column.name for column in flags])}, 0.9, why
    )


def name_label_roles(names: Sequence[str]) -> dict[str, str]:
    """Name the roles of columns of 0 and 1, one for each class."""
    return {"label" if number == 1 else f"label {number}": name for number, name in enumerate(names, 1)}


def _is_flag(column: Column) -> bool:
    """Return whether a column holds only 0 and 1."""
    return (
        bool(column.filled)
        and column.normalised_name not in _IDS
        and column.is_mostly("number", "bool", "text")
        and len(column.values) <= 4
        and all(value.strip().lower() in _FLAGS for value in column.values)
    )


def _read_flags(values: Values, flags: Columns) -> list[str | int | float] | None:
    """Return the classes that apply to a row; None if all of their columns are empty.

    Raises:
        RowProblem: a column holds something other than 0 and 1.
    """
    found: list[str | int | float] = []
    said = 0
    for name in flags.values():
        value = values.get(name)
        # An empty cell says nothing about its class, and is not the same as 0.
        if value is None or is_nan(value) or value == "":
            continue
        said += 1
        flag = _FLAGS.get(str(value).strip().lower())
        if flag is None:
            raise RowProblem(
                N_("a column of a class holds something other than 0 and 1"), f"{name}: {one_line(value, 60)}"
            )
        if flag:
            found.append(name)
    return found if said else None


def _are_classes(column: Column, rows: int) -> bool:
    """Return whether values repeat or are short: long texts that all differ are not classes."""
    return rows < 20 or column.mean_length < 30 or 2 * len(column.values) < min(column.filled, 200)


def _read_label(value: Any) -> str | int | float | list[str | int | float] | None:
    """Read a label or a list of them; a list may be written as text, as in tables.

    Raises:
        RowProblem: it is something else.
    """
    if is_nan(value):
        return None
    # Tables keep lists as text.
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
    """Parse a list written as JSON or in Python's syntax; any other text is returned unchanged."""
    found = parse_if_json(text)
    if isinstance(found, list) or len(text) > _LISTED:
        return found
    try:
        read = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return read if isinstance(read, list) else text


FORMATS = (TextLabel(), SentencePair())
