"""The two edges of one answer in a rendered chat, found by rendering the chat in other ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tui_tuner.data.chat.marks import PROBE, Turn, cut, plain_turn, shared, ways_to_mark
from tui_tuner.data.chat.stops import Stops
from tui_tuner.data.problems import RowProblem
from tui_tuner.locales import N_, _

Render = Callable[[Sequence[Turn], Any, bool], str]


@dataclass(frozen=True)
class Place:
    """Where a turn's own words are: characters [first, end), and the kinds of pieces that were written.

    `missing` are the kinds that the template left out, `behind` is the text after them.
    """

    first: int
    end: int
    behind: str
    missing: frozenset[str] = frozenset()


@dataclass(frozen=True)
class End:
    """Where an answer ends, its stop token, and what is to be added for it to have one."""

    at: int
    stop: str
    added: str = ""


class Edges:
    """Finds edges for one template."""

    def __init__(self, render: Render, stops: Stops) -> None:
        self._render = render
        self.stops = stops
        self._learn()

    def _learn(self) -> None:
        """What this template does with the plainest chat: its generation prompt, and what ends turns."""
        user, answer, more = (plain_turn(r, PROBE + i) for i, r in enumerate(("user", "assistant", "user")))
        asked, bare = self._try([user], None, True), self._try([user], None, False)
        self.prompt = asked[len(bare) :] if asked and bare and asked.startswith(bare) else ""
        self.prompted = asked != bare
        self.opens = _without_opened(self.prompt) != self.prompt
        user_end = cut(bare)[0][-1] if bare else ""
        self._ends_users = set(self.stops.run(user_end))
        ended, gone_on = self._try([user, answer], None, False), self._try([user, answer, more], None, False)
        closing = cut(ended)[0][-1] if ended else ""
        following = cut(gone_on)[0][-2] if gone_on and len(cut(gone_on)[1]) > 2 else closing
        self._between = following
        always = shared(closing, following)
        own = self._ending(self.stops.run(always), cut(bare)[0][0] if bare else "")
        if not own:
            own = self.stops.run(closing)[:1]
            own += [token for token in self.stops.run(following)[:1] if token in self._ends_users]
        self.stops.learn(own, always)

    def _ending(self, run: list[str], header: str) -> list[str]:
        """Those of the tokens behind an answer that end it: up to one that generation stops at, and without
        the header of a next turn, which some templates always write."""
        size = next((i + 1 for i, token in enumerate(run) if token in self.stops.ends), len(run))
        return run[:1] + [token for token in run[1:size] if token in self.stops.ends or token not in header]

    def _try(self, turns: Sequence[Turn], tools: Any, generation: bool) -> str | None:
        try:
            return self._render(turns, tools, generation)
        except RowProblem:
            return None

    # ---- where the words are ------------------------------------------------------------------------------

    def place(self, turns: Sequence[Turn], tools: Any, index: int, text: str) -> Place | None:
        """The words of a turn in `text`, the rendered chat; None if they cannot be told for certain.

        Raises:
            RowProblem: the template writes none of them.
        """
        nothing = False
        for marked in ways_to_mark(turns[index]):
            probe = [*turns[:index], marked.turn, *turns[index + 1 :]]
            rendered = self._try(probe, tools, False)
            if rendered is None:
                continue
            gaps, slots = cut(rendered)
            if not slots:
                nothing = nothing or bool(marked.pieces)
                continue
            before, behind = gaps[0], gaps[-1]
            if len(set(slots)) != len(slots) or not _fits(before, behind, text):
                continue
            missing = marked.kinds - {marked.pieces[slot] for slot in slots if slot in marked.pieces}
            return Place(len(before), len(text) - len(behind), behind, frozenset(missing))
        if nothing:
            raise left_out(index, bool(turns[index].get("tool_calls")))
        return self._place_plain(turns, tools, index, text)

    def _place_plain(self, turns: Sequence[Turn], tools: Any, index: int, text: str) -> Place | None:
        """The same with plain words in the turn's place: nothing but its edges is known then."""
        probe = [*turns[:index], plain_turn(turns[index]["role"], PROBE), *turns[index + 1 :]]
        rendered = self._try(probe, tools, False)
        gaps = cut(rendered)[0] if rendered is not None else []
        if len(gaps) != 2 or not _fits(gaps[0], gaps[1], text):
            return None
        place = Place(len(gaps[0]), len(text) - len(gaps[1]), gaps[1])
        names = [str(call["function"]["name"]) for call in turns[index].get("tool_calls") or ()]
        if any(name not in text[place.first : place.end] for name in names):
            raise left_out(index, calls=True)
        return place

    # ---- where the answer begins --------------------------------------------------------------------------

    def start(
        self, turns: Sequence[Turn], tools: Any, index: int, text: str, place: Place
    ) -> tuple[int, bool]:
        """The first character that the model has to write, and whether the generation prompt is what stands
        in front of it."""
        asked = self._try(turns[:index], tools, True) if index else None
        if asked is not None and text.startswith(asked) and len(asked) <= place.first:
            if self.prompted or not text[len(asked) : place.first].strip():
                return len(asked), True
            return self._behind_header(turns, tools, index, text, place, len(asked)), True
        reached = self._end_before(turns, tools, index, text)
        gap = text[reached : place.first]
        closing = self._closing_prompt(turns, tools, index)
        if closing and gap.startswith(closing):
            return reached + len(closing), True
        both = self.stops.uncut(shared(closing, gap), gap)
        if not self.prompted and both and not gap[len(both) :].strip():
            return reached + len(both), True
        if self.prompt.strip() and both[len(closing) - len(self.prompt) :].strip():
            return reached + len(both), False  # the turn and the prompt begin alike, and part here
        for part in _parts_of(self.prompt):
            at = gap.rfind(part)
            if at >= 0:
                return reached + at + len(part), part == self.prompt
        return max(reached, self._plain_start(turns, tools, index, text, place)), not self.prompted

    def _plain_start(self, turns: Sequence[Turn], tools: Any, index: int, text: str, place: Place) -> int:
        """Where the words of a plain answer would begin in this one's place."""
        probe = self._try([*turns[:index], plain_turn("assistant", PROBE), *turns[index + 1 :]], tools, False)
        probe = probe or self._try([*turns[:index], plain_turn("assistant", PROBE)], tools, False)
        gaps = cut(probe)[0] if probe is not None else []
        if len(gaps) != 2:
            return place.first
        return min(place.first, len(self.stops.uncut(shared(gaps[0], text), text)))

    def _behind_header(
        self, turns: Sequence[Turn], tools: Any, index: int, text: str, place: Place, asked: int
    ) -> int:
        """For templates that know no generation prompt: the header of the answer is nobody's answer."""
        probe = self._try([*turns[:index], plain_turn("assistant", PROBE)], tools, False)
        header = cut(probe)[0][0][asked:] if probe is not None else ""
        if probe is None or not header.strip():
            return asked if probe is not None else place.first
        return asked + len(shared(header, text[asked : place.first]))

    def _end_before(self, turns: Sequence[Turn], tools: Any, index: int, text: str) -> int:
        """Where the words of the turn before end."""
        if not index:
            return 0
        try:
            place = self.place(turns, tools, index - 1, text)
        except RowProblem:
            place = None
        return place.end if place else 0

    def _closing_prompt(self, turns: Sequence[Turn], tools: Any, index: int) -> str:
        """What the template writes between the words of the turn before and what the model writes."""
        if not index:
            return ""
        for marked in ways_to_mark(turns[index - 1]):
            asked = self._try([*turns[: index - 1], marked.turn], tools, True)
            if asked is not None:
                gaps, slots = cut(asked)
                return gaps[-1] if slots else ""
        return ""

    # ---- where the answer ends ----------------------------------------------------------------------------

    def end(self, turns: Sequence[Turn], tools: Any, index: int, text: str, place: Place) -> End:
        """Behind the answer's stop token, or behind what closes it where there is none."""
        last = index == len(turns) - 1
        calls = bool(turns[index].get("tool_calls"))
        ended = place.behind if last else self._ended(turns, tools, index)
        closing = shared(ended or "", place.behind)
        size, stop = self.stops.find(closing, calls)
        header = self._header_in(closing[:size] if stop else closing)
        if header is not None:
            return End(place.end + len(closing[:header].rstrip()), "")  # the stop is that of an empty answer
        if not stop and not last:
            following = self._until_next(turns, tools, index, text, place)
            closing = closing if ended is not None else following
            size, stop = self._same_end(ended, following, calls)
        if stop:
            return End(place.end + size, stop)
        at = place.end + len(self.stops.uncut(closing, place.behind).rstrip())
        if last:
            return End(at, "", self._missing_stop(turns, tools, index, place.behind))
        size, stop = self._stop_between(text[at:])
        return End(at + size, stop)

    def _header_in(self, closing: str) -> int | None:
        """Where the header of another answer begins that some templates write behind a call."""
        parts = [part.strip() for part in _parts_of(self.prompt)]
        first = self.stops.first(self.prompt)
        if first and first not in self.stops.own.union(self.stops.ends, self._ends_users):
            parts.append(first)
        places = [closing.find(part) for part in parts]
        return min((at for at in places if at >= 0), default=None)

    def _ended(self, turns: Sequence[Turn], tools: Any, index: int) -> str | None:
        """What is written behind the words of an answer that ends the chat; None where it cannot."""
        for marked in ways_to_mark(turns[index]):
            ended = self._try([*turns[:index], marked.turn], tools, False)
            if ended is not None and cut(ended)[1]:
                return cut(ended)[0][-1]
        return None

    def _until_next(self, turns: Sequence[Turn], tools: Any, index: int, text: str, place: Place) -> str:
        """What stands between the words of an answer and those of the next turn."""
        try:
            following = self.place(turns, tools, index + 1, text)
        except RowProblem:
            return ""
        return text[place.end : following.first] if following else ""

    def _same_end(self, ended: str | None, following: str, calls: bool) -> tuple[int, str]:
        """The stop in what follows an answer, if all that ends the chat is written in front of it too.

        Some templates write more behind a call, such as its id, where the chat goes on.
        """
        if ended is None:
            return self.stops.find(following, calls)
        size, stop = self.stops.find(following)
        alone, same = self.stops.find(ended, calls)
        both = len(shared(ended, following))
        if not same:  # a stop between turns only
            alone, same = len(ended.rstrip()), stop
            known = stop in self.stops.ends or stop in self._ends_users & self.stops.own
            before = following[both : size - len(stop)].rstrip() if known else ""
        else:
            before = following[both:size]
        if not stop or same != stop or not before.endswith(ended[both:alone] or "\0"):
            return 0, ""
        return size, stop

    def _stop_between(self, following: str) -> tuple[int, str]:
        """A stop token that the template writes between turns only, and that the next one may share."""
        size, stop = self.stops.begins(following)
        if not stop and self.stops.first(following) in self._ends_users & self.stops.own:
            size, stop = self.stops.begins(following, self.stops.own)
        return size, stop

    def _missing_stop(self, turns: Sequence[Turn], tools: Any, index: int, closing: str) -> str:
        """What to add to a chat whose last answer has no stop token: what ends it where the chat goes on.

        Nothing, where the template writes no token there either: such a model would never learn to stop.
        """
        between = self._going_on(turns, tools, index)
        if between is None:
            between = self._between
        between = between[len(shared(closing.rstrip(), between)) :]
        size, stop = self._stop_between(between)
        if stop:
            return between[len(between) - len(between.lstrip()) : size]
        return self.stops.ends[0] if self.stops.ends and self.stops.first(between) else ""

    def _going_on(self, turns: Sequence[Turn], tools: Any, index: int) -> str | None:
        """What is written behind the words of an answer and in front of those of a turn that follows it."""
        follow = plain_turn("user", PROBE + 99_999)
        if calls := turns[index].get("tool_calls"):
            follow |= {"role": "tool", "name": calls[0]["function"]["name"]}
            follow |= {"tool_call_id": calls[0]["id"]} if "id" in calls[0] else {}
        for marked in ways_to_mark(turns[index]):
            gone_on = self._try([*turns[:index], marked.turn, follow], tools, False)
            gaps, slots = cut(gone_on) if gone_on is not None else ([], [])
            if len(slots) > 1 and slots[-1] == PROBE + 99_999:
                return gaps[-2]
        return None


