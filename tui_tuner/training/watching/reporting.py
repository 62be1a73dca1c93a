"""Speaking to the journal: phases, steps read from the device in batches, and the heartbeat."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.config.advice import fixes_of
from tui_tuner.locales import _
from tui_tuner.runs import events
from tui_tuner.runs.events import Body, Finished, Log, Phase, Sink, Step, Warned, advice_of
from tui_tuner.training.ranks import Ranks
from tui_tuner.training.watching.curve import CurveWatch
from tui_tuner.training.watching.meter import StepMeter, Work
from tui_tuner.training.watching.numbers import NumberWatch

HEARTBEAT_SECONDS = 5.0
FIRST_BEAT_SECONDS = 0.5
PHASE_SECONDS = 0.9  # from one count of a phase to the next: it moves every second, and a journal stays small
MOST_SKIPPED = 20  # steps in a row that a loss scaler may skip; from 65,536 it is at 0.06 by then


class Reporter:
    """A sink with the phases of a run; `finished` goes through at most once. Only the main rank speaks."""

    def __init__(self, sink: Sink, ranks: Ranks | None = None) -> None:
        self.sink = sink
        self._speaks = ranks is None or ranks.main
        self.step = 0
        self._finished = False
        self._phase: tuple[str, float] = ("", 0.0)

    def emit(self, body: Body) -> None:
        if self._speaks:
            self.sink.emit(body)

    def phase(self, name: str, done: int = 0, total: int = 0, note: str = "", unit: str = "") -> None:
        """Say what is going on; repeated for the same phase about once a second at most."""
        now = time.monotonic()
        same = self._phase[0] == name and now - self._phase[1] < PHASE_SECONDS
        if same and done and (done < total or not total):
            return
        self._phase = (name, now)
        self.emit(Phase(name, done, total, note, unit))

    @property
    def resting(self) -> bool:
        """Whether the run is paused."""
        return self._phase[0] == "paused"

    def warn(self, code: str, message: str, hint: str = "") -> None:
        self.emit(Warned(code, message, hint, advice_of(hint), [dict(fix) for fix in fixes_of(hint)]))

    def log(self, message: str, level: str = "info") -> None:
        self.emit(Log(message, level))

    def finished(self, status: str, exit_code: int, message: str = "", hint: str = "") -> None:
        self.end(Finished(status, exit_code, message, hint, advice=advice_of(hint)))

    def end(self, ended: Finished) -> None:
        """Say how the run ended, unless that was said."""
        if not self._finished:
            self._finished = True
            self.emit(ended)


class Heartbeat:
    """Every five seconds the step and this process's resident memory, also while paused."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_unused: object) -> None:
        self._end.set()
        self._thread.join(timeout=2)

    def _beat(self) -> None:
        import psutil

        process = psutil.Process()
        wait = FIRST_BEAT_SECONDS
        while not self._end.wait(wait):
            wait = HEARTBEAT_SECONDS
            resident = process.memory_info().rss
            self._reporter.emit(events.Heartbeat(self._reporter.step, resident))


@dataclass
class PendingStep:
    """A step whose loss and gradient norm may still be on the device.

    `skipped`: a loss scaler found gradients too large for float16, left the weights as they were and lowered
    its scale (`step.scaling.ScaleWatch`); it may be on the device too. `work`: its operations, where counted.
    `seconds`: until it was launched.
    """

    step: int
    epoch: float
    loss: Any
    grad_norm: Any
    learning_rate: float
    trained: int
    tokens: int
    seconds: float
    rows: list[int]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    skipped: Any = False
    work: Work | None = None


@dataclass(frozen=True)
class BadNumbers:
    """A step whose loss or gradient norm is not finite."""

    step: int
    what: str
    rows: list[int]


