"""Sentences for a verdict: what it rests on, with the figures and the piece of the curve."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tui_tuner.config.deciding import metric_word
from tui_tuner.config.metrics import hundredfold
from tui_tuner.locales import _
from tui_tuner.verdicts import limits
from tui_tuner.verdicts.cases import Case, Levels, Ruling
from tui_tuner.verdicts.rules import added
from tui_tuner.verdicts.telling_unsteady import (
    figure,
    tell_bad_numbers,
    tell_held_rise,
    tell_held_wandering,
    tell_jumps,
    tell_lost_again,
    tell_risen,
    tell_thrown,
    tell_wandering,
)

_POINTS = 6  # of a curve that are told


def tell(case: Case, now: Levels, ruling: Ruling) -> list[str]:
    """The sentences, what decided first."""
    why = _WHY[ruling.why](case, now, ruling)
    rest = [
        _held(case),
        _difference(case, ruling),
        _training(case),
        _score(case),
        _copies(case, ruling),
    ]
    return [why, *(sentence for sentence in rest if sentence)]


# ---- what decided --------------------------------------------------------------------------------------


def _few_rows(case: Case, now: Levels, ruling: Ruling) -> str:
    held = case.curves.held
    rows = held.rows or case.scores.rows
    if held.told_rows > held.rows > 0:
        return _(
            "Of {all:,} held-out rows only {rows:,} differ from each other; {least} are the fewest that can "
            "tell anything but chance.",
            all=held.told_rows,
            rows=rows,
            least=limits.FEWEST_ROWS,
        )
    return _(
        "There are {rows:,} held-out rows; {least} are the fewest that can tell anything but chance.",
        rows=rows,
        least=limits.FEWEST_ROWS,
    )


def _said_copies(case: Case, now: Levels, ruling: Ruling) -> str:
    return _(
        "{copies:,} of {held:,} held-out rows are also trained on, so their loss says nothing about rows "
        "that are new.",
        copies=case.setting.counted_copies,
        held=max(case.setting.held_out, case.setting.counted_copies),
    )


def _wide(case: Case, now: Levels, ruling: Ruling) -> str:
    low, high = case.curves.held.interval(0, -1)
    return _(
        "Held-out rows changed by {low} to {high} from the start to the end (95 % interval): too wide to "
        "be sure that this is more than chance.",
        low=figure(-high),
        high=figure(-low),
    )


def _chance(case: Case, now: Levels, ruling: Ruling) -> str:
    scores = case.scores
    if scores.accuracy is not None and scores.commonest is not None:
        return _(
            "{accuracy:.1%} of the held-out rows are told right; always naming the commonest class gives "
            "{commonest:.1%}, and the difference is within chance for {rows:,} rows.",
            accuracy=scores.accuracy,
            commonest=scores.commonest,
            rows=scores.rows,
        )
    return _(
        "What the model tells of held-out rows goes with the truth no better than chance does ({rows:,} "
        "rows).",
        rows=scores.rows,
    )


def _memorised(case: Case, now: Levels, ruling: Ruling) -> str:
    return _(
        "The loss in training ended at {end}, {share:.1%} of where it began: these rows are known by heart. "
        "On held-out rows it is {held}, and was {before} before the first step.",
        end=figure(float(now.training[-1])),
        share=max(0.0, float(now.training[-1])) / max(now.start, 1e-12),
        held=figure(float(now.held[-1])),
        before=figure(float(now.held[0])),
    )


def _nothing_held(case: Case, now: Levels, ruling: Ruling) -> str:
    return _(
        "The loss in training fell from {start} to {end}, and held-out rows got nothing of it: {before} "
        "before the first step, {held} now.",
        start=figure(now.start),
        end=figure(float(now.training[-1])),
        before=figure(float(now.held[0])),
        held=figure(float(now.held[-1])),
    )


def _overfit(case: Case, now: Levels, ruling: Ruling) -> str:
    held = case.curves.held
    best = int(np.argmin(now.held))
    low, high = held.interval(-1, best)
    said = {
        "best": figure(float(now.held[best])),
        "step": int(held.steps[best]),
        "end": figure(float(now.held[-1])),
        "low": figure(low),
        "high": figure(high),
        "then": figure(case.curves.training.level_at(float(held.steps[best]))),
        "last": figure(float(now.training[-1])) if len(now.training) else "",
    }
    return _(
        "Held-out rows were best at step {step} with a loss of {best} and are at {end} now, worse by {low} "
        "to {high} (95 % interval), while training still fell from {then} to {last}.",
        **said,
    )


def _low_rate(case: Case, now: Levels, ruling: Ruling) -> str:
    return _(
        "It learns, but the rate {rate:g} is far below the usual {usual:g}: {share:.1%} of the loss is gone "
        "after {steps:,} steps.",
        rate=case.setting.rate or 0.0,
        usual=case.setting.usual or 0.0,
        share=max(0.0, float(now.held[0] - now.held[-1]) / case.scale),
        steps=case.curves.step,
    )


def _slow(case: Case, now: Levels, ruling: Ruling) -> str:
    return _(
        "It still learns at the pace it began with, and {steps:,} steps took off only {share:.1%} of the "
        "loss.",
        share=max(0.0, float(now.held[0] - now.held[-1]) / case.scale),
        steps=case.curves.step,
    )


def _frequencies(case: Case, now: Levels, ruling: Ruling) -> str:
    return _(
        "{share:.0%} of the loss is gone, but the share of words that it names right has hardly grown "
        "({more:+.1%} at best): it learnt how often words come, and not what comes next.",
        share=max(0.0, float(now.held[0] - now.held[-1]) / case.scale),
        more=case.scores.named_more or 0.0,
    )


def _few_weights(case: Case, now: Levels, ruling: Ruling) -> str:
    return _(
        "Only {share:.1%} of the loss is gone, and its method trains next to no weights: the "
        "loss in training stays at {end}.",
        share=max(0.0, float(now.held[0] - now.held[-1]) / case.scale),
        end=figure(float(now.training[-1])) if len(now.training) else "",
    )


def _going_on(case: Case, now: Levels, ruling: Ruling) -> str:
    return _(
        "It was still getting better: at this pace as many steps again would add {added:.0%} to what was "
        "gained, by the learning rate used up.",
        added=added(case, now),
    )


def _plateau(case: Case, now: Levels, ruling: Ruling) -> str:
    held = case.curves.held
    place = int(np.flatnonzero(held.steps == ruling.since)[0]) if ruling.since in held.steps else 0
    low, high = held.interval(place, -1)
    return _(
        "Nothing more was gained since step {since}, with {used:.0%} of the learning rate still to come: "
        "from there to the end held-out rows changed by {low} to {high} (95 % interval).",
        since=ruling.since,
        used=1 - float(held.used[place]),
        low=figure(-high),
        high=figure(-low),
    )


def _good(case: Case, now: Levels, ruling: Ruling) -> str:
    best = int(np.argmin(now.held))
    if added(case, now) >= limits.MATTERS:  # of which nobody can be sure, or it would be going on
        return _(
            "Held-out rows are better than before and near their best ({best} at step {step}); what its last "
            "steps brought is within chance.",
            best=figure(float(now.held[best])),
            step=int(case.curves.held.steps[best]),
        )
    return _(
        "Held-out rows are better than before and near their best ({best} at step {step}); as many steps "
        "again would add about {added:.0%} to what was gained.",
        best=figure(float(now.held[best])),
        step=int(case.curves.held.steps[best]),
        added=added(case, now),
    )


def _say(sentence: Callable[[], str]) -> Callable[[Case, Levels, Ruling], str]:
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
    "no_steps": _say(lambda: _("There are no steps yet that could tell anything.")),
    "no_evaluations": _say(lambda: _("Nothing was measured on held-out rows.")),
    "one_evaluation": _say(lambda: _("Held-out rows were measured once, and one point is no curve.")),
    "training_flat": _say(
        lambda: _("The loss in training is no lower at the end than at the start, but for chance.")
    ),
    "copies": _said_copies,
    "few_rows": _few_rows,
    "wide": _wide,
    "chance": _chance,
    "memorised_chance": _chance,
    "memorised": _memorised,
    "nothing_held": _nothing_held,
    "nothing": _say(lambda: _("Held-out rows are no better than before the first step by more than chance.")),
    "overfit": _overfit,
    "overfit_but_kept": _overfit,
    "overfit_at_once": _nothing_held,
    "low_rate": _low_rate,
    "slow": _slow,
    "few_weights": _few_weights,
    "frequencies": _frequencies,
    "no_pace": _say(
        lambda: _("The measurements are too few, or wobble too much, to tell whether it still gets better.")
    ),
    "going_on": _going_on,
    "plateau": _plateau,
    "good": _good,
}


# ---- and the rest --------------------------------------------------------------------------------------


def _held(case: Case) -> str:
    """The curve on held-out rows, at a few of its points; the best and the last are among them."""
    held = case.curves.held
    count = len(held.steps)
    if not count:
        return ""
    places = {*np.linspace(0, count - 1, min(_POINTS - 1, count)).round().astype(int).tolist()}
    places.add(int(np.argmin(held.losses)))
    points = [
        _("{loss} at step {step}", loss=figure(float(held.losses[place])), step=int(held.steps[place]))
        for place in sorted(places)
    ]
    if held.guessed_start:
        return _(
            "Loss on held-out rows: {points}; the first is that of the first steps in training.",
            points=", ".join(points),
        )
    return _("Loss on held-out rows: {points}.", points=", ".join(points))


def _difference(case: Case, ruling: Ruling) -> str:
    held = case.curves.held
    if len(held.steps) < 2 or ruling.why == "wide":
        return ""
    low, high = held.interval(0, -1)
    rose = high < 0 and held.rows > 0  # nobody reads a fall below 0 as a rise
    if rose:
        low, high = -high, -low
    said = {"low": figure(low), "high": figure(high), "rows": held.told_rows, "step": int(held.steps[-1])}
    if not held.rows:
        return _(
            "From the start to step {step} it fell by {low} to {high} (95 % interval, from how much the "
            "curve itself wobbles).",
            **said,
        )
    if rose:
        return _(
            "From before the first step to step {step} it rose by {low} to {high} (95 % interval, row by "
            "row over {rows:,} rows).",
            **said,
        )
    return _(
        "From before the first step to step {step} it fell by {low} to {high} (95 % interval, row by row "
        "over {rows:,} rows).",
        **said,
    )


def _training(case: Case) -> str:
    training = case.curves.training
    if training.count < 2:
        return ""
    return _(
        "Loss in training: {start} in the first steps, {end} in the last ones, of {steps:,}.",
        start=figure(training.start),
        end=figure(training.end),
        steps=training.count,
    )


def _score(case: Case) -> str:
    """The metric that decides, beside the loss."""
    scores = case.scores
    if not scores.name:
        return ""

    def shown(value: float) -> str:
        return hundredfold(scores.name, value) or figure(value)

    said = {
        "name": metric_word(scores.name),
        "best": shown(scores.best),
        "step": scores.best_step,
        "last": shown(scores.last),
    }
    held = case.curves.held
    rises = len(held.steps) > 1 and held.losses[-1] > held.losses.min() + limits.WORSE * (
        held.losses[0] - held.losses.min()
    )
    if scores.at_best and rises and not scores.chance:
        return _(
            "The loss rose, but {name} is as good as at its best ({last} now, {best} at step {step}): what "
            "it names is still right as often, and it is too sure of it.",
            **said,
        )
    if scores.best == scores.last:
        return _("On held-out rows {name} is at its best at the end: {last}.", **said)
    return _("On held-out rows {name} was {best} at step {step}, and is {last} now.", **said)


def _copies(case: Case, ruling: Ruling) -> str:
    setting = case.setting
    if not setting.counted_copies or ruling.why == "copies":
        return ""
    return _(
        "{copies:,} of {held:,} held-out rows are also trained on, which flatters their loss.",
        copies=setting.counted_copies,
        held=max(setting.held_out, setting.counted_copies),
    )
