"""Compare a model's outputs before and after training, with their metrics, in lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from tui_tuner.config.deciding import name_metric_in_text
from tui_tuner.evaluation.evaluation_tables import format_table_lines
from tui_tuner.evaluation.inside_text import (
    is_output_inside_text,
    is_prediction_right,
    join_marked_parts,
    read_shown_sample,
    split_marked_parts,
)
from tui_tuner.evaluation.samples import ShownSample
from tui_tuner.locales import _
from tui_tuner.runs.events import EvaluationTable, Sample
from tui_tuner.runs.pace import format_metric_figure
from tui_tuner.runs.view import RunView
from tui_tuner.text import one_line, sanitize

LONGEST = 300  # characters of a text in a line
LABEL = 9  # cells of the word before it
AROUND = 60  # characters around what is marked in a text
SCORES = 3


def compare_answers(view: RunView) -> list[str]:
    """Return held-out prompts answered before and after, and the metrics that changed."""
    before = {sample.index: sample for sample in view.samples if sample.stage == "before"}
    after = {sample.index: sample for sample in view.samples if sample.stage == "after"}
    lines: list[str] = []
    for index in sorted(before.keys() & after.keys()):
        lines += ["", *_pair_lines(before[index], after[index])]
    first, last = _generated_metrics(view)
    signatures = {name: said for point in view.evaluations for name, said in (point.signatures or {}).items()}
    if first and last:
        lines.append("")
        for name in last:
            line = _(
                "{name}: {before} before, {after} after",
                name=name_metric_in_text(name),
                before=format_metric_figure(name, first.get(name), 3),
                after=format_metric_figure(name, last[name], 3),
            )
            signed = one_line(signatures.get(name, ""), 120)
            lines.append(f"{line}  ({signed})" if signed else line)
    return [*lines, ""] if lines else lines


def list_evaluation_tables(tables: Sequence[EvaluationTable], step: int | None) -> list[str]:
    """Return the tables of the best evaluation, or else of the newest, in lines of text."""
    steps = {table.step for table in tables}
    chosen = step if step in steps else max(steps, default=None)
    lines: list[str] = []
    for table in tables:
        if table.step == chosen:
            told = format_table_lines(table)
            lines += ["", *told] if told else []
    if not lines:
        return []
    return [_("held-out rows at step {step}", step=chosen), *lines[1:], ""]


def _pair_lines(before: Sample, after: Sample) -> list[str]:
    """Return the lines of one prompt with its outputs before and after."""
    first, last = read_shown_sample(before), read_shown_sample(after)
    asked = after.prompt.strip()
    # A prompt that is the passage itself is shown below, with the spans found in it.
    inside = last.passage.strip() == asked and is_output_inside_text(last)
    lines = [_label_line(_("prompt"), _flatten_text(asked))] if asked and not inside else []
    lines += [
        _label_line(_("before"), _describe_output(before, first)),
        _label_line(_("after"), _describe_output(after, last)),
    ]
    if last.scores and last.passage and not last.wanted and not after.reference:
        lines.append(_label_line(_("expected"), _("(no answer)")))
    elif after.reference:
        lines.append(_label_line(_("expected"), _flatten_text(after.reference)))
    return lines


def _label_line(word: str, text: str) -> str:
    return f"{word:{LABEL}} {text}"


def _describe_output(sample: Sample, told: ShownSample) -> str:
    """Return a model's output with a sign of right or wrong and its place in the text."""
    if not is_output_inside_text(told):
        return _flatten_text(sample.text) + ("" if sample.stopped else "  " + _("[did not stop]"))
    right = is_prediction_right(told)
    sign = "" if right is None else "✓ " if right else "✗ "
    words = describe_compared_prediction(told)
    if told.passage or told.found or told.wanted:
        parts = join_marked_parts(split_marked_parts(told, around=AROUND, short=LONGEST))
        return sign + (f"{words}   {parts}" if words else parts)
    return sign + words


def describe_compared_prediction(told: ShownSample) -> str:
    """Return a prediction with its probability and the next likely ones; safe for a terminal."""
    if not told.scores:
        if told.found:
            return ""
        return (
            _("(nothing found)")
            if told.passage or told.wanted
            else _flatten_text(told.text) or _("(nothing)")
        )
    choices = [f"{name_choice(name)} {format_probability(score)}" for name, score in told.scores[:SCORES]]
    if told.text.strip() and told.text.strip() not in (name.strip() for name, _score in told.scores):
        choices.insert(0, _flatten_text(told.text))
    return " · ".join(choices)


def name_choice(name: str) -> str:
    """Return the name of a choice; an empty one means no answer."""
    return one_line(name.strip(), 60) or _("(no answer)")


def format_probability(score: float) -> str:
    """Format a probability."""
    return f"{score:.1%}"


def _generated_metrics(view: RunView) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """Return the metrics of the first and the last evaluation with other names than the loss."""
    scored = [dict(point.metrics) for point in view.evaluations if "loss" not in point.metrics]
    if len(scored) > 1:
        return scored[0], scored[-1]
    judged = [point for point in view.evaluations if "loss" in point.metrics]
    # Tasks that generate no text are evaluated once before the first step.
    if len(judged) > 1 and judged[0].step == 0:
        return dict(judged[0].metrics), dict(judged[-1].metrics)
    return {}, {}


def _flatten_text(text: str) -> str:
    return one_line(sanitize(text).strip(), LONGEST)
