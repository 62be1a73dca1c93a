"""The metrics of a run: as they were first measured, at the best evaluation, and last, with when that was."""

from __future__ import annotations

import math
from typing import NamedTuple

from textual.content import Content

from tui_tuner.config.deciding import metric_word
from tui_tuner.evaluation.remarks import remarks
from tui_tuner.locales import _
from tui_tuner.runs.events import Evaluation
from tui_tuner.runs.view import RunView
from tui_tuner.ui.widgets.judged.stages import STAGES
from tui_tuner.ui.words import column, measured
from tui_tuner.verdicts.gain import gain_words, gains_of

_NAME, _VALUE = 28, 15  # cells


class Moved(NamedTuple):
    """A metric, where it was measured first and last; None where that was once."""

    name: str
    first: Evaluation
    last: Evaluation | None


def moved(view: RunView) -> list[Moved]:
    """Everything that was evaluated, what decides in front."""
    found: dict[str, list[Evaluation]] = {}
    for point in view.evaluations:
        for name, value in point.metrics.items():
            if value is not None:
                found.setdefault(name, []).append(point)
    rows = [Moved(name, at[0], at[-1] if len(at) > 1 else None) for name, at in found.items()]
    return sorted(rows, key=lambda row: row.name != view.deciding)


def metrics_content(view: RunView) -> Content:
    """A table for each pair of moments; above it what is to be said of the run in words."""
    rows = moved(view)
    if not rows:
        return Content(_("Nothing was evaluated.")).stylize("$dim")
    best = _at_best(view)
    width = min(max(len(metric_word(row.name)) for row in rows), _NAME)
    groups: dict[tuple[str, str], list[Moved]] = {}
    for row in rows:
        groups.setdefault((_moment(row.first), _moment(row.last)), []).append(row)
    lines = [_remark(gain_words(gain), not gain.better) for gain in gains_of(view)]
    lines += [_remark(said.text, said.bad) for said in remarks(view)]
    for (start, end), group in groups.items():
        lines.append(_heading(start, end, width, view.best_step() if _has_best(group, best) else None))
        lines += [_line(view, row, best, width) for row in group]
    return Content("\n").join(lines)


def _remark(said: str, bad: bool) -> Content:
    return Content.assemble(("! " if bad else "· ", "bold $warning" if bad else "$dim"), said)


def _moment(point: Evaluation | None) -> str:
    """When something was measured: before training, after it, or at a step."""
    if point is None:
        return ""
    if point.step == 0:
        return _(STAGES["before"])
    return _(STAGES["after"]) if point.stage == "after" else _("at step {step:,}", step=point.step)


def _heading(start: str, end: str, width: int, best: int | None) -> Content:
    head = f"{'':<{width}} {start:>{_VALUE}}"
    if end:
        head += f"   {end:>{_VALUE}}"
    if best is not None:
        head += "    " + f"{_('best, step {step:,}', step=best):>{_VALUE}}"
    return Content(head).stylize("$dim")


def _line(view: RunView, row: Moved, best: dict[str, float | None], width: int) -> Content:
    name, first = row.name, row.first.metrics[row.name]
    parts: list[str | tuple[str, str]] = [
        column(metric_word(name), width),
        f" {measured(name, first):>{_VALUE}}",
    ]
    last = row.last.metrics[name] if row.last is not None else None
    if last is not None and first is not None:
        parts += [(" → ", "$dim"), f"{measured(name, last):>{_VALUE}}"]
        parts.append(_way(name, first, last, view.is_better_higher(name)))
        if best.get(name) is not None:
            parts.append(f"{measured(name, best[name]):>{_VALUE + 1}}")
    return Content.assemble(*parts)


def _has_best(rows: list[Moved], best: dict[str, float | None]) -> bool:
    return any(best.get(row.name) is not None for row in rows)


def _at_best(view: RunView) -> dict[str, float | None]:
    """What the best evaluation measured; empty where that is the last one, or there is none."""
    name, step = view.deciding, view.best_step()
    last = max((point.step for point in view.evaluations if name in point.metrics), default=None)
    if step is None or step == last:
        return {}
    found: dict[str, float | None] = {}
    for point in view.evaluations:
        if point.step == step and name in point.metrics:
            found.update(point.metrics)
    return found


def _way(name: str, first: float, last: float, higher: bool) -> tuple[str, str]:
    """The sign of how a metric moved, in the colour of better or worse; none from or to NaN."""
    if math.isnan(first) or math.isnan(last):
        return "   ", "$dim"
    if last == first:
        return "  =", "$dim"
    better = last > first if higher else last < first
    if name.endswith(("loss", "perplexity")):
        better = last < first
    return "  ▼" if last < first else "  ▲", "$success" if better else "$warning"
