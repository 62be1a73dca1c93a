"""A run judges itself: after an evaluation where the word changes, and at its end.

It stands between the run and its journal, and keeps in memory what a verdict needs: a few thousand steps, of
a longer run every second one, every fourth, and so on. What goes wrong here never ends a run.
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

from tui_tuner.locales import _
from tui_tuner.runs.events import (
    Evaluation,
    EvaluationTable,
    EventBody,
    EventSink,
    Finished,
    Heartbeat,
    HeldOutRows,
    Log,
    Verdict,
)
from tui_tuner.text import one_line
from tui_tuner.verdicts.run_history import RunHistory, gather_file

MOST_STEPS = 4096
SURE_ENOUGH = 0.6  # of a word that takes the place of another while it goes on: at a border it would flap
LIVE_DRAWS = 50  # a judgement between two steps takes some ten milliseconds with them
_OF_EVALUATION = (Evaluation, HeldOutRows, EvaluationTable, Heartbeat)


class JudgingSink:
    """A sink that adds verdicts to what it passes on.

    Args:
        sink: Where all events go.
        journal: Of a run that is resumed: what it has told so far.
    """

    def __init__(self, sink: EventSink, journal: Path | None = None) -> None:
        self._sink = sink
        self._lock = threading.RLock()
        self._measured = False  # an evaluation is not judged yet
        self._word = ""
        self._failed = False
        self._gathered = _gather_journal(journal)

    def emit(self, body: EventBody) -> None:
        """Pass an event on; before what follows an evaluation, and before the end, the verdict."""
        try:
            before: EventBody | None = self._find_verdict(body)
        except Exception as error:
            before = self._report_failure_once(error)
        if before is not None:
            self._sink.emit(before)
        self._sink.emit(body)
        if not isinstance(body, Heartbeat):
            with self._lock, contextlib.suppress(Exception):
                self._gathered.gather_event(body)

    def _find_verdict(self, body: EventBody) -> Verdict | None:
        with self._lock:
            if isinstance(body, Finished):
                return self._judge_run(body.status)
            if isinstance(body, Evaluation) and body.stage == "validation":
                self._measured = True
            elif self._measured and not isinstance(body, _OF_EVALUATION):
                self._measured = False
                return self._judge_run("")
        return None

    def _report_failure_once(self, error: Exception) -> Log | None:
        """A run without a verdict must not look like one that was judged long ago."""
        if self._failed:
            return None
        self._failed = True
        why = one_line(f"{type(error).__name__}: {error}", 200)
        said = _("The run cannot be judged ({why}); its training is not touched by that.", why=why)
        return Log(said, "warning")

    def _judge_run(self, ended: str) -> Verdict | None:
        """The verdict to tell: at the end any, unless nothing was trained; before that, another word."""
        from tui_tuner.verdicts.judge import judge_gathered, make_verdict_event
        from tui_tuner.verdicts.limits import DRAWS

        if not self._gathered.steps:
            return None  # what is measured before the first step says nothing yet
        found = judge_gathered(self._gathered, DRAWS if ended else LIVE_DRAWS)
        sure = found.confidence is None or found.confidence >= SURE_ENOUGH
        if not ended and (found.verdict == self._word or not sure):
            return None
        self._word = found.verdict
        return make_verdict_event(found, final=bool(ended))


def _gather_journal(journal: Path | None) -> RunHistory:
    """Gather what is known before the first event."""
    if journal is not None:
        with contextlib.suppress(Exception):
            return gather_file(journal, MOST_STEPS)
    return RunHistory(most=MOST_STEPS)
