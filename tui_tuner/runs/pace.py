"""Measure the pace of a run, and format a step as text; both must be cheap enough for a million steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tui_tuner.config.metrics import format_hundredfold_metric
from tui_tuner.locales import N_, _
from tui_tuner.text import count_decimals, one_line

if TYPE_CHECKING:
    from tui_tuner.runs.scan import Figures

# Steps kept at least. The pace needs the last 50, also after a run went back some steps.
RECENT_STEPS = 1000
OF_SPEED, OF_TIME_LEFT = 20, 50  # steps
BETWEEN = ("evaluating", "sampling", "saving")  # recurring phases without steps


def measure_tokens_per_second(seconds: Sequence[float], trained: Sequence[int]) -> float | None:
    """Return trained tokens per second over the last steps; None before the first.

    Args:
        seconds: Time of each step.
        trained: Trained tokens of each step.
    """
    took = sum(seconds[-OF_SPEED:])
    return sum(trained[-OF_SPEED:]) / took if took > 0 else None


def estimate_seconds_left(
    seconds: Sequence[float], step: int, total: int, between: PauseMeter | None = None
) -> float | None:
    """Estimate the remaining seconds from the last steps, evaluations and checkpoints; None if unknown."""
    recent = seconds[-OF_TIME_LEFT:]
    if len(recent) < 2 or not total:
        return None
    pace = sum(recent) / len(recent) + (between.seconds_per_step if between is not None else 0.0)
    return pace * max(0, total - step) if math.isfinite(pace) else None


@dataclass(frozen=True, slots=True)
class PauseMeter:
    """Measures the time of evaluations, answers and checkpoints in a process, by its phases.

    Args:
        first: The step that the process started at. Phases before its first step do not recur.
        phase, since: The current phase, and when it began [Unix seconds].
        seconds: Time of such phases up to the step `last`.
    """

    first: int = 0
    phase: str = ""
    since: float = 0.0
    seconds: float = 0.0
    last: int = 0

    def begin_phase(self, phase: str, time: float, step: int) -> PauseMeter:
        """Return the state after a phase began at this time and step."""
        if phase == self.phase:
            return self
        seconds, last = self.seconds, self.last
        if self.phase in BETWEEN and step > self.first and 0 < self.since <= time:
            seconds, last = seconds + time - self.since, max(last, step)
        return replace(self, phase=phase, since=time, seconds=seconds, last=last)

    @property
    def seconds_per_step(self) -> float:
        """Return seconds of such phases per step; 0 until there was one."""
        return self.seconds / (self.last - self.first) if self.last > self.first else 0.0


def compute_time_mean(values: Sequence[float | None], seconds: Sequence[float]) -> float | None:
    """Return the time-weighted mean of the known values of some steps, or None if there are none.

    Args:
        values: Value of each step, None if unknown.
        seconds: Time of each step.
    """
    pairs = zip(values, seconds, strict=True)
    known = [(value, took) for value, took in pairs if value is not None and took > 0]
    whole = sum(took for _value, took in known)
    return sum(value * took for value, took in known) / whole if whole > 0 else None


class PaceMeter:
    """Keeps the last steps, as far as the pace needs them."""

    def __init__(self) -> None:
        self._steps: list[int] = []
        self._seconds: list[float] = []
        self._trained: list[int] = []

    def add_step(self, step: int, seconds: float, trained: int) -> None:
        """Record a step, its seconds and its trained tokens."""
        self._steps.append(step)
        self._seconds.append(seconds)
        self._trained.append(trained)
        self._forget_old()

    def add_figures(self, found: Sequence[Figures]) -> None:
        """Record steps from `scan_journal_lines`; other lines among them are skipped."""
        for _when, step, _e, _l, _r, _n, trained, _m, seconds, *_rest in found[-RECENT_STEPS:]:
            try:
                took, number, tokens = float(seconds), int(step), int(trained)
            # Another kind of line, or characters that only look like a number.
            except ValueError:
                continue
            self._steps.append(number)
            self._seconds.append(took)
            self._trained.append(tokens)
        self._forget_old()

    def _forget_old(self) -> None:
        # Only now and then: deleting at the front of a list moves all of it.
        if len(self._steps) >= 2 * RECENT_STEPS:
            for kept in (self._steps, self._seconds, self._trained):
                del kept[:-RECENT_STEPS]

    def go_back(self, step: int) -> None:
        """Forget the steps after this one, which the run went back to."""
        kept = [index for index, number in enumerate(self._steps) if number <= step]
        self._seconds = [self._seconds[index] for index in kept]
        self._trained = [self._trained[index] for index in kept]
        self._steps = [self._steps[index] for index in kept]

    def tokens_per_second(self) -> float | None:
        return measure_tokens_per_second(self._seconds, self._trained)

    def seconds_left(self, step: int, total: int, between: PauseMeter | None = None) -> float | None:
        return estimate_seconds_left(self._seconds, step, total, between)

    @property
    def last_step(self) -> int:
        """Return the last step; 0 before the first."""
        return self._steps[-1] if self._steps else 0


def format_metric_figure(name: str, value: object, digits: int = 4) -> str:
    """Format a metric for a reader: times 100 if its field is shown so, else as `format_figure` does."""
    return format_hundredfold_metric(name, value) or format_figure(value, digits)


def format_figure(value: object, digits: int = 4) -> str:
    """Format a number, or report that it is not one."""
    if not isinstance(value, int | float):
        return _("not a number")
    return f"{value:.{count_decimals(value, digits) if math.isfinite(value) else digits}f}"


class StepFormatter:
    """Formats a step as text. The sentences are translated once and filled in together."""

    def __init__(self) -> None:
        begin = (
            N_("step {step}/{total}"),
            N_("epoch {epoch:.2f}"),
            N_("loss {loss}"),
            N_("lr {rate:.2e}"),
            N_("grad norm {norm}"),
        )
        self._begin, self._end = _join_sentences(begin), _join_sentences((N_("{speed:,.0f} trained tok/s"),))

    def format_step(
        self,
        step: int,
        total: int | str,
        epoch: float,
        loss: str,
        rate: float,
        norm: str,
        speed: float,
        metrics: Mapping[str, float | None],
    ) -> str:
        """Format a step's figures and the objective's own; no speed for tasks that do not train on tokens."""
        text = self._begin(step=step, total=total, epoch=epoch, loss=loss, rate=rate, norm=norm)
        for name, value in metrics.items():
            text += f"  {one_line(name, 40)} {format_figure(value)}"
        return f"{text}  {self._end(speed=speed)}" if speed else text


def _join_sentences(sentences: tuple[str, ...]) -> Callable[..., str]:
    """Return the function that fills in these sentences, in the user's language if possible."""
    english, said = "  ".join(sentences), "  ".join(_(sentence) for sentence in sentences)
    sample = {"step": 1, "total": 1, "epoch": 0.5, "loss": "", "rate": 0.5, "norm": "", "speed": 0.5}
    try:
        # Tried once here, since a translation with a wrong place must not fail at every step of a run.
        said.format(**sample)
    except (LookupError, ValueError, AttributeError, TypeError):
        return english.format
    return said.format
