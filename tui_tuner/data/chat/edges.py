"""Find the two edges of one answer in a rendered chat, by rendering the chat in other ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tui_tuner.data.chat.marks import (
    PROBE,
    Turn,
    cut_at_markers,
    find_common_prefix,
    list_marked_turns,
    make_marker_turn,
)
from tui_tuner.data.chat.stops import StopTokens
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.locales import N_, _

Render = Callable[[Sequence[Turn], Any, bool], str]


@dataclass(frozen=True)
class WordsPlace:
    """The place of a turn's own words: characters [first, end) of the rendered chat.

    `missing` are the kinds of pieces that the template left out, `behind` is the text after the words.
    """

    first: int
    end: int
    behind: str
    missing: frozenset[str] = frozenset()


@dataclass(frozen=True)
class AnswerEnd:
    """The end of an answer, its stop token, and the text to add so that it has one."""

    at: int
    stop: str
    added: str = ""


class EdgeFinder:
    """Finds edges for one template."""

    def __init__(self, render: Render, stops: StopTokens) -> None:
        self._render = render
        self.stops = stops
        self._learn_template()

    def _learn_template(self) -> None:
        """Try the template on the plainest chat: learn its generation prompt, and what ends turns."""
        user, answer, more = (
            make_marker_turn(r, PROBE + i) for i, r in enumerate(("user", "assistant", "user"))
        )
        asked, bare = self._try_render([user], None, True), self._try_render([user], None, False)
        self.prompt = asked[len(bare) :] if asked and bare and asked.startswith(bare) else ""
        self.prompted = asked != bare
        self.opens = _strip_opened(self.prompt) != self.prompt
        user_end = cut_at_markers(bare)[0][-1] if bare else ""
        self._ends_users = set(self.stops.leading_tokens(user_end))
        ended, gone_on = (
            self._try_render([user, answer], None, False),
            self._try_render([user, answer, more], None, False),
        )
        closing = cut_at_markers(ended)[0][-1] if ended else ""
        following = (
            cut_at_markers(gone_on)[0][-2] if gone_on and len(cut_at_markers(gone_on)[1]) > 2 else closing
        )
        self._between = following
        always = find_common_prefix(closing, following)
        own = self._select_end_tokens(
            self.stops.leading_tokens(always), cut_at_markers(bare)[0][0] if bare else ""
        )
        if not own:
            own = self.stops.leading_tokens(closing)[:1]
            own += [token for token in self.stops.leading_tokens(following)[:1] if token in self._ends_users]
        self.stops.set_own(own, always)

    def _select_end_tokens(self, run: list[str], header: str) -> list[str]:
        """Select the tokens after an answer that end it, up to one that generation stops at."""
        # Some templates always write the header of a next turn there, which is not part of the end.
        size = next((i + 1 for i, token in enumerate(run) if token in self.stops.ends), len(run))
        return run[:1] + [token for token in run[1:size] if token in self.stops.ends or token not in header]

    def _try_render(self, turns: Sequence[Turn], tools: Any, generation: bool) -> str | None:
        try:
            return self._render(turns, tools, generation)
        except RowProblem:
            return None

    # ---- the place of the words ---------------------------------------------------------------------------

    def find_place(self, turns: Sequence[Turn], tools: Any, index: int, text: str) -> WordsPlace | None:
        """Find the words of a turn in `text`, the rendered chat; None if their place is not certain.

        Raises:
            RowProblem: the template writes none of them.
        """
        nothing = False
        for marked in list_marked_turns(turns[index]):
            probe = [*turns[:index], marked.turn, *turns[index + 1 :]]
            rendered = self._try_render(probe, tools, False)
            if rendered is None:
                continue
            gaps, slots = cut_at_markers(rendered)
            if not slots:
                nothing = nothing or bool(marked.pieces)
                continue
            before, behind = gaps[0], gaps[-1]
            # The marked chat must differ from the real one only in the words, or its edges mean nothing.
            if len(set(slots)) != len(slots) or not _is_framed_by(before, behind, text):
                continue
            missing = marked.piece_kinds - {marked.pieces[slot] for slot in slots if slot in marked.pieces}
            return WordsPlace(len(before), len(text) - len(behind), behind, frozenset(missing))
        if nothing:
            raise make_left_out_problem(index, bool(turns[index].get("tool_calls")))
        return self._place_plain(turns, tools, index, text)

    def _place_plain(self, turns: Sequence[Turn], tools: Any, index: int, text: str) -> WordsPlace | None:
        """Find a turn with plain words in its place, which shows only its edges."""
        probe = [*turns[:index], make_marker_turn(turns[index]["role"], PROBE), *turns[index + 1 :]]
        rendered = self._try_render(probe, tools, False)
        gaps = cut_at_markers(rendered)[0] if rendered is not None else []
        if len(gaps) != 2 or not _is_framed_by(gaps[0], gaps[1], text):
            return None
        place = WordsPlace(len(gaps[0]), len(text) - len(gaps[1]), gaps[1])
        names = [str(call["function"]["name"]) for call in turns[index].get("tool_calls") or ()]
        if any(name not in text[place.first : place.end] for name in names):
            raise make_left_out_problem(index, calls=True)
        return place

    # ---- where the answer begins --------------------------------------------------------------------------

    def find_start(
        self, turns: Sequence[Turn], tools: Any, index: int, text: str, place: WordsPlace
    ) -> tuple[int, bool]:
        """Find the first character that the model must write.

        Also returns whether the generation prompt comes directly before it.
        """
        asked = self._try_render(turns[:index], tools, True) if index else None
        if asked is not None and text.startswith(asked) and len(asked) <= place.first:
            # The usual case: the chat up to here with the generation prompt is a prefix of the whole chat.
            if self.prompted or not text[len(asked) : place.first].strip():
                return len(asked), True
            return self._skip_header(turns, tools, index, text, place, len(asked)), True
        reached = self._find_previous_end(turns, tools, index, text)
        gap = text[reached : place.first]
        closing = self._find_closing_prompt(turns, tools, index)
        if closing and gap.startswith(closing):
            return reached + len(closing), True
        both = self.stops.strip_cut_token(find_common_prefix(closing, gap), gap)
        if not self.prompted and both and not gap[len(both) :].strip():
            return reached + len(both), True
        if self.prompt.strip() and both[len(closing) - len(self.prompt) :].strip():
            # The turn and the generation prompt begin with the same text, and differ from here on.
            return reached + len(both), False
        for part in _list_prompt_parts(self.prompt):
            at = gap.rfind(part)
            if at >= 0:
                return reached + at + len(part), part == self.prompt
        return max(reached, self._find_plain_start(turns, tools, index, text, place)), not self.prompted

    def _find_plain_start(
        self, turns: Sequence[Turn], tools: Any, index: int, text: str, place: WordsPlace
    ) -> int:
        """Find where the words of a plain answer would begin in the place of this one."""
        probe = self._try_render(
            [*turns[:index], make_marker_turn("assistant", PROBE), *turns[index + 1 :]], tools, False
        )
        probe = probe or self._try_render(
            [*turns[:index], make_marker_turn("assistant", PROBE)], tools, False
        )
        gaps = cut_at_markers(probe)[0] if probe is not None else []
        if len(gaps) != 2:
            return place.first
        return min(place.first, len(self.stops.strip_cut_token(find_common_prefix(gaps[0], text), text)))

    def _skip_header(
        self, turns: Sequence[Turn], tools: Any, index: int, text: str, place: WordsPlace, asked: int
    ) -> int:
        """Skip the header of an answer, for templates that ignore the generation prompt."""
        probe = self._try_render([*turns[:index], make_marker_turn("assistant", PROBE)], tools, False)
        header = cut_at_markers(probe)[0][0][asked:] if probe is not None else ""
        if probe is None or not header.strip():
            return asked if probe is not None else place.first
        return asked + len(find_common_prefix(header, text[asked : place.first]))

    def _find_previous_end(self, turns: Sequence[Turn], tools: Any, index: int, text: str) -> int:
        """Find where the words of the previous turn end."""
        if not index:
            return 0
        try:
            place = self.find_place(turns, tools, index - 1, text)
        except RowProblem:
            place = None
        return place.end if place else 0

    def _find_closing_prompt(self, turns: Sequence[Turn], tools: Any, index: int) -> str:
        """Find what the template writes between the words of the previous turn and those of the model."""
        if not index:
            return ""
        for marked in list_marked_turns(turns[index - 1]):
            asked = self._try_render([*turns[: index - 1], marked.turn], tools, True)
            if asked is not None:
                gaps, slots = cut_at_markers(asked)
                return gaps[-1] if slots else ""
        return ""

    # ---- the end of the answer ----------------------------------------------------------------------------

    def find_end(
        self, turns: Sequence[Turn], tools: Any, index: int, text: str, place: WordsPlace
    ) -> AnswerEnd:
        """Find the end of an answer: after its stop token, or after what closes it if there is none."""
        last = index == len(turns) - 1
        calls = bool(turns[index].get("tool_calls"))
        ended = place.behind if last else self._render_ended(turns, tools, index)
        closing = find_common_prefix(ended or "", place.behind)
        size, stop = self.stops.find_stop(closing, calls)
        header = self._find_header(closing[:size] if stop else closing)
        if header is not None:
            # The stop found here ends another, empty answer.
            return AnswerEnd(place.end + len(closing[:header].rstrip()), "")
        if not stop and not last:
            following = self._text_until_next(turns, tools, index, text, place)
            closing = closing if ended is not None else following
            size, stop = self._find_same_end(ended, following, calls)
        if stop:
            return AnswerEnd(place.end + size, stop)
        at = place.end + len(self.stops.strip_cut_token(closing, place.behind).rstrip())
        if last:
            return AnswerEnd(at, "", self._find_missing_stop(turns, tools, index, place.behind))
        size, stop = self._find_stop_between(text[at:])
        return AnswerEnd(at + size, stop)

    def _find_header(self, closing: str) -> int | None:
        """Find where the header of another answer begins, which some templates write after a call."""
        parts = [part.strip() for part in _list_prompt_parts(self.prompt)]
        first = self.stops.first_token(self.prompt)
        if first and first not in self.stops.own.union(self.stops.ends, self._ends_users):
            parts.append(first)
        places = [closing.find(part) for part in parts]
        return min((at for at in places if at >= 0), default=None)

    def _render_ended(self, turns: Sequence[Turn], tools: Any, index: int) -> str | None:
        """Render what follows an answer that ends the chat; None if it cannot end one."""
        for marked in list_marked_turns(turns[index]):
            ended = self._try_render([*turns[:index], marked.turn], tools, False)
            if ended is not None and cut_at_markers(ended)[1]:
                return cut_at_markers(ended)[0][-1]
        return None

    def _text_until_next(
        self, turns: Sequence[Turn], tools: Any, index: int, text: str, place: WordsPlace
    ) -> str:
        """Return the text between the words of an answer and those of the next turn."""
        try:
            following = self.find_place(turns, tools, index + 1, text)
        except RowProblem:
            return ""
        return text[place.end : following.first] if following else ""

    def _find_same_end(self, ended: str | None, following: str, calls: bool) -> tuple[int, str]:
        """Find the stop after an answer, if everything that ends the chat is written before it too."""
        # Some templates write more after a call, such as its id, if the chat continues.
        if ended is None:
            return self.stops.find_stop(following, calls)
        size, stop = self.stops.find_stop(following)
        alone, same = self.stops.find_stop(ended, calls)
        both = len(find_common_prefix(ended, following))
        if not same:  # a stop between turns only
            # Alone at the end of a chat the answer has no stop; the template writes it only between turns.
            alone, same = len(ended.rstrip()), stop
            known = stop in self.stops.ends or stop in self._ends_users & self.stops.own
            before = following[both : size - len(stop)].rstrip() if known else ""
        else:
            before = following[both:size]
        if not stop or same != stop or not before.endswith(ended[both:alone] or "\0"):
            return 0, ""
        return size, stop

    def _find_stop_between(self, following: str) -> tuple[int, str]:
        """Find a stop token that the template writes only between turns, and that the next turn may share."""
        size, stop = self.stops.find_first_among(following)
        if not stop and self.stops.first_token(following) in self._ends_users & self.stops.own:
            size, stop = self.stops.find_first_among(following, self.stops.own)
        return size, stop

    def _find_missing_stop(self, turns: Sequence[Turn], tools: Any, index: int, closing: str) -> str:
        """Find what to add to a last answer without a stop token: what ends it if the chat continues."""
        # Nothing is added if the template writes no token there either; preflight reports such answers.
        between = self._render_continued(turns, tools, index)
        if between is None:
            between = self._between
        between = between[len(find_common_prefix(closing.rstrip(), between)) :]
        size, stop = self._find_stop_between(between)
        if stop:
            return between[len(between) - len(between.lstrip()) : size]
        return self.stops.ends[0] if self.stops.ends and self.stops.first_token(between) else ""

    def _render_continued(self, turns: Sequence[Turn], tools: Any, index: int) -> str | None:
        """Render what comes between the words of an answer and those of a turn that follows it."""
        follow = make_marker_turn("user", PROBE + 99_999)
        if calls := turns[index].get("tool_calls"):
            follow |= {"role": "tool", "name": calls[0]["function"]["name"]}
            # Templates insist that a result follows its call, and some that their ids agree.
            follow |= {"tool_call_id": calls[0]["id"]} if "id" in calls[0] else {}
        for marked in list_marked_turns(turns[index]):
            gone_on = self._try_render([*turns[:index], marked.turn, follow], tools, False)
            gaps, slots = cut_at_markers(gone_on) if gone_on is not None else ([], [])
            if len(slots) > 1 and slots[-1] == PROBE + 99_999:
                return gaps[-2]
        return None


def make_left_out_problem(index: int, calls: bool = False) -> RowProblem:
    """Make the problem of a row with an answer, or its calls, that the template does not write."""
    what = N_("the chat template leaves a whole answer out")
    if calls:
        what = N_("the chat template leaves out tool calls")
    return RowProblem(what, _("turn {index}", index=index + 1))


def _is_framed_by(before: str, behind: str, text: str) -> bool:
    return len(before) + len(behind) <= len(text) and text.startswith(before) and text.endswith(behind)


def _list_prompt_parts(prompt: str) -> list[str]:
    """List a generation prompt and its shorter forms, which turns in the middle of a chat may begin with."""
    parts: list[str] = []
    while prompt.strip():
        shortest = len(prompt.rstrip())
        # White space at the end of a prompt is often trimmed in earlier turns.
        parts += [prompt[:size] for size in range(len(prompt), shortest - 1, -1)]
        rest = _strip_opened(prompt)
        if rest == prompt:
            break
        prompt = prompt[: len(rest) + (prompt[len(rest) : len(rest) + 1].isspace())]
    return list(dict.fromkeys(parts))


def _strip_opened(prompt: str) -> str:
    """Return a generation prompt without what it opens at its end for reasoning, such as `<think>`."""
    shown = prompt.rstrip()
    start = max(shown.rfind("<"), shown.rfind("["))
    inner = shown[start + 1 : -1].lower()
    if start < 0 or shown[-1] not in ">]" or ">" in inner or "]" in inner:
        return prompt
    return shown[:start].rstrip() if "think" in inner or "reason" in inner else prompt
