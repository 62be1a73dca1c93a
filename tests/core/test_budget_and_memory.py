"""The budget, and measured memory beside the predicted one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeConfig, Recorder
from tui_tuner.config.schema import HardwareSection
from tui_tuner.planning.calibration import MeasuredPeaks, locate_calibration, read_learned
from tui_tuner.runs.events import Event, Memory, RunDuration
from tui_tuner.runs.wire import encode_event
from tui_tuner.training.watching.budget import Budget
from tui_tuner.training.watching.memory_check import AFTER, GIB, MemoryCheck
from tui_tuner.training.watching.passes import Pass, Passes
from tui_tuner.training.watching.reporting import Reporter


def watched(total: int = 100, **hardware: Any) -> tuple[Budget, Recorder]:
    sink = Recorder()
    return Budget(HardwareSection.model_validate(hardware), Reporter(sink), total), sink


def go(budget: Budget, seconds: float, steps: int, first: int = 1, before: float = 0.0) -> tuple[int, str]:
    """Steps of so many seconds until it stops: (step, reason)."""
    for step in range(first, steps + 1):
        reason = budget.find_overrun(step, before + (step - first + 1) * seconds)
        if reason:
            return step, reason
    return steps, ""


def test_a_budget_warns_early_and_stops_before_it_is_exceeded() -> None:
    budget, sink = watched(budget=5.0, price_per_hour=3600.0)
    step, reason = go(budget, seconds=0.1, steps=100)
    assert step in (49, 50) and "budget of 5" in reason
    warnings = sink.of("warning")
    assert [warning["code"] for warning in warnings] == ["budget", "budget"]
    assert "cost 10.00" in warnings[0]["message"] and "of 100" in warnings[0]["message"]


def test_a_budget_that_does_is_not_mentioned() -> None:
    budget, sink = watched(budget=10.5, price_per_hour=3600.0)
    assert go(budget, seconds=0.1, steps=100) == (100, "") and not sink.events


def test_without_a_budget_or_a_price_nothing_stops() -> None:
    for hardware in ({}, {"price_per_hour": 1e6}, {"budget": 1e-9}):
        budget, sink = watched(**hardware)
        assert go(budget, 1000, 10) == (10, "") and not sink.events


def test_a_resumed_run_counts_what_it_cost_before() -> None:
    budget, sink = watched(budget=5.0, price_per_hour=3600.0)
    step, reason = go(budget, seconds=0.1, steps=100, first=31, before=3.0)
    assert step in (49, 50, 51) and reason and sink.of("warning")


def test_a_run_stops_at_its_budget_and_can_be_resumed(train: Any, make_config: MakeConfig) -> None:
    config = make_config(hardware={"devices": "cpu", "budget": 1e-9, "price_per_hour": 1.0})
    done = train(config)
    assert done.outcome.status == "stopped" and "budget" in done.outcome.message
    assert list(done.folder.checkpoints_path.iterdir())


def test_time_and_cost_are_corrected_by_the_run_itself(train: Any, make_config: MakeConfig) -> None:
    hardware = {"devices": "cpu", "price_per_hour": 36.0}
    done = train(make_config(hardware=hardware, training__gradient_checkpointing="auto"))
    said = done.sink.of("duration")
    assert [event["corrected_by"] for event in said] == [3, 4]  # nothing like it ran before: no plan
    last = said[-1]
    assert last["low"] == last["seconds"] == last["high"] == pytest.approx(last["spent"], abs=0.5)
    assert last["cost"] == pytest.approx(last["seconds"] / 100) and last["cost_spent"] > 0

    lines = [encode_event(Event(body)) for body in done.sink.bodies]
    done.folder.events_path.write_bytes(b"".join(lines))
    again = train(make_config(output__name="again", training__gradient_checkpointing="auto"))
    first = again.sink.of("duration")[0]
    assert first["corrected_by"] == 0 and "tokens/s that run" in first["basis"]


def test_a_pause_costs_and_does_not_slow_the_pace(make_config: MakeConfig) -> None:
    from tui_tuner.planning.data_facts import DataFacts
    from tui_tuner.training.watching.pace import Pace

    sink, clock = Recorder(), {"spent": 0.0, "waited": 0.0}
    priced = make_config(hardware={"devices": "cpu", "price_per_hour": 3600.0})
    pace = Pace(
        priced,
        priced,
        None,
        DataFacts(8),
        Reporter(sink),
        lambda: clock["spent"],
        lambda: clock["waited"],
        100,
    )
    for step in range(1, 11):
        clock["spent"] += 1.0
        if step == 4:
            clock["spent"] += 500.0
            clock["waited"] += 500.0
        pace.note_step(step)
    assert [event["seconds"] for event in sink.of("duration")] == pytest.approx([100.0] * 3)
    assert [event["cost"] for event in sink.of("duration")] == pytest.approx([600.0] * 3)

    budget, events = watched(budget=1.0, price_per_hour=3600.0 / 700)
    for step in range(1, 11):
        assert budget.find_overrun(step, step + 500.0 * (step > 4), 500.0 * (step > 4)) == ""
    assert not events.events  # 500 s of pause and 100 steps of a second do


def test_the_live_pane_and_the_printer_show_the_time_of_the_run() -> None:
    from tui_tuner.headless import LinePrinter
    from tui_tuner.runs.view import RunView, fold_view_events
    from tui_tuner.ui.widgets.live.numbers import _time_rows

    def event(seconds: float, by: int) -> Event:
        fields = {"seconds": seconds, "low": seconds * 0.9, "high": seconds * 1.1, "corrected_by": by}
        money = {"cost": 2.0, "cost_high": 2.5, "cost_spent": 0.25}
        return Event(RunDuration(**fields, **money, basis="steps"))

    view = fold_view_events(RunView(), [event(600, 0), event(1200, 3)])
    rows = {label.strip(): value for label, value, _ in _time_rows(view)}
    assert rows == {"whole run": "18–22 min", "planned": "10 min", "cost": "0.25 of ~2.00"}
    lines: list[str] = []
    LinePrinter(lines.append).feed_events([event(600, 0), event(620, 3), event(900, 5)])
    assert len(lines) == 2  # what hardly moved is not said again
    assert "about 15 min" in lines[1] and "costs 2.00 (up to 2.50)" in lines[1]


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return locate_calibration()


def resolved(make_config: MakeConfig) -> Any:
    return make_config(
        model__attention="sdpa",
        data__packing=True,
        training__optimizer="adamw",
        training__gradient_checkpointing=False,
        training__compile=False,
        evaluation__best="loss",
    )


@pytest.mark.parametrize("alone", [True, False])
def test_measured_memory_is_said_once_and_kept_if_it_is_ours(
    make_config: MakeConfig, kept: Path, alone: bool
) -> None:
    sink = Recorder()
    measured = MeasuredPeaks(1.5, 1.6, 2.0)
    config = resolved(make_config)
    check = MemoryCheck(config, "cpu", Reporter(sink), list, lambda _: (measured, alone))
    check.begin_watch()
    for step in range(1, AFTER + 3):
        check.note_step(step)
        assert len(sink.of("memory")) == (step >= AFTER), sink.of("log")
    said = sink.of("memory")[0]
    assert said["allocated"] == 1.5 * GIB and (said["device"] is not None) == alone
    assert said["difference"] == pytest.approx(said["allocated"] / said["predicted_allocated"] - 1)
    assert kept.exists() == alone
    if alone:
        assert json.loads(kept.read_text())["allocated_gib"] == 1.5
        assert read_learned("").context == pytest.approx(0.4)


def test_what_is_predicted_is_the_fullest_forward_pass(make_config: MakeConfig, kept: Path) -> None:
    def said(rows: int, length: int, targets: int) -> int:
        sink = Recorder()
        measured = MeasuredPeaks(1.0, 1.0, 1.0)
        check = MemoryCheck(
            resolved(make_config),
            "cpu",
            Reporter(sink),
            lambda: [Pass(rows, length, targets)],
            lambda _: (measured, False),
        )
        for step in range(1, AFTER + 1):
            check.note_step(step)
        return int(sink.of("memory")[0]["predicted_allocated"])

    assert said(1, 100, 50) < said(1, 100, 100) < said(1, 200, 100)


def test_the_engine_remembers_its_fullest_forward_pass(make_config: MakeConfig) -> None:
    from types import SimpleNamespace

    import torch

    from tui_tuner.training.step.engine import Engine

    optimizer = SimpleNamespace(state={})
    engine = SimpleNamespace(passes=Passes(), optimizer=optimizer)
    for rows, length, targets in ((1, 90, 80), (2, 50, 20), (1, 60, 60)):
        part = SimpleNamespace(input_ids=torch.zeros(rows, length), trained_tokens=targets)
        Engine._remember_pass(engine, part, False)  # type: ignore[arg-type]
    optimizer.state["weight"] = 1
    Engine._remember_pass(engine, part, True)  # type: ignore[arg-type]
    assert engine.passes.list_fullest() == [Pass(2, 50, 80, False, False), Pass(1, 60, 60, True, True)]


def test_a_measurement_that_fails_ends_no_run(make_config: MakeConfig, kept: Path) -> None:
    def broken(_: str) -> tuple[MeasuredPeaks, bool]:
        raise RuntimeError("NVML: driver gone")

    sink = Recorder()
    check = MemoryCheck(resolved(make_config), "cpu", Reporter(sink), list, broken)
    for step in range(1, AFTER + 1):
        check.note_step(step)
    assert "driver gone" in sink.of("log")[0]["message"] and not kept.exists()


def test_the_live_pane_and_the_printer_show_both_figures() -> None:
    from tui_tuner.headless import LinePrinter
    from tui_tuner.runs.view import RunView, fold_view_events

    event = Event(Memory(allocated=11 * GIB, predicted_allocated=10 * GIB))
    memory = fold_view_events(RunView(), [event]).memory
    assert memory is not None and memory.allocated == 11 * GIB
    lines: list[str] = []
    LinePrinter(lines.append).feed_events([event])
    assert "predicted" in lines[0] and "+10.0%" in lines[0]
