"""Parses answers into labels, clues and reasoning, or values of a JSON object."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import orjson

from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

NO_LABEL = N_("the answer contains none of the labels")
TWO_LABELS = N_("the answer contains several labels")
NO_JSON = N_("the answer contains no JSON object with these keys")
SHOWN = 120  # characters of an answer in a sentence about it

# The headings in an answer to the CARP prompt, in the various ways that models format them
_SECTION = re.compile(
    r"^[ \t>*_#\d.()-]*(clues?|reasoning|label)[ \t*_]*[:：][ \t*_]*", re.IGNORECASE | re.MULTILINE
)
_EDGES = " \t\n\r\"'`“”‘’«»„*_.,;:!?()[]{}<>。，；：！？（）【】「」"
_SPACES = re.compile(r"[\s_\-\u2010-\u2015]+")
_UNSPACED = 0x2E80  # scripts from here on (CJK and others) do not separate words with spaces


def normalise_answer_label(text: str) -> str:
    """Normalise a label or an answer for comparison: lower case, without quotes and punctuation around it."""
    folded = _SPACES.sub(" ", text.casefold())
    plain = folded.strip(_EDGES)
    # A label may consist of punctuation only
    return plain or folded.strip()


def parse_label_answer(answer: str, labels: Sequence[str]) -> tuple[str | None, str]:
    """Find the label that an answer names; return (label or None, problem).

    The label is the whole answer, or the only label in it. Of labels that contain each other ("good",
    "very good"), the longer one counts.
    """
    by_key = {normalise_answer_label(label): label for label in labels}
    whole = normalise_answer_label(answer)
    if whole in by_key:
        return by_key[whole], ""
    rest = _SPACES.sub(" ", answer.casefold())
    found: list[str] = []
    for key in sorted(by_key, key=len, reverse=True):
        # A label that was found is blanked out, so that "good" is not found again inside "very good"
        rest, count = _compile_word_pattern(key).subn("\0", rest)
        if count:
            found.append(by_key[key])
    if len(found) == 1:
        return found[0], ""
    shown = one_line(answer.strip(), SHOWN)
    if not found:
        return None, f"{_(NO_LABEL)}: {shown}" if shown else _(NO_LABEL)
    return None, f"{_(TWO_LABELS)}: {', '.join(found)}"


def _compile_word_pattern(key: str) -> re.Pattern[str]:
    """Compile a pattern that finds a label only as a whole word."""
    before = r"(?<!\w)" if key[0].isalnum() and ord(key[0]) < _UNSPACED else ""
    after = r"(?!\w)" if key[-1].isalnum() and ord(key[-1]) < _UNSPACED else ""
    return re.compile(before + re.escape(key) + after)


def parse_answer_sections(answer: str) -> dict[str, str]:
    """Split an answer at the headings `CLUES:`, `REASONING:` and `LABEL:`.

    The first of each counts, as some models continue with another text of their own and its label.
    """
    heads = list(_SECTION.finditer(answer))
    found: dict[str, str] = {}
    for place, head in enumerate(heads):
        end = heads[place + 1].start() if place + 1 < len(heads) else len(answer)
        name = "clues" if head.group(1).lower().startswith("clue") else head.group(1).lower()
        found.setdefault(name, answer[head.end() : end].strip().strip("*_ \n"))
    return found


def parse_carp_answer(answer: str, labels: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Parse an answer to the CARP prompt; return (`{label, clues, reasoning}`, problem)."""
    parts = parse_answer_sections(answer)
    said = parts.get("label") or answer
    # Its first line alone: many models explain the label afterwards and mention others
    label, problem = parse_label_answer(said.partition("\n")[0], labels)
    if label is None:
        label, problem = parse_label_answer(said, labels)
    return {"label": label, "clues": parts.get("clues"), "reasoning": parts.get("reasoning")}, problem


def parse_json_answer(answer: str, keys: Sequence[str]) -> tuple[dict[str, Any] | None, str]:
    """Return (values of the first JSON object in an answer with all keys, or None; problem)."""
    for place in (match.start() for match in re.finditer(r"\{", answer)):
        found = _parse_object_at(answer, place)
        if found is not None and all(key in found for key in keys):
            return {key: found[key] for key in keys}, ""
    shown = one_line(answer.strip(), SHOWN)
    return None, f"{_(NO_JSON)}: {shown}" if shown else _(NO_JSON)


def _parse_object_at(text: str, start: int) -> dict[str, Any] | None:
    """Parse the JSON object that begins at a brace; None if it is not valid."""
    depth, inside, escaped = 0, False, False
    for place in range(start, len(text)):
        letter = text[place]
        # Braces inside strings do not count; a backslash escapes the next character
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
