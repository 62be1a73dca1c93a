"""Read a whole chat from one text: `Human: …` and `Assistant: …`, as in HH-RLHF, or `### Human: …`."""

from __future__ import annotations

import re

from tui_tuner.data.records import Message
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.locales import N_

_WHO = {"human": "user", "user": "user", "assistant": "assistant", "system": "system"}
# A marker is at the start of the text or after a blank line; `###` needs none. White space is matched at once
# and only from its start: trying again at each of 1,000 line ends would take a million steps.
_MARKED = re.compile(r"(?<!\s)(\s*+)(Human|Assistant|System):")
_HASHED = re.compile(r"()###\s*+(Human|User|Assistant|System)\s*+:")
_PLAIN, _HASH = re.compile(r"\s*+(?:Human|System):"), re.compile(r"\s*+###\s*+(?:Human|User|System)\s*+:")


def is_transcript(text: object) -> bool:
    """Return whether a text begins like a chat, with a human turn."""
    if not isinstance(text, str):
        return False
    if _HASH.match(text):
        return True
    return bool(_PLAIN.match(text)) and "\n\nAssistant:" in text


def read_transcript(text: str) -> list[Message]:
    """Split a transcript into turns without the white space around them; an empty last answer is dropped.

    Raises:
        RowProblem: no speaker is marked.
    """
    pattern = _HASHED if _HASH.match(text) else _MARKED
    marks = [mark for mark in pattern.finditer(text) if pattern is _HASHED or _is_at_block_start(mark)]
    if not marks:
        raise RowProblem(N_("no speaker is marked in the chat"))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    said = [
        Message(_WHO[mark.group(2).lower()], text[mark.end() : end].strip())
        for mark, end in zip(marks, ends, strict=True)
    ]
    # Some data sets keep the prompt like this, with the answers in other columns.
    if said[-1].role == "assistant" and not said[-1].content and len(said) > 1:
        said.pop()
    return said


def _is_at_block_start(mark: re.Match[str]) -> bool:
    """Return whether a marker is at the start of the text or after a blank line."""
    return mark.start() == 0 or "\n\n" in mark.group(1)
