"""The first rows, predictions and progress of a prediction job as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from textual.content import Content

from tui_tuner.config.deciding import label_metric
from tui_tuner.locales import _
from tui_tuner.runs.pace import format_metric_figure
from tui_tuner.text import format_seconds, one_line
from tui_tuner.ui.screen_words import make_safe_line
from tui_tuner.ui.screens.using.load_progress import describe_fetch_progress, describe_loading
from tui_tuner.ui.screens.using.prediction_jobs import PredictionState

_ASKED_LINES = 3  # lines of a row's prompt that are shown


def render_job_rows(found: Mapping[str, Any], width: int) -> Content:
    """Return the first rows with their prompts, or the newest predictions."""
    lines: list[Content] = []
    for one in found.get("newest") or ():
        lines.append(_render_prediction(one))
    for one in found.get("rows") or ():
        lines.append(Content.assemble((_("row {number:,}", number=int(one.get("number") or 0)), "bold")))
        if one.get("problem"):
            lines.append(Content.assemble(("  ✗ ", "$error"), make_safe_line(str(one["problem"]), 200)))
        asked = [line for line in str(one.get("asked") or "").splitlines() if line.strip()]
        lines += [
            Content.assemble("  ", make_safe_line(line, max(20, width - 3))) for line in asked[:_ASKED_LINES]
        ]
        if len(asked) > _ASKED_LINES:
            lines.append(Content("  …"))
    roles = found.get("roles") or {}
    if roles and found.get("rows"):
        said = "   ".join(f"{role} ← {one_line(name, 40)}" for role, name in roles.items())
        lines.insert(0, Content(said).stylize("$dim"))
    for note in found.get("notes") or ():
        lines.append(make_safe_line(str(note), 300).stylize("$dim"))
    return Content("\n").join(lines)


def _render_prediction(one: Mapping[str, Any]) -> Content:
    number = f"{int(one.get('row') or 0):,}".rjust(8)
    value, problem = one.get("prediction"), str(one.get("problem") or "")
    if value is None:
        return Content.assemble((number, "$dim"), ("  ✗ ", "$error"), make_safe_line(problem, 200))
    text = value if isinstance(value, str) else _format_plain(value)
    return Content.assemble((number, "$dim"), "  ", make_safe_line(text, 400))


def _format_plain(value: Any) -> str:
    """Return a prediction that is not text: a class with its probability, or JSON."""
    if isinstance(value, dict) and isinstance(value.get("probabilities"), dict) and "label" in value:
        share = value["probabilities"].get(value["label"])
        return f"{value['label']}  {share:.1%}" if isinstance(share, int | float) else str(value["label"])
    return json.dumps(value, ensure_ascii=False)


def describe_job(standing: PredictionState, out: str) -> tuple[str, str]:
    """Return the state of a job as a sentence, and the colour for it."""
    if standing.error:
        return standing.error, "$error"
    if not standing.on:
        return _describe_end(standing, out)
    told = standing.told
    doing = told.get("doing")
    if standing.stopping:
        return _("Stopping after the current rows are written…"), "$warning"
    if doing == "counting":
        return _("Counting the rows: {rows:,}…", rows=int(told.get("rows") or 0)), "$dim"
    if doing == "fetching":
        return describe_fetch_progress(told.get("name", ""), told), "$dim"
    if doing == "loading":
        return describe_loading(told.get("name", ""), told), "$dim"
    if doing != "predicting":
        return _("Starting…"), "$dim"
    return _describe_speed(told), "$primary"


def _describe_speed(told: Mapping[str, Any]) -> str:
    rows, total = int(told.get("rows") or 0), int(told.get("total") or 0)
    # Rows of an earlier attempt took none of this time, so they do not count for the speed.
    seconds, new = float(told.get("seconds") or 0), rows - int(told.get("before") or 0)
    parts = [_("{rows:,} of {total:,} rows", rows=rows, total=total)]
    if new > 0 and seconds > 0:
        rate = new / seconds
        parts.append(_("{rate:.1f} rows/s", rate=rate))
        if total > rows:
            parts.append(_("{time} left", time=format_seconds((total - rows) / rate)))
    if told.get("unused"):
        parts.append(_("{count:,} without a prediction", count=int(told["unused"])))
    if told.get("unlabelled"):
        parts.append(_("{count:,} without a valid label", count=int(told["unlabelled"])))
    return " · ".join(parts)


def _describe_end(standing: PredictionState, out: str) -> tuple[str, str]:
    found = standing.found
    if found is None:
        return _("Stopped. Press ^r to continue."), "$warning"
    rows, total = int(found.get("rows") or 0), int(found.get("total") or 0)
    said = {"rows": rows, "total": total, "path": one_line(out, 300)}
    if not found.get("done"):
        return _("Stopped at row {rows:,} of {total:,}; press ^r to continue. {path}", **said), "$warning"
    parts = [_("✓ {rows:,} rows are in {path}", **said)]
    if found.get("unused"):
        parts.append(_("{count:,} without a prediction", count=int(found["unused"])))
    if found.get("unlabelled"):
        parts.append(_("{count:,} without a valid label", count=int(found["unlabelled"])))
    metrics = found.get("metrics")
    if isinstance(metrics, Mapping):
        parts += [
            f"{label_metric(name)} {format_metric_figure(name, value)}" for name, value in metrics.items()
        ]
    problems = found.get("problems") or {}
    parts += [f"{count:,} × {one_line(reason, 80)}" for reason, count in list(problems.items())[:3]]
    return " · ".join(parts), "$success"
