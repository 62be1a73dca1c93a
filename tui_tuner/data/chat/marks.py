"""Replace the pieces of a turn with markers, to see where a chat template writes them.

A turn keeps its shape: reasoning stays reasoning and a call stays a call, so that templates that look into
turns, or insist on their order, treat the marked turn like the real one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tui_tuner.data.records import REASONING_KEYS

Turn = dict[str, Any]
# Letters and digits only: templates may trim, escape or quote anything else.
_MARK = "qVzk{:d}kzVq"
PROBE = 900_000  # markers from here on are those of a probe; lower ones are the words of a skeleton
_PROBED = re.compile(r"qVzk(9\d{5})kzVq")
_MARKED = re.compile(r"qVzk(\d{1,5})kzVq")
# Reasoning inside of an answer: the block at its start, and the text after it
INLINE = re.compile(
    r"(\s*+<think>\s*+)((?:\s++(?!</think>)|(?!</think>)\S)*+)(\s*+</think>\s*+)(.*)", re.DOTALL
)


@dataclass(frozen=True)
class MarkedTurn:
    """A turn with markers in it; `pieces` gives the kind of each: `content`, `reasoning` or `call N`."""

    turn: Turn
    pieces: dict[int, str]

    @property
    def piece_kinds(self) -> set[str]:
        """The kinds of pieces that the turn has."""
        return set(self.pieces.values())


class _MarkerWriter:
    """Gives out markers, counting from `first`."""

    def __init__(self, first: int) -> None:
        self.next = first
        self.pieces: dict[int, str] = {}

    def write_marker(self, kind: str) -> str:
        self.pieces[self.next] = kind
        self.next += 1
        return _MARK.format(self.next - 1)


def mark_turn(turn: Turn, first: int = PROBE, names: bool = False) -> MarkedTurn:
    """Replace each piece of a turn with a marker, numbered from `first`.

    Args:
        names: Mark the names of called functions instead of the values of their arguments.
    """
    pen = _MarkerWriter(first)
    marked = dict(turn)
    content = turn.get("content")
    if isinstance(content, str) and content.strip():
        # Only an answer can have reasoning in its text; a user may write about the tag.
        found = INLINE.fullmatch(content) if turn["role"] == "assistant" else None
        if found and found[2]:
            after = pen.write_marker("content") if found[4].strip() else ""
            marked["content"] = found[1] + pen.write_marker("reasoning") + found[3] + after
        else:
            marked["content"] = pen.write_marker("content")
    elif isinstance(content, list):
        marked["content"] = [
            {**part, "text": pen.write_marker("content")} if str(part.get("text", "")).strip() else part
            for part in content
        ]
    for key in REASONING_KEYS:
        if isinstance(turn.get(key), str) and turn[key].strip():
            marked[key] = pen.write_marker("reasoning")
    if turn.get("tool_calls"):
        marked["tool_calls"] = [
            _mark_call(call, f"call {number}", pen, names) for number, call in enumerate(turn["tool_calls"])
        ]
    return MarkedTurn(marked, pen.pieces)


def _mark_call(call: Any, kind: str, pen: _MarkerWriter, names: bool) -> Any:
    function = dict(call["function"])
    arguments = function.get("arguments")
    before = pen.next
    if not names:
        if isinstance(arguments, str):
            function["arguments"] = pen.write_marker(kind) if arguments.strip() else arguments
        else:
            function["arguments"] = _mark_values(arguments, kind, pen)
    # Without a text among the arguments the name of the function shows where the call is.
    if pen.next == before:
        function["name"] = pen.write_marker(kind)
    return {**call, "function": function}


def _mark_values(value: Any, kind: str, pen: _MarkerWriter) -> Any:
    if isinstance(value, str):
        return pen.write_marker(kind) if value.strip() else value
    if isinstance(value, list):
        return [_mark_values(item, kind, pen) for item in value]
    if isinstance(value, Mapping):
        return {key: _mark_values(item, kind, pen) for key, item in value.items()}
    return value


def cut_at_markers(text: str) -> tuple[list[str], list[int]]:
    """Split a text at the markers of a probe; returns the texts around them, and the number of each."""
    parts = _PROBED.split(text)
    return parts[0::2], [int(number) for number in parts[1::2]]


def find_skeleton_words(text: str) -> list[tuple[int, int, int]]:
    """Find the words of a skeleton in its text: (number, first character, end) of each."""
    return [(int(found[1]), found.start(), found.end()) for found in _MARKED.finditer(text)]


def make_marker_turn(role: str, number: int) -> Turn:
    """Make a turn whose content is a marker and nothing else."""
    return {"role": role, "content": _MARK.format(number)}


def list_marked_turns(turn: Turn) -> Iterator[MarkedTurn]:
    """Yield the turn marked in each way that may show where it is written: values first, then names."""
    yield mark_turn(turn)
    if turn.get("tool_calls"):
        yield mark_turn(turn, names=True)


def find_common_prefix(one: str, two: str) -> str:
    """Return the longest common prefix."""
    size = next(
        (i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two))
    )
    return one[:size]
