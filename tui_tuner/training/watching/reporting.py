"""Write a run's events: phases, steps read from the device in batches, and the heartbeat."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.config.advice import list_hint_fixes
from tui_tuner.locales import _
from tui_tuner.runs import events
from tui_tuner.runs.events import EventBody, EventSink, Finished, Log, Phase, Step, Warned, find_screen_hint
from tui_tuner.training.ranks import Ranks
from tui_tuner.training.watching.curve_watch import CurveWatch
from tui_tuner.training.watching.number_watch import NumberWatch
from tui_tuner.training.watching.step_meter import StepMeter, Work

HEARTBEAT_SECONDS = 5.0
FIRST_BEAT_SECONDS = 0.5
# Between two counts of a phase: short enough to move every second, long enough to keep a journal small.
PHASE_SECONDS = 0.9
# Steps in a row that a loss scaler may skip. Its scale starts at 65,536 and is down to 0.06 by then.
MOST_SKIPPED = 20


class Reporter:
    """Sends a run's events to a sink. Only the main rank sends any, and only the first end is sent."""

    def __init__(self, sink: EventSink, ranks: Ranks | None = None) -> None:
        self.sink = sink
        self._speaks = ranks is None or ranks.is_main
        self.step = 0
        self._finished = False
        self._phase: tuple[str, float] = ("", 0.0)

    def emit(self, body: EventBody) -> None:
        if self._speaks:
            self.sink.emit(body)

    def report_phase(self, name: str, done: int = 0, total: int = 0, note: str = "", unit: str = "") -> None:
        """Report the phase and its count, for the same phase at most about once a second."""
        now = time.monotonic()
        same = self._phase[0] == name and now - self._phase[1] < PHASE_SECONDS
        # The first and the last count of a phase are always reported, else it would seem to end unfinished.
        if same and done and (done < total or not total):
            return
        self._phase = (name, now)
        self.emit(Phase(name, done, total, note, unit))

    @property
    def is_resting(self) -> bool:
        return self._phase[0] == "paused"

    def report_warning(self, code: str, message: str, hint: str = "") -> None:
        self.emit(
            Warned(code, message, hint, find_screen_hint(hint), [dict(fix) for fix in list_hint_fixes(hint)])
        )

    def report_log(self, message: str, level: str = "info") -> None:
        self.emit(Log(message, level))

    def report_finish(self, status: str, exit_code: int, message: str = "", hint: str = "") -> None:
        self.report_end(Finished(status, exit_code, message, hint, advice=find_screen_hint(hint)))

    def report_end(self, ended: Finished) -> None:
        """Report how the run ended, unless that was reported."""
        # A failure is reported in full where it is caught; the general report at the end must not repeat it.
        if not self._finished:
            self._finished = True
            self.emit(ended)


