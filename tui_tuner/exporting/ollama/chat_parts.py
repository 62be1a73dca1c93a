"""A chat template taken apart: the texts that it puts before and after each turn, found by rendering chats.

Programs that do not run Jinja have a template language of their own. Most chat templates do no more than set
fixed texts around turns, so those are found by rendering chats whose turns can be told apart. The parts are
then put together for other chats and compared with what the template renders: a template that does more is
noticed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tui_tuner.data.chat.template import render_chat
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import ModelError
from tui_tuner.locales import _
from tui_tuner.text import one_line

Turn = dict[str, Any]
_SYSTEM, _USERS, _ANSWERS = "Zquxsys", ("Zquxone", "Zquxtwo", "Zquxthree"), ("Zquxred", "Zquxblue")


@dataclass(frozen=True)
class ChatParts:
    """The fixed texts of a chat template.

    Args:
        start: What a chat without a system message begins with, before the first question's own text.
        before_user, after_user: Around each question.
        before_answer, after_answer: Around each answer.
        ending: After the last question, where the answer is to begin; it follows `after_user`.
        system: Where a system message goes: before all turns, into the first or last question, or nowhere.
        before_system, after_system: Around it. Before all turns, `before_system` takes the place of `start`.
    """

    start: str
    before_user: str
    after_user: str
    before_answer: str
    after_answer: str
    ending: str
    system: Literal["own", "first", "last", "none"] = "none"
    before_system: str = ""
    after_system: str = ""

    def put_together(self, turns: Sequence[Mapping[str, Any]]) -> str:
        """Render a chat that begins with a question, or with a system message, and ends with a question."""
        system = turns[0]["content"] if turns[0]["role"] == "system" else None
        rest = turns if system is None else turns[1:]
        inside = "" if system is None else self.before_system + system + self.after_system
        text = inside if system is not None and self.system == "own" else self.start
        questions = [place for place, turn in enumerate(rest) if turn["role"] == "user"]
        for place, turn in enumerate(rest):
            if turn["role"] == "user":
                merged = (self.system == "first" and place == questions[0]) or (
                    self.system == "last" and place == questions[-1]
                )
                text += self.before_user + (inside if merged else "") + turn["content"] + self.after_user
            else:
                text += self.before_answer + turn["content"] + self.after_answer
        return text + self.ending


def take_apart(tokenizer: Any, where: str) -> ChatParts:
    """Find the parts of a tokenizer's chat template, and check them on other chats.

    Raises:
        ModelError: it does more than set texts around turns.
    """
    try:
        parts = _find_turns(tokenizer)
    except (RowProblem, ValueError) as problem:
        raise _refuse(where, one_line(problem, 120)) from None
    _check_chats(parts, tokenizer, _make_chats(False), where)
    for system in _find_systems(parts, tokenizer):
        if _count_other(system, tokenizer, _make_chats(True)) == 0:
            return system
    if _accepts_system(tokenizer):
        raise _refuse(where, _("system messages are put in a place of their own"))
    return parts


def _find_turns(tokenizer: Any) -> ChatParts:
    """Find what surrounds questions and answers; raise ValueError where a text depends on more than that."""
    one, two = _USERS[:2]
    answer = _ANSWERS[0]
    asked = [{"role": "user", "content": one}]
    answered = [*asked, {"role": "assistant", "content": answer}]
    begin, rest = _cut(render_chat(tokenizer, asked, generation=True), one)
    after_user = _cut(render_chat(tokenizer, asked), one)[1]
    ending = _strip_start(rest, after_user)
    # the last answer may be written differently, with its thoughts: what counts is one before a question
    asked_again = [*answered, {"role": "user", "content": two}]
    middle, again = _cut(_cut(render_chat(tokenizer, asked_again, generation=True), one)[1], answer)
    before_answer, follow = _strip_start(middle, after_user), _cut(again, two)[0]
    before_user = _find_before_user(begin, follow, _cut(render_chat(tokenizer, answered), answer)[1])
    return ChatParts(
        start=begin.removesuffix(before_user),
        before_user=before_user,
        after_user=after_user,
        before_answer=before_answer,
        after_answer=follow.removesuffix(before_user),
        ending=ending,
    )


def _find_before_user(begin: str, follow: str, after_answer: str) -> str:
    """Return what stands before every question: the first, and those after an answer and its ending."""
    if follow.startswith(after_answer) and begin.endswith(follow[len(after_answer) :]):
        return follow[len(after_answer) :]
    # the longest text that both end with
    for length in range(min(len(begin), len(follow)), 0, -1):
        if begin.endswith(follow[-length:]):
            return follow[-length:]
    return ""


def _find_systems(parts: ChatParts, tokenizer: Any) -> list[ChatParts]:
    """List in which ways a system message may be placed, by how one chat is rendered."""
    one = _USERS[0]
    turns = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": one}]
    try:
        before, rest = _cut(render_chat(tokenizer, turns, generation=True), _SYSTEM)
        between = _cut(rest, one)[0]
    except (RowProblem, ValueError):
        return []
    found = []
    if between.endswith(parts.before_user):
        after = between.removesuffix(parts.before_user) if parts.before_user else between
        found.append(replace(parts, system="own", before_system=before, after_system=after))
    head = parts.start + parts.before_user
    if before.startswith(head):
        inside = replace(parts, before_system=before[len(head) :], after_system=between)
        found += [replace(inside, system="first"), replace(inside, system="last")]
    return found


def _accepts_system(tokenizer: Any) -> bool:
    turns = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": _USERS[0]}]
    try:
        return _SYSTEM in render_chat(tokenizer, turns, generation=True)
    except RowProblem:
        return False


def _make_chats(system: bool) -> list[list[Turn]]:
    """Return chats of one to three questions, with texts that templates may treat specially."""
    questions = ["What is 2 + 2?", "Zwei Zeilen:\n- erste\n- zweite", "Ünïcode ✅ {{ x }} {% y %} <b>'\"</b>"]
    answers = ["4.", "First line.\n\nSecond: {a}."]
    start = [{"role": "system", "content": "Answer briefly.\nBe kind."}] if system else []
    chats = []
    for count in (1, 2, 3):
        turns = list(start)
        for place in range(count):
            turns.append({"role": "user", "content": questions[place]})
            if place < count - 1:
                turns.append({"role": "assistant", "content": answers[place]})
        chats.append(turns)
    return chats


def _count_other(parts: ChatParts, tokenizer: Any, chats: Sequence[list[Turn]]) -> int:
    wrong = 0
    for turns in chats:
        try:
            wrong += render_chat(tokenizer, turns, generation=True) != parts.put_together(turns)
        except RowProblem:
            wrong += 1
    return wrong


def _check_chats(parts: ChatParts, tokenizer: Any, chats: Sequence[list[Turn]], where: str) -> None:
    if _count_other(parts, tokenizer, chats):
        raise _refuse(where, _("what it writes depends on more than the roles of turns"))


def trims_turns(parts: ChatParts, tokenizer: Any) -> bool:
    """Return whether the template removes spaces around a question, which fixed texts cannot."""
    turns = [{"role": "user", "content": " a \n"}]
    return render_chat(tokenizer, turns, generation=True) != parts.put_together(turns)


def _cut(text: str, mark: str) -> tuple[str, str]:
    """Return what stands before and after a mark; raise ValueError where it does not stand there once."""
    if text.count(mark) != 1:
        raise ValueError(_("a turn is left out or written twice"))
    before, _mark, after = text.partition(mark)
    return before, after


def _strip_start(text: str, start: str) -> str:
    if not text.startswith(start):
        raise ValueError(_("a question is written differently where an answer follows"))
    return text[len(start) :]


def _refuse(where: str, problem: str) -> ModelError:
    return ModelError(
        _("its chat template cannot be written for Ollama: {problem}.", problem=problem),
        where=one_line(where),
        hint=_("Export it with `--to gguf`: llama.cpp's server runs the template as it is (--jinja)."),
    )
