"""State plain facts about a finished run, with their figures and without interpretation."""

from __future__ import annotations

import math
from typing import NamedTuple

from tui_tuner.config.deciding import label_metric
from tui_tuner.evaluation.inside_text import is_output_inside_text, is_prediction_right, read_shown_sample
from tui_tuner.evaluation.repeats import find_repeated_text
from tui_tuner.locales import _, _n
from tui_tuner.runs.events import Sample
from tui_tuner.runs.pace import format_metric_figure
from tui_tuner.runs.view import RunView
from tui_tuner.text import one_line

NOT_FINITE, NOT_BETTER, BEST = "not finite", "not better", "best"  # subjects of a remark
# Subjects that the evidence of a verdict covers already, by the verdict's name
_SAID_BY = {
    "unstable": (NOT_FINITE, NOT_BETTER),
    "nothing_learnt": (NOT_BETTER,),
    "memorised": (NOT_BETTER, BEST),
    "overfit": (NOT_BETTER, BEST),
}


class Remark(NamedTuple):
    """A sentence; `bad` if it reports a deterioration or a useless result."""

    text: str
    bad: bool = True
    about: str = ""


def list_remarks(view: RunView) -> list[Remark]:
    """Return the facts about a run that neither its verdict nor the table of its metrics shows."""
    known = _SAID_BY.get(view.verdict_name, ()) if view.deciding_metric == "loss" else ()
    deciding = [said for said in _remark_deciding(view) if said.about not in known]
    found = [*deciding, *_remark_generated(view), *_remark_signatures(view)]
    after = {sample.index: sample for sample in view.samples if sample.stage == "after"}
    before = {sample.index: sample for sample in view.samples if sample.stage == "before"}
    if any(is_output_inside_text(read_shown_sample(sample)) for sample in after.values()):
        return [*found, *_remark_right(before, after)]
    return [*found, *_remark_answers(before, after)]


def list_metric_measurements(view: RunView, name: str) -> list[tuple[int, float | None]]:
    """Return (step, value) of each measurement of a metric; None and NaN are kept."""
    return [(point.step, point.metrics[name]) for point in view.evaluations if name in point.metrics]


def _remark_deciding(view: RunView) -> list[Remark]:
    """Report whether the deciding metric is better than at first, and whether it was better before."""
    name = view.deciding_metric
    values = list_metric_measurements(view, name)
    if len(values) < 2:
        return []
    metric = label_metric(name, view.metrics)
    last_step, last = values[-1]
    if last is None or not math.isfinite(last):
        said = _(
            "{metric} on held-out rows is not a finite number at step {step:,}.",
            metric=metric,
            step=last_step,
        )
        return [Remark(said, about=NOT_FINITE)]
    known = [(step, value) for step, value in values if value is not None and math.isfinite(value)]
    higher = view.is_better_higher(name)
    start, first = known[0]
    found = []
    if len(known) > 1 and not _is_better(last, first, higher):
        figures = format_metric_figure(name, first), format_metric_figure(name, last)
        found.append(Remark(_describe_not_better(metric, figures, (start, last_step)), about=NOT_BETTER))
    # The evaluation before the first step is of the base model, which is in no folder of the run.
    best_step, best = (max if higher else min)(known[1:] or known, key=lambda item: item[1])
    fell = best_step != last_step and _is_better(best, last, higher)
    if fell and (not found or _is_better(best, first, higher)):
        said = _(
            "{metric} was best at step {step:,}: {best}. That model is in the folder `best`.",
            metric=metric,
            step=best_step,
            best=format_metric_figure(name, best),
        )
        found.append(Remark(said, bool(found), BEST))
    return found


def _describe_not_better(metric: str, figures: tuple[str, str], steps: tuple[int, int]) -> str:
    (first, last), (start, end) = figures, steps
    if start == 0:
        return _(
            "{metric} on held-out rows did not improve: {first} before, {last} at step {end:,}.",
            metric=metric,
            first=first,
            last=last,
            end=end,
        )
    return _(
        "{metric} on held-out rows did not improve: {first} at step {start:,}, {last} at step {end:,}.",
        metric=metric,
        first=first,
        start=start,
        last=last,
        end=end,
    )


