"""MFU and busy time in the journal of a run: measured beside it, and nothing of the run changed by it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.conftest import MakeConfig, Recorder, Trained
from tui_tuner.compute.forward import lay_flat_row
from tui_tuner.compute.rows.filler import fill_row
from tui_tuner.compute.shared_prefix import lay_shared
from tui_tuner.data.records import IGNORE, Example
from tui_tuner.models.facts import load_facts
from tui_tuner.planning.flops import Segment, count_flops
from tui_tuner.training.watching import reporting, step_meter
from tui_tuner.training.watching.device_clock import DeviceClock, make_device_clock
from tui_tuner.training.watching.reporting import PendingStep, Reporter, StepReports
from tui_tuner.training.watching.step_meter import StepMeter, Work, list_step_segments

Train = Callable[..., Trained]
PEAK = 1e9


class Ticks:
    """A device for which each event is a second later than the one before."""

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def event(self) -> Tick:
        return Tick(self)


class Tick:
    def __init__(self, ticks: Ticks) -> None:
        self.ticks, self.at = ticks, 0.0

    def record(self) -> None:
        self.ticks.now += 1.0
        self.at = self.ticks.now

    def elapsed_time(self, end_event: Tick) -> float:
        return (end_event.at - self.at) * 1000


class Says:
    """A driver that always says the same."""

    def __init__(self, share: float) -> None:
        self.share, self.stopped = share, False

    def mean(self, since: float, until: float) -> float | None:
        return self.share

    def stop(self) -> None:
        self.stopped = True


def _config(make_config: MakeConfig, **more: Any) -> Any:
    return make_config(
        training__max_steps=14,
        training__batch_size=4,
        training__report_every=0.0001,
        evaluation__every=7,
        output__save_every=3,
        **more,
    )


def test_a_run_is_measured_and_computes_what_it_did(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = train(_config(make_config))
    for step in plain.sink.of("step"):
        assert "mfu" not in step and "gpu_busy" not in step
    assert plain.sink.of("bottleneck") == []
    ticks, driver = Ticks(), Says(1 / 3)
    monkeypatch.setattr(
        step_meter, "make_device_clock", lambda place: DeviceClock(ticks.event, driver, ticks.clock)
    )
    monkeypatch.setattr(step_meter, "find_peak_flops", lambda card, dtype, tf32: PEAK)
    config = _config(make_config)
    run = train(config)
    assert run.sink.steps() == plain.sink.steps()  # bit for bit
    assert driver.stopped
    cost = count_flops(load_facts(config.model, network=False), config.method)
    steps = run.sink.of("step")
    assert "mfu" not in steps[0]  # before the clocks were tied
    for step in steps[1:]:
        assert step["gpu_busy"] == pytest.approx(1 / 3)
        # from the end of the step before: the tie, the beginning and the end. After the first tie it is from
        # there, and after a checkpoint or the evaluation from when it was done; a tie is half a second long
        apart = step["step"] % 3 == 1 or step["step"] == 8
        seconds = 2 if step["step"] == 2 else 1.5 if apart else 3
        work = step["mfu"] * seconds * PEAK
        least = step["tokens"] * cost.token + step["supervised_tokens"] * cost.target
        assert least < work < least + step["tokens"] * config.data.max_length * cost.pairs[None] / 2
    (told,) = run.sink.of("bottleneck")
    assert told["what"] == "processor" and told["gpu_busy"] == pytest.approx(1 / 3)
    assert told["fixes"][0] in ({"training.batch_size": 8}, {"training.micro_batch": 4})
    (kernels,) = plain.sink.of("kernels")
    assert [one["part"] for one in kernels["chosen"]] == ["attention", "lora"]


def test_a_device_whose_events_fail_costs_a_line_and_not_the_run(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def event() -> Any:
        raise RuntimeError("no events here")

    monkeypatch.setattr(step_meter, "make_device_clock", lambda place: DeviceClock(event))
    run = train(_config(make_config))
    assert run.outcome.status == "completed" and len(run.sink.of("step")) == 14
    said = [log["message"] for log in run.sink.of("log") if "not measured" in log["message"]]
    assert said == ["The GPU's time is not measured: no events here"]
    assert not any("mfu" in step for step in run.sink.of("step"))


def test_a_processor_has_no_clock() -> None:
    assert make_device_clock("cpu") is None
    assert StepMeter().read_times(5, [None, None]) == [(None, None)] * 2
    assert StepMeter().count_work([], np.array([])) is None


class Rows(list):
    @property
    def lengths(self) -> np.ndarray:
        return np.array([len(one) for one in self])


def _rows() -> Rows:
    beginning = list(range(40))
    rows = [[*beginning, 100 + row, *range(200, 210 + row)] for row in range(3)]
    labels = [[IGNORE] * 41 + row[41:] for row in rows]
    pairs = zip(rows, labels, strict=True)
    return Rows([Example(np.array(a, np.int32), np.array(b, np.int32), {}) for a, b in pairs])


def test_sequences_of_a_pass_and_a_shared_beginning_once() -> None:
    rows = _rows()
    flat, shared = lay_flat_row(rows, [0, 1, 2]), lay_shared(rows, [0, 1, 2])
    assert list(list_step_segments([flat, lay_flat_row(rows, [1])], rows.lengths)) == [51, 52, 53, 52]
    once = [Segment(40), Segment(11, 40), Segment(12, 40), Segment(13, 40)]
    assert list(list_step_segments([shared], rows.lengths)) == once
    assert list(list_step_segments([fill_row(flat, 256)], rows.lengths)) == [51, 52, 53]
    assert list(list_step_segments([fill_row(shared, 256)], rows.lengths)) == once


def test_counting_that_fails_is_said_once() -> None:
    said: list[str] = []

    def cost() -> Any:
        raise ValueError("no shapes")

    found = StepMeter(DeviceClock(Ticks().event), cost, complain=said.append)
    assert found.count_work([], np.array([])) is None and found.count_work([], np.array([])) is None
    assert said == ["Model FLOPs are not counted: no shapes"]


def test_steps_that_were_read_together_share_their_busy_time_and_have_an_mfu_each() -> None:
    ticks, sink = Ticks(), Recorder()
    clock = DeviceClock(ticks.event, Says(0.8), ticks.clock)
    reports = StepReports(Reporter(sink), 1.0, lambda: (0, 0), StepMeter(clock, None, 100.0))
    for number in range(1, 7):
        clock.mark_ready(apart=number == 1)
        clock.begin_step()
        clock.end_step()
        reports.add_step(
            PendingStep(number, 0.0, 2.0, 1.0, 1e-4, 10, 20, 0.1, [number], work=Work(30.0 * number))
        )
        if number % 3 == 0:
            reports.flush_steps()
    steps = sink.of("step")
    assert all("mfu" not in step for step in steps[:3])
    # of the first, the reading before it is part
    assert [step["mfu"] for step in steps[3:]] == pytest.approx([1.2 / 2, 1.5 / 2, 1.8 / 2])
    assert [step["gpu_busy"] for step in steps[3:]] == pytest.approx([0.5] * 3)  # idle half of the time


def test_the_wait_for_a_device_that_still_computes_is_time_of_its_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A processor launches steps in less time than a GPU needs for them, and waits to read their loss."""
    sink = Recorder()
    reports = StepReports(Reporter(sink), 1.0, lambda: (0, 0))
    read = reporting._read_values

    def waiting(values: list[Any]) -> list[float | None]:
        time.sleep(0.4)
        return read(values)

    monkeypatch.setattr(reporting, "_read_values", waiting)
    for number, tokens in ((1, 100), (2, 300)):
        reports.add_step(PendingStep(number, 0.0, 2.0, 1.0, 1e-4, tokens // 2, tokens, 0.01, [number]))
    reports.flush_steps()
    first, second = sink.of("step")
    assert first["seconds"] >= 0.11 and second["seconds"] >= 0.31
    assert first["seconds"] - 0.01 == pytest.approx((second["seconds"] - 0.01) / 3)
    assert first["tokens_per_second"] == pytest.approx(50 / first["seconds"])
