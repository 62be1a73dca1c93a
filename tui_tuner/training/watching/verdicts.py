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
    Body,
    Evaluation,
    EvaluationTable,
    Finished,
    Heartbeat,
    HeldOutRows,
    Log,
    Sink,
    Verdict,
)
from tui_tuner.text import one_line
from tui_tuner.verdicts.gathering import Gathered, gather_file

MOST_STEPS = 4096
SURE_ENOUGH = 0.6  # of a word that takes the place of another while it goes on: at a border it would flap
LIVE_DRAWS = 50  # a judgement between two steps takes some ten milliseconds with them
_OF_EVALUATION = (Evaluation, HeldOutRows, EvaluationTable, Heartbeat)


class Judged:
    """A sink that adds verdicts to what it passes on.

    Args:
        sink: Where all events go.
        journal: Of a run that is resumed: what it has told so far.
    """

    def __init__(self, sink: Sink, journal: Path | None = None) -> None:
        self._sink = sink
        self._lock = threading.RLock()
        self._measured = False  # an evaluation is not judged yet
        self._word = ""
        self._failed = False
        self._gathered = _begin(journal)

    def emit(self, body: Body) -> None:
        """Pass an event on; before what follows an evaluation, and before the end, the verdict."""
        try:
            before: Body | None = self._before(body)
        except Exception as error:
            before = self._said_once(error)
        if before is not None:
            self._sink.emit(before)
        self._sink.emit(body)
        if not isinstance(body, Heartbeat):
            with self._lock, contextlib.suppress(Exception):
                self._gathered.take(body)

    def _before(self, body: Body) -> Verdict | None:
        with self._lock:
            if isinstance(body, Finished):
                return self._judge(body.status)
            if isinstance(body, Evaluation) and body.stage == "validation":
                self._measured = True
            elif self._measured and not isinstance(body, _OF_EVALUATION):
                self._measured = False
                return self._judge("")
        return None

    def _said_once(self, error: Exception) -> Log | None:
        """A run without a verdict must not look like one that was judged long ago."""
        if self._failed:
            return None
        self._failed = True
        why = one_line(f"{type(error).__name__}: {error}", 200)
        said = _("The run cannot be judged ({why}); its training is not touched by that.", why=why)
        return Log(said, "warning")

    def _judge(self, ended: str) -> Verdict | None:
        """The verdict to tell: at the end any, unless nothing was trained; before that, another word."""
        from tui_tuner.verdicts.judge import event_of, judge_gathered
        from tui_tuner.verdicts.limits import DRAWS

        if not self._gathered.steps:
            return None  # what is measured before the first step says nothing yet
        found = judge_gathered(self._gathered, DRAWS if ended else LIVE_DRAWS)
        sure = found.confidence is None or found.confidence >= SURE_ENOUGH
        if not ended and (found.verdict == self._word or not sure):
            return None
        self._word = found.verdict
        return event_of(found, final=bool(ended))


def _begin(journal: Path | None) -> Gathered:
    """What is known before the first event."""
    if journal is not None:
        with contextlib.suppress(Exception):
            return gather_file(journal, MOST_STEPS)
    return Gathered(most=MOST_STEPS)
