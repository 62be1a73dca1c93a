"""Sentences for what fell apart in training: rises, jumps, turns, and losses that are no numbers."""

from __future__ import annotations

import numpy as np

from tui_tuner.locales import _
from tui_tuner.verdicts.cases import Case, Levels, Ruling


def figure(value: float) -> str:
    """A loss in a sentence."""
    return f"{value:.4g}"


def tell_bad_numbers(case: Case, now: Levels, ruling: Ruling) -> str:
    bad = case.curves.bad
    if not len(bad):
        return _("The loss on held-out rows was no number at step {step}.", step=ruling.since)
    return _(
        "The loss was no number in {count:,} of {all:,} steps, first at step {step}.",
        count=len(bad),
        all=len(bad) + len(case.curves.losses),
        step=ruling.since,
    )


def tell_risen(case: Case, now: Levels, ruling: Ruling) -> str:
    high = int(np.argmax(now.windows))
    said = {
        "start": figure(now.start),
        "high": figure(float(now.windows[high])),
        "step": int(case.window_steps[high]),
        "end": figure(float(now.windows[-1])),
    }
    if ruling.why == "ends_above":
        return _(
            "The loss in training rose from {start} at the start to {high} about step {step}, and ended at "
            "{end}, above where it began.",
            **said,
        )
    return _(
        "The loss in training rose from {start} at the start to {high} about step {step}; it ended at {end}.",
        **said,
    )


def tell_lost_again(case: Case, now: Levels, ruling: Ruling) -> str:
    low = int(np.argmin(now.windows))
    return _(
        "The loss in training had fallen from {start} to {low} about step {step} and rose again to {end}: no "
        "overfitting does that.",
        start=figure(now.start),
        low=figure(float(now.windows[low])),
        step=int(case.window_steps[low]),
        end=figure(float(now.windows[-1])),
    )


def tell_thrown(case: Case, now: Levels, ruling: Ruling) -> str:
    curves = case.curves
    place = int(np.argmax(np.where(np.isin(curves.steps, case.thrown), curves.losses, -np.inf)))
    return _(
        "The loss in training rose from {start} at the start to {high} at step {step}, and what that threw "
        "away was not made good: it ended at {end}.",
        start=figure(max(now.start, float(curves.losses[0]))),
        high=figure(float(curves.losses[place])),
        step=int(curves.steps[place]),
        end=figure(float(now.windows[-1])),
    )


def tell_wandering(case: Case, now: Levels, ruling: Ruling) -> str:
    return _(
        "The loss in training goes up and down between {low} and {high} and does not settle.",
        low=figure(float(now.windows.min())),
        high=figure(float(now.windows.max())),
    )


def tell_jumps(case: Case, now: Levels, ruling: Ruling) -> str:
    jumps = case.jumps
    return _(
        "The loss jumped far above what was usual {count:,} times, from step {first} to step {last}.",
        count=len(jumps),
        first=int(jumps[0]),
        last=int(jumps[-1]),
    )


def tell_held_rise(case: Case, now: Levels, ruling: Ruling) -> str:
    return _(
        "The loss on held-out rows rose from {start} to {end}, and that in training did not fall either.",
        start=figure(float(now.held[0])),
        end=figure(float(now.held[-1])),
    )


def tell_held_wandering(case: Case, now: Levels, ruling: Ruling) -> str:
    return _(
        "Held-out rows became clearly worse and clearly better by turns from step {since} on, between "
        "{least} and {most}, which no learning at a fitting rate does.",
        since=ruling.since,
        least=figure(float(now.held[1:].min())),
        most=figure(float(now.held[1:].max())),
    )
