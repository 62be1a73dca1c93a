"""Question 3: the model. Ranked for the task, the rows and this machine: those that fit come first."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.worker import get_current_worker

from tui_tuner.config.advice import words_of
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.text import human_bytes, human_count, human_money, one_line
from tui_tuner.ui.screens.guide.machine import PRICE, MachineQuestion
from tui_tuner.ui.screens.guide.question import Question
from tui_tuner.ui.screens.guide.walk import Walk
from tui_tuner.ui.words import block, column, rough, span

if TYPE_CHECKING:
    from tui_tuner.guiding.models import Choice

_PATIENCE = 4.0  # seconds that an Enter waits for models beyond those of this machine
_MOST = 40


class Ranked(Message):
    """The models so far, the most fitting first; `done` when no more come."""

    def __init__(self, choices: list[Choice], done: bool, problem: str = "") -> None:
        super().__init__()
        self.choices, self.done, self.problem = choices, done, problem

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Ranked) and not message.done


class ModelQuestion(Question):
    """A line for each model: whether it fits, its size, its terms, and how long these rows take."""

    PLACE: ClassVar[int] = 3
    DEFAULT_CSS = """
    ModelQuestion #list { max-height: 9; }
    """
    HELP_TEXT = _(
        "A model that has read much already is taught your examples on top. Larger ones know more and answer "
        "better, and need more memory and time.\n"
        "The first line is what fits best: what suits the task and the language of your rows, may be used "
        "freely, and is done in reasonable time on this machine. ✓ fits, ✗ does not; below stands why.\n"
        "m looks for more models: of this machine and of a hub, by name."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "more", _("More models")),
    ]

    def __init__(self, walk: Walk) -> None:
        super().__init__(walk)
        self._choices: list[Choice] = []
        self._done, self._problem = False, ""
        self._began = time.monotonic()
        self._for: tuple[object, ...] = ()  # the answers that models were ranked for

    def asked(self) -> str:
        return _("Which model should learn it?")

    def meaning(self) -> str:
        return _(
            "It begins with a model that has read much already, and learns your examples on top. Larger ones "
            "answer better, and take more memory and time. The first line fits best here."
        )

    def listed(self) -> str:
        return _("Models")

    def on_mount(self) -> None:
        self._rank_again()

    def on_screen_resume(self) -> None:
        if self._for and self._for != self._asked_for():  # another machine was chosen meanwhile
            self._rank_again()

    def _asked_for(self) -> tuple[object, ...]:
        answers = self.walk.answers
        return (answers.machine or "here", answers.budget, answers.more.get(PRICE), answers.data)

    def _rank_again(self) -> None:
        self._for = self._asked_for()
        self._done, self._began = False, time.monotonic()
        self._rank()

    # The ranking

    @work(thread=True, group="rank", exclusive=True)
    def _rank(self) -> None:
        from tui_tuner.guiding.models import watch_models

        worker, answers = get_current_worker(), self.walk.answers
        found: list[Choice] = []
        problem = ""
        try:
            for found in watch_models(
                self.walk.task,
                data=self.walk.data_facts(),
                languages=self.walk.languages(),
                machine=answers.machine or "here",
                budget=answers.budget,
                price=answers.more.get(PRICE),
                root=self.tuner.store.root,
                stop=lambda: worker.is_cancelled,
                network=True,
            ):
                if worker.is_cancelled:
                    return
                self.post_message(Ranked(found, False))
        except (TunerError, OSError) as error:
            problem = words_of(error)
        if not worker.is_cancelled:
            self.post_message(Ranked(found, True, problem))

    def work_failed(self, group: str, words: str) -> None:
        if group == "rank":
            self.post_message(Ranked(self._choices, True, words))

    @on(Ranked)
    def _ranked(self, message: Ranked) -> None:
        self._choices, self._done, self._problem = message.choices, message.done, message.problem
        self.draw_answers()
        self.found_out()

    def busy(self) -> str:
        seconds = time.monotonic() - self._began
        if self._done or (self._choices and (self.moved or seconds > _PATIENCE)):
            return ""
        if "model" in self.walk.chosen and self.chosen == self.walk.answers.model:
            return ""
        return _("planning models: {count} so far", count=len(self._choices))

    # The lines

    def draw_answers(self) -> None:
        width = self.width
        shown = self._choices[:_MOST]
        lines = [(choice.name, _line(choice, width)) for choice in shown]
        chosen = self.walk.answers.model if "model" in self.walk.chosen else ""
        if chosen and chosen not in [id for id, _line in lines]:
            lines.insert(
                0, (chosen, Content.assemble((one_line(chosen, width - 12), "bold"), "  ", _("chosen")))
            )
        if not lines and self._done:
            lines = [("", Content(_("No model was found: m looks for one by its name.")))]
        at = ""
        if not self.moved:
            at = chosen or (lines[0][0] if lines else "")
        self.show_answers(lines, at)

    def about(self, chosen: str) -> Content:
        choice = next((one for one in self._choices if one.name == chosen), None)
        if choice is None:
            return block(self._problem).stylize("$error") if self._problem else Content("")
        lines = [block(choice.why)]
        lines += _facts(choice)
        if self._problem:
            lines.append(block(self._problem).stylize("$warning"))
        return Content("\n").join(lines)

    def choose(self, chosen: str) -> None:
        choice = next((one for one in self._choices if one.name == chosen), None)
        if not chosen:
            self.action_more()
            return
        hub = choice.values.get("model.hub") if choice is not None else None
        self._take(chosen, {"model.hub": hub} if hub else {})

    def _take(self, name: str, values: Mapping[str, Any]) -> None:
        self.walk.forget("model.hub", "model.name")
        self.walk.answer(model=name)
        self.walk.put(values)
        self.keep()
        self.app.push_screen(MachineQuestion(self.walk))

    def action_more(self) -> None:
        """All models of this machine and of a hub."""
        from tui_tuner.ui.screens.models.asking import ask_model

        def taken(values: Mapping[str, Any]) -> None:
            rest = {path: value for path, value in values.items() if path != "model.name"}
            if values.get("model.name"):
                self._take(str(values["model.name"]), rest)

        ask_model(self, taken)


def _line(choice: Choice, width: int) -> Content:
    """Mark, name, size, time or download, and terms."""
    marks = {True: ("✓ ", "$success"), False: ("✗ ", "$error")}
    mark = marks[choice.fits] if choice.state != "unknown" else ("? ", "$warning")
    size = human_count(choice.parameters) if choice.parameters else ""
    seconds = f"~{rough(choice.seconds[1])}" if choice.seconds else ""
    where = _("here") if choice.here else f"⇣ {human_bytes(choice.fetch)}" if choice.fetch else "⇣"
    right = f"{size:>7} {seconds:>9}  {column(where, 11)} {column(choice.licence, 11)}"
    name = column(choice.title, max(10, width - 2 - len(right) - 1))
    return Content.assemble(mark, (name, "bold"), " ", (right, "$dim"))


def _facts(choice: Choice) -> list[Content]:
    """What there is to know: memory, time, money, terms, languages."""
    parts = []
    if choice.needs:
        parts.append(_("memory {needs:.1f} of {there:.1f} GiB", needs=choice.needs, there=choice.there))
    if choice.seconds:
        low, likely, high = choice.seconds
        parts.append(_("time ~{likely} ({span})", likely=rough(likely), span=span(low, high)))
    if choice.cost:
        parts.append(_("price ~{cost}", cost=human_money(choice.cost[1])))
    lines = [" · ".join(parts)]
    terms = choice.licence or _("not told")
    words = [_("licence: {terms}", terms=one_line(terms, 40))]
    if choice.languages:
        words.append(_("languages: {codes}", codes=one_line(", ".join(choice.languages[:12]), 60)))
    if choice.gated:
        words.append(_("its owner wants one to log in and accept terms first"))
    if not choice.here:
        size = human_bytes(choice.fetch) if choice.fetch else _("an unknown size")
        words.append(_("is fetched first: {size}", size=size))
    lines.append(" · ".join(words))
    return [block(line).stylize("$dim") for line in lines if line]
