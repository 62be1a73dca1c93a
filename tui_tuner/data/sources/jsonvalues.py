"""Read JSON as programs write it: NaN for missing numbers, lists as rows, tables as pandas writes them."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from tui_tuner.data.nesting import MAX_DEPTH, is_nested_deeper
from tui_tuner.data.records import Origin, Row
from tui_tuner.data.sources.streams import HEAD
from tui_tuner.locales import N_

_NO_NUMBER = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\Z)|-?\b(?:NaN|Infinity)\b', re.S)
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\Z)', re.S)
_OPENED = 1000  # brackets that a block may open and not close
_WORD = re.compile(rb"-?[A-Za-z]{0,12}\Z")
_BLANKS = re.compile(r"\s*")


class BrokenValue:
    """A value that is not a row, and the reason."""

    def __init__(self, reason: str, value: Any) -> None:
        self.reason, self.shown = reason, "" if is_nested_deeper([value], MAX_DEPTH) else str(value)[:200]


def parse_json(data: bytes) -> Any:
    """Parse a JSON value; NaN, Infinity and -Infinity, which Python and pandas write, become null.

    Raises:
        orjson.JSONDecodeError: broken JSON.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        if b"NaN" not in data and b"Infinity" not in data:
            raise
        # Only outside of texts, and of the same length, so that another error keeps its place.
        return orjson.loads(_NO_NUMBER.sub(_replace_with_null, data))


def _replace_with_null(found: re.Match[bytes]) -> bytes:
    text = found.group()
    return text if text[:1] == b'"' else b"null".ljust(len(text))


class NullingReader(io.RawIOBase):
    """The bytes of a large JSON file, with null in the place of NaN and Infinity, as in `loads`."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._kept = b""  # the start of a word, or backslashes, at the end of the last block
        self._ready = b""
        self._in_text = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            block = self._source.read(HEAD)
            if not block and not self._kept:
                return 0
            self._ready = self._replace_numbers(self._kept + block, ended=not block)
        part, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)

    def _check_brackets(self, block: bytes) -> None:
        """Check a block that opens more brackets than it closes.

        Raises:
            RecursionError: it does so outside of texts too.
        """
        bare = _TEXT.sub(b"", b'"' + block if self._in_text else block)
        if bare.count(b"[") + bare.count(b"{") > _OPENED + bare.count(b"]") + bare.count(b"}"):
            raise RecursionError

    def _replace_numbers(self, block: bytes, ended: bool) -> bytes:
        cut = len(block)
        if not ended and (word := _WORD.search(block, max(0, cut - 16))):
            # A word or an escape cut by the end of the block waits for the next one.
            cut = len(block[: word.start()].rstrip(b"\\"))
        block, self._kept = block[:cut], block[cut:]
        # The parser in C recurses for each open bracket, so a bomb of brackets must be found before it.
        if block.count(b"[") + block.count(b"{") > _OPENED + block.count(b"]") + block.count(b"}"):
            self._check_brackets(block)
        if b"NaN" in block or b"Infinity" in block:
            opened = b'"' + block if self._in_text else block
            block = _NO_NUMBER.sub(_replace_with_null, opened)[len(opened) - len(block) :]
        # Whether the block ends within a text, from the number of quotes that are not escaped.
        bare = block.replace(b"\\\\", b"") if b"\\\\" in block else block
        self._in_text ^= (bare.count(b'"') - bare.count(b'\\"')) % 2 == 1
        return block


def make_json_row(item: Any, origin: Origin) -> Row:
    """Make a row of a JSON value: an object as it is, a text as `text`, a list of turns as `messages`."""
    if isinstance(item, dict):
        return Row(origin, item)
    if isinstance(item, str):
        return Row(origin, {"text": item})
    if isinstance(item, list) and item:
        turns = all(isinstance(part, dict) for part in item)
        return Row(origin, {"messages" if turns else "list": item})
    if isinstance(item, BrokenValue):
        return Row(origin, {"": item.shown}, item.reason)
    return Row(origin, {"": str(item)[:200]}, N_("not a JSON object"))


def read_pandas_rows(value: dict[str, Any]) -> list[Any]:
    """Return the rows that `DataFrame.to_json` wrote (orient split, index or columns); else empty."""
    names, data = value.get("columns"), value.get("data")
    if isinstance(names, list) and isinstance(data, list) and value.keys() <= {"columns", "index", "data"}:
        if all(isinstance(row, list) and len(row) == len(names) for row in data):
            return [dict(zip(map(str, names), row, strict=True)) for row in data]
        return []
    inner = list(value.values())
    if not inner or not all(isinstance(item, dict) and item for item in inner):
        return []
    # orient="index": keys count rows, and each value is one of them
    if all(key.isdigit() for key in value):
        return inner
    # orient="columns": keys are columns, each an object of rows
    keys = inner[0].keys()
    if all(key.isdigit() for key in keys) and all(item.keys() == keys for item in inner):
        return [{name: column[key] for name, column in value.items()} for key in keys]
    return []


def read_squad_rows(articles: Any) -> Iterator[Any]:
    """Yield rows with question, context and answers from SQuAD articles; `BrokenValue` for other values."""
    for article in articles:
        if not isinstance(article, dict) or not isinstance(article.get("paragraphs"), list):
            yield BrokenValue(N_("not an article with paragraphs"), article)
            continue
        for paragraph in article["paragraphs"]:
            if not isinstance(paragraph, dict) or not isinstance(paragraph.get("qas"), list):
                yield BrokenValue(N_("not a paragraph with questions"), paragraph)
                continue
            for question in paragraph["qas"]:
                if not isinstance(question, dict):
                    yield BrokenValue(N_("not a JSON object"), question)
                    continue
                row = {
                    "id": question.get("id"),
                    "title": article.get("title"),
                    "question": question.get("question"),
                    "context": paragraph.get("context"),
                    "answers": question.get("answers") or [],
                }
                for name in ("is_impossible", "plausible_answers"):  # of version 2
                    if name in question:
                        row[name] = question[name]
                yield row


def make_squad_row(item: Any, file: str, number: int) -> Row:
    """Make a row of one of those; its place is named by the question's id."""
    name = item.get("id") if isinstance(item, dict) else None
    return make_json_row(item, Origin(file, number, name=str(name) if isinstance(name, str | int) else ""))


