"""Find where each answer begins and ends in a rendered chat, for any template, without knowing the template.

The span of an answer is everything that the model must write after the generation prompt, including its stop
token. It is found by rendering, never by reading the template:

1. *Skeleton.* A chat of the same roles, with a marker in place of each content, is rendered once. The text
   between markers is then the template's alone, and the edges of each answer in it (`edges`) hold for every
   chat that fits it piece by piece. Skeletons are kept.
2. *Answer by answer*, where a chat does not fit: tool calls, reasoning that is stripped or wrapped again,
   templates that read contents. Then the edges are searched for in the chat itself.

Where neither is certain, the row is reported and not trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tui_tuner.data.chat.edges import EdgeFinder, Render, WordsPlace, make_left_out_problem
from tui_tuner.data.chat.marks import INLINE, Turn, find_skeleton_words, mark_turn
from tui_tuner.data.chat.stops import StopTokens
from tui_tuner.data.records import REASONING_KEYS
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.locales import N_, _

_MAX_SKELETONS = 512
_A_TURN = 2  # markers of a turn in a skeleton: its reasoning and its content


@dataclass(frozen=True)
class AnswerSpan:
    """Characters [start, end) of the answer of message `index`; `stop` is its stop token's text, or empty.

    Args:
        added: Text that must be inserted at `end` for the answer to stop.
        missing: Kinds of pieces that the template left out: `content`, `reasoning`.
        prompted: Whether the generation prompt comes directly before the answer.
    """

    index: int
    start: int
    end: int
    stop: str
    added: str = ""
    missing: frozenset[str] = frozenset()
    prompted: bool = True


@dataclass(frozen=True)
class _AnswerShape:
    """An answer of a skeleton: the gaps that its edges are in, and how far from their inner ends.

    `lead` characters before its first slot belong to it, and `tail` characters after its last one.
    """

    first_slot: int
    last_slot: int
    lead: int
    tail: int
    span: AnswerSpan


@dataclass(frozen=True)
class _Skeleton:
    gaps: tuple[str, ...]
    slots: tuple[int, ...]
    shapes: tuple[_AnswerShape, ...]


class AnswerFinder:
    """Finds answers for one template. `render` returns a chat's text, `stops` knows what ends a turn."""

    def __init__(self, render: Render, stops: StopTokens) -> None:
        self._render = render
        self._edges = EdgeFinder(render, stops)
        self._skeletons: dict[tuple[str, ...], _Skeleton | None] = {}

    def find_answers(self, messages: Sequence[Turn], tools: Any = None) -> tuple[str, list[AnswerSpan]]:
        """Render a chat, and find the span of each answer in it.

        Raises:
            RowProblem: the template refuses the chat, or an answer cannot be found for certain.
        """
        text = self._render(messages, tools, False)
        spans = None
        # Tools change what a template writes around every turn, so chats with tools have no skeleton.
        if not tools and not any(map(self._is_particular, messages)):
            skeleton = self._get_skeleton(tuple(map(_shape_of, messages)))
            spans = _match_skeleton(skeleton, messages, text) if skeleton else None
        if spans is None:
            answers = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
            spans = [self._find_one(messages, tools, index, text) for index in answers]
        for span in spans:
            message = messages[span.index]
            # Without the reasoning nothing of this answer was written: it would train an empty answer.
            if "reasoning" in span.missing and not message["content"] and not message.get("tool_calls"):
                raise make_left_out_problem(span.index)
        return text, spans

    def _is_particular(self, message: Turn) -> bool:
        """Return whether a turn is more than replaceable words: it has a call, or reasoning in its text."""
        if message.get("tool_calls") or not isinstance(message["content"], str):
            return True
        return self._edges.opens and INLINE.fullmatch(message["content"]) is not None

    def _find_one(self, messages: Sequence[Turn], tools: Any, index: int, text: str) -> AnswerSpan:
        place = self._edges.find_place(messages, tools, index, text)
        if place is None:
            raise RowProblem(
                N_("an answer cannot be found in the rendered chat"), _("turn {index}", index=index + 1)
            )
        span = self._make_span(messages, tools, index, text, place)
        turn = messages[index]
        if turn.get("tool_calls") and turn["content"] and index + 1 < len(messages):
            self._check_order(messages, tools, index, text, place)
        return span

    def _check_order(
        self, messages: Sequence[Turn], tools: Any, index: int, text: str, place: WordsPlace
    ) -> None:
        """Refuse a chat whose template writes the text of a call after the call's result, as some do."""
        try:
            following = self._edges.find_place(messages, tools, index + 1, text)
        except RowProblem:
            return
        if following and place.first <= following.first < place.end:
            raise RowProblem(
                N_("the chat template writes the next turn inside an answer"),
                _("turn {index}", index=index + 1),
            )

    def _make_span(
        self, messages: Sequence[Turn], tools: Any, index: int, text: str, place: WordsPlace
    ) -> AnswerSpan:
        if any(kind.startswith("call") for kind in place.missing):
            raise make_left_out_problem(index, calls=True)
        start, prompted = self._edges.find_start(messages, tools, index, text, place)
        end = self._edges.find_end(messages, tools, index, text, place)
        return AnswerSpan(index, start, end.at, end.stop, end.added, place.missing, prompted)

    def _get_skeleton(self, shape: tuple[str, ...]) -> _Skeleton | None:
        if shape not in self._skeletons:
            if len(self._skeletons) >= _MAX_SKELETONS:
                # Chats of ever new shapes are rare; starting again is simpler than keeping the most used.
                self._skeletons.clear()
            try:
                self._skeletons[shape] = self._make_skeleton(shape)
            except RowProblem:
                # The template refuses this shape with markers; its real chats are then tried one by one.
                self._skeletons[shape] = None
        return self._skeletons[shape]

    def _make_skeleton(self, shape: tuple[str, ...]) -> _Skeleton | None:
        messages = []
        for number, one in enumerate(shape):
            role, _unused, key = one.partition(" ")
            turn: Turn = {"role": role, "content": "x", **({key: "x"} if key else {})}
            messages.append(mark_turn(turn, number * _A_TURN).turn)
        text = self._render(messages, None, False)
        words = find_skeleton_words(text)
        slots = [number for number, _first, _end in words]
        # A template that writes a content twice gives no certain place.
        if len(set(slots)) != len(slots):
            return None
        shapes = []
        for index, one in enumerate(shape):
            if not one.startswith("assistant"):
                continue
            own = [place for place, slot in enumerate(slots) if slot // _A_TURN == index]
            # Other turns are written between the pieces of this answer.
            if not own or own[-1] - own[0] != len(own) - 1:
                return None
            first, end = words[own[0]][1], words[own[-1]][2]
            missing = _find_missing(slots, index) if len(own) < 1 + (" " in one) else frozenset()
            place = WordsPlace(first, end, text[end:], missing)
            span = self._make_span(messages, None, index, text, place)
            shapes.append(_AnswerShape(own[0], own[-1], first - span.start, span.end - end, span))
        edges = [0, *(edge for _number, first, end in words for edge in (first, end)), len(text)]
        gaps = tuple(text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True))
        return _Skeleton(gaps, tuple(slots), tuple(shapes))