def _is_better(one: float, other: float, higher: bool) -> bool:
    return one > other if higher else one < other


def _remark_generated(view: RunView) -> list[Remark]:
    """Report metrics of generated answers that are worse after training than before."""
    stages = {point.stage: point.metrics for point in view.evaluations if point.stage in ("before", "after")}
    before, after = stages.get("before", {}), stages.get("after", {})
    found = []
    for name in before.keys() & after.keys() - {view.deciding_metric}:
        first, last = before[name], after[name]
        if first is None or last is None or not _is_better(first, last, view.is_better_higher(name)):
            continue
        found.append(
            Remark(
                _(
                    "{metric} is worse than before training: {first} before, {last} after.",
                    metric=label_metric(name, view.metrics),
                    first=format_metric_figure(name, first),
                    last=format_metric_figure(name, last),
                )
            )
        )
    # Names come from a set, whose order changes between processes.
    return sorted(found)


def _remark_signatures(view: RunView) -> list[Remark]:
    """Report how scores were computed that can be compared only with those computed alike."""
    signed = {
        name: one_line(signature, 120)
        for point in view.evaluations
        for name, signature in (point.signatures or {}).items()
    }
    return [
        Remark(
            _(
                "{metric} is sacrebleu's: {signature}.",
                metric=label_metric(name, view.metrics),
                signature=signature,
            ),
            bad=False,
        )
        for name, signature in signed.items()
    ]


def _remark_answers(before: dict[int, Sample], after: dict[int, Sample]) -> list[Remark]:
    """Report answers after training that are empty, never end, repeat themselves, or are all the same."""
    texts = {index: sample.text.strip() for index, sample in after.items()}
    count = len(texts)
    found = []
    empty = sum(not text for text in texts.values())
    if empty:
        found.append(
            Remark(
                _n(
                    "{empty:,} of {count:,} answer after training is empty.",
                    "{empty:,} of {count:,} answers after training are empty.",
                    count,
                    empty=empty,
                    count=count,
                )
            )
        )
    repeated = [piece for text in texts.values() if (piece := find_repeated_text(text)) is not None]
    if repeated:
        most = max(repeated, key=lambda piece: piece.times)
        found.append(
            Remark(
                _(
                    "{some:,} of {count:,} answers after training repeat “{words}”, {times:,} times at most.",
                    some=len(repeated),
                    count=count,
                    words=one_line(most.text, 40),
                    times=most.times,
                )
            )
        )
    said = set(texts.values()) - {""}
    # One prompt always gives one answer, and empty answers were reported above.
    if count > 1 and len(said) == 1 and not empty:
        found.append(Remark(_("All {count:,} answers after training are the same.", count=count)))
    same = sum(
        index in before and before[index].text.strip() == text for index, text in texts.items() if text
    )
    if same:
        found.append(
            Remark(
                _("{some:,} of {count:,} answers are the same as before training.", some=same, count=count),
                same == count,
            )
        )
    return found


def _remark_right(before: dict[int, Sample], after: dict[int, Sample]) -> list[Remark]:
    """Count how many of the shown prompts were right before and after training."""
    counts = []
    for samples in (before, after):
        known = [is_prediction_right(read_shown_sample(sample)) for sample in samples.values()]
        judged = [right for right in known if right is not None]
        counts.append((sum(judged), len(judged)))
    (first, of), (last, of_last) = counts
    if not of or not of_last:
        return []
    said = _(
        "Of these prompts, {first:,} of {of:,} were right before training and {last:,} of {of_last:,} after.",
        first=first,
        of=of,
        last=last,
        of_last=of_last,
    )
    return [Remark(said, last / of_last < first / of)]
