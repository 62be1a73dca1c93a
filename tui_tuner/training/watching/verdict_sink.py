"""Judge a run while it trains: after an evaluation that changes the verdict, and at its end.

The sink is between the run and its journal, and keeps in memory what a verdict needs: a few thousand steps,
of a longer run every second one, every fourth, and so on. An error here never ends a run.
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
from tui_tuner.verdicts.run_history import RunHistory, gather_journal_history

MOST_STEPS = 4096
# Confidence that a new verdict needs during a run: close to a border, verdicts would alternate otherwise.
SURE_ENOUGH = 0.6
LIVE_DRAWS = 50  # so few that a judgement between two steps takes about ten milliseconds
_OF_EVALUATION = (Evaluation, HeldOutRows, EvaluationTable, Heartbeat)


class JudgingSink:
    """A sink that passes events on and adds verdicts to them.

    Args:
        sink: Takes all events.
        journal: The journal of a resumed run, with its events so far.
    """

    def __init__(self, sink: EventSink, journal: Path | None = None) -> None:
        self._sink = sink
        self._lock = threading.RLock()
        self._measured = False  # an evaluation is not judged yet
        self._word = ""
        self._failed = False
        self._gathered = _gather_journal(journal)

    def emit(self, body: EventBody) -> None:
        """Pass an event on, with a verdict before the end and before the first event after an evaluation."""
        try:
            before: EventBody | None = self._find_verdict(body)
        except Exception as error:
            before = self._report_failure_once(error)
        if before is not None:
            self._sink.emit(before)
        self._sink.emit(body)
        # Added last, as a verdict is about the events before this one.
        if not isinstance(body, Heartbeat):
            with self._lock, contextlib.suppress(Exception):
                self._gathered.gather_event(body)

    def _find_verdict(self, body: EventBody) -> Verdict | None:
        with self._lock:
            if isinstance(body, Finished):
                return self._judge_run(body.status)
            # Not judged at once: an evaluation is several events, and rows and tables follow its figures.
            if isinstance(body, Evaluation) and body.stage == "validation":
                self._measured = True
            elif self._measured and not isinstance(body, _OF_EVALUATION):
                self._measured = False
                return self._judge_run("")
        return None

    def _report_failure_once(self, error: Exception) -> Log | None:
        """Return a log event about the failure, only for the first one."""
        if self._failed:
            return None
        self._failed = True
        # Reported, because without it a run looks as if its last verdict still held.
        why = one_line(f"{type(error).__name__}: {error}", 200)
        said = _("The run cannot be judged ({why}); its training is not affected.", why=why)
        return Log(said, "warning")

    def _judge_run(self, ended: str) -> Verdict | None:
        """Return the verdict to report: any at the end, before that only one that differs from the last."""
        from tui_tuner.verdicts.judge import judge_run_history, make_verdict_event
        from tui_tuner.verdicts.limits import DRAWS

        if not self._gathered.steps:
            return None  # an evaluation before the first step shows nothing yet
        found = judge_run_history(self._gathered, DRAWS if ended else LIVE_DRAWS)
        sure = found.confidence is None or found.confidence >= SURE_ENOUGH
        if not ended and (found.verdict == self._word or not sure):
            return None
        self._word = found.verdict
        return make_verdict_event(found, final=bool(ended))


def _gather_journal(journal: Path | None) -> RunHistory:
    """Return the history of a run up to now, empty without a readable journal."""
    if journal is not None:
        with contextlib.suppress(Exception):
            return gather_journal_history(journal, MOST_STEPS)
    return RunHistory(most=MOST_STEPS)
