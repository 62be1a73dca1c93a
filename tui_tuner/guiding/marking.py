"""Texts for annotating by hand: reading them, splitting them into words, and building rows from marks."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tui_tuner.errors import DataError

Row = dict[str, Any]

MOST_TEXTS = 20_000  # offered from a file: more than anyone annotates by hand
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]"
)


def read_texts_to_mark(path: Path, kind: str) -> tuple[list[Row], list[str]]:
    """Read a file of any kind into (rows that are labelled already, texts that are not).

    Raises:
        TunerError: it cannot be read.
    """
    from tui_tuner.config.schema import DataSection
    from tui_tuner.data.read_data import DataReading
    from tui_tuner.data.records import list_record_texts

    if path.suffix.lower() in (".txt", ".text"):
        return [], _split_plain_texts(path)
    done: list[Row] = []
    texts: list[str] = []
    data = DataSection(path=str(path), limit=MOST_TEXTS)
    try:
        for read in DataReading(data):
            # For example a text without a label, which is what the user will add
            if read.record is None:
                texts += _find_unmarked_text(read.row.values, read.columns)
                continue
            row = _convert_record(read.record) if read.record.kind == kind else None
            if row is not None:
                done.append(row)
            else:
                texts += [text.strip() for text in list_record_texts(read.record)[:1] if text.strip()]
    except DataError:
        # Unknown column names: take the column with the longest texts
        texts = _read_longest_column(data)
        if not texts:
            raise
    return done, texts


def _find_unmarked_text(values: Mapping[str, Any], columns: Mapping[str, str]) -> list[str]:
    """Return the text of an incomplete record as a list of at most one item."""
    # The roles under which the formats know a text that is to be labelled, answered or continued
    found = [values.get(columns[role]) for role in ("text", "context", "prompt") if role in columns]
    return [text.strip() for text in found[:1] if isinstance(text, str) and text.strip()]


def _split_plain_texts(path: Path) -> list[str]:
    """Split a plain text file at blank lines, or into lines if it has no blank ones."""
    from tui_tuner.evaluation.text_input import read_text_input

    text = strip_control_characters(read_text_input(str(path))).replace("\r\n", "\n")
    parts = re.split(r"\n\s*\n", text)
    if len([part for part in parts if part.strip()]) < 2:
        parts = text.split("\n")
    return [part.strip() for part in parts if part.strip()][:MOST_TEXTS]


def _read_longest_column(data: Any) -> list[str]:
    from tui_tuner.data.preview import read_raw_rows

    rows = read_raw_rows(data, MOST_TEXTS)
    sizes: Counter[str] = Counter()
    for row in rows:
        sizes.update({str(name): len(value) for name, value in row.items() if isinstance(value, str)})
    if not sizes:
        return []
    name = sizes.most_common(1)[0][0]
    return [row[name].strip() for row in rows if isinstance(row.get(name), str) and row[name].strip()]


def _convert_record(record: Any) -> Row | None:
    """Convert a labelled record to a row; None if it has no label or holds more than a row can."""
    if record.kind == "labelled":
        # A pair of texts has one label, which a row of one text cannot express
        whole = record.label is not None and record.pair is None
        return {"text": record.text, "label": record.label} if whole else None
    if record.kind == "tagged":
        return {"tokens": record.tokens, "ner_tags": record.tags}
    if record.kind == "question":
        texts, starts = [text for text, _at in record.answers], [at for _text, at in record.answers]
        answers = {"text": texts, "answer_start": starts}
        return {"question": record.question, "context": record.context, "answers": answers}
    roles = [message.role for message in record.messages]
    # A longer chat cannot be shown or undone as one prompt with one answer
    if roles != ["user", "assistant"] or not all(message.content for message in record.messages):
        return None
    return {"prompt": record.messages[0].content, "response": record.messages[1].content}


def find_row_text(row: Row) -> str:
    """Return the text that a row annotates."""
    if "tokens" in row:
        return " ".join(map(str, row["tokens"]))
    return str(row.get("text") or row.get("context") or row.get("prompt") or "")


def strip_control_characters(text: str) -> str:
    """Remove control characters and marks that change the text's direction."""
    return _STEERING.sub("", text)


def split_words_to_mark(text: str) -> list[tuple[int, int]]:
    """Split a text into (begin, end) of words and signs; each Chinese character or kana is a word."""
    found: list[tuple[int, int]] = []
    # Whether the last word may continue with the next letter
    open_word = False
    for place, letter in enumerate(text):
        if letter.isspace():
            open_word = False
            continue
        # Unicode's categories: L are letters, N digits, M combining marks, Cf invisible joiners
        category = unicodedata.category(letter)
        # A combining mark belongs to the letter before it, in whichever script
        # Accents, vowel signs and joiners are parts of the letter before them
        joins = category[0] == "M" or category == "Cf"
        part = category[0] in "LN" and not _stands_alone(letter)
        if found and found[-1][1] == place and (joins or (part and open_word)):
            found[-1] = (found[-1][0], place + 1)
            continue
        found.append((place, place + 1))
        open_word = part
    return found


def _stands_alone(letter: str) -> bool:
    """Return whether a letter belongs to a script without spaces, where each letter is a word here."""
    code = ord(letter)
    return (
        0x3040 <= code <= 0x30FF
        or 0x3400 <= code <= 0x9FFF
        or 0xF900 <= code <= 0xFAFF
        or 0x20000 <= code <= 0x3FFFF
    )


def make_tagged_row(words: Sequence[str], marks: Iterable[tuple[int, int, str]]) -> Row:
    """Build a row of words and BIO tags.

    Args:
        marks: (first word, last word, label) each.
    """
    tags = ["O"] * len(words)
    for first, last, label in marks:
        tags[first : last + 1] = [f"B-{label}"] + [f"I-{label}"] * (last - first)
    return {"tokens": list(words), "ner_tags": tags}


def read_marks(row: Row) -> list[tuple[int, int, str]]:
    """Return (first word, last word, label) of each mark in a row's tags: `make_tagged_row` reversed."""
    found: list[tuple[int, int, str]] = []
    for place, tag in enumerate(map(str, row["ner_tags"])):
        kind, _dash, label = tag.partition("-")
        if kind == "B":
            found.append((place, place, label))
        elif kind == "I" and found and found[-1][1] == place - 1 and found[-1][2] == label:
            found[-1] = (found[-1][0], place, label)
    return found


def make_question_row(question: str, context: str, place: tuple[int, int] | None) -> Row:
    """Build a question row; `place` is the answer's (begin, end) in characters, None if there is none."""
    text = [context[place[0] : place[1]]] if place else []
    start = [place[0]] if place else []
    return {"question": question, "context": context, "answers": {"text": text, "answer_start": start}}
