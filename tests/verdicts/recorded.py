"""Reads recorded runs, as they were written and as older versions would have written them."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from pathlib import Path

from tui_tuner.runs.events import Evaluation, EvaluationTable, Event, HeldOutRows, RunStarted
from tui_tuner.runs.wire import decode_event_line

JOURNALS = Path(__file__).parent / "journals"
# Tasks whose rows older versions measured before the first step, too
MEASURED_BEFORE = ("classification", "token_classification", "question_answering")


def journal_of(name: str) -> Path:
    """Where the journal of a recipe is."""
    return JOURNALS / f"{name}.jsonl.gz"


def read_events(name: str) -> list[Event]:
    """The events of a recorded run."""
    lines = gzip.decompress(journal_of(name).read_bytes()).splitlines()
    events = [event for line in lines if (event := decode_event_line(line)) is not None]
    assert len(events) == len(lines), f"{name}: {len(lines) - len(events)} lines are no events"
    return events


def as_older(events: Sequence[Event]) -> list[Event]:
    """The run as version 0.1 wrote it: no losses of single rows, and none of a text before the first step."""
    starts = (event.body for event in events if isinstance(event.body, RunStarted))
    task = next((str(start.config.get("task")) for start in starts), "")
    return [event for event in events if not _is_new(event, task in MEASURED_BEFORE)]


def _is_new(event: Event, measured_before: bool) -> bool:
    body = event.body
    if isinstance(body, HeldOutRows):
        return True
    return not measured_before and isinstance(body, Evaluation | EvaluationTable) and body.step == 0


def every_third(names: Iterable[str]) -> list[str]:
    """A third of the runs, which are judged as older versions wrote them, too."""
    return sorted(names)[::3]