def left_out(index: int, calls: bool = False) -> RowProblem:
    """The problem of a row with an answer, or its calls, that the template does not write."""
    what = N_("the chat template leaves a whole answer out")
    if calls:
        what = N_("the chat template leaves out tool calls")
    return RowProblem(what, _("turn {index}", index=index + 1))


def _fits(before: str, behind: str, text: str) -> bool:
    return len(before) + len(behind) <= len(text) and text.startswith(before) and text.endswith(behind)


def _parts_of(prompt: str) -> list[str]:
    """A generation prompt, and what is left of it without the white space at its end, and without what it
    opens for the model to think in: a turn in the middle of a chat may lack either."""
    parts: list[str] = []
    while prompt.strip():
        shortest = len(prompt.rstrip())
        parts += [prompt[:size] for size in range(len(prompt), shortest - 1, -1)]
        rest = _without_opened(prompt)
        if rest == prompt:
            break
        prompt = prompt[: len(rest) + (prompt[len(rest) : len(rest) + 1].isspace())]
    return list(dict.fromkeys(parts))


def _without_opened(prompt: str) -> str:
    """A generation prompt without what it opens at its end for the model to think in, such as `<think>`."""
    shown = prompt.rstrip()
    start = max(shown.rfind("<"), shown.rfind("["))
    inner = shown[start + 1 : -1].lower()
    if start < 0 or shown[-1] not in ">]" or ">" in inner or "]" in inner:
        return prompt
    return shown[:start].rstrip() if "think" in inner or "reason" in inner else prompt
