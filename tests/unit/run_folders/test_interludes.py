"""What lies between steps counts as often as it comes, and pauses count for nothing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tui_tuner.config.schema import RunConfig
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.runs.events import RunDuration
from tui_tuner.training.watching.interludes import Interludes
from tui_tuner.training.watching.intervals import count_events_ahead
from tui_tuner.training.watching.reporting import Reporter


@pytest.mark.parametrize(
    ("step", "total", "every", "times"),
    [(0, 90, 10, 9), (10, 90, 10, 8), (3, 90, 10, 9), (85, 95, 10, 2), (90, 90, 10, 0), (3, 90, None, 1)],
)
def test_how_often_it_comes_until_the_end(step: int, total: int, every: int | None, times: int) -> None:
    assert count_events_ahead(step, total, every) == times


def duration_after(steps: int, pause_at: int = 0, asked_at: int = 0) -> float:
    """What a run of 90 steps of 1 s says of its whole time; evaluations each 10 steps take 5 s."""
    from tui_tuner.training.watching.pace import Pace

    said: list[RunDuration] = []
    clock = {"spent": 0.0, "waited": 0.0}
    between = Interludes({"evaluation": 10, "checkpoint": None}, lambda: clock["waited"])
    config = RunConfig()
    sink = SimpleNamespace(emit=said.append)
    pace = Pace(
        config,
        config,
        None,
        DataFacts(8),
        Reporter(sink),
        lambda: clock["spent"],
        lambda: clock["waited"],
        90,
        between,
    )
    for step in range(1, steps + 1):
        clock["spent"] += 1.0
        if step % 10 == 0 or step == asked_at:
            clock["spent"] += 5.0
            between.add_interlude("evaluation", 5.0)
        if step == pause_at:
            clock["spent"] += 600.0
            clock["waited"] += 600.0
        pace._next = 1  # it speaks after each step
        pace.note_step(step)
    return said[-1].seconds


def test_an_evaluation_asked_for_early_does_not_count_for_each_step() -> None:
    whole = 90 + 9 * 5
    assert duration_after(5, asked_at=4) == pytest.approx(whole + 5)
    assert duration_after(12) == pytest.approx(whole)
    assert duration_after(80) == pytest.approx(whole)


def test_a_long_pause_changes_nothing() -> None:
    before, after = duration_after(14), duration_after(15, pause_at=15)
    assert after == pytest.approx(before, rel=0.02)
