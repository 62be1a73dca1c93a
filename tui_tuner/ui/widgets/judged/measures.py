"""The metrics of a run: as it began, at its best evaluation, and at the end."""

from __future__ import annotations

import math

from textual.content import Content

from tui_tuner.config.deciding import metric_word
from tui_tuner.locales import _
from tui_tuner.runs.view import RunView
from tui_tuner.ui.words import column, measured

_NAME, _VALUE = 28, 12  # cells


def before_after(view: RunView) -> list[tuple[str, float | None, float | None]]:
    """(metric, first value, last value) for everything that was evaluated; the same value once is no pair."""
    found: dict[str, list[float]] = {}
    for point in view.evaluations:
        for name, value in point.metrics.items():
            if value is not None:
                found.setdefault(name, []).append(value)
    return [(name, values[0], values[-1] if len(values) > 1 else None) for name, values in found.items()]


def metrics_content(view: RunView) -> Content:
    """A table: metric, before, after, which way it went; and the best, where that is not the last."""
    rows = before_after(view)
    if not rows:
        return Content(_("Nothing was evaluated.")).stylize("$dim")
    rows.sort(key=lambda row: row[0] != view.deciding)
    best = _at_best(view)
    width = min(max(len(name) for name, *_rest in rows), _NAME)
    head = f"{'':<{width}}  {_('first'):>{_VALUE}}    {_('last'):>{_VALUE}}"
    if best:
        head += "   " + f"{_('best, step {step}', step=view.best_step()):>{_VALUE + 4}}"
    lines = [Content(head).stylize("$dim")]
    for name, first, last in rows:
        parts: list[str | tuple[str, str]] = [
            column(metric_word(name), width),
            f"  {measured(name, first):>{_VALUE}}",
        ]
        if last is not None and first is not None:
            way = _way(name, first, last, view.is_better_higher(name))
            parts += [("  → ", "$dim"), f"{measured(name, last):>{_VALUE}}", way]
            if best.get(name) is not None:
                parts.append(f"{measured(name, best[name]):>{_VALUE + 4}}")
        lines.append(Content.assemble(*parts))
    return Content("\n").join(lines)


def _at_best(view: RunView) -> dict[str, float | None]:
    """What the best evaluation measured; empty where that is the last one, or there is none."""
    step = view.best_step()
    last = max((point.step for point in view.evaluations), default=None)
    if step is None or step == last:
        return {}
    found: dict[str, float | None] = {}
    for point in view.evaluations:
        if point.step == step:
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
