"""Spell the turns of a chat for one template, so that it writes everything in them.

Templates look for reasoning under different keys, or inside the text, and take the arguments of a call as
values or as JSON text. What a template does is found by rendering, never by reading it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from tui_tuner.data.chat.marks import INLINE, PROBE, Turn, make_marker_turn
from tui_tuner.data.records import REASONING_KEYS, Message
from tui_tuner.data.row_problem import RowProblem

_WORDS = make_marker_turn("assistant", PROBE)["content"]
_REASONING = make_marker_turn("assistant", PROBE + 1)["content"]


class TurnSpeller:
    """Spells turns for one template. `render` returns the text of messages."""

    def __init__(self, render: Callable[[Sequence[Turn], Any, bool], str]) -> None:
        self._render = render
        # Kept, because finding out takes a rendering, and rows ask again and again.
        self._alone: dict[str, bool] = {}

    def spell_turns(self, messages: Sequence[Message]) -> list[Turn]:
        return [self._spell_turn(message) for message in messages]

    def _spell_turn(self, message: Message) -> Turn:
        turn = message.to_plain_turn()
        if message.role != "assistant":
            return turn
        if message.reasoning:
            return self._add_reasoning(turn, turn.pop(message.reasoning_key), message.reasoning_key)
        found = INLINE.fullmatch(turn["content"])
        if found and found[2] and self._inline_is_lost:
            return {**turn, "content": found[4], self._reasoning_keys[0]: found[2]}
        return turn

    def _add_reasoning(self, turn: Turn, reasoning: str, key: str) -> Turn:
        """Add reasoning under the row's own key if the template writes that, else in a way that it writes."""
        # Some templates skip reasoning in an answer that has no text.
        if not turn["content"] and not turn.get("tool_calls") and not self._writes_alone(key):
            others = [other for other in REASONING_KEYS if self._writes_alone(other)]
            if others:
                return {**turn, others[0]: reasoning}
            if self._knows_inline and _REASONING in self._try_render(_in_text(_REASONING)):
                return {**turn, "content": _in_text(reasoning)}
        if key not in self._reasoning_keys and self._reasoning_keys:
            key = self._reasoning_keys[0]
        elif key not in self._reasoning_keys and self._knows_inline:
            return {**turn, "content": _in_text(reasoning, turn["content"])}
        return {**turn, key: reasoning}

    @cached_property
    def _reasoning_keys(self) -> list[str]:
        """The keys whose reasoning the template writes in a chat's last answer."""
        return [key for key in REASONING_KEYS if _REASONING in self._try_render(_WORDS, **{key: _REASONING})]

    def _writes_alone(self, key: str) -> bool:
        """Return whether the template writes reasoning under this key if the answer has nothing else."""
        if key not in self._alone:
            self._alone[key] = _REASONING in self._try_render("", **{key: _REASONING})
        return self._alone[key]

    @cached_property
    def _inline_answer(self) -> str:
        """A rendered answer with its reasoning inside of the text."""
        return self._try_render(_in_text(_REASONING, _WORDS))

    @cached_property
    def _knows_inline(self) -> bool:
        """Return whether the template handles reasoning inside of the text, or asks for it."""
        if _REASONING not in self._inline_answer:
            return False
        try:
            asked = self._render([make_marker_turn("user", PROBE)], None, True)
        except RowProblem:
            asked = ""
        # If the block comes out as any other text would, the template does not know it.
        plain = self._try_render(_WORDS).replace(_WORDS, _in_text(_REASONING, _WORDS))
        return self._inline_answer != plain or asked.rstrip().endswith("<think>")

    @cached_property
    def _inline_is_lost(self) -> bool:
        """Return whether the template writes reasoning from a key, but loses that inside of the text."""
        # It may drop the block, or write it after an empty one.
        if not self._reasoning_keys:
            return False
        by_key = self._try_render(_WORDS, **{self._reasoning_keys[0]: _REASONING})
        return (
            _REASONING not in self._inline_answer
            or self._inline_answer.count("<think>") > by_key.count("<think>") > 0
        )

    @cached_property
    def writes_tools(self) -> bool:
        """Return whether the template writes the tools of a chat at all."""
        tool = {"name": _WORDS, "description": _WORDS, "parameters": {"type": "object", "properties": {}}}
        try:
            asked = [make_marker_turn("user", PROBE + 2)]
            return _WORDS in self._render(asked, [{"type": "function", "function": tool}], True)
        # A template that refuses the chat says nothing about tools, so no remark is made.
        except RowProblem:
            return True

    def _try_render(self, content: str, **more: str) -> str:
        try:
            user = make_marker_turn("user", PROBE + 2)
            return self._render([user, {"role": "assistant", "content": content, **more}], None, False)
        except RowProblem:
            return ""


def _in_text(reasoning: str, content: str = "") -> str:
    return f"<think>\n{reasoning}\n</think>\n\n{content}"


def list_turn_spellings(turns: Sequence[Turn]) -> Iterator[list[Turn]]:
    """Yield the turns as other templates want them: arguments as text, contents as parts, and both."""
    as_text = spell_arguments_as_text(turns)
    if as_text is not None:
        yield as_text
    yield _spell_as_parts(turns)
    if as_text is not None:
        yield _spell_as_parts(as_text)


def _spell_as_parts(turns: Sequence[Turn]) -> list[Turn]:
    """Spell contents as lists of parts, as templates of vision models want them."""
    return [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in turns]


def spell_arguments_as_text(turns: Sequence[Turn]) -> list[Turn] | None:
    """Return the turns with the arguments of calls as JSON text; None if that changes nothing."""
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


def writes_python_arguments(turns: Sequence[Turn], text: str) -> bool:
    """Return whether a template wrote the arguments of a call as Python shows a dict: it wanted text."""
    for turn in turns:
        for call in turn.get("tool_calls") or ():
            arguments = call["function"].get("arguments")
            if isinstance(arguments, Mapping) and arguments and str(arguments) in text:
                return True
    return False
