"""Draws charts as text, with round ticks and a logarithmic scale for large ranges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tui_tuner.config.metrics import format_hundredfold_metric
from tui_tuner.ui.widgets.live.chart_data import ChartData, Points, drop_first_curve_tenth

Palette = Mapping[str, tuple[int, int, int]]
_ROUND = (1, 2, 2.5, 5, 10)
_UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def draw_chart(plot: Any, palette: Palette, chart: ChartData, axis: str, width: int, height: int) -> str:
    """Draw a chart as lines with ANSI colours."""
    plot.clear_figure()
    plot.theme("clear")
    plot.canvas_color(palette["background"])
    plot.axes_color(palette["background"])
    plot.ticks_color(palette["dim"])
    plot.plotsize(width, height)
    # `plotsize` alone is limited to the size of the process's terminal, which may be none.
    plot._set_size(width, height)
    _x_axis(plot, chart, axis, width)
    line, marks = _y_axis(plot, chart, height)
    plot.xaxes(True, False)
    plot.yaxes(True, False)
    plot.grid(False, False)
    if chart.since is not None:
        plot.vertical_line(chart.since, color=palette["dim"])
    if line:
        xs, ys = zip(*line, strict=True)
        plot.plot(list(xs), list(ys), marker="braille", color=palette["curve"])
    if marks:
        xs, ys = zip(*marks, strict=True)
        plot.scatter(list(xs), list(ys), marker="●", color=palette["curve-validation"])
    if chart.scores:
        draw_chart_scores(plot, palette["secondary"], chart.scores, chart.scored, height)
    return str(plot.build())


def choose_nice_limits(low: float, high: float, ticks: int) -> tuple[float, float, float]:
    """Return round limits around `low`..`high` and the tick distance: 1, 2, 2.5 or 5 times a power of ten.

    They change in jumps, so that a falling curve does not redraw the whole chart with every step.
    """
    span = max(high - low, abs(high) * 0.02, 1e-9)
    step = choose_nice_step(span / max(1, ticks))
    bottom, top = math.floor(low / step) * step, math.ceil(high / step) * step
    # A constant curve that lies on a tick would get a scale without height.
    return bottom, top if top > bottom else bottom + step, step


def choose_nice_step(raw: float) -> float:
    """Return the smallest round number of at least `raw`."""
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in _ROUND if factor * power >= raw * 0.999)


def choose_x_ticks(
    right: float, axis: str, width: int, left: float = 0.0
) -> tuple[float, list[float], list[str]]:
    """Return the end of an x axis, its round ticks, and their labels.

    The end of an axis of steps is the last step; the others grow in jumps.
    """
    parts = 4 if width > 44 else 2
    unit, name = _unit_of_x(right, axis)
    step = choose_nice_step((right - left) / unit / parts)
    if axis == "step":
        # There are no fractions of a step.
        step = max(1.0, float(math.ceil(step)))
    end = right if axis == "step" else math.ceil(right / unit / step * 0.999) * step * unit
    count = math.floor(end / unit / step + 1e-9)
    ticks = [tick for index in range(count + 1) if (tick := index * step * unit) >= left]
    return end, ticks, [f"{tick / unit:,g}{name if tick else ''}" for tick in ticks]


def _unit_of_x(right: float, axis: str) -> tuple[float, str]:
    if axis == "time":
        return (3600.0, " h") if right >= 7200 else (60.0, " min") if right >= 120 else (1.0, " s")
    if axis == "tokens":
        return (
            (1e9, "G")
            if right >= 2e9
            else (1e6, "M")
            if right >= 2e6
            else (1e3, "k")
            if right >= 2e3
            else (1.0, "")
        )
    return 1.0, ""


def _x_axis(plot: Any, chart: ChartData, axis: str, width: int) -> None:
    end, ticks, labels = choose_x_ticks(chart.right, axis, width, chart.left)
    plot.xlim(chart.left, end)
    plot.xticks(ticks, labels)


def _y_axis(plot: Any, chart: ChartData, height: int) -> tuple[Points, Points]:
    """Set the scale, and return line and marks as drawn on it."""
    values = [y for _unused, y in (*drop_first_curve_tenth(chart.line), *chart.marks)] or [0.0, 1.0]
    most = max(2, height // 3)
    if chart.is_logarithmic:
        low, high, ticks = choose_log_ticks(min(values), max(values), most)
        plot.ylim(low, high)
        plot.yticks(
            [math.log10(tick) for tick in ticks],
            _pad_labels([_format_short(tick, chart.kind) for tick in ticks]),
        )
        return _take_logs(chart.line), _take_logs(chart.marks)
    scale = _choose_scale(chart.kind, max(map(abs, values)))
    low, high, step = choose_nice_limits(min(values) / scale, max(values) / scale, most)
    # The limits leave some room below, where no value can be.
    if min(values) >= 0:
        low = max(low, 0.0)
    plot.ylim(low * scale, high * scale)
    marks = [low + index * step for index in range(round((high - low) / step) + 1)]
    plot.yticks(
        [mark * scale for mark in marks],
        _pad_labels([_format_linear(mark, step, chart.kind) for mark in marks]),
    )
    return chart.line, chart.marks


def find_chart_unit(chart: ChartData) -> str:
    """Return the unit of a chart's scale; empty if it has none."""
    if chart.kind != "bytes":
        return ""
    values = [y for _unused, y in chart.line] or [0.0]
    scale = _choose_scale("bytes", max(values))
    return next((name for factor, name in _UNITS if factor == scale), "B")


