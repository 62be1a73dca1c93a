"""What a model said before and after training, and how it was judged, in lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from tui_tuner.config.deciding import metric_word
from tui_tuner.evaluation.inside import inside_parts, is_inside, read_shown, verdict, written
from tui_tuner.evaluation.samples import Shown
from tui_tuner.evaluation.tables import table_lines
from tui_tuner.locales import _
from tui_tuner.runs.events import EvaluationTable, Sample
from tui_tuner.runs.pace import metric_figure
from tui_tuner.runs.view import RunView
from tui_tuner.text import one_line, sanitize

LONGEST = 300  # characters of a text in a line
LABEL = 9  # cells of the word before it
AROUND = 60  # characters around what is marked in a text
SCORES = 3


def comparison(view: RunView) -> list[str]:
    """Held-out prompts answered before and after, and the metrics that moved."""
    before = {sample.index: sample for sample in view.samples if sample.stage == "before"}
    after = {sample.index: sample for sample in view.samples if sample.stage == "after"}
    lines: list[str] = []
    for index in sorted(before.keys() & after.keys()):
        lines += ["", *_pair(before[index], after[index])]
    first, last = _generated_metrics(view)
    if first and last:
        lines.append("")
        for name in last:
            lines.append(
                _(
                    "{name}: {before} before, {after} after",
                    name=metric_word(name),
                    before=metric_figure(name, first.get(name), 3),
                    after=metric_figure(name, last[name], 3),
                )
            )
    return [*lines, ""] if lines else lines


def tables_told(tables: Sequence[EvaluationTable], step: int | None) -> list[str]:
    """The tables of the best evaluation, or else of the newest, in lines of text."""
    steps = {table.step for table in tables}
    chosen = step if step in steps else max(steps, default=None)
    lines: list[str] = []
    for table in tables:
        if table.step == chosen:
            told = table_lines(table)
            lines += ["", *told] if told else []
    if not lines:
        return []
    return [_("held-out rows at step {step}", step=chosen), *lines[1:], ""]


def _pair(before: Sample, after: Sample) -> list[str]:
    """One prompt with what was said of it before and after."""
    first, last = read_shown(before), read_shown(after)
    asked = after.prompt.strip()
    inside = last.passage.strip() == asked and is_inside(last)  # the text stands below, with what was found
    lines = [_line(_("prompt"), _flat(asked))] if asked and not inside else []
    lines += [_line(_("before"), _said(before, first)), _line(_("after"), _said(after, last))]
    if last.scores and last.passage and not last.wanted and not after.reference:
        lines.append(_line(_("expected"), _("(no answer)")))
    elif after.reference:
        lines.append(_line(_("expected"), _flat(after.reference)))
    return lines


def _line(word: str, text: str) -> str:
    return f"{word:{LABEL}} {text}"


def _said(sample: Sample, told: Shown) -> str:
    """What a model said, with the sign of right or wrong, and where in the text it stands."""
    if not is_inside(told):
        return _flat(sample.text) + ("" if sample.stopped else "  " + _("[did not stop]"))
    right = verdict(told)
    sign = "" if right is None else "✓ " if right else "✗ "
    words = prediction(told)
    if told.passage or told.found or told.wanted:
        parts = written(inside_parts(told, around=AROUND, short=LONGEST))
        return sign + (f"{words}   {parts}" if words else parts)
    return sign + words


def prediction(told: Shown) -> str:
    """What was predicted, and how sure the model is of that and of what comes next; safe for a terminal."""
    if not told.scores:
        if told.found:
            return ""
        return _("(nothing found)") if told.passage or told.wanted else _flat(told.text) or _("(nothing)")
    choices = [f"{choice_name(name)} {share(score)}" for name, score in told.scores[:SCORES]]
    if told.text.strip() and told.text.strip() not in (name.strip() for name, _score in told.scores):
        choices.insert(0, _flat(told.text))
    return " · ".join(choices)


def choice_name(name: str) -> str:
    """One of several choices; no text at all is no answer."""
    return one_line(name.strip(), 60) or _("(no answer)")


def share(score: float) -> str:
    """A probability in words."""
    return f"{score:.1%}"


def _generated_metrics(view: RunView) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """Metrics of the first and the last evaluation that share names beyond the loss."""
    scored = [dict(point.metrics) for point in view.evaluations if "loss" not in point.metrics]
    if len(scored) > 1:
        return scored[0], scored[-1]
    judged = [point for point in view.evaluations if "loss" in point.metrics]
    if len(judged) > 1 and judged[0].step == 0:  # a task that is judged before its first step
        return dict(judged[0].metrics), dict(judged[-1].metrics)
    return {}, {}


def _flat(text: str) -> str:
    return one_line(sanitize(text).strip(), LONGEST)