class StepReports:
    """Collects steps and writes them in batches: one read from the device for all of them."""

    def __init__(
        self,
        reporter: Reporter,
        every: float,
        memory: Callable[[], tuple[int, int]],
        meter: StepMeter | None = None,
        numbers: NumberWatch | None = None,
        curve: CurveWatch | None = None,
    ) -> None:
        self._reporter = reporter
        self.curve = curve
        self.meter = meter or StepMeter()
        self._every = every
        self._memory = memory
        self._pending: list[PendingStep] = []
        self._last = time.monotonic()
        self._watch = numbers or NumberWatch()
        self._skipped = 0  # steps in a row
        self._told_of_skipping = False

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
        began = time.monotonic()
        read = _read_steps(steps)
        seconds = _seconds(steps, time.monotonic() - began)
        used = self.meter.read(steps[-1].step, [step.work for step in steps])
        allocated, reserved = self._memory()
        bad = []
        found = zip(steps, read, seconds, used, strict=True)
        for step, (loss, norm, metrics, skipped), took, (mfu, busy) in found:
            self._reporter.emit(
                Step(
                    step=step.step,
                    epoch=round(step.epoch, 6),
                    loss=loss,
                    learning_rate=step.learning_rate,
                    grad_norm=norm,
                    supervised_tokens=step.trained,
                    tokens=step.tokens,
                    # of the tokens that are trained: what a run is paid for, and what peers are compared by
                    tokens_per_second=step.trained / took if took > 0 else 0.0,
                    memory_allocated=allocated,
                    memory_reserved=reserved,
                    seconds=took,
                    metrics=metrics,
                    mfu=mfu,
                    gpu_busy=busy,
                )
            )
            finite = [value if value is not None and math.isfinite(value) else None for value in (loss, norm)]
            findings = self._watch.feed(step.step, finite[0], finite[1], step.learning_rate)
            if self.curve is not None:
                findings += self.curve.feed(step.step, finite[0], step.learning_rate, step.epoch)
            for finding in findings:
                self._reporter.warn(finding.code, finding.message, finding.hint)
            self._skipped = self._skipped + 1 if skipped else 0
            problem = self._scaling(step.step) if skipped else _not_finite(loss, norm)
            if problem:
                bad.append(BadNumbers(step.step, problem, step.rows))
        return bad

    def _scaling(self, step: int) -> str:
        """What is wrong with a step that the loss scaler skipped: nothing, unless many in a row are.

        The scale begins high and is halved at each overflow, so some steps at the beginning are skipped in
        any run; where it falls and falls, the numbers themselves overflow.
        """
        if not self._told_of_skipping:
            self._told_of_skipping = True
            self._reporter.log(
                _(
                    "Step {step} was skipped: its scaled gradients are too large for float16. The loss "
                    "scaler lowers its scale; a few such steps, most of them early, are usual.",
                    step=step,
                )
            )
        if self._skipped % MOST_SKIPPED:
            return ""
        return _("the loss scaler has skipped {skipped} steps in a row", skipped=self._skipped)


def _seconds(steps: list[PendingStep], waited: float) -> list[float]:
    """What steps took: until they were launched, and the wait for a device that still computed them.

    The wait is shared out by tokens: who runs ahead of a device does not see where one step of it ends.
    """
    tokens = sum(step.tokens for step in steps)
    return [step.seconds + waited * (step.tokens / tokens if tokens else 1 / len(steps)) for step in steps]


def _not_finite(loss: float | None, norm: float | None) -> str:
    """Which number of a step is not finite; empty if both are."""
    if loss is not None and not math.isfinite(loss):
        return _("the loss is {value}", value=loss)
    if norm is not None and not math.isfinite(norm):
        return _("the gradient norm is {value}", value=norm)
    return ""


def _read_steps(
    steps: list[PendingStep],
) -> list[tuple[float | None, float | None, dict[str, float], bool]]:
    """Loss, gradient norm, metrics and whether it was skipped of each step, in one transfer."""
    values: list[Any] = []
    for step in steps:
        skipped = None if isinstance(step.skipped, bool) else step.skipped
        values += [step.loss, step.grad_norm, *step.metrics.values(), skipped]
    numbers = iter(_read(values))
    return [
        (
            next(numbers),
            next(numbers),
            {name: _number(next(numbers)) for name in step.metrics},
            bool(next(numbers)) or step.skipped is True,
        )
        for step in steps
    ]


def _number(value: float | None) -> float:
    return math.nan if value is None else value


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
