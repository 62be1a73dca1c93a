"""The value of `model.new_tokens`: a number of words to learn, a file, or a list, checked and in one form."""

from __future__ import annotations

import re
from typing import Any

from tui_tuner.locales import _
from tui_tuner.text import one_line

LEARN, FILE = "learn", "file"
MOST_TOKENS = 100_000  # GPT-2's whole vocabulary has half as many
MOST_CHARACTERS = 100  # BERT's tokenizer takes no longer word, and no language has one
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def check_new_tokens(value: Any) -> Any:
    """Return the value of `model.new_tokens` with its strings stripped of spaces around them.

    Raises:
        ValueError: neither `{learn: N}` nor `{file: FILE}` nor a list of strings that can be added.
    """
    if value is None:
        return None
    if isinstance(value, list):
        return _check_list(value)
    if isinstance(value, dict) and len(value) == 1 and LEARN in value:
        count = value[LEARN]
        if isinstance(count, bool) or not isinstance(count, int):
            raise ValueError(_("learn must be a whole number of tokens, not {value}", value=_show(count)))
        if not 1 <= count <= MOST_TOKENS:
            raise ValueError(
                _("learn must be between 1 and {most:,} tokens, not {count:,}", most=MOST_TOKENS, count=count)
            )
        return value
    if isinstance(value, dict) and len(value) == 1 and FILE in value:
        if not isinstance(value[FILE], str) or not value[FILE].strip():
            raise ValueError(
                _("file must name a file with one token a line, not {value}", value=_show(value[FILE]))
            )
        return value
    raise ValueError(
        _(
            "must be {{learn: N}}, {{file: FILE}} or a list of strings such as [polymerase, plasmid], not "
            "{value}",
            value=_show(value),
        )
    )


def find_token_problem(token: str) -> str:
    """Say why a string cannot be a token; empty if it can."""
    if not token.strip():
        return _("it is empty")
    if _CONTROL.search(token):
        return _("it holds a line break or another control character")
    if "\ufffd" in token:
        return _("it holds a character that could not be read (U+FFFD)")
    if len(token) > MOST_CHARACTERS:
        return _("it has {count:,} characters; {most} are the most", count=len(token), most=MOST_CHARACTERS)
    return ""


def _check_list(value: list[Any]) -> list[str]:
    if not value:
        raise ValueError(_("the list is empty; leave the field out to add no tokens"))
    if len(value) > MOST_TOKENS:
        raise ValueError(
            _("{count:,} tokens are too many; {most:,} are the most", count=len(value), most=MOST_TOKENS)
        )
    found: list[str] = []
    for place, token in enumerate(value, 1):
        if not isinstance(token, str):
            raise ValueError(
                _(
                    "entry {place} is {value}, not text; put it in quotation marks",
                    place=place,
                    value=_show(token),
                )
            )
        # Spaces around it first: only then is it known how long it is.
        token = token.strip(" \u3000")
        problem = find_token_problem(token)
        if problem:
            raise ValueError(
                _("entry {place} ({token}): {problem}", place=place, token=_show(token), problem=problem)
            )
        if token in found:
            raise ValueError(
                _("entry {place} ({token}) stands in the list twice", place=place, token=_show(token))
            )
        found.append(token)
    return found


def _show(value: Any) -> str:
    return one_line(repr(value), 60)
