"""Decide how often the line of a step is printed."""

from __future__ import annotations

from pathlib import Path

from tui_tuner.runs.journal import JournalReader

STEP_LINE_SECONDS = 2.0
LONG_JOURNAL = 32 << 20  # bytes; for a longer journal fewer lines are printed
MOST_STEP_LINES = 10_000  # for the past of a long journal


def choose_step_interval(events: Path) -> float:
    """Return the seconds between two lines of steps: more than usual for the past of a long journal."""
    reader = JournalReader(events)
    try:
        if events.stat().st_size < LONG_JOURNAL:
            return STEP_LINE_SECONDS
        first = next((event.time for event in reader.read_events(1 << 16) if event.time), 0.0)
        last = max((event.time for event in JournalReader(events, tail=1 << 16).read_events()), default=0.0)
    except OSError:
        return STEP_LINE_SECONDS
    return max(STEP_LINE_SECONDS, (last - first) / MOST_STEP_LINES) if first else STEP_LINE_SECONDS