class Heartbeat:
    """Sends the step and this process's resident memory every five seconds, also while paused."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._send_beats, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_unused: object) -> None:
        self._end.set()
        self._thread.join(timeout=2)

    def _send_beats(self) -> None:
        import psutil

        # The first beat is early, so that a viewer soon sees that the run is alive.
        process = psutil.Process()
        wait = FIRST_BEAT_SECONDS
        while not self._end.wait(wait):
            wait = HEARTBEAT_SECONDS
            resident = process.memory_info().rss
            self._reporter.emit(events.Heartbeat(self._reporter.step, resident))


@dataclass
class PendingStep:
    """A step whose loss and gradient norm may still be on the device.

    Args:
        seconds: Time until it was launched.
        skipped: A loss scaler found gradients too large for float16, left the weights as they were and
            lowered its scale (`step.scaling.ScaleWatch`); may be on the device too.
        work: Its operations, if they are counted.
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
    """Collects steps and writes them in batches, with one read from the device for all of them."""

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

    def add_step(self, step: PendingStep) -> None:
        self._pending.append(step)
        self._reporter.step = step.step

    @property
    def is_report_due(self) -> bool:
        return time.monotonic() - self._last >= self._every

    def flush_steps(self) -> list[BadNumbers]:
        """Write a `step` event for each collected step; return those with numbers that are not finite."""
        self._last = time.monotonic()
        steps, self._pending = self._pending, []
        if not steps:
            return []
        # The host runs ahead of the device: the time that this read waits belongs to these steps.
        began = time.monotonic()
        read = _read_steps(steps)
        seconds = _share_seconds(steps, time.monotonic() - began)
        used = self.meter.read_times(steps[-1].step, [step.work for step in steps])
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
                    # Trained tokens only: they are what a run is paid for, and what peers are compared by.
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
            findings = self._watch.feed_numbers(step.step, finite[0], finite[1], step.learning_rate)
            if self.curve is not None:
                findings += self.curve.feed_losses(step.step, finite[0], step.learning_rate, step.epoch)
            for finding in findings:
                self._reporter.report_warning(finding.code, finding.message, finding.hint)
            # The gradients of a skipped step are never finite, so only many in a row are a problem.
            self._skipped = self._skipped + 1 if skipped else 0
            problem = self._check_scaling(step.step) if skipped else _not_finite(loss, norm)
            if problem:
                bad.append(BadNumbers(step.step, problem, step.rows))
        return bad

    def _check_scaling(self, step: int) -> str:
        """Return the problem with a step that the loss scaler skipped; empty unless many in a row are.

        The scale starts high and is halved at each overflow, so any run skips some steps at its beginning. If
        the scale keeps falling, the numbers themselves overflow.
        """
        if not self._told_of_skipping:
            self._told_of_skipping = True
            self._reporter.report_log(
                _(
                    "Step {step} was skipped: its scaled gradients are too large for float16. The loss "
                    "scaler lowers its scale; a few such steps, most of them early, are normal.",
                    step=step,
                )
            )
        if self._skipped % MOST_SKIPPED:
            return ""
        return _("the loss scaler has skipped {skipped} steps in a row", skipped=self._skipped)


def _share_seconds(steps: list[PendingStep], waited: float) -> list[float]:
    """Return the seconds of each step: until it was launched, and its share of the wait for the device."""
    # Divided by tokens, because the host cannot see where one step ends on the device and the next begins.
    tokens = sum(step.tokens for step in steps)
    return [step.seconds + waited * (step.tokens / tokens if tokens else 1 / len(steps)) for step in steps]


def _not_finite(loss: float | None, norm: float | None) -> str:
    """Name the number of a step that is not finite; empty if both are."""
    if loss is not None and not math.isfinite(loss):
        return _("the loss is {value}", value=loss)
    if norm is not None and not math.isfinite(norm):
        return _("the gradient norm is {value}", value=norm)
    return ""


def _read_steps(
    steps: list[PendingStep],
) -> list[tuple[float | None, float | None, dict[str, float], bool]]:
    """Read the loss, gradient norm, metrics and skip of each step from the device, in one transfer."""
    values: list[Any] = []
    for step in steps:
        skipped = None if isinstance(step.skipped, bool) else step.skipped
        values += [step.loss, step.grad_norm, *step.metrics.values(), skipped]
    numbers = iter(_read_values(values))
    return [
        (
            next(numbers),
            next(numbers),
            {name: _clean_number(next(numbers)) for name in step.metrics},
            bool(next(numbers)) or step.skipped is True,
        )
        for step in steps
    ]


def _clean_number(value: float | None) -> float:
    return math.nan if value is None else value


def _read_values(values: list[Any]) -> list[float | None]:
    """Read scalars from a device in one transfer; None stays None."""
    import torch

    places = [place for place, value in enumerate(values) if value is not None]
    found: list[float | None] = [None] * len(values)
    if places:
        stacked = torch.stack([torch.as_tensor(values[place]).detach().double() for place in places])
        for place, number in zip(places, stacked.tolist(), strict=True):
            found[place] = number
    return found


def make_memory_reader(device: str) -> Callable[[], tuple[int, int]]:
    """Return a function that returns (peak allocated, peak reserved) bytes of a GPU, (0, 0) on a CPU."""
    if device == "cpu":
        return lambda: (0, 0)

    def measure() -> tuple[int, int]:
        import torch

        return torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)

    return measure
