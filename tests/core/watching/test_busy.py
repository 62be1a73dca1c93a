"""How busy a device was: by hand from timestamps, and on a device that is known to the last kernel."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from tests.core.watching.fake_gpu import FakeDriver, FakeGpu
from tui_tuner.training.watching import memory_check
from tui_tuner.training.watching.device_clock import DeviceClock, DriverWatch, make_driver_watch
from tui_tuner.training.watching.device_use import DeviceUse, Stamps, measure_device_times, measure_use

TWO = [Stamps(0, 0, 0.1, 0.0, 1.0), Stamps(0.1, 0.1, 0.2, 1.0, 2.0)]
# name, steps, before, the driver's word -> seconds, idle, for data, surely computing, busy
TABLE = [
    # the host is done long before the device, which never waits: saturated
    ("saturated", TWO, 0.0, None, 2, 0, 0, 1.9, 0.975),
    # the same where the driver tells
    ("told", TWO, 0.0, 0.99, 2, 0, 0, 1.9, 0.99),
    # a driver that is wrong is held within what is certain
    ("doubted", TWO, 0.0, 0.2, 2, 0, 0, 1.9, 0.95),
    # the device ends with the host: only the driver knows
    ("starved", [Stamps(0, 0, 1.0, 0.0, 1.0)], 0.0, None, 1, 0, 0, 0, None),
    ("starved, told", [Stamps(0, 0, 1.0, 0.0, 1.0)], 0.0, 0.35, 1, 0, 0, 0, 0.35),
    # rows come late: 0.6 s of idle time, of which 0.5 were for data
    ("data", [Stamps(0.1, 0.6, 0.65, 0.6, 1.0)], 0.0, None, 1, 0.6, 0.5, 0.35, 0.375),
    ("data, told", [Stamps(0.1, 0.6, 0.9, 0.6, 1.0)], 0.0, 0.9, 1, 0.6, 0.5, 0.1, 0.4),
    # rows come late, but the device still had work: nobody waited
    ("covered", [Stamps(0.1, 0.6, 0.7, 0.9, 2.0)], 0.9, None, 1.1, 0, 0, 1.1, 1.0),
    # an evaluation lies between: it does not count
    ("apart", [Stamps(50.0, 50.1, 50.15, 50.1, 51.0, True)], 0.0, None, 1.0, 0.1, 0.1, 0.85, 0.875),
    ("first", [Stamps(50.0, 50.1, 50.15, 50.1, 51.0)], None, None, 1.0, 0.1, 0.1, 0.85, 0.875),
    ("nothing", [], None, 0.5, 0, 0, 0, 0, None),
    # clocks that disagree by a hair make no negative times
    ("clocks", [Stamps(0.0, 0.0, 0.1, -0.001, 0.1)], 0.0, None, 0.1, 0, 0, 0, None),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
def test_what_timestamps_tell(row) -> None:
    _name, steps, before, running, seconds, idle, data, computing, busy = row
    use = measure_use(steps, before, running)
    assert (use.seconds, use.idle, use.data) == pytest.approx((seconds, idle, data))
    assert use.computing == pytest.approx(computing)
    assert use.busy == (None if busy is None else pytest.approx(busy))
    assert sum(measure_device_times(steps, before)) == pytest.approx(seconds)


def test_two_uses_are_joined_by_their_time() -> None:
    one, other = DeviceUse(2, 1.0, 0.2, 0.1, 0.3, 0.5), DeviceUse(3, 3.0, 0.1, 0.0, 0.5, 0.9)
    both = one.join_uses(other)
    assert (both.steps, both.seconds, both.busy) == (5, 4.0, pytest.approx(0.8))
    assert DeviceUse().join_uses(one) == one == one.join_uses(DeviceUse())
    assert one.join_uses(DeviceUse(1, 1.0)).busy is None


# ---- a device that is known ------------------------------------------------------------------------

Step = Callable[[FakeGpu], None]


def saturated(gpu: FakeGpu) -> None:
    for _ in range(1000):
        gpu.kernel(200e-6)


def starved(gpu: FakeGpu) -> None:
    """Kernels are shorter than what it takes to launch one."""
    for _ in range(2000):
        gpu.work(90e-6)
        gpu.kernel(40e-6)


def mixed(gpu: FakeGpu) -> None:
    """Half of it waits for the host, half of it makes the host wait, and rows come late."""
    for _ in range(1000):
        gpu.work(50e-6)
        gpu.kernel(20e-6)
    for _ in range(600):
        gpu.kernel(150e-6)


def few_launches(gpu: FakeGpu) -> None:
    for _ in range(20):
        gpu.kernel(0.01)


SIMULATED = [  # step, seconds for rows, driver, how far off it may be (None: it says that it does not know)
    ("saturated", saturated, 0.0, True, 0.03),
    ("few launches, no driver", few_launches, 0.0, False, 0.03),
    ("starved within the step", starved, 0.0, True, 0.03),
    ("starved, no driver", starved, 0.0, False, None),
    ("starved between steps", few_launches, 0.3, True, 0.03),
    ("starved between steps, no driver", few_launches, 0.3, False, 0.03),
    ("mixed", mixed, 0.05, True, 0.04),
]


@pytest.mark.parametrize(
    ("name", "step", "rows", "told", "off"), SIMULATED, ids=[one[0] for one in SIMULATED]
)
def test_a_known_device(name: str, step: Step, rows: float, told: bool, off: float | None) -> None:
    gpu = FakeGpu()
    clock = DeviceClock(gpu.event, FakeDriver(gpu) if told else None, gpu.clock)
    clock.mark_ready(apart=True)
    found, since = [], 0.0
    for number in range(1, 61):
        gpu.rows(rows)
        clock.begin_step()
        step(gpu)
        clock.end_step()
        if number % 6 == 0:
            gpu.wait()
            found.append(clock.read_times())
            if number == 12:
                since = gpu.free_at
            gpu.work(0.002)
        if number == 30:  # an evaluation, which is none of a step's time
            gpu.kernel(3.0)
            gpu.wait()
        clock.mark_ready(apart=number == 30)
    assert clock.problem == "" and found[0] == ([], None)
    uses = [use for _seconds, use in found[2:] if use is not None]
    whole = DeviceUse()
    for use in uses:
        whole = whole.join_uses(use)
    truth = _truth(gpu, since)
    if off is None:
        assert whole.busy is None
    else:
        assert all(use.busy == pytest.approx(truth, abs=3 * off) for use in uses if use.busy is not None)
        assert sum(use.busy * use.seconds for use in uses if use.busy is not None) / sum(
            use.seconds for use in uses if use.busy is not None
        ) == pytest.approx(truth, abs=off)
    assert whole.steps == 48
    waited = sum(end - start - gpu.ran(start, end) for start, end in gpu.waits if start >= since)
    assert whole.data == pytest.approx(waited, rel=0.02, abs=0.01)
    assert whole.seconds == pytest.approx(gpu.free_at - since - 3.0, rel=0.01)


def _truth(gpu: FakeGpu, since: float) -> float:
    """The share of time with kernels, without the evaluation."""
    ran = sum(end - max(start, since) for start, end in gpu.spans if end > since and end - start < 2)
    return ran / (gpu.free_at - since - 3.0)


def test_an_event_that_fails_ends_the_measuring_and_not_the_run() -> None:
    gpu = FakeGpu()
    events = 0

    def event():
        nonlocal events
        events += 1
        if events > 3:
            raise RuntimeError("no more events")
        return gpu.event()

    clock = DeviceClock(event, None, gpu.clock)
    for _ in range(4):
        clock.mark_ready(apart=False)
        clock.begin_step()
        gpu.kernel(0.1)
        clock.end_step()
    assert clock.problem == "no more events"
    gpu.wait()
    assert clock.read_times() == ([], None)


def test_events_that_were_not_reached_are_a_failure_too() -> None:
    gpu = FakeGpu()
    clock = DeviceClock(gpu.event, None, gpu.clock)
    for turn in range(2):
        clock.begin_step()
        gpu.kernel(0.1)
        clock.end_step()
        if turn == 0:
            gpu.wait()
        clock.read_times()
    assert clock.problem == "device not ready"


def test_the_events_of_steps_are_used_again() -> None:
    gpu, made = FakeGpu(), []

    def event():
        made.append(gpu.event())
        return made[-1]

    clock = DeviceClock(event, None, gpu.clock)
    for _ in range(50):
        clock.begin_step()
        gpu.kernel(0.1)
        clock.end_step()
        gpu.wait()
        clock.read_times()
    assert len(made) == 3


def test_the_driver_is_asked_in_a_thread_and_counts_each_answer_once() -> None:
    asked = threading.Event()
    answers = iter([0.2, 0.4, None, 0.6])
    now = [10.0]

    def ask():
        now[0] += 1.0
        found = next(answers, 0.8)
        if found == 0.8:
            asked.set()
            raise RuntimeError("a GPU fell off the bus")
        return found

    watch = DriverWatch(ask, lambda: now[0])
    assert watch.mean(0.0, 1.0) is None  # nobody was asked yet
    assert asked.wait(60)
    watch.stop()
    assert watch.mean(9.0, 12.5) == pytest.approx(0.3)
    assert watch.mean(9.0, 12.5) is None  # was told
    assert watch.mean(9.0, 14.0) is None  # one of the answers is that it is not known


@pytest.mark.parametrize(
    ("pids", "alone"), [([], True), ([1], True), ([os.getpid()] * 2, True), ([os.getpid(), 1], False)]
)
def test_the_driver_has_a_word_on_a_device_that_is_not_shared(
    pids: list[int], alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container, the only process may have another number there than it has here."""
    handles = {"GPU-1234": "the handle"}
    running = {"the handle": [SimpleNamespace(pid=pid) for pid in pids]}
    use = {"the handle": SimpleNamespace(gpu=40)}
    nvml = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=handles.__getitem__,
        nvmlDeviceGetComputeRunningProcesses=running.__getitem__,
        nvmlDeviceGetUtilizationRates=use.__getitem__,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)  # type: ignore[arg-type]
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="1234"))
    watch = make_driver_watch("cuda:0")
    assert watch is not None and watch._ask() == (0.4 if alone else None)
    assert memory_check._is_alone("cuda:0") is alone
    handles.clear()  # a part of a GPU
    assert make_driver_watch("cuda:0") is None and memory_check._is_alone("cuda:0") is False
