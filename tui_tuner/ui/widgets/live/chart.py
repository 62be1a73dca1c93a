"""The loss curve. Drawn by plotext at most once a second, downsampled to its width, and only the lines that
changed go to the terminal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from rich.style import Style
from rich.text import Text
from textual.color import Color
from textual.content import Content
from textual.geometry import Region
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.widget import Widget

from tui_tuner.config.deciding import metric_name
from tui_tuner.config.metrics import hundredfold
from tui_tuner.locales import _
from tui_tuner.runs.events import Evaluation, Step
from tui_tuner.runs.view import RunView
from tui_tuner.ui.widgets.live.numbers import LOSSES, validation_loss

REPAINT_SECONDS = 1.0
_HIGHEST = 1e30  # a loss beyond it, infinite or NaN, has no place on any scale


class LossChart(Widget):
    """Training loss as a line, validation loss as points, and what decides where it is another metric."""

    DEFAULT_CSS = "LossChart { width: 1fr; height: 1fr; min-height: 4; }"

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id, classes="panel")
        self._view = RunView()
        self._drawn: tuple[Any, ...] = ()
        self._lines: list[Strip] = []
        self._plot: Any = None
        self._missing = 0
        self._metric = ""  # the name of the metric that decides, where it is not the loss
        self._counted: tuple[int, Step | None, int] = (0, None, 0)  # steps, the last of them, not finite

    def on_mount(self) -> None:
        self.set_interval(REPAINT_SECONDS, self.repaint)
        self.app.theme_changed_signal.subscribe(self, lambda _theme: self.repaint(force=True))
        self._title()

    def show(self, view: RunView) -> None:
        """Take the newest view; it is drawn at the next repaint (at once, if it is the first)."""
        first = not self._view.steps and not self._view.evaluations
        self._view = view
        if first and (view.steps or view.evaluations):
            self.repaint()

    def on_resize(self) -> None:
        self.repaint(force=True)

    def repaint(self, force: bool = False) -> None:
        """Draw anew if anything changed, and refresh the lines that differ."""
        size = self.content_size
        key = (len(self._view.steps), len(self._view.evaluations), self._view.total_steps, size)
        covered = not self.screen.is_active and not isinstance(self.app.screen, ModalScreen)
        if (key == self._drawn and not force) or not size.width or not size.height or covered:
            return
        self._drawn = key
        missing = self._count_missing()
        name = self._view.deciding
        metric = "" if name in LOSSES else metric_name(name, self._view.metrics)
        if (missing, metric) != (self._missing, self._metric):
            self._missing, self._metric = missing, metric
            self._title()
        before, self._lines = self._lines, self._draw(size.width, size.height)
        if force or len(before) != len(self._lines):
            self._title()
            self.refresh()
            return
        pairs = enumerate(zip(before, self._lines, strict=True))
        rows = [(y, changed_cells(old, new)) for y, (old, new) in pairs if old != new]
        if rows:
            self.refresh(*(Region(0, y, cells, 1) for y, cells in rows))

    def render_line(self, y: int) -> Strip:
        if y < len(self._lines):
            return self._lines[y].adjust_cell_length(self.size.width, self.rich_style)
        return Strip.blank(self.size.width, self.rich_style)

    def _title(self) -> None:
        self.border_title = Content.assemble(
            _("Loss"),
            "  ",
            ("━ ", "$curve"),
            _("training"),
            "  ",
            ("● ", "$curve-validation"),
            _("validation"),
            *((("  ◆ ", "$secondary"), self._metric) if self._metric else ()),
            ("  " + _("✗ {n:,} not finite", n=self._missing) if self._missing else "", "$warning"),
        )

    def _count_missing(self) -> int:
        """How many losses cannot stand in the chart, because they are NaN or infinite."""
        steps, (seen, last, missing) = self._view.steps, self._counted
        if seen > len(steps) or (seen and steps[seen - 1] is not last):  # some are done again
            seen, missing = 0, 0
        missing += sum(not_finite(point.loss) for point in steps[seen:])
        self._counted = (len(steps), steps[-1] if steps else None, missing)
        return missing + sum(not_finite(validation_loss(point)) for point in self._view.evaluations)

    def _draw(self, width: int, height: int) -> list[Strip]:
        line = curve(self._view.steps, max(8, (width - 7) * 2))
        points = validation(self._view.evaluations)
        scores = measured_points(self._view) if self._metric else []
        if not line and not points and not scores:
            return self._empty(width, height)
        if self._plot is None:
            from textual_plotext.plot import Plot

            self._plot = Plot()
        palette = self._palette()
        text = Text.from_ansi(_build(self._plot, palette, line, points, scores, self._view, width, height))
        return [
            Strip(row.render(self.app.console)).apply_style(self.rich_style).adjust_cell_length(width)
            for row in text.split("\n")[:height]
        ]

    def _empty(self, width: int, height: int) -> list[Strip]:
        said = (
            _("No loss so far is a finite number.")
            if self._missing
            else _("The curve begins with the first step.")
        )
        words = Text(said, style=self._colour("dim", "#808080").rich_color.name)
        blank = Strip.blank(width, self.rich_style)
        line = Strip(words.render(self.app.console)).apply_style(self.rich_style).adjust_cell_length(width)
        return [line if row == height // 2 else blank for row in range(height)]

    def _colour(self, name: str, fallback: str) -> Color:
        return Color.parse(self.app.theme_variables.get(name, fallback))

    def _palette(self) -> dict[str, tuple[int, int, int]]:
        names = {
            "curve": "#7fb4d9",
            "curve-validation": "#dba76a",
            "secondary": "#9a91d6",
            "dim": "#838d9c",
            "background": "#101010",
        }
        return {name: self._colour(name, fallback).rgb for name, fallback in names.items()}


def curve(steps: Sequence[Step], width: int) -> list[tuple[float, float]]:
    """(step, mean loss) of at most `width` equal groups of steps, of losses that have a place on a scale."""
    if not steps:
        return []
    size = max(1, math.ceil(len(steps) / width))
    points = []
    for start in range(0, len(steps), size):
        part = steps[start : start + size]
        group = [(p.step, p.loss) for p in part if p.loss is not None and abs(p.loss) < _HIGHEST]
        if group:
            points.append(
                (sum(s for s, _unused in group) / len(group), sum(v for _unused, v in group) / len(group))
            )
    return points


def changed_cells(old: Strip, new: Strip) -> int:
    """How many cells of a line there are up to the last that differs."""
    if old.cell_length != new.cell_length:
        return max(old.cell_length, new.cell_length)
    ends = zip(_from_the_end(old), _from_the_end(new), strict=False)
    return new.cell_length - next((place for place, (one, other) in enumerate(ends) if one != other), 0)


def _from_the_end(strip: Strip) -> Iterator[tuple[str, Style | None]]:
    for text, style, _control in reversed(list(strip)):
        for character in reversed(text):
            yield character, style


def validation(evaluations: Sequence[Evaluation]) -> list[tuple[float, float]]:
    """(step, loss) of the evaluations that measured a loss that has a place on a scale."""
    found = ((point.step, validation_loss(point)) for point in evaluations)
    return [(step, loss) for step, loss in found if loss is not None and abs(loss) < _HIGHEST]


def measured_points(view: RunView) -> list[tuple[float, float]]:
    """(step, value) of the metric that decides, of values that have a place on a scale."""
    name = view.deciding
    found = ((point.step, point.metrics.get(name)) for point in view.evaluations)
    return [(step, value) for step, value in found if value is not None and abs(value) < _HIGHEST]


def not_finite(loss: float | None) -> bool:
    """Whether there is a loss, and it is NaN or infinite."""
    return loss is not None and not math.isfinite(loss)


def settled(line: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The part of a curve that sets the scale: without its first tenth, where the loss often falls so far
    that everything after it would look flat. What lies above the scale leaves the chart at its top.
    """
    return line[len(line) // 10 :] if len(line) > 20 else line


def nice_limits(low: float, high: float, ticks: int) -> tuple[float, float, float]:
    """Round limits around `low`..`high` and the distance of the ticks: 1, 2, 2.5 or 5 times a power of ten.

    They change in jumps, so that a falling curve does not redraw the whole chart with every step.
    """
    span = max(high - low, abs(high) * 0.02, 1e-9)
    raw = span / max(1, ticks)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    bottom, top = math.floor(low / step) * step, math.ceil(high / step) * step
    return bottom, top if top > bottom else bottom + step, step  # a constant may lie on a tick


def _build(
    plot: Any,
    palette: dict[str, tuple[int, int, int]],
    line: list[tuple[float, float]],
    points: list[tuple[float, float]],
    scores: list[tuple[float, float]],
    view: RunView,
    width: int,
    height: int,
) -> str:
    plot.clear_figure()
    plot.theme("clear")
    plot.canvas_color(palette["background"])
    plot.axes_color(palette["background"])
    plot.ticks_color(palette["dim"])
    plot.plotsize(width, height)
    plot._set_size(width, height)
    losses = [y for _unused, y in (*settled(line), *points)] or [0.0, 1.0]
    low, high, step = nice_limits(min(losses), max(losses), max(2, height // 3))
    right = max(view.total_steps, max(x for x, _unused in (*line, *points, *scores)), 2)
    plot.xlim(0, right)
    plot.ylim(low, high)
    count = round((high - low) / step)
    ticks = [low + index * step for index in range(count + 1)]
    digits = max(0, min(6, -math.floor(math.log10(step)) + (1 if f"{step:e}".startswith("2.5") else 0)))
    plot.yticks(ticks, [f"{tick:.{digits}f}".rjust(5) for tick in ticks])
    marks = (
        [0.0, right / 4, right / 2, right * 3 / 4, float(right)]
        if width > 44
        else [0.0, right / 2, float(right)]
    )
    plot.xticks(marks, [f"{mark:,.0f}" for mark in marks])
    plot.xaxes(True, False)
    plot.yaxes(True, False)
    plot.grid(False, False)
    if line:
        plot.plot(
            [x for x, _unused in line], [y for _unused, y in line], marker="braille", color=palette["curve"]
        )
    if points:
        xs, ys = [x for x, _unused in points], [y for _unused, y in points]
        plot.scatter(xs, ys, marker="●", color=palette["curve-validation"])
    if scores:
        _add_scores(plot, palette["secondary"], scores, view.deciding, height)
    return str(plot.build())


def _add_scores(
    plot: Any, colour: tuple[int, int, int], scores: list[tuple[float, float]], name: str, height: int
) -> None:
    """The metric that decides, on a scale of its own at the right."""
    values = [y for _unused, y in scores]
    low, high, step = nice_limits(min(values), max(values), max(2, height // 4))
    ticks = [low + index * step for index in range(round((high - low) / step) + 1)]
    labels = [f"{100 * tick:.0f}" if hundredfold(name, tick) else f"{tick:.2f}" for tick in ticks]
    plot.ylim(low, high, yside="right")
    # plotext leaves room for the line of a right axis, and without one its widest labels lose their end
    plot.yticks(ticks, [f"{label} " for label in labels], yside="right")
    plot.scatter([x for x, _unused in scores], values, marker="◆", color=colour, yside="right")
