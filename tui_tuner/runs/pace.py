"""How fast a run takes its steps, and a step as a line of text: both may be asked for a million times."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tui_tuner.config.metrics import hundredfold
from tui_tuner.locales import N_, _
from tui_tuner.text import decimals, one_line

if TYPE_CHECKING:
    from tui_tuner.runs.scan import Figures

RECENT_STEPS = 1000  # kept at least; the pace is told from the last 50, also after going back some steps
OF_SPEED, OF_TIME_LEFT = 20, 50  # steps
BETWEEN = ("evaluating", "sampling", "saving")  # phases in which no step is taken, and that come again


def tokens_per_second(seconds: Sequence[float], trained: Sequence[int]) -> float | None:
    """Trained tokens per second over the last steps; None before the first.

    Args:
        seconds: Of each step.
        trained: Tokens of each step.
    """
    took = sum(seconds[-OF_SPEED:])
    return sum(trained[-OF_SPEED:]) / took if took > 0 else None


def seconds_left(
    seconds: Sequence[float], step: int, total: int, between: Between | None = None
) -> float | None:
    """Remaining time from the last steps' pace, with the evaluations and checkpoints that were seen; None
    where it cannot be known."""
    recent = seconds[-OF_TIME_LEFT:]
    if len(recent) < 2 or not total:
        return None
    pace = sum(recent) / len(recent) + (between.each if between is not None else 0.0)
    return pace * max(0, total - step) if math.isfinite(pace) else None


@dataclass(frozen=True, slots=True)
class Between:
    """What evaluations, answers and checkpoints take of the time of a process, by its phases.

    Args:
        first: The step that the process began at. What comes before its first step does not come again.
        phase, since: What is going on, and since when [Unix seconds].
        seconds: That such phases took, up to the step `last`.
    """

    first: int = 0
    phase: str = ""
    since: float = 0.0
    seconds: float = 0.0
    last: int = 0

    def after(self, phase: str, time: float, step: int) -> Between:
        """The same once a phase has begun at that time, when so many steps were done."""
        if phase == self.phase:
            return self
        seconds, last = self.seconds, self.last
        if self.phase in BETWEEN and step > self.first and 0 < self.since <= time:
            seconds, last = seconds + time - self.since, max(last, step)
        return replace(self, phase=phase, since=time, seconds=seconds, last=last)

    @property
    def each(self) -> float:
        """Seconds of them for each step; 0 until there was one."""
        return self.seconds / (self.last - self.first) if self.last > self.first else 0.0


def mean_of(values: Sequence[float | None], seconds: Sequence[float]) -> float | None:
    """The mean of what is known of some steps, by their time; None where nothing is.

    Args:
        values: Of each step.
        seconds: Of each step.
    """
    pairs = zip(values, seconds, strict=True)
    known = [(value, took) for value, took in pairs if value is not None and took > 0]
    whole = sum(took for _value, took in known)
    return sum(value * took for value, took in known) / whole if whole > 0 else None


class Pace:
    """The last steps, as far as they tell the pace."""

    def __init__(self) -> None:
        self._steps: list[int] = []
        self._seconds: list[float] = []
        self._trained: list[int] = []

    def add(self, step: int, seconds: float, trained: int) -> None:
        """A step, its seconds and its trained tokens."""
        self._steps.append(step)
        self._seconds.append(seconds)
        self._trained.append(trained)
        self._forget_old()

    def add_all(self, found: Sequence[Figures]) -> None:
        """Steps, as `scan` has them; other lines among them are passed over."""
        for _when, step, _e, _l, _r, _n, trained, _m, seconds, *_rest in found[-RECENT_STEPS:]:
            try:
                took, number, tokens = float(seconds), int(step), int(trained)
            except ValueError:  # another line, or what only looks like a number
                continue
            self._steps.append(number)
            self._seconds.append(took)
            self._trained.append(tokens)
        self._forget_old()

    def _forget_old(self) -> None:
        if len(self._steps) >= 2 * RECENT_STEPS:
            for kept in (self._steps, self._seconds, self._trained):
                del kept[:-RECENT_STEPS]

    def back_to(self, step: int) -> None:
        """Forget steps after this one, which a run went back to."""
        kept = [index for index, number in enumerate(self._steps) if number <= step]
        self._seconds = [self._seconds[index] for index in kept]
        self._trained = [self._trained[index] for index in kept]
        self._steps = [self._steps[index] for index in kept]

    def tokens_per_second(self) -> float | None:
        return tokens_per_second(self._seconds, self._trained)

    def seconds_left(self, step: int, total: int, between: Between | None = None) -> float | None:
        return seconds_left(self._seconds, step, total, between)

    @property
    def step(self) -> int:
        """The last step; 0 before the first."""
        return self._steps[-1] if self._steps else 0


def metric_figure(name: str, value: object, digits: int = 4) -> str:
    """A metric as a person reads it: times 100 where its field does so, else as `figure` writes it."""
    return hundredfold(name, value) or figure(value, digits)


def figure(value: object, digits: int = 4) -> str:
    """A number, or that it is none."""
    if not isinstance(value, int | float):
        return _("not a number")
    return f"{value:.{decimals(value, digits) if math.isfinite(value) else digits}f}"


class StepText:
    """A step in words; the sentences are looked up once, and filled in together."""

    def __init__(self) -> None:
        begin = (
            N_("step {step}/{total}"),
            N_("epoch {epoch:.2f}"),
            N_("loss {loss}"),
            N_("lr {rate:.2e}"),
            N_("grad norm {norm}"),
        )
        self._begin, self._end = _together(begin), _together((N_("{speed:,.0f} trained tok/s"),))

    def of(
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
        """A step's figures, between them the objective's own; no speed where what is learnt are no tokens."""
        text = self._begin(step=step, total=total, epoch=epoch, loss=loss, rate=rate, norm=norm)
        for name, value in metrics.items():
            text += f"  {one_line(name, 40)} {figure(value)}"
        return f"{text}  {self._end(speed=speed)}" if speed else text


def _together(sentences: tuple[str, ...]) -> Callable[..., str]:
    """What fills in these sentences, in the user's language unless a translation has other places."""
    english, said = "  ".join(sentences), "  ".join(_(sentence) for sentence in sentences)
    sample = {"step": 1, "total": 1, "epoch": 0.5, "loss": "", "rate": 0.5, "norm": "", "speed": 0.5}
    try:
        said.format(**sample)
    except (LookupError, ValueError, AttributeError, TypeError):
        return english.format
    return said.format