def parse_concatenated(text: bytes) -> Iterator[Any]:
    """Parse JSON values that follow one another, over any number of lines.

    Raises:
        json.JSONDecodeError: the text is not JSON.
    """
    # orjson cannot parse the first value of a text and report where it ends.
    decoder = json.JSONDecoder(parse_constant=lambda _name: None)
    whole = text.decode("utf-8")
    place = 0
    while True:
        blanks = _BLANKS.match(whole, place)
        place = blanks.end() if blanks else place
        if place >= len(whole):
            return
        value, place = decoder.raw_decode(whole, place)
        yield value


def is_json_list(head: bytes) -> bool:
    """Return whether a file that should be JSON lines is one JSON list instead, judging by its start."""
    head = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if head[:1] != b"[":
        return False
    # A line may be a list of turns: then the first line is a whole list, and either more lines follow or
    # its items have roles.
    first, _unused, rest = head.partition(b"\n")
    try:
        value = parse_json(first)
    except orjson.JSONDecodeError:
        return True
    if rest.strip():
        return False
    return not (value and all(isinstance(turn, dict) and turn.keys() & {"role", "from"} for turn in value))


def is_jsonl(head: bytes) -> bool:
    """Return whether each of the first lines of a text file is a JSON object."""
    lines = head.split(b"\n")
    lines = [line for line in (lines[:-1] if len(lines) > 1 else lines) if line.strip()][:20]
    if not lines or not all(line.lstrip(b"\xef\xbb\xbf \t")[:1] == b"{" for line in lines):
        return False
    try:
        return all(isinstance(parse_json(line.removeprefix(b"\xef\xbb\xbf")), dict) for line in lines)
    except orjson.JSONDecodeError:
        return False
