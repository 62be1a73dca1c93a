"""How the turns of a chat are spelt for one template, so that it writes what they hold.

Templates look for reasoning under different keys, or inside the text, and take the arguments of a call as
values or as JSON text. What a template does is tried on it, never read out of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from tui_tuner.data.chat.marks import INLINE, PROBE, Turn, plain_turn
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import REASONING_KEYS, Message

_WORDS = plain_turn("assistant", PROBE)["content"]
_REASONING = plain_turn("assistant", PROBE + 1)["content"]


class Spelling:
    """Spells turns for one template. `render` gives the text of messages."""

    def __init__(self, render: Callable[[Sequence[Turn], Any, bool], str]) -> None:
        self._render = render
        self._alone: dict[str, bool] = {}

    def turns(self, messages: Sequence[Message]) -> list[Turn]:
        """What the template gets."""
        return [self._turn(message) for message in messages]

    def _turn(self, message: Message) -> Turn:
        turn = message.plain()
        if message.role != "assistant":
            return turn
        if message.reasoning:
            return self._with_reasoning(turn, turn.pop(message.reasoning_key), message.reasoning_key)
        found = INLINE.fullmatch(turn["content"])
        if found and found[2] and self._inline_is_lost:
            return {**turn, "content": found[4], self._keys[0]: found[2]}
        return turn

    def _with_reasoning(self, turn: Turn, reasoning: str, key: str) -> Turn:
        """Under the key that the row has it, if the template writes that, or else as it does write it."""
        if not turn["content"] and not turn.get("tool_calls") and not self._writes_alone(key):
            others = [other for other in REASONING_KEYS if self._writes_alone(other)]
            if others:
                return {**turn, others[0]: reasoning}
            if self._knows_inline and _REASONING in self._try(_in_text(_REASONING)):
                return {**turn, "content": _in_text(reasoning)}
        if key not in self._keys and self._keys:
            key = self._keys[0]
        elif key not in self._keys and self._knows_inline:
            return {**turn, "content": _in_text(reasoning, turn["content"])}
        return {**turn, key: reasoning}

    @cached_property
    def _keys(self) -> list[str]:
        """Keys under which the template writes the reasoning of a chat's last answer."""
        return [key for key in REASONING_KEYS if _REASONING in self._try(_WORDS, **{key: _REASONING})]

    def _writes_alone(self, key: str) -> bool:
        """Whether the reasoning of an answer that says nothing else is written from under this key."""
        if key not in self._alone:
            self._alone[key] = _REASONING in self._try("", **{key: _REASONING})
        return self._alone[key]

    @cached_property
    def _inline(self) -> str:
        """The text of an answer with its reasoning inside."""
        return self._try(_in_text(_REASONING, _WORDS))

    @cached_property
    def _knows_inline(self) -> bool:
        """Whether the template does something about reasoning inside the text, or asks for it."""
        if _REASONING not in self._inline:
            return False
        try:
            asked = self._render([plain_turn("user", PROBE)], None, True)
        except RowProblem:
            asked = ""
        plain = self._try(_WORDS).replace(_WORDS, _in_text(_REASONING, _WORDS))
        return self._inline != plain or asked.rstrip().endswith("<think>")

    @cached_property
    def _inline_is_lost(self) -> bool:
        """Whether the template writes reasoning from a key, but from the text not at all, or behind an empty
        block of its own."""
        if not self._keys:
            return False
        by_key = self._try(_WORDS, **{self._keys[0]: _REASONING})
        return _REASONING not in self._inline or self._inline.count("<think>") > by_key.count("<think>") > 0

    @cached_property
    def writes_tools(self) -> bool:
        """Whether the template writes the tools of a chat at all."""
        tool = {"name": _WORDS, "description": _WORDS, "parameters": {"type": "object", "properties": {}}}
        try:
            asked = [plain_turn("user", PROBE + 2)]
            return _WORDS in self._render(asked, [{"type": "function", "function": tool}], True)
        except RowProblem:
            return True

    def _try(self, content: str, **more: str) -> str:
        try:
            user = plain_turn("user", PROBE + 2)
            return self._render([user, {"role": "assistant", "content": content, **more}], None, False)
        except RowProblem:
            return ""


def _in_text(reasoning: str, content: str = "") -> str:
    """Reasoning inside the text of an answer."""
    return f"<think>\n{reasoning}\n</think>\n\n{content}"


def other_spellings(turns: Sequence[Turn]) -> Iterator[list[Turn]]:
    """The turns as other templates want them: arguments as text, contents as parts, and both."""
    as_text = arguments_as_text(turns)
    if as_text is not None:
        yield as_text
    yield _contents_as_parts(turns)
    if as_text is not None:
        yield _contents_as_parts(as_text)


def _contents_as_parts(turns: Sequence[Turn]) -> list[Turn]:
    """As templates of models that see want them."""
    return [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in turns]


def arguments_as_text(turns: Sequence[Turn]) -> list[Turn] | None:
    """The turns with the arguments of calls as JSON text; None where all of them are text, or none is."""
    found, changed = [], False
    for turn in turns:
        calls = []
        for call in turn.get("tool_calls") or ():
            function = call["function"]
            if not isinstance(function.get("arguments"), str):
                written = json.dumps(function.get("arguments"), ensure_ascii=False)
                function = {**function, "arguments": written}
                changed = True
            calls.append({**call, "function": function})
        found.append({**turn, "tool_calls": calls} if calls else turn)
    return found if changed else None


def writes_python(turns: Sequence[Turn], text: str) -> bool:
    """Whether a template wrote the arguments of a call as Python shows a dict: it wanted text."""
    for turn in turns:
        for call in turn.get("tool_calls") or ():
            arguments = call["function"].get("arguments")
            if isinstance(arguments, Mapping) and arguments and str(arguments) in text:
                return True
    return False
