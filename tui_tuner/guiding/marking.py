"""Texts that are to be marked by hand, cut into words, and the rows that marks make of them."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tui_tuner.errors import DataError

Row = dict[str, Any]

MOST_TEXTS = 20_000  # of a file that are offered: more than anybody marks by hand
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]"
)


def read_texts(path: Path, kind: str) -> tuple[list[Row], list[str]]:
    """(rows that are marked there already, texts that are not) of a file of any kind.

    Raises:
        TunerError: it cannot be read.
    """
    from tui_tuner.config.schema import DataSection
    from tui_tuner.data.reading import Reading
    from tui_tuner.data.records import texts_of

    if path.suffix.lower() in (".txt", ".text"):
        return [], _plain_texts(path)
    done: list[Row] = []
    texts: list[str] = []
    data = DataSection(path=str(path), limit=MOST_TEXTS)
    try:
        for read in Reading(data):
            if read.record is None:  # such as a text whose label is missing: that is what is to be given
                texts += _unmarked(read.row.values, read.columns)
                continue
            row = _row_of(read.record) if read.record.kind == kind else None
            if row is not None:
                done.append(row)
            else:
                texts += [text.strip() for text in texts_of(read.record)[:1] if text.strip()]
    except DataError:  # columns that say nothing: the longest texts are what is to be marked
        texts = _longest_column(data)
        if not texts:
            raise
    return done, texts


def _unmarked(values: Mapping[str, Any], columns: Mapping[str, str]) -> list[str]:
    """The text of a row that is no whole record, where it has one."""
    found = [values.get(columns[role]) for role in ("text", "context", "prompt") if role in columns]
    return [text.strip() for text in found[:1] if isinstance(text, str) and text.strip()]


def _plain_texts(path: Path) -> list[str]:
    """Texts of a plain file: parts between blank lines, or lines where there are none."""
    from tui_tuner.evaluation.asked import read_text

    text = clean(read_text(str(path))).replace("\r\n", "\n")
    parts = re.split(r"\n\s*\n", text)
    if len([part for part in parts if part.strip()]) < 2:
        parts = text.split("\n")
    return [part.strip() for part in parts if part.strip()][:MOST_TEXTS]


def _longest_column(data: Any) -> list[str]:
    from tui_tuner.data.preview import raw_rows

    rows = raw_rows(data, MOST_TEXTS)
    sizes: Counter[str] = Counter()
    for row in rows:
        sizes.update({str(name): len(value) for name, value in row.items() if isinstance(value, str)})
    if not sizes:
        return []
    name = sizes.most_common(1)[0][0]
    return [row[name].strip() for row in rows if isinstance(row.get(name), str) and row[name].strip()]


def _row_of(record: Any) -> Row | None:
    """A marked record as it is written here; None where it is not marked, or is more than that."""
    if record.kind == "labelled":
        whole = record.label is not None and record.pair is None
        return {"text": record.text, "label": record.label} if whole else None
    if record.kind == "tagged":
        return {"tokens": record.tokens, "ner_tags": record.tags}
    if record.kind == "question":
        texts, starts = [text for text, _at in record.answers], [at for _text, at in record.answers]
        answers = {"text": texts, "answer_start": starts}
        return {"question": record.question, "context": record.context, "answers": answers}
    roles = [message.role for message in record.messages]
    if roles != ["user", "assistant"] or not all(message.content for message in record.messages):
        return None
    return {"prompt": record.messages[0].content, "response": record.messages[1].content}


def text_of(row: Row) -> str:
    """The text that a row is about."""
    if "tokens" in row:
        return " ".join(map(str, row["tokens"]))
    return str(row.get("text") or row.get("context") or row.get("prompt") or "")


def clean(text: str) -> str:
    """Text without what steers a terminal or turns its direction."""
    return _STEERING.sub("", text)


def words_of_text(text: str) -> list[tuple[int, int]]:
    """(begin, end) of each word and each sign of a text; Chinese characters and kana are words each."""
    found: list[tuple[int, int]] = []
    open_word = False  # the last one may go on
    for place, letter in enumerate(text):
        if letter.isspace():
            open_word = False
            continue
        category = unicodedata.category(letter)
        joins = category[0] == "M" or category == "Cf"  # accents, vowel signs, joiners
        part = category[0] in "LN" and not _stands_alone(letter)
        if found and found[-1][1] == place and (joins or (part and open_word)):
            found[-1] = (found[-1][0], place + 1)
            continue
        found.append((place, place + 1))
        open_word = part
    return found


def _stands_alone(letter: str) -> bool:
    """Whether a letter is a word by itself in writing without spaces."""
    code = ord(letter)
    return (
        0x3040 <= code <= 0x30FF
        or 0x3400 <= code <= 0x9FFF
        or 0xF900 <= code <= 0xFAFF
        or 0x20000 <= code <= 0x3FFFF
    )


def tagged_row(words: Sequence[str], marks: Iterable[tuple[int, int, str]]) -> Row:
    """A row of words and tags.

    Args:
        marks: (first word, last word, label) each.
    """
    tags = ["O"] * len(words)
    for first, last, label in marks:
        tags[first : last + 1] = [f"B-{label}"] + [f"I-{label}"] * (last - first)
    return {"tokens": list(words), "ner_tags": tags}


def marks_of(row: Row) -> list[tuple[int, int, str]]:
    """The marks that the tags of a row stand for: the inverse of `tagged_row`."""
    found: list[tuple[int, int, str]] = []
    for place, tag in enumerate(map(str, row["ner_tags"])):
        kind, _dash, label = tag.partition("-")
        if kind == "B":
            found.append((place, place, label))
        elif kind == "I" and found and found[-1][1] == place - 1 and found[-1][2] == label:
            found[-1] = (found[-1][0], place, label)
    return found


def question_row(question: str, context: str, place: tuple[int, int] | None) -> Row:
    """A question, with its answer as (begin, end) in characters of the text; None where it has none."""
    text = [context[place[0] : place[1]]] if place else []
    start = [place[0]] if place else []
    return {"question": question, "context": context, "answers": {"text": text, "answer_start": start}}
