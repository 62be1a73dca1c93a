"""The data of a run's charts: points by step, tokens or time, thinned so that no spike is lost."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from operator import itemgetter

from tui_tuner.config.deciding import name_shown_metric
from tui_tuner.config.metrics import format_hundredfold_metric
from tui_tuner.locales import N_, _
from tui_tuner.runs.events import Evaluation, Step
from tui_tuner.runs.view import RunView
from tui_tuner.ui.widgets.live.numbers import LOSSES, find_validation_loss

Points = list[tuple[float, float]]
AXES = {"step": N_("by step"), "tokens": N_("by tokens"), "time": N_("by time")}
MOST_METRICS = 4  # metrics with a chart each
_HIGHEST = 1e30  # larger values, infinity and NaN are not drawn
_HEIGHT = itemgetter(1)
_LEAST_AROUND = 5.0  # steps on each side of a marked one
_LOG_RANGE = 50.0  # ratio of the largest to the smallest value that makes a scale logarithmic


@dataclass(frozen=True)
class ChartData:
    """The data of a chart.

    Args:
        key, title: Its name and its heading.
        line: Of training; thinned.
        marks: Of evaluations.
        scores: The deciding metric, on a separate scale; `scored` is its name.
        left, right: The ends of the x axis.
        since: A marked position on it, if any.
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
    def is_empty(self) -> bool:
        return not (self.line or self.marks or self.scores)

    @property
    def is_logarithmic(self) -> bool:
        """True if its range needs a logarithmic scale."""
        values = [y for _unused, y in (*drop_first_curve_tenth(self.line), *self.marks)]
        low = min(values, default=0.0)
        return low > 0 and max(values) / low >= _LOG_RANGE and self.kind not in ("hundred", "rate")


def list_run_charts(view: RunView) -> dict[str, str]:
    """Return the charts that have data, by key with their titles; the loss comes first."""
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
    first = [view.deciding_metric] if view.deciding_metric in names else []
    for name in [*first, *(name for name in names if name not in first)][:MOST_METRICS]:
        found[f"metric:{name}"] = name_shown_metric(name, view.metrics)
    return found


def make_run_chart(view: RunView, key: str, axis: str, columns: int) -> ChartData:
    """Return a chart of a run, thinned to `columns` columns of dots."""
    at = _Axis(view, axis)
    title = list_run_charts(view).get(key, "")
    if key.startswith("metric:"):
        name = key.removeprefix("metric:")
        marks = _place_values(at, ((point.step, point.metrics.get(name)) for point in view.evaluations))
        kind = "hundred" if marks and format_hundredfold_metric(name, marks[-1][1]) else "plain"
        return ChartData(key, title, marks=marks, right=at.right, kind=kind)
    if key == "memory":
        return _chart_memory(view, at, title, columns)
    if key != "loss":
        read, kind = _OF_STEPS[key]
        return ChartData(
            key, title, thin_chart_values(view.steps, at, read, columns), right=at.right, kind=kind
        )
    decides = view.deciding_metric
    scores: Points = []
    if decides not in LOSSES:
        scores = _place_values(at, ((point.step, point.metrics.get(decides)) for point in view.evaluations))
    return ChartData(
        key,
        title,
        thin_chart_values(view.steps, at, lambda step: step.loss, columns),
        _place_values(at, ((point.step, find_validation_loss(point)) for point in view.evaluations)),
        scores,
        decides if decides not in LOSSES else "",
        at.right,
    )


def find_marked_piece(view: RunView, since: int | None, columns: int) -> ChartData:
    """Return the losses around a marked step; all of them if there is none."""
    last = max(view.step, 2)
    if since is None or since <= 0 or since >= last:
        return replace(make_run_chart(view, "loss", "step", columns), scores=[], scored="", right=float(last))
    left = max(0.0, since - max(_LEAST_AROUND, last / 4))
    right = min(float(last), since + max(2 * _LEAST_AROUND, last / 2))
    # Thinned to more columns than are shown, so that the piece itself has enough of them.
    whole = make_run_chart(view, "loss", "step", math.ceil(columns * last / (right - left)))
    line = [point for point in whole.line if left <= point[0] <= right]
    marks = [point for point in whole.marks if left <= point[0] <= right]
    return ChartData("loss", whole.title, line, marks, right=right, left=left, since=float(since))


