"""The verdict on a run, from its events or its folder, whether it has ended or is still running."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tui_tuner.runs.events import Event, EventBody
from tui_tuner.runs.events import Verdict as VerdictEvent
from tui_tuner.runs.store import RunFolder
from tui_tuner.verdicts.adviser import advise_on_verdict
from tui_tuner.verdicts.curves import (
    Curves,
    compute_difference_errors,
    estimate_curve_wobble,
    make_curve_windows,
    make_curves,
)
from tui_tuner.verdicts.evidence import tell_evidence
from tui_tuner.verdicts.judged_case import Case, Levels, Ruling, Setting
from tui_tuner.verdicts.limits import DRAWS
from tui_tuner.verdicts.run_history import RunHistory, gather_event_history, gather_journal_history
from tui_tuner.verdicts.scores import make_scores
from tui_tuner.verdicts.settings import make_verdict_setting, read_journal_config
from tui_tuner.verdicts.verdict_rules import apply_verdict_rules
from tui_tuner.verdicts.verdict_words import Advice, FoundVerdict

# A fixed seed, so that the same events always give the same verdict and confidence
_SEED = 81


def judge_events(events: Iterable[Event | EventBody]) -> FoundVerdict:
    """Judge a run by its events. The same events give the same verdict and confidence."""
    return judge_run_history(gather_event_history(events))


def judge_run(folder: Path | RunFolder) -> FoundVerdict:
    """Judge a run by its folder or its journal.

    Raises:
        UsageError: there is no journal, or the file is not one.
    """
    path = folder.path if isinstance(folder, RunFolder) else Path(folder).expanduser()
    return judge_run_history(gather_journal_history(path / "events.jsonl" if path.is_dir() else path))


def judge_run_history(gathered: RunHistory, draws: int = DRAWS) -> FoundVerdict:
    """Judge a run by its history; its confidence is measured with `draws` draws."""
    config = read_journal_config(gathered)
    # Losses of a run that diverged can be so large that arithmetic with them overflows
    with np.errstate(all="ignore"):
        curves = make_curves(gathered)
        setting = make_verdict_setting(gathered, config)
        case, now = make_judged_case(curves, gathered, setting)
        ruling = apply_verdict_rules(case, now)
        confidence = _measure_confidence(case, now, ruling, draws)
        evidence = tell_evidence(case, now, ruling)
        advice = advise_on_verdict(case, now, ruling, gathered, config)
    return FoundVerdict(
        ruling.word,
        curves.last_step,
        ruling.since,
        confidence,
        tuple(evidence),
        tuple(advice),
    )


def make_judged_case(curves: Curves, gathered: RunHistory, setting: Setting) -> tuple[Case, Levels]:
    """Make the case to which the rules are applied, and the levels of the curves as measured."""
    steps, levels, errors = make_curve_windows(curves)
    wobble = estimate_curve_wobble(curves.held.losses)
    paired = compute_difference_errors(curves.held.draws)
    # Draws of rows know nothing of the curve's own noise; draws made without rows already have it
    if curves.held.rows:
        paired = np.hypot(paired, wobble * math.sqrt(2))
    case = Case(curves, make_scores(gathered), setting, steps, errors, paired, wobble)
    return case, Levels(curves.held.losses, curves.training.levels, curves.training.start, levels)


def _measure_confidence(case: Case, now: Levels, ruling: Ruling, draws: int) -> float | None:
    """Return the share of draws that give the same verdict; None if there is nothing to draw from."""
    curves = case.curves
    training, held = curves.training, curves.held
    if training.count < 2 and len(held.steps) < 2:
        return None
    random = np.random.default_rng(_SEED)
    words: Counter[str] = Counter()
    for draw in range(draws):
        drawn = Levels(
            held.draws[draw] if len(held.steps) else held.losses,
            now.training + random.normal(size=len(now.training)) * training.errors,
            now.start
            + float(random.normal()) * (training.start_error if math.isfinite(training.start_error) else 0),
            now.windows + random.normal(size=len(now.windows)) * case.window_errors,
        )
        words[apply_verdict_rules(case, drawn).word] += 1
    return round(words[ruling.word] / draws, 3)


def make_verdict_event(found: FoundVerdict, final: bool) -> VerdictEvent:
    """Return a verdict as an event of the journal."""
    advice = [convert_advice_to_json(one) for one in found.advice]
    return VerdictEvent(
        found.step, found.verdict, found.since_step, found.confidence, list(found.evidence), advice, final
    )


def convert_advice_to_json(advice: Advice) -> dict[str, object]:
    """Return advice as plain values for JSON."""
    return {"words": advice.words, "values": dict(advice.values)}


def convert_verdict_to_json(found: FoundVerdict) -> dict[str, object]:
    """Return a verdict as plain values, as `tui-tuner verdict --json` prints them."""
    return {
        "verdict": found.verdict,
        "since_step": found.since_step,
        "evidence": list(found.evidence),
        "advice": [convert_advice_to_json(one) for one in found.advice],
        "confidence": found.confidence,
        "step": found.step,
    }
