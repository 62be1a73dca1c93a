"""The metrics of a run: first, best and last values, and when they were measured."""

from __future__ import annotations

import math
from typing import NamedTuple

from textual.content import Content

from tui_tuner.config.deciding import name_metric_in_text
from tui_tuner.evaluation.remarks import list_remarks
from tui_tuner.locales import _
from tui_tuner.runs.events import Evaluation
from tui_tuner.runs.view import RunView
from tui_tuner.ui.screen_words import fit_screen_column, format_screen_metric
from tui_tuner.ui.widgets.judged.stages import STAGES
from tui_tuner.verdicts.gain import describe_gain, list_gains

_NAME, _VALUE = 28, 15  # cells


class MetricChange(NamedTuple):
    """A metric with its first and last evaluation; `last` is None if there was only one."""

    name: str
    first: Evaluation
    last: Evaluation | None


def list_metric_changes(view: RunView) -> list[MetricChange]:
    """Return all metrics, with the deciding one first."""
    found: dict[str, list[Evaluation]] = {}
    for point in view.evaluations:
        for name, value in point.metrics.items():
            if value is not None:
                found.setdefault(name, []).append(point)
    rows = [MetricChange(name, at[0], at[-1] if len(at) > 1 else None) for name, at in found.items()]
    return sorted(rows, key=lambda row: row.name != view.deciding_metric)


def draw_metric_changes(view: RunView) -> Content:
    """Draw remarks on the run, then a table for each pair of moments."""
    rows = list_metric_changes(view)
    if not rows:
        return Content(_("Nothing was evaluated.")).stylize("$dim")
    best = _at_best(view)
    width = min(max(len(name_metric_in_text(row.name)) for row in rows), _NAME)
    # Metrics of samples are measured less often than the loss, and need headings of their own.
    groups: dict[tuple[str, str], list[MetricChange]] = {}
    for row in rows:
        groups.setdefault((_name_moment(row.first), _name_moment(row.last)), []).append(row)
    lines = [_format_remark(describe_gain(gain), not gain.is_better) for gain in list_gains(view)]
    lines += [_format_remark(said.text, said.bad) for said in list_remarks(view)]
    for (start, end), group in groups.items():
        lines.append(_make_heading(start, end, width, view.best_step() if _has_best(group, best) else None))
        lines += [_format_line(view, row, best, width) for row in group]
    return Content("\n").join(lines)


def _format_remark(said: str, bad: bool) -> Content:
    return Content.assemble(("! " if bad else "· ", "bold $warning" if bad else "$dim"), said)


def _name_moment(point: Evaluation | None) -> str:
    """Name the time of an evaluation: before or after training, or a step."""
    if point is None:
        return ""
    if point.step == 0:
        return _(STAGES["before"])
    return _(STAGES["after"]) if point.stage == "after" else _("at step {step:,}", step=point.step)


def _make_heading(start: str, end: str, width: int, best: int | None) -> Content:
    head = f"{'':<{width}} {start:>{_VALUE}}"
    if end:
        head += f"   {end:>{_VALUE}}"
    if best is not None:
        head += "    " + f"{_('best, step {step:,}', step=best):>{_VALUE}}"
    return Content(head).stylize("$dim")


def _format_line(view: RunView, row: MetricChange, best: dict[str, float | None], width: int) -> Content:
    name, first = row.name, row.first.metrics[row.name]
    parts: list[str | tuple[str, str]] = [
        fit_screen_column(name_metric_in_text(name), width),
        f" {format_screen_metric(name, first):>{_VALUE}}",
    ]
    last = row.last.metrics[name] if row.last is not None else None
    if last is not None and first is not None:
        parts += [(" → ", "$dim"), f"{format_screen_metric(name, last):>{_VALUE}}"]
        parts.append(_format_change(name, first, last, view.is_better_higher(name)))
        if best.get(name) is not None:
            parts.append(f"{format_screen_metric(name, best[name]):>{_VALUE + 1}}")
    return Content.assemble(*parts)


def _has_best(rows: list[MetricChange], best: dict[str, float | None]) -> bool:
    return any(best.get(row.name) is not None for row in rows)


def _at_best(view: RunView) -> dict[str, float | None]:
    """Return the metrics of the best evaluation; empty if it is the last one or there is none."""
    name, step = view.deciding_metric, view.best_step()
    last = max((point.step for point in view.evaluations if name in point.metrics), default=None)
    if step is None or step == last:
        return {}
    found: dict[str, float | None] = {}
    for point in view.evaluations:
        if point.step == step and name in point.metrics:
            found.update(point.metrics)
    return found


def _format_change(name: str, first: float, last: float, higher: bool) -> tuple[str, str]:
    """Return an arrow for the change of a metric, coloured by better or worse; blank for NaN."""
    if math.isnan(first) or math.isnan(last):
        return "   ", "$dim"
    if last == first:
        return "  =", "$dim"
    better = last > first if higher else last < first
    if name.endswith(("loss", "perplexity")):
        better = last < first
    return "  ▼" if last < first else "  ▲", "$success" if better else "$warning"
