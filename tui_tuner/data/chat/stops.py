"""Find the tokens that end an answer: what generation stops at, and what a chat template writes there."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

_LONGEST = 200  # characters of a token that is written like a special one


class StopTokens:
    """Finds the end of an answer in the text after its last word.

    Args:
        tokens: Texts of the tokenizer's special tokens, and of tokens that look like special ones.
        special: Those of them that really are special.
        ends: Tokens that generation stops at, from the tokenizer and the model's generation config;
            `ends[0]` is written where a template writes none.
    """

    def __init__(self, tokens: Collection[str], special: Collection[str], ends: Sequence[str]) -> None:
        self.ends = tuple(ends)
        self.own: frozenset[str] = frozenset()
        self._own_alone = False
        self._special = frozenset(special) | set(ends)
        # Longest first, since a regular expression takes the first alternative that fits.
        known = sorted({*tokens, *ends}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    @classmethod
    def from_tokenizer(cls, tokenizer: Any, ends: Sequence[str] = ()) -> StopTokens:
        """Collect the tokens of a tokenizer; `ends` are those that the model's generation config adds."""
        tokens, special = set(), set()
        for added in getattr(tokenizer, "added_tokens_decoder", {}).values():
            text = str(added.content)
            # Some tokenizers do not mark their end tokens as special, but write them like this.
            if text.strip() and (added.special or text[:1] + text[-1:] in ("<>", "[]")):
                tokens.add(text)
                if added.special:
                    special.add(text)
        eos = getattr(tokenizer, "eos_token", None)
        return cls(tokens, special, list(dict.fromkeys([*([eos] if eos else []), *ends])))

    def set_own(self, own: Collection[str], closing: str) -> None:
        """Store the tokens that this template ends answers with, and the text that it writes after each."""
        self.own = frozenset(own)
        self._own_alone = not any(end in closing for end in self.ends)

    def find_stop(self, closing: str, calls: bool = False) -> tuple[int, str]:
        """Find where the answer ends in `closing`, the text that a template writes after it.

        Everything before the first token that generation stops at must be written by the model too, and so
        must end tokens directly after it. Calls may end in another way: without a known end, it is the last
        special token after `calls`.

        Returns:
            The length of the end, and its stop token; (0, "") if there is none.
        """
        found = list(self._known.finditer(closing)) if self._known else []
        places = [i for i, token in enumerate(found) if token.group() in self.ends]
        own = [i for i, token in enumerate(found) if token.group() in self.own]
        # The template's own end token is the stop if it writes none of those that generation stops at.
        if own and (self._own_alone or not places):
            places = sorted({*places, *own})
        known = self.own.union(self.ends)
        if not places and calls and found and not closing[found[-1].end() :].strip():
            end = found[-1].group()
            return (found[-1].end(), end) if end in self._special else (0, "")
        if not places:
            return 0, ""
        last = places[0]
        while last + 1 < len(found) and found[last + 1].start() == found[last].end():
            if found[last + 1].group() not in known:
                break
            last += 1
        return found[last].end(), found[last].group()

    def find_first_among(self, text: str, among: Collection[str] | None = None) -> tuple[int, str]:
        """Find the token that `text` begins with, after white space; returns the same as `find_stop`.

        Args:
            among: The tokens wanted; by default those that generation stops at.
        """
        space = len(text) - len(text.lstrip())
        found = self._known.match(text, space) if self._known else None
        if found and found.group() in (self.ends if among is None else among):
            return found.end(), found.group()
        return 0, ""

    def first_token(self, text: str) -> str:
        """Return the token that `text` begins with, after white space; empty if it begins with none."""
        found = self._known.match(text, len(text) - len(text.lstrip())) if self._known else None
        return found.group() if found else ""

    def leading_tokens(self, text: str) -> list[str]:
        """List the special tokens that `text` begins with, one directly after the other."""
        tokens: list[str] = []
        at = len(text) - len(text.lstrip())
        while self._known and (found := self._known.match(text, at)):
            tokens.append(found.group())
            at = found.end()
        return tokens

    def strip_cut_token(self, text: str, longer: str) -> str:
        """Return `text`, a prefix of `longer`, without a token that its end cuts in two."""
        for token in self._known.finditer(longer, 0, len(text) + _LONGEST) if self._known else ():
            if token.start() < len(text) < token.end():
                return text[: token.start()]
        return text
