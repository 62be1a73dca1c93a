"""A whole chat in one text: `Human: …` and `Assistant: …`, as in HH-RLHF, or `### Human: …`."""

from __future__ import annotations

import re

from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import Message
from tui_tuner.locales import N_

_WHO = {"human": "user", "user": "user", "assistant": "assistant", "system": "system"}
# A marker stands at the beginning of the text, or behind a blank line; `###` says enough without one. White
# space is taken at once, and from its begin only: to try each of 1,000 line ends anew is a million steps.
_MARKED = re.compile(r"(?<!\s)(\s*+)(Human|Assistant|System):")
_HASHED = re.compile(r"()###\s*+(Human|User|Assistant|System)\s*+:")
_PLAIN, _HASH = re.compile(r"\s*+(?:Human|System):"), re.compile(r"\s*+###\s*+(?:Human|User|System)\s*+:")


def is_transcript(text: object) -> bool:
    """Whether a text begins as a chat does, with what a human says."""
    if not isinstance(text, str):
        return False
    if _HASH.match(text):
        return True
    return bool(_PLAIN.match(text)) and "\n\nAssistant:" in text


def turns_of_transcript(text: str) -> list[Message]:
    """The turns, without the white space around them; an empty answer at the end is what is asked for.

    Raises:
        RowProblem: nobody speaks, or somebody says nothing.
    """
    pattern = _HASHED if _HASH.match(text) else _MARKED
    marks = [mark for mark in pattern.finditer(text) if pattern is _HASHED or _stands_alone(mark)]
    if not marks:
        raise RowProblem(N_("nobody is marked as speaking in the chat"))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    said = [
        Message(_WHO[mark.group(2).lower()], text[mark.end() : end].strip())
        for mark, end in zip(marks, ends, strict=True)
    ]
    if said[-1].role == "assistant" and not said[-1].content and len(said) > 1:
        said.pop()
    return said


def _stands_alone(mark: re.Match[str]) -> bool:
    """Whether a marker stands at the beginning of the text or behind a blank line."""
    return mark.start() == 0 or "\n\n" in mark.group(1)
