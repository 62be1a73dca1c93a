"""What takes time on the plan screen: a trace of the libraries, and the range test with its growing curve."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from textual import on, work
from textual.content import Content
from textual.screen import Screen
from textual.widgets import OptionList

from tui_tuner.config.advice import words_of
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui import planlook
from tui_tuner.ui.hosting import tuner_of
from tui_tuner.ui.planwords import curve_words
from tui_tuner.ui.rangelook import RangeProcess
from tui_tuner.ui.widgets.plan.messages import Ranged, RangeStep, Traced
from tui_tuner.ui.widgets.plan.pages import Pages
from tui_tuner.ui.widgets.plan.waits import Waits

if TYPE_CHECKING:
    from tui_tuner.launch.tracing import Tracer
    from tui_tuner.planning.range_test import RangeTest


class LongWorks(Screen[None]):
    """A screen with a plan that can be checked by a trace, and by a range test."""

    look: planlook.Look | None
    waits: Waits
    turn: int
    traced: str
    _tracer: Tracer | None
    _ranging: RangeProcess | None
    _ranged: RangeTest | None

    def say_waits(self) -> None:
        """Say what is waited for."""
        raise NotImplementedError

    def draw_traced(self) -> None:
        """Say what the trace says."""
        raise NotImplementedError

    def draw_ranged(self, look: planlook.Look) -> None:
        """Show the result of the range test."""
        raise NotImplementedError

    def action_trace(self) -> None:
        """Check the memory against a trace of the installed libraries."""
        if self.look is not None:
            self.waits.begin("trace", _("tracing the installed libraries:"))
            self.say_waits()
            self._trace(self.turn, self.look)

    @work(thread=True, group="trace", exclusive=True)
    def _trace(self, turn: int, look: planlook.Look) -> None:
        from tui_tuner.launch.helper import Cancelled
        from tui_tuner.launch.tracing import Tracer
        from tui_tuner.planning.estimate import setup_for
        from tui_tuner.planning.memory.stack import installed

        facts, data = look.plan.facts, look.counted.facts
        try:
            if self._tracer is None:
                self._tracer = Tracer(helper=tuner_of(self.app).helper)
            sentence = self._tracer.check(
                setup_for(look.used, facts, installed(), look.card, data)
            ).sentence()
        except (TunerError, OSError) as problem:
            sentence = one_line(problem, 200)
        except Cancelled:
            return
        self.post_message(Traced(turn, sentence))

    @on(Traced)
    def _trace_done(self, message: Traced) -> None:
        self.waits.end("trace")
        self.say_waits()
        if message.turn == self.turn:
            self.traced = message.sentence
            self.draw_traced()

    def action_range(self) -> None:
        """Train some steps over growing learning rates, in a process of its own; end it if it is on."""
        tuner = tuner_of(self.app)
        self.query_one(Pages).show("rates")
        if self._ranging is not None:
            self._ranging.end()
            return
        if tuner.training:
            tuner.say(_("A run is training in this process; a range test would need its device."), "warning")
            return
        self._ranging = RangeProcess(tuner.helper, self._range_is_at)
        self.waits.begin("range", _("range test:"), _("r ends it"))
        self.say_waits()
        tuner.say(_("The range test trains some steps; its curve grows here. Leaving ends it."), timeout=8)
        self._range(self._ranging, copy.deepcopy(tuner.draft))

    def _range_is_at(self, doing: str, done: int, total: int, points: list[tuple[float, float]]) -> None:
        self.post_message(RangeStep(doing, done, total, points))

    @work(thread=True, group="range")
    def _range(self, process: RangeProcess, draft: dict[str, Any]) -> None:
        test, error = None, ""
        try:
            test = process.run(draft)
        except (TunerError, OSError, ValueError, KeyError) as problem:
            error = words_of(problem)
        self.post_message(Ranged(test, error))

    @on(RangeStep)
    def _range_step(self, message: RangeStep) -> None:
        if self._ranging is None:
            return
        if message.points:
            words = _("range test: step {done} of {total}", done=message.done, total=message.total)
            self.waits.begin("range", words, _("r ends it"))
            if len(message.points) > 1:
                self.query_one(Pages).explain("rates", curve_words(message.points))
        else:
            words = _("range test: {doing}", doing=one_line(message.doing, 40))
            self.waits.count("range", message.done, message.total, "", words)
        self.say_waits()

    @on(Ranged)
    def _range_done(self, message: Ranged) -> None:
        self._ranging = None
        self.waits.end("range")
        self.say_waits()
        if message.error:
            tuner_of(self.app).say(one_line(message.error, 300), "error", 12)
        if message.test is not None and self.look is not None:
            self._ranged = message.test
            self.draw_ranged(self.look)
            self.query_one("#rules", OptionList).highlighted = 0
        elif self.look is not None:
            self.query_one(Pages).explain("rates", Content(""))
