"""The plan screen's slow checks: a trace of the libraries, and the range test with its growing curve."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from textual import on, work
from textual.content import Content
from textual.screen import Screen
from textual.widgets import OptionList

from tui_tuner.config.advice import format_error_words
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui import planlook
from tui_tuner.ui.hosting import get_tuner_app
from tui_tuner.ui.planwords import plot_running_curve
from tui_tuner.ui.rangelook import RangeProcess
from tui_tuner.ui.widgets.plan.plan_messages import RangeDone, RangeStep, TraceDone
from tui_tuner.ui.widgets.plan.plan_pages import Pages
from tui_tuner.ui.widgets.plan.waits import WaitList

if TYPE_CHECKING:
    from tui_tuner.launch.tracing import Tracer
    from tui_tuner.planning.range_suggestion import RangeTest


class LongWorks(Screen[None]):
    """A screen with a plan that a trace and a range test can check."""

    look: planlook.PlanPreview | None
    waits: WaitList
    turn: int
    traced: str
    _tracer: Tracer | None
    _ranging: RangeProcess | None
    _ranged: RangeTest | None

    def show_waits(self) -> None:
        """Show what the screen is waiting for."""
        raise NotImplementedError

    def draw_traced(self) -> None:
        """Show the result of the trace."""
        raise NotImplementedError

    def draw_ranged(self, look: planlook.PlanPreview) -> None:
        """Show the result of the range test."""
        raise NotImplementedError

    def action_trace(self) -> None:
        """Check the memory against a trace of the installed libraries."""
        if self.look is not None:
            self.waits.begin_wait("trace", _("tracing the installed libraries:"))
            self.show_waits()
            self._run_trace(self.turn, self.look)

    @work(thread=True, group="trace", exclusive=True)
    def _run_trace(self, turn: int, look: planlook.PlanPreview) -> None:
        from tui_tuner.launch.helper import Cancelled
        from tui_tuner.launch.tracing import Tracer
        from tui_tuner.planning.estimate import make_memory_setup
        from tui_tuner.planning.memory.stack import find_installed_stack

        facts, data = look.plan.facts, look.counted.facts
        try:
            if self._tracer is None:
                self._tracer = Tracer(helper=get_tuner_app(self.app).helper)
            sentence = self._tracer.check_setup(
                make_memory_setup(look.resolved_config, facts, find_installed_stack(), look.card, data)
            ).describe_check()
        except (TunerError, OSError) as problem:
            sentence = one_line(problem, 200)
        except Cancelled:
            return
        self.post_message(TraceDone(turn, sentence))

    @on(TraceDone)
    def _trace_done(self, message: TraceDone) -> None:
        self.waits.end_wait("trace")
        self.show_waits()
        # The plan may have changed since: the trace of an older one says nothing about this one.
        if message.turn == self.turn:
            self.traced = message.sentence
            self.draw_traced()

    def action_range(self) -> None:
        """Train some steps with increasing learning rates in a separate process; stop it if it is running."""
        tuner = get_tuner_app(self.app)
        self.query_one(Pages).show_page("rates")
        if self._ranging is not None:
            self._ranging.end_test()
            return
        if tuner.is_training:
            tuner.show_notice(
                _("A run is training in this process; a range test would need its device."), "warning"
            )
            return
        self._ranging = RangeProcess(tuner.helper, self._range_is_at)
        self.waits.begin_wait("range", _("range test:"), _("r stops it"))
        self.show_waits()
        tuner.show_notice(
            _("The range test trains some steps; its curve is shown here. Leaving this screen stops it."),
            timeout=8,
        )
        # A copy, since the user may edit the draft while the worker reads it.
        self._run_range_test(self._ranging, copy.deepcopy(tuner.draft))

    def _range_is_at(self, doing: str, done: int, total: int, points: list[tuple[float, float]]) -> None:
        self.post_message(RangeStep(doing, done, total, points))

    @work(thread=True, group="range")
    def _run_range_test(self, process: RangeProcess, draft: dict[str, Any]) -> None:
        test, error = None, ""
        try:
            test = process.run_test(draft)
        except (TunerError, OSError, ValueError, KeyError) as problem:
            error = format_error_words(problem)
        self.post_message(RangeDone(test, error))

    @on(RangeStep)
    def _range_step(self, message: RangeStep) -> None:
        # Posted from a thread, a step may arrive after the end of its test.
        if self._ranging is None:
            return
        if message.points:
            words = _("range test: step {done} of {total}", done=message.done, total=message.total)
            self.waits.begin_wait("range", words, _("r stops it"))
            if len(message.points) > 1:
                self.query_one(Pages).explain_page("rates", plot_running_curve(message.points))
        else:
            words = _("range test: {doing}", doing=one_line(message.doing, 40))
            self.waits.count_progress("range", message.done, message.total, "", words)
        self.show_waits()

    @on(RangeDone)
    def _range_done(self, message: RangeDone) -> None:
        self._ranging = None
        self.waits.end_wait("range")
        self.show_waits()
        if message.error:
            get_tuner_app(self.app).show_notice(one_line(message.error, 300), "error", 12)
        if message.test is not None and self.look is not None:
            self._ranged = message.test
            self.draw_ranged(self.look)
            self.query_one("#rules", OptionList).highlighted = 0
        elif self.look is not None:
            self.query_one(Pages).explain_page("rates", Content(""))
