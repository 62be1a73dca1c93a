"""Markers put in the place of what a turn says, to see where a chat template writes it.

A turn keeps its shape: reasoning stays reasoning and a call stays a call, so that templates which look into
turns, or insist on their order, treat the marked turn as they treat the real one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tui_tuner.data.records import REASONING_KEYS

Turn = dict[str, Any]
_MARK = "qVzk{:d}kzVq"
PROBE = 900_000  # markers from here on are looked for; those below are the words of a skeleton
_PROBED = re.compile(r"qVzk(9\d{5})kzVq")
_MARKED = re.compile(r"qVzk(\d{1,5})kzVq")
# Reasoning inside the text of an answer: the block in front, and what is said after it
INLINE = re.compile(
    r"(\s*+<think>\s*+)((?:\s++(?!</think>)|(?!</think>)\S)*+)(\s*+</think>\s*+)(.*)", re.DOTALL
)


@dataclass(frozen=True)
class Marked:
    """A turn with markers in it; `pieces` tells for each marker what it stands for.

    That is `content`, `reasoning` or `call N`.
    """

    turn: Turn
    pieces: dict[int, str]

    @property
    def kinds(self) -> set[str]:
        """What the turn has pieces of."""
        return set(self.pieces.values())


class _Pen:
    """Gives out markers, counting from `first`."""

    def __init__(self, first: int) -> None:
        self.next = first
        self.pieces: dict[int, str] = {}

    def mark(self, kind: str) -> str:
        self.pieces[self.next] = kind
        self.next += 1
        return _MARK.format(self.next - 1)


def mark(turn: Turn, first: int = PROBE, names: bool = False) -> Marked:
    """A turn with each of its pieces replaced by a marker, numbered from `first`.

    Args:
        names: Mark the names of called functions instead of the values of their arguments.
    """
    pen = _Pen(first)
    marked = dict(turn)
    content = turn.get("content")
    if isinstance(content, str) and content.strip():
        found = INLINE.fullmatch(content) if turn["role"] == "assistant" else None
        if found and found[2]:
            after = pen.mark("content") if found[4].strip() else ""
            marked["content"] = found[1] + pen.mark("reasoning") + found[3] + after
        else:
            marked["content"] = pen.mark("content")
    elif isinstance(content, list):
        marked["content"] = [
            {**part, "text": pen.mark("content")} if str(part.get("text", "")).strip() else part
            for part in content
        ]
    for key in REASONING_KEYS:
        if isinstance(turn.get(key), str) and turn[key].strip():
            marked[key] = pen.mark("reasoning")
    if turn.get("tool_calls"):
        marked["tool_calls"] = [
            _mark_call(call, f"call {number}", pen, names) for number, call in enumerate(turn["tool_calls"])
        ]
    return Marked(marked, pen.pieces)


def _mark_call(call: Any, kind: str, pen: _Pen, names: bool) -> Any:
    function = dict(call["function"])
    arguments = function.get("arguments")
    before = pen.next
    if not names:
        if isinstance(arguments, str):
            function["arguments"] = pen.mark(kind) if arguments.strip() else arguments
        else:
            function["arguments"] = _mark_values(arguments, kind, pen)
    if pen.next == before:  # no text among the arguments
        function["name"] = pen.mark(kind)
    return {**call, "function": function}


def _mark_values(value: Any, kind: str, pen: _Pen) -> Any:
    if isinstance(value, str):
        return pen.mark(kind) if value.strip() else value
    if isinstance(value, list):
        return [_mark_values(item, kind, pen) for item in value]
    if isinstance(value, Mapping):
        return {key: _mark_values(item, kind, pen) for key, item in value.items()}
    return value


def cut(text: str) -> tuple[list[str], list[int]]:
    """The texts around the markers of a probe, and the number of each marker."""
    parts = _PROBED.split(text)
    return parts[0::2], [int(number) for number in parts[1::2]]


def find_words(text: str) -> list[tuple[int, int, int]]:
    """The words of a skeleton in its text: number, first character, end."""
    return [(int(found[1]), found.start(), found.end()) for found in _MARKED.finditer(text)]


def plain_turn(role: str, number: int) -> Turn:
    """A turn that says a marker and nothing else."""
    return {"role": role, "content": _MARK.format(number)}


def ways_to_mark(turn: Turn) -> Iterator[Marked]:
    """A turn marked in each way that may show where it is written: values first, then names."""
    yield mark(turn)
    if turn.get("tool_calls"):
        yield mark(turn, names=True)


def shared(one: str, two: str) -> str:
    """What both begin with."""
    size = next(
        (i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two))
    )
    return one[:size]