def _choose_scale(kind: str, highest: float) -> float:
    if kind != "bytes":
        return 0.01 if kind == "hundred" else 1.0
    return float(next((factor for factor, _name in _UNITS if highest >= factor), 1))


def _format_linear(value: float, step: float, kind: str) -> str:
    if kind == "rate":
        return (
            f"{value:.0e}"
            if step >= 10 ** math.floor(math.log10(abs(value) or 1))
            else f"{value:.1e}"
            if value
            else "0"
        )
    if kind == "count" and abs(value) >= 10_000:
        return f"{value / 1000:,g}k"
    digits = max(0, min(6, -math.floor(math.log10(step)) + (1 if f"{step:e}".startswith("2.5") else 0)))
    return f"{value:,.{digits}f}"


def _format_short(value: float, kind: str) -> str:
    if kind == "bytes":
        factor, name = next(((f, n) for f, n in _UNITS if value >= f), (1, "B"))
        return f"{value / factor:.3g}{name[0]}"
    return f"{value:g}" if 1e-4 < value < 1e5 else f"{value:.0e}"


def _pad_labels(labels: list[str]) -> list[str]:
    return [label.rjust(5) for label in labels]


def choose_log_ticks(low: float, high: float, most: int) -> tuple[float, float, list[float]]:
    """Return the limits of a logarithmic scale (as powers of ten) and its ticks: powers of ten, and 2 and 5
    times them if there is room.
    """
    bottom, top = math.floor(math.log10(low)), math.ceil(math.log10(high))
    powers = [10.0**power for power in range(bottom, max(top, bottom + 1) + 1)]
    if 3 * len(powers) <= 2 * most:
        powers = [factor * power for power in powers[:-1] for factor in (1, 2, 5)] + powers[-1:]
    while len(powers) > most + 1:
        powers = powers[::2]
    return float(bottom), float(max(top, bottom + 1)), powers


def _take_logs(points: Points) -> Points:
    return [(x, math.log10(y)) for x, y in points if y > 0]


def draw_chart_scores(
    plot: Any, colour: tuple[int, int, int], scores: Points, name: str, height: int
) -> None:
    """Draw the deciding metric on a separate scale at the right."""
    values = [y for _unused, y in scores]
    low, high, step = choose_nice_limits(min(values), max(values), max(2, height // 4))
    ticks = [low + index * step for index in range(round((high - low) / step) + 1)]
    labels = [
        f"{100 * tick:.0f}" if format_hundredfold_metric(name, tick) else f"{tick:.2f}" for tick in ticks
    ]
    plot.ylim(low, high, yside="right")
    # plotext reserves a cell for the line of a right axis; without the line the widest labels would be cut
    plot.yticks(ticks, [f"{label} " for label in labels], yside="right")
    plot.scatter([x for x, _unused in scores], values, marker="◆", color=colour, yside="right")
