"""Sentences of evidence for unstable training: rises, jumps, swings, and losses that are NaN or infinite."""

from __future__ import annotations

import numpy as np

from tui_tuner.locales import _
from tui_tuner.verdicts.judged_case import Case, Levels, Ruling


def format_evidence_loss(value: float) -> str:
    """Format a loss for a sentence, with four significant digits."""
    return f"{value:.4g}"


def tell_bad_numbers(case: Case, now: Levels, ruling: Ruling) -> str:
    bad = case.curves.bad
    if not len(bad):
        return _("The loss on held-out rows was NaN or infinite at step {step}.", step=ruling.since)
    return _(
        "The loss was NaN or infinite in {count:,} of {all:,} steps, first at step {step}.",
        count=len(bad),
        all=len(bad) + len(case.curves.losses),
        step=ruling.since,
    )


def tell_risen(case: Case, now: Levels, ruling: Ruling) -> str:
    high = int(np.argmax(now.windows))
    said = {
        "start": format_evidence_loss(now.start),
        "high": format_evidence_loss(float(now.windows[high])),
        "step": int(case.window_steps[high]),
        "end": format_evidence_loss(float(now.windows[-1])),
    }
    if ruling.why == "ends_above":
        return _(
            "The training loss rose from {start} at the start to {high} around step {step} and ended at "
            "{end}, above where it began.",
            **said,
        )
    return _(
        "The training loss rose from {start} at the start to {high} around step {step} and ended at {end}.",
        **said,
    )


def tell_lost_again(case: Case, now: Levels, ruling: Ruling) -> str:
    low = int(np.argmin(now.windows))
    return _(
        "The training loss had fallen from {start} to {low} around step {step} and rose again to {end}: "
        "overfitting does not explain that.",
        start=format_evidence_loss(now.start),
        low=format_evidence_loss(float(now.windows[low])),
        step=int(case.window_steps[low]),
        end=format_evidence_loss(float(now.windows[-1])),
    )


def tell_thrown(case: Case, now: Levels, ruling: Ruling) -> str:
    curves = case.curves
    # The highest of the steps in question: -inf hides the others
    place = int(np.argmax(np.where(np.isin(curves.steps, case.thrown_steps), curves.losses, -np.inf)))
    return _(
        "The training loss rose from {start} at the start to {high} at step {step} and never recovered: it "
        "ended at {end}.",
        start=format_evidence_loss(max(now.start, float(curves.losses[0]))),
        high=format_evidence_loss(float(curves.losses[place])),
        step=int(curves.steps[place]),
        end=format_evidence_loss(float(now.windows[-1])),
    )


def tell_wandering(case: Case, now: Levels, ruling: Ruling) -> str:
    return _(
        "The training loss goes up and down between {low} and {high} without settling.",
        low=format_evidence_loss(float(now.windows.min())),
        high=format_evidence_loss(float(now.windows.max())),
    )


def tell_jumps(case: Case, now: Levels, ruling: Ruling) -> str:
    jumps = case.jump_steps
    return _(
        "The loss jumped far above its usual level {count:,} times, from step {first} to step {last}.",
        count=len(jumps),
        first=int(jumps[0]),
        last=int(jumps[-1]),
    )


def tell_held_rise(case: Case, now: Levels, ruling: Ruling) -> str:
    return _(
        "The loss on held-out rows rose from {start} to {end}, and the training loss did not fall either.",
        start=format_evidence_loss(float(now.held[0])),
        end=format_evidence_loss(float(now.held[-1])),
    )


def tell_held_wandering(case: Case, now: Levels, ruling: Ruling) -> str:
    return _(
        "From step {since} on, the loss on held-out rows swung clearly up and down between {least} and "
        "{most}, which does not happen at a suitable learning rate.",
        since=ruling.since,
        least=format_evidence_loss(float(now.held[1:].min())),
        most=format_evidence_loss(float(now.held[1:].max())),
    )
