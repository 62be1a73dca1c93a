"""What became of a run, as plain facts with their figures: no more than what was measured says."""

from __future__ import annotations

import math
from typing import NamedTuple

from tui_tuner.config.deciding import label_of
from tui_tuner.evaluation.inside import is_inside, read_shown, verdict
from tui_tuner.evaluation.repeats import most_repeated
from tui_tuner.locales import _, _n
from tui_tuner.runs.events import Sample
from tui_tuner.runs.pace import metric_figure
from tui_tuner.runs.view import RunView
from tui_tuner.text import one_line

NOT_FINITE, NOT_BETTER, BEST = "not finite", "not better", "best"  # what a remark is about
# What the evidence of a verdict says already, by its name
_SAID_BY = {
    "unstable": (NOT_FINITE, NOT_BETTER),
    "nothing_learnt": (NOT_BETTER,),
    "memorised": (NOT_BETTER, BEST),
    "overfit": (NOT_BETTER, BEST),
}


class Remark(NamedTuple):
    """A sentence; `bad` where what is said is worse than it was, or worth nothing."""

    text: str
    bad: bool = True
    about: str = ""


def remarks(view: RunView) -> list[Remark]:
    """What is to be said of a run beside its verdict and the table of its metrics, and is not said there."""
    known = _SAID_BY.get(view.verdict_name, ()) if view.deciding == "loss" else ()
    found = [*(said for said in _deciding(view) if said.about not in known), *_generated(view)]
    after = {sample.index: sample for sample in view.samples if sample.stage == "after"}
    before = {sample.index: sample for sample in view.samples if sample.stage == "before"}
    if any(is_inside(read_shown(sample)) for sample in after.values()):
        return [*found, *_right(before, after)]
    return [*found, *_answers(before, after)]


def measured_at(view: RunView, name: str) -> list[tuple[int, float | None]]:
    """(step, value) of a metric, as it was measured; None and NaN are kept."""
    return [(point.step, point.metrics[name]) for point in view.evaluations if name in point.metrics]


def _deciding(view: RunView) -> list[Remark]:
    """Whether the metric that decides became better than it was first, and whether it was better before."""
    name = view.deciding
    values = measured_at(view, name)
    if len(values) < 2:
        return []
    metric = label_of(name, view.metrics)
    last_step, last = values[-1]
    if last is None or not math.isfinite(last):
        said = _(
            "{metric} on held-out rows is no finite number at step {step:,}.", metric=metric, step=last_step
        )
        return [Remark(said, about=NOT_FINITE)]
    known = [(step, value) for step, value in values if value is not None and math.isfinite(value)]
    higher = view.is_better_higher(name)
    start, first = known[0]
    found = []
    if len(known) > 1 and not _better(last, first, higher):
        figures = metric_figure(name, first), metric_figure(name, last)
        found.append(Remark(_not_better(metric, figures, (start, last_step)), about=NOT_BETTER))
    best_step, best = (max if higher else min)(known[1:] or known, key=lambda item: item[1])
    fell = best_step != last_step and _better(best, last, higher)
    if fell and (not found or _better(best, first, higher)):
        said = _(
            "{metric} was best at step {step:,}: {best}. That model is in the folder `best`.",
            metric=metric,
            step=best_step,
            best=metric_figure(name, best),
        )
        found.append(Remark(said, bool(found), BEST))
    return found


def _not_better(metric: str, figures: tuple[str, str], steps: tuple[int, int]) -> str:
    (first, last), (start, end) = figures, steps
    if start == 0:
        return _(
            "{metric} on held-out rows did not become better: {first} before, {last} at step {end:,}.",
            metric=metric,
            first=first,
            last=last,
            end=end,
        )
    return _(
        "{metric} on held-out rows did not become better: {first} at step {start:,}, {last} at step {end:,}.",
        metric=metric,
        first=first,
        start=start,
        last=last,
        end=end,
    )


def _better(one: float, other: float, higher: bool) -> bool:
    return one > other if higher else one < other


def _generated(view: RunView) -> list[Remark]:
    """What was measured on generated answers and is no better after training than before."""
    stages = {point.stage: point.metrics for point in view.evaluations if point.stage in ("before", "after")}
    before, after = stages.get("before", {}), stages.get("after", {})
    found = []
    for name in before.keys() & after.keys() - {view.deciding}:
        first, last = before[name], after[name]
        if first is None or last is None or not _better(first, last, view.is_better_higher(name)):
            continue
        found.append(
            Remark(
                _(
                    "{metric} is worse than before training: {first} before, {last} after.",
                    metric=label_of(name, view.metrics),
                    first=metric_figure(name, first),
                    last=metric_figure(name, last),
                )
            )
        )
    return sorted(found)


def _answers(before: dict[int, Sample], after: dict[int, Sample]) -> list[Remark]:
    """Answers after training that say nothing, never end, repeat themselves, or are all the same."""
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
    repeated = [piece for text in texts.values() if (piece := most_repeated(text)) is not None]
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


def _right(before: dict[int, Sample], after: dict[int, Sample]) -> list[Remark]:
    """How many of the shown prompts were right before and after."""
    counts = []
    for samples in (before, after):
        known = [verdict(read_shown(sample)) for sample in samples.values()]
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
