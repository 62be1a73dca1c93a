"""Curves of several runs in one chart. Each curve carries its run's letter, so colours are not needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.text import Text
from textual.color import Color
from textual.content import Content
from textual.strip import Strip
from textual.widget import Widget

from tui_tuner.config.deciding import name_metric_in_text
from tui_tuner.evaluation.run_overlay import BY, RunOverlay
from tui_tuner.locales import _

LETTERS = "ABCDEF"
COLOURS = ("$curve", "$curve-validation", "$success", "$secondary", "$error", "$warning")
TRAINING = ""  # the measure that is not a metric of held-out rows
_LETTERS_EACH = 4  # how often a curve shows its letter
Points = list[tuple[float, float]]


class OverlayChart(Widget):
    """One measure of several runs, by step, tokens or seconds."""

    DEFAULT_CSS = "OverlayChart { width: 1fr; height: 1fr; min-height: 6; }"

    def __init__(self, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._runs: Sequence[RunOverlay] = ()
        self._by, self._metric = "step", TRAINING
        self._plot: Any = None
        self._lines: list[Strip] = []
        self._drawn: tuple[Any, ...] = ()

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, lambda _theme: self._draw_chart(force=True))

    def show_runs(self, runs: Sequence[RunOverlay], by: str, metric: str) -> None:
        """Draw one measure of these runs."""
        self._runs, self._by, self._metric = runs, by, metric
        self.border_title = Content.assemble(
            self._make_title(),
            "  ",
            *[part for place, run in enumerate(runs) for part in _format_name(place, run)],
        )
        self._draw_chart()

    def on_resize(self) -> None:
        self._draw_chart()

    def _make_title(self) -> str:
        if self._metric == TRAINING:
            return _("training loss A, held out a, by {measure}", measure=_(BY[self._by]))
        return _(
            "held-out {metric} by {measure}",
            metric=name_metric_in_text(self._metric),
            measure=_(BY[self._by]),
        )

    def _draw_chart(self, force: bool = False) -> None:
        size = self.content_size
        # By identity: comparing curves of thousands of points would cost as much as drawing them.
        key = (size, self._by, self._metric, tuple(id(run) for run in self._runs))
        if not size.width or not size.height or (key == self._drawn and not force):
            return
        self._drawn = key
        lines = [list_curve_points(run, self._by, self._metric) for run in self._runs]
        marks = [list_curve_points(run, self._by, "loss") if not self._metric else [] for run in self._runs]
        if not any(lines) and not any(marks):
            words = Content(_("None of these runs has measured this.")).plain
            self._lines = [
                Strip(Text(words).render(self.app.console)).adjust_cell_length(size.width, self.rich_style)
            ]
        else:
            self._lines = self._plot_lines(lines, marks, size.width, size.height)
        self.refresh()

    def _plot_lines(self, lines: list[Points], marks: list[Points], width: int, height: int) -> list[Strip]:
        if self._plot is None:
            from textual_plotext.plot import Plot

            self._plot = Plot()
        colours = [self._find_rgb(COLOURS[place % len(COLOURS)]) for place in range(len(lines))]
        frame = self._find_rgb("$background"), self._find_rgb("$dim")
        text = Text.from_ansi(_build_chart(self._plot, lines, marks, colours, frame, (width, height)))
        return [
            Strip(row.render(self.app.console))
            .apply_style(self.rich_style)
            .adjust_cell_length(width, self.rich_style)
            for row in text.split("\n")[:height]
        ]

    def _find_rgb(self, name: str) -> tuple[int, int, int]:
        return Color.parse(self.app.theme_variables.get(name.removeprefix("$"), "#808080")).rgb

    def render_line(self, y: int) -> Strip:
        if y < len(self._lines):
            return self._lines[y].adjust_cell_length(self.size.width, self.rich_style)
        return Strip.blank(self.size.width, self.rich_style)


def list_curve_points(run: RunOverlay, by: str, metric: str) -> Points:
    """Return the points of a run's curve."""
    return list(run.curves.get(by, ()) if metric == TRAINING else run.held_out.get(metric, {}).get(by, ()))


