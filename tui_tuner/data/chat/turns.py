"""Where, in the text of a rendered chat, each answer begins and ends: for any template, without knowing it.

The span of an answer is all that the model has to write after the generation prompt, up to and including its
stop token. It is found by rendering, never by reading the template:

1. *Skeleton.* The chat is rendered once with a marker in place of each content. The text between markers is
   then the template's alone. What the generation prompt adds behind the previous turn, and what stands behind
   the answer both where it ends the chat and where the chat goes on, gives the two ends. Skeletons depend on
   the roles only and are kept; the real text has to match its skeleton piece by piece.
2. *Substitution*, where it does not match (tool calls, reasoning that is stripped or re-wrapped, templates
   that look into contents): only this one answer is replaced by a marker, and the real text has to agree with
   that rendering in front of the answer and behind it.

If neither holds, the row is named and not trained on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tui_tuner.data.problems import RowProblem
from tui_tuner.locales import N_, _

Render = Callable[[Sequence[dict[str, Any]], Any, bool], str]
_MARK = "qVzk{:d}kzVq"
_MARKED = re.compile(r"qVzk(\d+)kzVq")
_MAX_SKELETONS = 512


@dataclass(frozen=True)
class Span:
    """Characters [start, end) of the answer of message `index`; `stop` is its stop token's text, or empty."""

    index: int
    start: int
    end: int
    stop: str


@dataclass(frozen=True)
class _Ends:
    """How many characters around a content belong to the answer, and the stop token among them."""

    lead: int
    tail: int
    stop: str


@dataclass(frozen=True)
class _Skeleton:
    gaps: tuple[str, ...]
    slots: tuple[int, ...]
    ends: dict[int, _Ends]


