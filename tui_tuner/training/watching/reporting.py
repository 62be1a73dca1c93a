"""Speaking to the journal: phases, steps read from the device in batches, and the heartbeat."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tui_tuner.runs.events import Sink
from tui_tuner.training.ranks import Ranks
from tui_tuner.training.watching.numbers import NumberWatch

HEARTBEAT_SECONDS = 5.0
FIRST_BEAT_SECONDS = 0.5


class Reporter:
    """A sink with the phases of a run; `finished` goes through at most once. Only the main rank speaks."""

    def __init__(self, sink: Sink, ranks: Ranks | None = None) -> None:
        self.sink = sink
        self._speaks = ranks is None or ranks.main
        self.step = 0
        self._finished = False
        self._phase: tuple[str, float] = ("", 0.0)

    def emit(self, kind: str, **fields: Any) -> None:
        if self._speaks:
            self.sink.emit(kind, **fields)

    def phase(self, name: str, done: int = 0, total: int = 0, note: str = "") -> None:
        """Say what is going on; repeated for the same phase at most five times a second."""
        now = time.monotonic()
        same = self._phase[0] == name and now - self._phase[1] < 0.2
        if same and done and done < total:
            return
        self._phase = (name, now)
        self.emit("phase", name=name, done=done, total=total, note=note)

    def warn(self, code: str, message: str, hint: str = "") -> None:
        self.emit("warning", code=code, message=message, hint=hint)

    def finished(self, status: str, exit_code: int, message: str = "", hint: str = "") -> None:
        if not self._finished:
            self._finished = True
            self.emit("finished", status=status, exit_code=exit_code, message=message, hint=hint)


class Heartbeat:
    """Every five seconds the step and this process's resident memory, also while paused."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(timeout=2)

    def _beat(self) -> None:
        import psutil

        process = psutil.Process()
        wait = FIRST_BEAT_SECONDS
        while not self._end.wait(wait):
            wait = HEARTBEAT_SECONDS
            resident = process.memory_info().rss
            self._reporter.emit("heartbeat", step=self._reporter.step, memory_host=resident)


@dataclass
class PendingStep:
    """A step whose loss and gradient norm may still be on the device."""

    step: int
    epoch: float
    loss: Any
    grad_norm: Any
    learning_rate: float
    supervised: int
    tokens: int
    seconds: float
    rows: list[int]


@dataclass(frozen=True)
class BadNumbers:
    """A step whose loss or gradient norm is not finite."""

    step: int
    what: str
    rows: list[int]


class StepReports:
    """Collects steps and writes them in batches: one read from the device for all of them."""

    def __init__(self, reporter: Reporter, every: float, memory: Callable[[], tuple[int, int]]) -> None:
        self._reporter = reporter
        self._every = every
        self._memory = memory
        self._pending: list[PendingStep] = []
        self._last = time.monotonic()
        self._watch = NumberWatch()

    def add(self, step: PendingStep) -> None:
        self._pending.append(step)
        self._reporter.step = step.step

    @property
    def due(self) -> bool:
        return time.monotonic() - self._last >= self._every

    def flush(self) -> list[BadNumbers]:
        """Write a `step` event for each collected step; returns those with numbers that are not finite."""
        self._last = time.monotonic()
        steps, self._pending = self._pending, []
        if not steps:
            return []
        losses = _read([step.loss for step in steps])
        norms = _read([step.grad_norm for step in steps])
        allocated, reserved = self._memory()
        bad = []
        for step, loss, norm in zip(steps, losses, norms, strict=True):
            self._reporter.emit(
                "step",
                step=step.step,
                epoch=round(step.epoch, 6),
                loss=loss,
                learning_rate=step.learning_rate,
                grad_norm=norm,
                supervised_tokens=step.supervised,
                tokens=step.tokens,
                # of the tokens that are trained: what a run is paid for, and what peers are compared by
                tokens_per_second=step.supervised / step.seconds if step.seconds > 0 else 0.0,
                memory_allocated=allocated,
                memory_reserved=reserved,
                seconds=step.seconds,
            )
            finite = [value if value is not None and math.isfinite(value) else None for value in (loss, norm)]
            for finding in self._watch.feed(step.step, *finite):
                self._reporter.warn(finding.code, finding.message, finding.hint)
            for what, value in (("loss", loss), ("gradient norm", norm)):
                if value is not None and not math.isfinite(value):
                    bad.append(BadNumbers(step.step, f"the {what} is {value}", step.rows))
                    break
        return bad


def _read(values: list[Any]) -> list[float | None]:
    """Numbers of scalars that live on a device, in one transfer; None stays None."""
    import torch

    places = [place for place, value in enumerate(values) if value is not None]
    found: list[float | None] = [None] * len(values)
    if places:
        stacked = torch.stack([torch.as_tensor(values[place]).detach().double() for place in places])
        for place, number in zip(places, stacked.tolist(), strict=True):
            found[place] = number
    return found


def device_memory(device: str) -> Callable[[], tuple[int, int]]:
    """A function giving (peak allocated, peak reserved) bytes of a GPU, (0, 0) on CPU."""
    if device == "cpu":
        return lambda: (0, 0)

    def measure() -> tuple[int, int]:
        import torch

        return torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)

    return measure