def _format_name(place: int, run: RunOverlay) -> list[tuple[str, str]]:
    return [(f"{LETTERS[place % len(LETTERS)]} ", f"bold {COLOURS[place % len(COLOURS)]}")]


def _build_chart(
    plot: Any,
    lines: list[Points],
    marks: list[Points],
    colours: list[tuple[int, int, int]],
    frame: tuple[tuple[int, int, int], tuple[int, int, int]],
    size: tuple[int, int],
) -> str:
    """Draw the chart as ANSI text.

    Args:
        marks: Further points of each run, drawn as its letter in lower case. If there are any, the first
            tenth of a line does not count for the scale, or the rest of a training loss would look flat.
        frame: The colours of the background and of the axes.
    """
    width, height = size
    plot.clear_figure()
    plot.theme("clear")
    plot.canvas_color(frame[0])
    plot.axes_color(frame[0])
    plot.ticks_color(frame[1])
    plot.plotsize(width, height)
    # `plotsize` alone is limited to the size of the process's terminal, which may be none.
    plot._set_size(width, height)
    falls = any(marks)
    told = [value for line in lines for _place, value in (line[len(line) // 10 :] if falls else line)]
    told += [value for line in marks for _place, value in line]
    low, high, step = find_overlay_limits(min(told), max(told), max(2, height // 3))
    # A chart with a single point at 0 still needs an axis of some length.
    right = max(max(place for line in (*lines, *marks) for place, _value in line), 1e-9)
    plot.xlim(0, right)
    plot.ylim(low, high)
    ticks = [low + index * step for index in range(round((high - low) / step) + 1)]
    digits = max(0, min(6, -math.floor(math.log10(step)) + (1 if f"{step:e}".startswith("2.5") else 0)))
    plot.yticks(ticks, [f"{tick:.{digits}f}".rjust(5) for tick in ticks])
    _first, _last, apart = find_overlay_limits(0.0, right, 5 if width > 44 else 2)
    places = [apart * part for part in range(int(right / apart * 1.0001) + 1)]
    plot.xticks(places, [_format_tick(place, right) for place in places])
    plot.xaxes(True, False)
    plot.yaxes(True, False)
    plot.grid(False, False)
    for line, colour in zip(lines, colours, strict=True):
        if line:
            xs, ys = [place for place, _value in line], [value for _place, value in line]
            plot.plot(xs, ys, marker="braille", color=colour)
    for place, (line, colour) in enumerate(zip(marks, colours, strict=True)):
        for x, y in line:
            plot.scatter([x], [y], marker=LETTERS[place % len(LETTERS)].lower(), color=colour)
    for place, (line, colour) in enumerate(zip(lines, colours, strict=True)):
        shown = [point for point in line if low <= point[1] <= high]
        for x, y in _spread_letters(shown, place):
            plot.scatter([x], [y], marker=LETTERS[place % len(LETTERS)], color=colour)
    return str(plot.build())


def _spread_letters(points: Points, shift: int) -> Points:
    """Choose points for a line's letters, always with the last; shifted so that letters do not overlap."""
    if len(points) <= _LETTERS_EACH:
        return points
    step = len(points) / _LETTERS_EACH
    inner = [points[int(step * (part + 0.15 + 0.12 * shift)) % len(points)] for part in range(_LETTERS_EACH)]
    return [*inner, points[-1]]


def _format_tick(value: float, whole: float) -> str:
    """Format a position on the axis briefly: `1.5M`, `20k`."""
    for power, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if whole >= 10 * power or (whole >= power and power > 1e3):
            return f"{value / power:.{0 if whole >= 10 * power else 1}f}{letter}" if value else "0"
    return f"{value:,.0f}" if whole >= 10 else f"{value:.2g}"


def find_overlay_limits(low: float, high: float, ticks: int) -> tuple[float, float, float]:
    """Return round limits around `low`..`high` and the distance between ticks."""
    span = max(high - low, abs(high) * 0.02, 1e-9)
    raw = span / max(1, ticks)
    power = 10.0 ** math.floor(math.log10(raw))
    # The tolerance keeps a range that is exactly a round number from getting the next larger step.
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    bottom, top = math.floor(low / step) * step, math.ceil(high / step) * step
    return bottom, top if top > bottom else bottom + step, step
