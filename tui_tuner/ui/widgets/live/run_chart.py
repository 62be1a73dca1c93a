"""The charts of a run, one at a time. Drawn by plotext at most once a second, thinned to the width; only
changed lines are sent to the terminal.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.style import Style
from rich.text import Text
from textual.color import Color
from textual.content import Content
from textual.geometry import Region
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.widget import Widget

from tui_tuner.config.deciding import name_shown_metric
from tui_tuner.locales import _
from tui_tuner.runs.events import Step
from tui_tuner.runs.view import RunView
from tui_tuner.ui.widgets.live.chart_data import (
    AXES,
    ChartData,
    count_missing_evaluations,
    count_missing_steps,
    list_run_charts,
    make_run_chart,
)
from tui_tuner.ui.widgets.live.chart_plot import draw_chart, find_chart_unit

REPAINT_SECONDS = 1.0


class RunChart(Widget):
    """Training as a line, evaluations as points, and the deciding metric if it is not the loss."""

    DEFAULT_CSS = "RunChart { width: 1fr; height: 1fr; min-height: 4; }"

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id, classes="panel")
        self.shown = "loss"
        self.axis = "step"
        self._view = RunView()
        self._drawn: tuple[Any, ...] = ()
        self._lines: list[Strip] = []
        self._plot: Any = None
        self._said: tuple[Any, ...] = ()  # the content of the title
        # The number of steps, the last of them, and how many losses are not finite.
        self._counted: tuple[int, Step | None, int] = (0, None, 0)

    def on_mount(self) -> None:
        self.set_interval(REPAINT_SECONDS, self.repaint)
        self.app.theme_changed_signal.subscribe(self, lambda _theme: self.repaint(force=True))
        self._update_title(ChartData("loss", _("Loss")))

    def show_view(self, view: RunView) -> None:
        """Set the newest view; it is drawn at the next repaint (at once if it is the first)."""
        first = not self._view.steps and not self._view.evaluations
        self._view = view
        if first and (view.steps or view.evaluations):
            self.repaint()

    def turn_chart(self, by: int) -> None:
        """Show the next or previous chart that has data."""
        keys = list(list_run_charts(self._view))
        place = keys.index(self.shown) if self.shown in keys else 0
        self.shown = keys[(place + by) % len(keys)]
        self.repaint(force=True)

    def turn_axis(self) -> None:
        """Change the unit of the x axis."""
        names = list(AXES)
        self.axis = names[(names.index(self.axis) + 1) % len(names)]
        self.repaint(force=True)

    def on_resize(self) -> None:
        self.repaint(force=True)

    def repaint(self, force: bool = False) -> None:
        """Draw again if anything changed, and refresh the lines that differ."""
        size, view = self.content_size, self._view
        key = (len(view.steps), len(view.evaluations), view.total_steps, len(view.memories), size)
        # A dialog leaves the chart visible around it; a full screen does not.
        covered = not self.screen.is_active and not isinstance(self.app.screen, ModalScreen)
        if (key == self._drawn and not force) or not size.width or not size.height or covered:
            return
        self._drawn = key
        chart = self._make_chart(max(8, (size.width - 7) * 2))
        self._update_title(chart)
        before, self._lines = self._lines, self._draw_chart(chart, size.width, size.height)
        if force or len(before) != len(self._lines):
            self.refresh()
            return
        pairs = enumerate(zip(before, self._lines, strict=True))
        rows = [(y, count_changed_cells(old, new)) for y, (old, new) in pairs if old != new]
        if rows:
            self.refresh(*(Region(0, y, cells, 1) for y, cells in rows))

    def _make_chart(self, columns: int) -> ChartData:
        """Return the data to draw, thinned to `columns` columns of dots."""
        return make_run_chart(self._view, self.shown, self.axis, columns)

    def render_line(self, y: int) -> Strip:
        if y < len(self._lines):
            return self._lines[y].adjust_cell_length(self.size.width, self.rich_style)
        return Strip.blank(self.size.width, self.rich_style)

    def _update_title(self, chart: ChartData) -> None:
        """Update the title with the legend and the scales, if it has changed."""
        missing = self._count_missing() if chart.key == "loss" else 0
        metric = name_shown_metric(chart.scored, self._view.metrics) if chart.scored else ""
        lined, marked = chart.key != "loss" and bool(chart.line), chart.key.startswith("metric:")
        # Setting the title draws the whole border, so it is only set when its content changes.
        said = (
            chart.title,
            metric,
            missing,
            lined,
            marked,
            self.axis,
            chart.is_logarithmic,
            find_chart_unit(chart),
        )
        if said == self._said:
            return
        self._said = said
        parts = [Content(f"{chart.title} {said[-1]}".rstrip())]
        if chart.key == "loss":
            parts.append(Content.assemble(("━ ", "$curve"), _("training")))
        if chart.key == "loss" or marked:
            parts.append(Content.assemble(("● ", "$curve-validation"), _("validation")))
        if metric:
            parts.append(Content.assemble(("◆ ", "$secondary"), metric))
        if missing:
            parts.append(Content(_("✗ {n:,} not finite", n=missing)).stylize("$warning"))
        scales = [_(AXES[self.axis])] if self.axis != "step" else []
        scales += [_("log scale")] if chart.is_logarithmic else []
        parts += [Content(" · ".join(scales)).stylize("$dim")] if scales else []
        parts += [Content("g").stylize("$accent")] if not missing else []
        self.border_title = Content("  ").join(parts)

    def _count_missing(self) -> int:
        """Count the losses that cannot be drawn because they are NaN or infinite."""
        steps, (seen, last, missing) = self._view.steps, self._counted
        # Only new steps are counted: a run has hundreds of thousands, and the title is checked each second.
        if seen > len(steps) or (seen and steps[seen - 1] is not last):  # the run was rolled back
            seen, missing = 0, 0
        missing += count_missing_steps(steps[seen:])
        self._counted = (len(steps), steps[-1] if steps else None, missing)
        return missing + count_missing_evaluations(self._view.evaluations)

    def _draw_chart(self, chart: ChartData, width: int, height: int) -> list[Strip]:
        if chart.is_empty:
            return self._draw_empty(width, height)
        if self._plot is None:
            from textual_plotext.plot import Plot

            self._plot = Plot()
        text = Text.from_ansi(draw_chart(self._plot, self._make_palette(), chart, self.axis, width, height))
        return [
            Strip(row.render(self.app.console))
            .apply_style(self.rich_style)
            .adjust_cell_length(width, self.rich_style)
            for row in text.split("\n")[:height]
        ]

    def _draw_empty(self, width: int, height: int) -> list[Strip]:
        said = _("The curve starts with the first step.")
        if self.shown == "loss" and self._count_missing():
            said = _("No loss so far is a finite number.")
        elif self.shown.startswith("metric:"):
            said = _("The points start with the first evaluation.")
        words = Text(said, style=self._find_colour("dim", "#808080").rich_color.name)
        blank = Strip.blank(width, self.rich_style)
        line = (
            Strip(words.render(self.app.console))
            .apply_style(self.rich_style)
            .adjust_cell_length(width, self.rich_style)
        )
        return [line if row == height // 2 else blank for row in range(height)]

    def _find_colour(self, name: str, fallback: str) -> Color:
        return Color.parse(self.app.theme_variables.get(name, fallback))

    def _make_palette(self) -> dict[str, tuple[int, int, int]]:
        names = {
            "curve": "#7fb4d9",
            "curve-validation": "#dba76a",
            "secondary": "#9a91d6",
            "dim": "#838d9c",
            "background": "#101010",
        }
        return {name: self._find_colour(name, fallback).rgb for name, fallback in names.items()}


def count_changed_cells(old: Strip, new: Strip) -> int:
    """Count the cells of a line up to the last one that differs."""
    if old.cell_length != new.cell_length:
        return max(old.cell_length, new.cell_length)
    ends = zip(_from_the_end(old), _from_the_end(new), strict=False)
    return new.cell_length - next((place for place, (one, other) in enumerate(ends) if one != other), 0)


def _from_the_end(strip: Strip) -> Iterator[tuple[str, Style | None]]:
    for text, style, _control in reversed(list(strip)):
        for character in reversed(text):
            yield character, style
