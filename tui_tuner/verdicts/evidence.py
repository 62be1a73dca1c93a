"""Sentences of evidence for a verdict, with figures from its curves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tui_tuner.config.deciding import name_metric_in_text
from tui_tuner.config.metrics import format_hundredfold_metric
from tui_tuner.locales import _
from tui_tuner.verdicts import limits
from tui_tuner.verdicts.judged_case import Case, Levels, Ruling
from tui_tuner.verdicts.unsteady_evidence import (
    format_evidence_loss,
    tell_bad_numbers,
    tell_held_rise,
    tell_held_wandering,
    tell_jumps,
    tell_lost_again,
    tell_risen,
    tell_thrown,
    tell_wandering,
)
from tui_tuner.verdicts.verdict_rules import estimate_added_gain

_POINTS = 6  # of a curve that are listed, at most


def tell_evidence(case: Case, now: Levels, ruling: Ruling) -> list[str]:
    """Return the evidence as sentences, the decisive one first."""
    why = _WHY[ruling.why](case, now, ruling)
    rest = [
        _describe_held_out(case),
        _describe_difference(case, ruling),
        _describe_training(case),
        _describe_score(case),
        _describe_copies(case, ruling),
    ]
    return [why, *(sentence for sentence in rest if sentence)]


# ---- what decided --------------------------------------------------------------------------------------


def _tell_few_rows(case: Case, now: Levels, ruling: Ruling) -> str:
    held = case.curves.held
    rows = held.rows or case.scores.rows
    if held.told_rows > held.rows > 0:
        return _(
            "Of {all:,} held-out rows only {rows:,} differ from each other; at least {least} are needed for "
            "more than chance.",
            all=held.told_rows,
            rows=rows,
            least=limits.FEWEST_ROWS,
        )
    return _(
        "There are only {rows:,} held-out rows; at least {least} are needed for more than chance.",
        rows=rows,
        least=limits.FEWEST_ROWS,
    )


def _tell_copies(case: Case, now: Levels, ruling: Ruling) -> str:
    return _(
        "{copies:,} of {held:,} held-out rows are also trained on: their loss says nothing about new rows.",
        copies=case.setting.counted_copies,
        held=max(case.setting.held_out, case.setting.counted_copies),
    )


def _tell_wide(case: Case, now: Levels, ruling: Ruling) -> str:
    low, high = case.curves.held.difference_interval(0, -1)
    return _(
        "The loss on held-out rows changed by {low} to {high} from start to end (95 % interval), which is "
        "too wide an interval to rule out chance.",
        low=format_evidence_loss(-high),
        high=format_evidence_loss(-low),
    )


def _tell_chance(case: Case, now: Levels, ruling: Ruling) -> str:
    scores = case.scores
    if scores.accuracy is not None and scores.commonest is not None:
        return _(
            "{accuracy:.1%} of the held-out rows are classified correctly; always choosing the commonest "
            "class gives {commonest:.1%}, and for {rows:,} rows the difference is within chance.",
            accuracy=scores.accuracy,
            commonest=scores.commonest,
            rows=scores.rows,
        )
    return _(
        "The model's answers on held-out rows agree with the labels no better than chance ({rows:,} rows).",
        rows=scores.rows,
    )


def _tell_memorised(case: Case, now: Levels, ruling: Ruling) -> str:
    return _(
        "The training loss ended at {end}, {share:.1%} of where it began: these rows are memorised. On "
        "held-out rows the loss is {held}, and was {before} before the first step.",
        end=format_evidence_loss(float(now.training[-1])),
        share=max(0.0, float(now.training[-1])) / max(now.start, 1e-12),
        held=format_evidence_loss(float(now.held[-1])),
        before=format_evidence_loss(float(now.held[0])),
    )


def _tell_nothing_held(case: Case, now: Levels, ruling: Ruling) -> str:
    return _(
        "The training loss fell from {start} to {end} without any gain on held-out rows: {before} before "
        "the first step, {held} now.",
        start=format_evidence_loss(now.start),
        end=format_evidence_loss(float(now.training[-1])),
        before=format_evidence_loss(float(now.held[0])),
        held=format_evidence_loss(float(now.held[-1])),
    )


def _tell_overfit(case: Case, now: Levels, ruling: Ruling) -> str:
    held = case.curves.held
    best = int(np.argmin(now.held))
    low, high = held.difference_interval(-1, best)
    said = {
        "best": format_evidence_loss(float(now.held[best])),
        "step": int(held.steps[best]),
        "end": format_evidence_loss(float(now.held[-1])),
        "low": format_evidence_loss(low),
        "high": format_evidence_loss(high),
        "then": format_evidence_loss(case.curves.training.level_at(float(held.steps[best]))),
        "last": format_evidence_loss(float(now.training[-1])) if len(now.training) else "",
    }
    return _(
        "The loss on held-out rows was lowest at step {step} with {best} and is {end} now, higher by {low} "
        "to {high} (95 % interval), while the training loss still fell from {then} to {last}.",
        **said,
    )


def _tell_low_rate(case: Case, now: Levels, ruling: Ruling) -> str:
    return _(
        "It learns, but the rate {rate:g} is far below the usual {usual:g}: the loss fell by {share:.1%} "
        "in {steps:,} steps.",
        rate=case.setting.rate or 0.0,
        usual=case.setting.usual or 0.0,
        share=max(0.0, float(now.held[0] - now.held[-1]) / case.start_scale),
        steps=case.curves.last_step,
    )


def _tell_slow(case: Case, now: Levels, ruling: Ruling) -> str:
    return _(
        "It still learns at its initial pace, and {steps:,} steps reduced the loss by only {share:.1%}.",
        share=max(0.0, float(now.held[0] - now.held[-1]) / case.start_scale),
        steps=case.curves.last_step,
    )


def _tell_frequencies(case: Case, now: Levels, ruling: Ruling) -> str:
    return _(
        "The loss fell by {share:.0%}, but the share of words that it predicts correctly has hardly grown "
        "({more:+.1%} at best): it learned how frequent words are, but not which one comes next.",
        share=max(0.0, float(now.held[0] - now.held[-1]) / case.start_scale),
        more=case.scores.named_more or 0.0,
    )


def _tell_few_weights(case: Case, now: Levels, ruling: Ruling) -> str:
    return _(
        "The loss fell by only {share:.1%}, and the method trains very few weights: the training loss stays "
        "at {end}.",
        share=max(0.0, float(now.held[0] - now.held[-1]) / case.start_scale),
        end=format_evidence_loss(float(now.training[-1])) if len(now.training) else "",
    )


def _tell_going_on(case: Case, now: Levels, ruling: Ruling) -> str:
    return _(
        "It was still improving: at this pace, as many steps again would add {added:.0%} to the gain, "
        "measured over the learning rate used up.",
        added=estimate_added_gain(case, now),
    )


def _tell_plateau(case: Case, now: Levels, ruling: Ruling) -> str:
    held = case.curves.held
    place = int(np.flatnonzero(held.steps == ruling.since)[0]) if ruling.since in held.steps else 0
    low, high = held.difference_interval(place, -1)
    return _(
        "There was no further gain after step {since}, with {used:.0%} of the learning rate still to come: "
        "from there to the end the loss on held-out rows changed by {low} to {high} (95 % interval).",
        since=ruling.since,
        used=1 - float(held.used[place]),
        low=format_evidence_loss(-high),
        high=format_evidence_loss(-low),
    )


def _tell_good(case: Case, now: Levels, ruling: Ruling) -> str:
    best = int(np.argmin(now.held))
    # The estimate matters but is not certain, or the verdict would be that it has not converged
    if estimate_added_gain(case, now) >= limits.MATTERS:
        return _(
            "The loss on held-out rows is lower than before and near its best ({best} at step {step}); the "
            "gain of the last steps is within chance.",
            best=format_evidence_loss(float(now.held[best])),
            step=int(case.curves.held.steps[best]),
        )
    return _(
        "The loss on held-out rows is lower than before and near its best ({best} at step {step}); as many "
        "steps again would add about {added:.0%} to the gain.",
        best=format_evidence_loss(float(now.held[best])),
        step=int(case.curves.held.steps[best]),
        added=estimate_added_gain(case, now),
    )


def _make_teller(sentence: Callable[[], str]) -> Callable[[Case, Levels, Ruling], str]:
    return lambda case, now, ruling: sentence()


_WHY: dict[str, Callable[[Case, Levels, Ruling], str]] = {
    "bad_numbers": tell_bad_numbers,
    "ends_above": tell_risen,
    "rose_above": tell_risen,
    "thrown": tell_thrown,
    "lost_again": tell_lost_again,
    "wanders": tell_wandering,
    "jumps": tell_jumps,
    "held_rose": tell_held_rise,
    "held_wanders": tell_held_wandering,
    "no_steps": _make_teller(lambda: _("The run has not taken enough steps yet.")),
    "no_evaluations": _make_teller(lambda: _("The loss on held-out rows was never measured.")),
    "one_evaluation": _make_teller(
        lambda: _("Held-out rows were evaluated only once, and one point is not a curve.")
    ),
    "training_flat": _make_teller(
        lambda: _("The training loss is not lower at the end than at the start, apart from chance.")
    ),
    "copies": _tell_copies,
    "few_rows": _tell_few_rows,
    "wide": _tell_wide,
    "chance": _tell_chance,
    "memorised_chance": _tell_chance,
    "memorised": _tell_memorised,
    "nothing_held": _tell_nothing_held,
    "nothing": _make_teller(
        lambda: _("On held-out rows the model is not better than before the first step by more than chance.")
    ),
    "overfit": _tell_overfit,
    "overfit_but_kept": _tell_overfit,
    "overfit_at_once": _tell_nothing_held,
    "low_rate": _tell_low_rate,
    "slow": _tell_slow,
    "few_weights": _tell_few_weights,
    "frequencies": _tell_frequencies,
    "no_pace": _make_teller(
        lambda: _("There are too few evaluations, or they vary too much, to see if it is still improving.")
    ),
    "going_on": _tell_going_on,
    "plateau": _tell_plateau,
    "good": _tell_good,
}


# ---- further evidence ----------------------------------------------------------------------------------


def _describe_held_out(case: Case) -> str:
    """Describe the held-out curve by a few of its points, the best and the last among them."""
    held = case.curves.held
    count = len(held.steps)
    if not count:
        return ""
    places = {*np.linspace(0, count - 1, min(_POINTS - 1, count)).round().astype(int).tolist()}
    places.add(int(np.argmin(held.losses)))
    points = [
        _(
            "{loss} at step {step}",
            loss=format_evidence_loss(float(held.losses[place])),
            step=int(held.steps[place]),
        )
        for place in sorted(places)
    ]
    if held.guessed_start:
        return _(
            "Loss on held-out rows: {points}; the first value is the training loss of the first steps.",
            points=", ".join(points),
        )
    return _("Loss on held-out rows: {points}.", points=", ".join(points))


def _describe_difference(case: Case, ruling: Ruling) -> str:
    held = case.curves.held
    if len(held.steps) < 2 or ruling.why == "wide":
        return ""
    low, high = held.difference_interval(0, -1)
    # "Fell by -0.2 to -0.1" would be misread
    rose = high < 0 and held.rows > 0
    if rose:
        low, high = -high, -low
    said = {
        "low": format_evidence_loss(low),
        "high": format_evidence_loss(high),
        "rows": held.told_rows,
        "step": int(held.steps[-1]),
    }
    if not held.rows:
        return _(
            "From the start to step {step} it fell by {low} to {high} (95 % interval, estimated from the "
            "noise of the curve).",
            **said,
        )
    if rose:
        return _(
            "From before the first step to step {step} it rose by {low} to {high} (95 % interval, compared "
            "row by row over {rows:,} rows).",
            **said,
        )
    return _(
        "From before the first step to step {step} it fell by {low} to {high} (95 % interval, compared row "
        "by row over {rows:,} rows).",
        **said,
    )


def _describe_training(case: Case) -> str:
    training = case.curves.training
    if training.count < 2:
        return ""
    return _(
        "Training loss: {start} in the first steps, {end} in the last ones, of {steps:,} steps.",
        start=format_evidence_loss(training.start),
        end=format_evidence_loss(training.end_level),
        steps=training.count,
    )


def _describe_score(case: Case) -> str:
    """Describe the deciding metric, if that is not the loss."""
    scores = case.scores
    if not scores.name:
        return ""

    def shown(value: float) -> str:
        return format_hundredfold_metric(scores.name, value) or format_evidence_loss(value)

    said = {
        "name": name_metric_in_text(scores.name),
        "best": shown(scores.best),
        "step": scores.best_step,
        "last": shown(scores.last),
    }
    held = case.curves.held
    rises = len(held.steps) > 1 and held.losses[-1] > held.losses.min() + limits.WORSE * (
        held.losses[0] - held.losses.min()
    )
    # The loss of a classifier rises with its overconfidence, while its answers stay the same
    if scores.is_at_best and rises and not scores.chance:
        return _(
            "The loss rose, but {name} is as good as at its best ({last} now, {best} at step {step}): the "
            "answers are still right as often, but the model is too confident of them.",
            **said,
        )
    if scores.best == scores.last:
        return _("On held-out rows, {name} is best at the end: {last}.", **said)
    return _("On held-out rows, {name} was {best} at step {step} and is {last} now.", **said)


def _describe_copies(case: Case, ruling: Ruling) -> str:
    setting = case.setting
    if not setting.counted_copies or ruling.why == "copies":
        return ""
    return _(
        "{copies:,} of {held:,} held-out rows are also trained on, which flatters their loss.",
        copies=setting.counted_copies,
        held=max(setting.held_out, setting.counted_copies),
    )
