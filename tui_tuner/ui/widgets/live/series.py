"""What a chart shows of a run: its points by step, tokens or time, thinned so that no spike is lost."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from operator import itemgetter

from tui_tuner.config.deciding import metric_name
from tui_tuner.config.metrics import hundredfold
from tui_tuner.locales import N_, _
from tui_tuner.runs.events import Evaluation, Step
from tui_tuner.runs.view import RunView
from tui_tuner.ui.widgets.live.numbers import LOSSES, validation_loss

Points = list[tuple[float, float]]
AXES = {"step": N_("by step"), "tokens": N_("by tokens"), "time": N_("by time")}
MOST_METRICS = 4  # that have a chart each
_HIGHEST = 1e30  # a value beyond it, infinite or NaN, has no place on any scale
_HEIGHT = itemgetter(1)
_LEAST_AROUND = 5.0  # steps on each side of one that is marked
_LOG_RANGE = 50.0  # of the largest value to the smallest, from which a scale is logarithmic


@dataclass(frozen=True)
class Chart:
    """What is drawn.

    Args:
        key, title: Its name, and what stands above it.
        line: Of training; thinned.
        marks: Of evaluations.
        scores: What decides, on a scale of its own; `scored` is its name.
        left, right: The ends of the x axis.
        since: A place on it that is marked; None for none.
        kind: How its values are written: plain, rate, count, bytes or hundred (100 times the value).
    """

    key: str
    title: str
    line: Points = field(default_factory=list)
    marks: Points = field(default_factory=list)
    scores: Points = field(default_factory=list)
    scored: str = ""
    right: float = 2.0
    kind: str = "plain"
    left: float = 0.0
    since: float | None = None

    @property
    def empty(self) -> bool:
        return not (self.line or self.marks or self.scores)

    @property
    def log(self) -> bool:
        """Whether its range asks for a logarithmic scale."""
        values = [y for _unused, y in (*settled(self.line), *self.marks)]
        low = min(values, default=0.0)
        return low > 0 and max(values) / low >= _LOG_RANGE and self.kind not in ("hundred", "rate")


def charts_of(view: RunView) -> dict[str, str]:
    """The charts that a run has something for, by key, with their titles; the loss comes first."""
    found = {
        "loss": _("Loss"),
        "rate": _("Learning rate"),
        "speed": _("Trained tokens/s"),
        "norm": _("Gradient norm"),
    }
    if view.memories or any(step.memory_reserved for step in view.steps[-1:]):
        found["memory"] = _("Memory")
    names: dict[str, None] = {}
    for point in view.evaluations:
        names |= dict.fromkeys(name for name in point.metrics if name not in LOSSES)
    first = [view.deciding] if view.deciding in names else []
    for name in [*first, *(name for name in names if name not in first)][:MOST_METRICS]:
        found[f"metric:{name}"] = metric_name(name, view.metrics)
    return found


def chart_of(view: RunView, key: str, axis: str, columns: int) -> Chart:
    """A chart of a run, thinned to so many columns of dots."""
    at = _Axis(view, axis)
    title = charts_of(view).get(key, "")
    if key.startswith("metric:"):
        name = key.removeprefix("metric:")
        marks = _placed(at, ((point.step, point.metrics.get(name)) for point in view.evaluations))
        kind = "hundred" if marks and hundredfold(name, marks[-1][1]) else "plain"
        return Chart(key, title, marks=marks, right=at.right, kind=kind)
    if key == "memory":
        return _memory(view, at, title, columns)
    if key != "loss":
        read, kind = _OF_STEPS[key]
        return Chart(key, title, thinned(view.steps, at, read, columns), right=at.right, kind=kind)
    decides = view.deciding
    scores: Points = []
    if decides not in LOSSES:
        scores = _placed(at, ((point.step, point.metrics.get(decides)) for point in view.evaluations))
    return Chart(
        key,
        title,
        thinned(view.steps, at, lambda step: step.loss, columns),
        _placed(at, ((point.step, validation_loss(point)) for point in view.evaluations)),
        scores,
        decides if decides not in LOSSES else "",
        at.right,
    )


def piece_of(view: RunView, since: int | None, columns: int) -> Chart:
    """The losses around a step that is marked, by steps; without one, all of them."""
    last = max(view.step, 2)
    if since is None or since <= 0 or since >= last:
        return replace(chart_of(view, "loss", "step", columns), scores=[], scored="", right=float(last))
    left = max(0.0, since - max(_LEAST_AROUND, last / 4))
    right = min(float(last), since + max(2 * _LEAST_AROUND, last / 2))
    whole = chart_of(view, "loss", "step", math.ceil(columns * last / (right - left)))
    line = [point for point in whole.line if left <= point[0] <= right]
    marks = [point for point in whole.marks if left <= point[0] <= right]
    return Chart("loss", whole.title, line, marks, right=right, left=left, since=float(since))


def _memory(view: RunView, at: _Axis, title: str, columns: int) -> Chart:
    """Of the device, where there is one; else of the process."""
    if any(step.memory_reserved for step in view.steps[-1:]):
        line = thinned(view.steps, at, lambda step: float(step.memory_reserved), columns)
        return Chart("memory", _("Device memory held"), line, right=at.right, kind="bytes")
    line = _fewer(_placed(at, ((step, float(used)) for step, used in view.memories if step)), columns)
    return Chart("memory", _("Memory of the run"), line, right=at.right, kind="bytes")


_OF_STEPS: dict[str, tuple[Callable[[Step], float | None], str]] = {
    "rate": (lambda step: step.learning_rate, "rate"),
    "speed": (lambda step: step.tokens_per_second or None, "count"),
    "norm": (lambda step: step.grad_norm, "plain"),
}


class _Axis:
    """Where the steps of a run stand on the x axis."""

    def __init__(self, view: RunView, name: str) -> None:
        self.steps = view.steps
        self._numbers: list[int] = []
        self._sums: list[float] = []
        if name == "step" or not view.steps:
            self.right = float(max(view.total_steps, view.step, 2))
            self.right = max([self.right, *(float(point.step) for point in view.evaluations[-1:])])
            return
        self._numbers = [step.step for step in view.steps]
        each: Iterable[float] = (step.tokens if name == "tokens" else step.seconds for step in view.steps)
        self._sums = list(accumulate(value if math.isfinite(value) else 0.0 for value in each))
        self.right = max(self._sums[-1], 1e-3)

    def of(self, step: int) -> float:
        """The place of a step."""
        if not self._sums:
            return float(step)
        index = bisect_right(self._numbers, step)
        return self._sums[index - 1] if index else 0.0

    def of_index(self, index: int) -> float:
        """The place of the step that is the `index`th."""
        return self._sums[index] if self._sums else float(self.steps[index].step)


def thinned(steps: Sequence[Step], at: _Axis, read: Callable[[Step], float | None], columns: int) -> Points:
    """The values of all steps, thinned to so many columns."""
    return _fewer(
        [
            (at.of_index(index), value)
            for index, step in enumerate(steps)
            if (value := read(step)) is not None and abs(value) < _HIGHEST
        ],
        columns,
    )


def _fewer(points: Points, columns: int) -> Points:
    """Where there are more points than columns, the least and the greatest of each group of them, in their
    order: a mean would hide a spike.
    """
    size = max(1, math.ceil(len(points) / max(1, columns)))
    found: Points = []
    for start in range(0, len(points), size):
        group = points[start : start + size]
        found += sorted({min(group, key=_HEIGHT), max(reversed(group), key=_HEIGHT)})
    return found


def _placed(at: _Axis, values: Iterable[tuple[int, float | None]]) -> Points:
    return [(at.of(step), value) for step, value in values if value is not None and abs(value) < _HIGHEST]


def settled(line: Points) -> Points:
    """The part of a curve that sets the scale: without its first tenth, where the loss often falls so far
    that everything after it would look flat. What lies above the scale leaves the chart at its top.
    """
    return line[len(line) // 10 :] if len(line) > 20 else line


def not_finite(loss: float | None) -> bool:
    """Whether there is a loss, and it is NaN or infinite."""
    return loss is not None and not math.isfinite(loss)


def missing_of(steps: Sequence[Step]) -> int:
    """How many losses cannot stand in a chart."""
    return sum(not_finite(point.loss) for point in steps)


def missing_in(evaluations: Sequence[Evaluation]) -> int:
    """The same of evaluations."""
    return sum(not_finite(validation_loss(point)) for point in evaluations)