class Turns:
    """Finds answers for one template. `render` gives the text of messages; `end_tokens` may end a turn."""

    def __init__(self, render: Render, end_tokens: Sequence[str]) -> None:
        self._render = render
        self._tokens = re.compile("|".join(re.escape(token) for token in end_tokens)) if end_tokens else None
        self._skeletons: dict[tuple[str, ...], _Skeleton | None] = {}

    def find(self, messages: Sequence[dict[str, Any]], tools: Any = None) -> tuple[str, list[Span]]:
        """The text of a chat and the span of each answer in it.

        Raises:
            RowProblem: the template refuses the chat, or an answer cannot be found for certain.
        """
        text = self._render(messages, tools, False)
        spans = None
        if not tools and not any(message.get("tool_calls") for message in messages):
            skeleton = self._skeleton(tuple(message["role"] for message in messages))
            spans = _match(skeleton, messages, text) if skeleton else None
        if spans is None:
            answers = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
            spans = [self._substitute(messages, tools, index, text) for index in answers]
        return text, spans

    def _skeleton(self, roles: tuple[str, ...]) -> _Skeleton | None:
        if roles not in self._skeletons:
            if len(self._skeletons) >= _MAX_SKELETONS:
                self._skeletons.clear()
            try:
                self._skeletons[roles] = self._make_skeleton(roles)
            except RowProblem:
                self._skeletons[roles] = None
        return self._skeletons[roles]

    def _make_skeleton(self, roles: tuple[str, ...]) -> _Skeleton | None:
        messages = [{"role": role, "content": _MARK.format(i)} for i, role in enumerate(roles)]
        gaps, slots = _cut(self._render(messages, None, False))
        if len(set(slots)) != len(slots):
            return None
        ends = {}
        for index, role in enumerate(roles):
            if role != "assistant":
                continue
            if index not in slots:
                return None
            place = slots.index(index)
            before, after = gaps[place], gaps[place + 1]
            previous = slots[place - 1] if place else None
            lead = self._lead(messages, None, index, before, previous)
            tail, stop = self._tail(messages, None, index, after)
            ends[index] = _Ends(lead, tail, stop)
        return _Skeleton(tuple(gaps), tuple(slots), ends)

    def _lead(
        self, messages: Sequence[dict[str, Any]], tools: Any, index: int, gap: str, previous: int | None
    ) -> int:
        """Characters at the end of `gap` (the text in front of the answer) that stand after its prompt."""
        try:
            asked = self._render(messages[:index], tools, True)
            plain = self._render(messages[:index], tools, False)
        except RowProblem:
            return 0
        prompt_gaps, prompt_slots = _cut(asked)
        if (prompt_slots[-1] if prompt_slots else None) != previous or not gap.startswith(prompt_gaps[-1]):
            return 0
        lead = len(gap) - len(prompt_gaps[-1])
        # A template that knows no generation prompt: the header of the answer belongs to nobody's answer.
        if asked == plain and gap[len(gap) - lead :].strip():
            return 0
        return lead

    def _tail(self, messages: Sequence[dict[str, Any]], tools: Any, index: int, gap: str) -> tuple[int, str]:
        """Length of what stands behind the answer up to and with its stop token, and that token."""
        if self._tokens is None:
            return 0, ""
        last = index == len(messages) - 1
        try:
            ending = gap if last else _cut(self._render(messages[: index + 1], tools, False))[0][-1]
        except RowProblem:
            ending = gap
        found = self._tokens.search(_shared(ending, gap))
        if found:
            return found.end(), found.group()
        # A stop token of its own between turns (as <|end|> and <|return|>): it also ends the user's turns.
        within = self._tokens.match(gap)
        if within and self._tokens.search(ending) and index:
            before = _cut(self._render(messages[:index], tools, False))[0][-1]
            if before.startswith(within.group()):
                return within.end(), within.group()
        return 0, ""

    def _substitute(self, messages: Sequence[dict[str, Any]], tools: Any, index: int, text: str) -> Span:
        probe = list(messages)
        mark = _MARK.format(index)
        probe[index] = {"role": "assistant", "content": mark}
        before, found, behind = self._render(probe, tools, False).partition(mark)
        if not found or mark in behind:
            raise RowProblem(
                N_("an answer cannot be found in the rendered chat"), _("turn {index}", index=index + 1)
            )
        start = len(before) - self._lead_of_probe(probe, tools, index, before)
        tail, stop = self._tail(probe, tools, index, behind)
        end = len(text) - len(behind)
        if text.startswith(before[:start]) and text.endswith(behind) and start <= end:
            return Span(index, start, end + tail, stop)
        return self._by_prefix(
            messages, tools, index, text, start if text.startswith(before[:start]) else None
        )

    def _lead_of_probe(self, probe: list[dict[str, Any]], tools: Any, index: int, before: str) -> int:
        try:
            asked = self._render(probe[:index], tools, True)
        except RowProblem:
            return 0
        if before.startswith(asked):
            lead = len(before) - len(asked)
            if lead and before[-lead:].strip() and asked == self._render(probe[:index], tools, False):
                return 0
            return lead
        marked = list(probe)
        if not index or probe[index - 1].get("tool_calls"):
            return 0
        marked[index - 1] = {**probe[index - 1], "content": _MARK.format(index - 1)}
        try:
            gaps, slots = _cut(self._render(marked, tools, False))
        except RowProblem:
            return 0
        if slots[-2:] != [index - 1, index] and slots[:2] != [index - 1, index]:
            return 0
        return self._lead(marked, tools, index, gaps[slots.index(index)], index - 1)

    def _by_prefix(
        self, messages: Sequence[dict[str, Any]], tools: Any, index: int, text: str, start: int | None
    ) -> Span:
        """Where the text in front of the answer is that of the chat so far, and the chat goes on after it."""
        if start is None:
            asked = self._render(messages[:index], tools, True)
            start = len(asked) if text.startswith(asked) else None
        if start is not None and self._tokens is not None:
            shared = _shared(text, self._render(messages[: index + 1], tools, False))
            stops = list(self._tokens.finditer(shared, start))
            if stops:
                return Span(index, start, stops[-1].end(), stops[-1].group())
        raise RowProblem(
            N_("the chat template renders this turn differently inside a longer chat, so its answer is lost"),
            _("turn {index}", index=index + 1),
        )


def _shared(one: str, two: str) -> str:
    """What both begin with."""
    size = next(
        (i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two))
    )
    return one[:size]


def _cut(text: str) -> tuple[list[str], list[int]]:
    """The texts around the markers, and the message of each marker."""
    parts = _MARKED.split(text)
    return parts[0::2], [int(number) for number in parts[1::2]]


def _match(skeleton: _Skeleton, messages: Sequence[dict[str, Any]], text: str) -> list[Span] | None:
    """Lay the skeleton over the real text; None if a piece does not fit. Templates may trim contents."""
    if not text.startswith(skeleton.gaps[0]):
        return None
    at = len(skeleton.gaps[0])
    spans = []
    for place, index in enumerate(skeleton.slots):
        gap = skeleton.gaps[place + 1]
        content = str(messages[index].get("content") or "")
        variants = (content, content.strip(), content.rstrip(), content.lstrip())
        fits = next(
            (v for v in variants if text.startswith(v, at) and text.startswith(gap, at + len(v))), None
        )
        if fits is None:
            return None
        end = at + len(fits)
        ends = skeleton.ends.get(index)
        if ends is not None:
            spans.append(Span(index, at - ends.lead, end + ends.tail, ends.stop))
        at = end + len(gap)
    if at != len(text):
        return None
    return sorted(spans, key=lambda span: span.index)
