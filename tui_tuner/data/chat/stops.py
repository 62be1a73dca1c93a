"""Which tokens end an answer: what generation stops at, and what a chat template writes there."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

_LONGEST = 200  # characters of a token that is written like a special one


class Stops:
    """Finds the end of an answer in the text behind its last word.

    Args:
        tokens: Texts of the tokenizer's special tokens, and of tokens that are written like one.
        special: Those of them that really are special.
        ends: What generation stops at, by the tokenizer and the model's generation config; `ends[0]` is
            what to write where a template writes none.
    """

    def __init__(self, tokens: Collection[str], special: Collection[str], ends: Sequence[str]) -> None:
        self.ends = tuple(ends)
        self.own: frozenset[str] = frozenset()
        self._own_alone = False
        self._special = frozenset(special) | set(ends)
        known = sorted({*tokens, *ends}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    @classmethod
    def of(cls, tokenizer: Any, ends: Sequence[str] = ()) -> Stops:
        """Those of a tokenizer; `ends` are the texts that the model's generation config adds."""
        tokens, special = set(), set()
        for added in getattr(tokenizer, "added_tokens_decoder", {}).values():
            text = str(added.content)
            if text.strip() and (added.special or text[:1] + text[-1:] in ("<>", "[]")):
                tokens.add(text)
                if added.special:
                    special.add(text)
        eos = getattr(tokenizer, "eos_token", None)
        return cls(tokens, special, list(dict.fromkeys([*([eos] if eos else []), *ends])))

    def learn(self, own: Collection[str], closing: str) -> None:
        """Take in the tokens that this template ends answers with, and all that it writes behind each."""
        self.own = frozenset(own)
        self._own_alone = not any(end in closing for end in self.ends)

    def find(self, closing: str, calls: bool = False) -> tuple[int, str]:
        """Where in `closing`, what a template writes behind an answer, the answer ends; and its stop token.

        All that stands in front of the first token that generation stops at has to be written by the model
        too, and so have end tokens right behind it. But where the template ends answers in the middle of a
        chat with a token of its own, that is the stop, whatever it writes behind the last one. Calls may
        have an end of their own: without a known one, the last special token behind `calls` is it.
        Gives (0, "") where there is none.
        """
        found = list(self._known.finditer(closing)) if self._known else []
        places = [i for i, token in enumerate(found) if token.group() in self.ends]
        own = [i for i, token in enumerate(found) if token.group() in self.own]
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

    def begins(self, text: str, among: Collection[str] | None = None) -> tuple[int, str]:
        """The token that `text` begins with, behind white space, if it is one of `among` (what generation
        stops at, if not given); as `find` gives it."""
        space = len(text) - len(text.lstrip())
        found = self._known.match(text, space) if self._known else None
        if found and found.group() in (self.ends if among is None else among):
            return found.end(), found.group()
        return 0, ""

    def first(self, text: str) -> str:
        """The token that `text` begins with, behind white space; empty if it begins with none."""
        found = self._known.match(text, len(text) - len(text.lstrip())) if self._known else None
        return found.group() if found else ""

    def run(self, text: str) -> list[str]:
        """Special tokens that `text` begins with, one right behind the other; white space may be in front."""
        tokens: list[str] = []
        at = len(text) - len(text.lstrip())
        while self._known and (found := self._known.match(text, at)):
            tokens.append(found.group())
            at = found.end()
        return tokens

    def uncut(self, text: str, longer: str) -> str:
        """`text`, which `longer` begins with, without a token at its end that was cut through."""
        for token in self._known.finditer(longer, 0, len(text) + _LONGEST) if self._known else ():
            if token.start() < len(text) < token.end():
                return text[: token.start()]
        return text