def _shape_of(message: Turn) -> str:
    """Return a turn's role, and the key of its reasoning if it has any."""
    return f"{message['role']} {_reasoning_key(message)}".rstrip()


def _reasoning_key(message: Turn) -> str:
    """Return the key of a turn's reasoning; empty if it has none."""
    return next((key for key in REASONING_KEYS if message.get(key)), "")


def _find_missing(slots: Sequence[int], index: int) -> frozenset[str]:
    """Return which of its content (the first marker) and its reasoning an answer of a skeleton lacks."""
    kinds = ("content", "reasoning")
    return frozenset(kind for number, kind in enumerate(kinds) if index * _A_TURN + number not in slots)


def _match_skeleton(skeleton: _Skeleton, messages: Sequence[Turn], text: str) -> list[AnswerSpan] | None:
    """Match the skeleton with the real text; None if a piece does not fit."""
    if not text.startswith(skeleton.gaps[0]):
        return None
    at = len(skeleton.gaps[0])
    places = []
    for place, slot in enumerate(skeleton.slots):
        gap = skeleton.gaps[place + 1]
        piece = _get_piece(messages[slot // _A_TURN], slot % _A_TURN)
        # Templates may trim contents, each in its own way.
        variants = (piece, piece.strip(), piece.rstrip(), piece.lstrip(), piece.strip("\n"))
        fits = next(
            (v for v in variants if text.startswith(v, at) and text.startswith(gap, at + len(v))), None
        )
        if fits is None:
            return None
        places.append((at, at + len(fits)))
        at += len(fits) + len(gap)
    if at != len(text):
        return None
    return [
        replace(
            shape.span,
            start=places[shape.first_slot][0] - shape.lead,
            end=places[shape.last_slot][1] + shape.tail,
        )
        for shape in skeleton.shapes
    ]


def _get_piece(message: Turn, number: int) -> str:
    """Return a turn's content (0) or reasoning (1)."""
    key = "content" if number == 0 else _reasoning_key(message)
    return str(message.get(key) or "")
