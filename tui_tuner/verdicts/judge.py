"""A run's verdict, from its events or its folder, ended or still going."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tui_tuner.runs.events import Body, Event
from tui_tuner.runs.events import Verdict as VerdictEvent
from tui_tuner.runs.store import RunFolder
from tui_tuner.verdicts.advising import advise_on
from tui_tuner.verdicts.cases import Case, Levels, Ruling, Setting
from tui_tuner.verdicts.curves import Curves, curves_of, difference_errors, windows, wobble_of
from tui_tuner.verdicts.gathering import Gathered, gather, gather_file
from tui_tuner.verdicts.limits import DRAWS
from tui_tuner.verdicts.rules import rule
from tui_tuner.verdicts.scores import scores_of
from tui_tuner.verdicts.settings import config_of, setting_of
from tui_tuner.verdicts.telling import tell
from tui_tuner.verdicts.words import Advice, Found

_SEED = 81


def judge(events: Iterable[Event | Body]) -> Found:
    """The verdict on what these events tell. The same events give the same verdict and confidence."""
    return judge_gathered(gather(events))


def judge_run(folder: Path | RunFolder) -> Found:
    """The verdict on a run's folder, or on a journal.

    Raises:
        UsageError: there is no journal, or it is none.
    """
    path = folder.path if isinstance(folder, RunFolder) else Path(folder).expanduser()
    return judge_gathered(gather_file(path / "events.jsonl" if path.is_dir() else path))


def judge_gathered(gathered: Gathered, draws: int = DRAWS) -> Found:
    """The verdict on a history, its confidence from so many draws."""
    config = config_of(gathered)
    with np.errstate(all="ignore"):  # losses of a run that diverged are as large as numbers get
        curves = curves_of(gathered)
        setting = setting_of(gathered, config)
        case, now = case_of(curves, gathered, setting)
        ruling = rule(case, now)
        confidence = _confidence(case, now, ruling, draws)
        evidence = tell(case, now, ruling)
        advice = advise_on(case, now, ruling, gathered, config)
    return Found(
        ruling.word,
        curves.step,
        ruling.since,
        confidence,
        tuple(evidence),
        tuple(advice),
    )


def case_of(curves: Curves, gathered: Gathered, setting: Setting) -> tuple[Case, Levels]:
    """What the rules are asked about: the curves as they are."""
    steps, levels, errors = windows(curves)
    wobble = wobble_of(curves.held.losses)
    paired = difference_errors(curves.held.draws)
    if curves.held.rows:  # without rows it is in the draws
        paired = np.hypot(paired, wobble * math.sqrt(2))
    case = Case(curves, scores_of(gathered), setting, steps, errors, paired, wobble)
    return case, Levels(curves.held.losses, curves.training.levels, curves.training.start, levels)


def _confidence(case: Case, now: Levels, ruling: Ruling, draws: int) -> float | None:
    """The share of draws that give the same word; None where nothing could be drawn anew."""
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
        words[rule(case, drawn).word] += 1
    return round(words[ruling.word] / draws, 3)


def event_of(found: Found, final: bool) -> VerdictEvent:
    """A verdict as the journal holds it."""
    advice = [advice_values(one) for one in found.advice]
    return VerdictEvent(
        found.step, found.verdict, found.since_step, found.confidence, list(found.evidence), advice, final
    )


def advice_values(advice: Advice) -> dict[str, object]:
    """Advice in plain values."""
    return {"words": advice.words, "values": dict(advice.values)}


def plain_values(found: Found) -> dict[str, object]:
    """A verdict in plain values, as `tui-tuner verdict --json` prints it."""
    return {
        "verdict": found.verdict,
        "since_step": found.since_step,
        "evidence": list(found.evidence),
        "advice": [advice_values(one) for one in found.advice],
        "confidence": found.confidence,
        "step": found.step,
    }