def _chart_memory(view: RunView, at: _Axis, title: str, columns: int) -> ChartData:
    """Return the memory of the device if there is one, otherwise of the process."""
    if any(step.memory_reserved for step in view.steps[-1:]):
        line = thin_chart_values(view.steps, at, lambda step: float(step.memory_reserved), columns)
        return ChartData("memory", _("Device memory held"), line, right=at.right, kind="bytes")
    line = _thin_points(
        _place_values(at, ((step, float(used)) for step, used in view.memories if step)), columns
    )
    return ChartData("memory", _("Memory of the run"), line, right=at.right, kind="bytes")


_OF_STEPS: dict[str, tuple[Callable[[Step], float | None], str]] = {
    "rate": (lambda step: step.learning_rate, "rate"),
    "speed": (lambda step: step.tokens_per_second or None, "count"),
    "norm": (lambda step: step.grad_norm, "plain"),
}


class _Axis:
    """Positions of the steps of a run on the x axis."""

    def __init__(self, view: RunView, name: str) -> None:
        self.steps = view.steps
        self._numbers: list[int] = []
        self._sums: list[float] = []
        # The number of steps is known in advance, so this axis does not grow with the run.
        if name == "step" or not view.steps:
            self.right = float(max(view.total_steps, view.step, 2))
            self.right = max([self.right, *(float(point.step) for point in view.evaluations[-1:])])
            return
        self._numbers = [step.step for step in view.steps]
        each: Iterable[float] = (step.tokens if name == "tokens" else step.seconds for step in view.steps)
        # One NaN in a damaged journal would make every later position NaN.
        self._sums = list(accumulate(value if math.isfinite(value) else 0.0 for value in each))
        self.right = max(self._sums[-1], 1e-3)

    def find_place(self, step: int) -> float:
        """Return the position of a step by its number."""
        if not self._sums:
            return float(step)
        index = bisect_right(self._numbers, step)
        return self._sums[index - 1] if index else 0.0

    def of_index(self, index: int) -> float:
        """Return the position of a step by its index."""
        return self._sums[index] if self._sums else float(self.steps[index].step)


def thin_chart_values(
    steps: Sequence[Step], at: _Axis, read: Callable[[Step], float | None], columns: int
) -> Points:
    """Return the values of all steps, thinned to `columns` columns."""
    return _thin_points(
        [
            (at.of_index(index), value)
            for index, step in enumerate(steps)
            if (value := read(step)) is not None and abs(value) < _HIGHEST
        ],
        columns,
    )


def _thin_points(points: Points, columns: int) -> Points:
    """Reduce points to the least and the greatest of each column, in their order: a mean would hide a
    spike.
    """
    size = max(1, math.ceil(len(points) / max(1, columns)))
    found: Points = []
    for start in range(0, len(points), size):
        group = points[start : start + size]
        # `reversed`, so that a flat group gives its first and its last point, and not one point twice.
        found += sorted({min(group, key=_HEIGHT), max(reversed(group), key=_HEIGHT)})
    return found


def _place_values(at: _Axis, values: Iterable[tuple[int, float | None]]) -> Points:
    return [
        (at.find_place(step), value) for step, value in values if value is not None and abs(value) < _HIGHEST
    ]


def drop_first_curve_tenth(line: Points) -> Points:
    """Return the part of a curve that sets the scale: without its first tenth, where the loss often falls so
    far that the rest would look flat. Values above the scale leave the chart at its top.
    """
    return line[len(line) // 10 :] if len(line) > 20 else line


def has_infinite_loss(loss: float | None) -> bool:
    """Return whether there is a loss that is NaN or infinite."""
    return loss is not None and not math.isfinite(loss)


def count_missing_steps(steps: Sequence[Step]) -> int:
    """Count the losses of steps that cannot be drawn."""
    return sum(has_infinite_loss(point.loss) for point in steps)


def count_missing_evaluations(evaluations: Sequence[Evaluation]) -> int:
    """Count the losses of evaluations that cannot be drawn."""
    return sum(has_infinite_loss(find_validation_loss(point)) for point in evaluations)
