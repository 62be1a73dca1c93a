"""From what a model wrote to a label, to clues and reasoning, or to the values of a JSON object."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import orjson

from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

NO_LABEL = N_("the answer names none of the labels")
TWO_LABELS = N_("the answer names several labels")
NO_JSON = N_("the answer is no JSON object with these keys")
SHOWN = 120  # characters of an answer in a sentence about it

# The parts of an answer to the CARP prompt, however a model sets off their names
_SECTION = re.compile(
    r"^[ \t>*_#\d.()-]*(clues?|reasoning|label)[ \t*_]*[:：][ \t*_]*", re.IGNORECASE | re.MULTILINE
)
_EDGES = " \t\n\r\"'`“”‘’«»„*_.,;:!?()[]{}<>。，；：！？（）【】「」"
_SPACES = re.compile(r"[\s_\-\u2010-\u2015]+")
_UNSPACED = 0x2E80  # from here on there are scripts that put no spaces between words


def plain_label(text: str) -> str:
    """A label or an answer as it is compared: without capitals, quotes, and signs at its edges."""
    folded = _SPACES.sub(" ", text.casefold())
    plain = folded.strip(_EDGES)
    return plain or folded.strip()  # a label that is nothing but signs


def read_label(answer: str, labels: Sequence[str]) -> tuple[str | None, str]:
    """The label that an answer names, or None and why.

    It is the whole answer, or the only one of the labels that stands in it. Of labels inside each other
    ("good", "very good") the longer one counts.
    """
    by_key = {plain_label(label): label for label in labels}
    whole = plain_label(answer)
    if whole in by_key:
        return by_key[whole], ""
    rest = _SPACES.sub(" ", answer.casefold())
    found: list[str] = []
    for key in sorted(by_key, key=len, reverse=True):
        rest, count = _as_word(key).subn("\0", rest)
        if count:
            found.append(by_key[key])
    if len(found) == 1:
        return found[0], ""
    shown = one_line(answer.strip(), SHOWN)
    if not found:
        return None, f"{_(NO_LABEL)}: {shown}" if shown else _(NO_LABEL)
    return None, f"{_(TWO_LABELS)}: {', '.join(found)}"


def _as_word(key: str) -> re.Pattern[str]:
    """A label where it is no part of a longer word."""
    before = r"(?<!\w)" if key[0].isalnum() and ord(key[0]) < _UNSPACED else ""
    after = r"(?!\w)" if key[-1].isalnum() and ord(key[-1]) < _UNSPACED else ""
    return re.compile(before + re.escape(key) + after)


def read_sections(answer: str) -> dict[str, str]:
    """The parts of an answer that are headed `CLUES:`, `REASONING:`, `LABEL:`.

    Of two alike it is the first: some models go on with a text of their own, and its label.
    """
    heads = list(_SECTION.finditer(answer))
    found: dict[str, str] = {}
    for place, head in enumerate(heads):
        end = heads[place + 1].start() if place + 1 < len(heads) else len(answer)
        name = "clues" if head.group(1).lower().startswith("clue") else head.group(1).lower()
        found.setdefault(name, answer[head.end() : end].strip().strip("*_ \n"))
    return found


def read_carp(answer: str, labels: Sequence[str]) -> tuple[dict[str, Any], str]:
    """`{label, clues, reasoning}` of an answer to the CARP prompt, and what is wrong with it."""
    parts = read_sections(answer)
    said = parts.get("label") or answer
    label, problem = read_label(said.partition("\n")[0], labels)
    if label is None:
        label, problem = read_label(said, labels)
    return {"label": label, "clues": parts.get("clues"), "reasoning": parts.get("reasoning")}, problem


def read_json(answer: str, keys: Sequence[str]) -> tuple[dict[str, Any] | None, str]:
    """The values of these keys in the first JSON object of an answer that has them, or None and why."""
    for place in (match.start() for match in re.finditer(r"\{", answer)):
        found = _object_at(answer, place)
        if found is not None and all(key in found for key in keys):
            return {key: found[key] for key in keys}, ""
    shown = one_line(answer.strip(), SHOWN)
    return None, f"{_(NO_JSON)}: {shown}" if shown else _(NO_JSON)


def _object_at(text: str, start: int) -> dict[str, Any] | None:
    """The JSON object that begins at a brace; None if it is none."""
    depth, inside, escaped = 0, False, False
    for place in range(start, len(text)):
        letter = text[place]
        if inside:
            inside = escaped or letter != '"'
            escaped = letter == "\\" and not escaped
        elif letter == '"':
            inside = True
        elif letter in "{}":
            depth += 1 if letter == "{" else -1
            if not depth:
                try:
                    found = orjson.loads(text[start : place + 1])
                except orjson.JSONDecodeError:
                    return None
                return found if isinstance(found, dict) else None
    return None
