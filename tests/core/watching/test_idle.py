"""A GPU that has nothing to do while its run should train is told of, once each time."""

from __future__ import annotations

import time

from tests.conftest import Recorder
from tui_tuner.training.watching.idle import IdleWatch, make_idle_watch


class Gpu:
    """What a driver would say, and the time that it is."""

    share: float | None = 0.9
    resting = False
    now = 0.0


def watch(gpu: Gpu, sink: Recorder) -> IdleWatch:
    return IdleWatch(
        lambda: gpu.share, sink.emit, lambda: gpu.resting, every=0.01, long=300.0, clock=lambda: gpu.now
    )


def pass_time(gpu: Gpu, idle: IdleWatch, seconds: float) -> None:
    for _unused in range(round(seconds / 10)):
        gpu.now += 10
        idle.look_once()


def test_minutes_of_nothing_are_told_once_and_again_after_work() -> None:
    gpu, sink = Gpu(), Recorder()
    idle = watch(gpu, sink)
    pass_time(gpu, idle, 1000)
    gpu.share = 0.0
    pass_time(gpu, idle, 290)
    assert sink.of("warning") == []
    pass_time(gpu, idle, 2000)
    (told,) = sink.of("warning")
    assert told["code"] == "gpu_idle" and "5 min" in told["message"]
    gpu.share = 0.5
    pass_time(gpu, idle, 10)
    gpu.share = 0.01
    pass_time(gpu, idle, 400)
    assert len(sink.of("warning")) == 2


def test_a_pause_and_an_unknown_share_are_no_idleness() -> None:
    gpu, sink = Gpu(), Recorder()
    idle = watch(gpu, sink)
    gpu.share, gpu.resting = 0.0, True
    pass_time(gpu, idle, 4000)
    gpu.share, gpu.resting = None, False
    pass_time(gpu, idle, 4000)
    assert sink.of("warning") == []


def test_its_thread_looks_by_itself_and_a_driver_that_fails_ends_nothing() -> None:
    gpu, sink = Gpu(), Recorder()
    asked: list[int] = []

    def ask() -> float:
        asked.append(1)
        if len(asked) == 2:
            raise OSError("gone")
        gpu.now += 200
        return 0.0

    idle = IdleWatch(ask, sink.emit, lambda: False, every=0.005, long=300.0, clock=lambda: gpu.now)
    idle.start_idle_watch()
    until = time.monotonic() + 20
    while not sink.of("warning") and time.monotonic() < until:
        time.sleep(0.01)
    idle.stop_idle_watch()
    assert len(sink.of("warning")) == 1 and len(asked) > 2
    assert make_idle_watch("cpu", sink.emit, lambda: False) is None
