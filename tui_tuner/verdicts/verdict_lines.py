"""Verdicts in words, for lines and screens: text from a journal is sanitised, and damaged parts left out."""

from __future__ import annotations

from collections.abc import Mapping

from tui_tuner.locales import _
from tui_tuner.runs.events import Verdict
from tui_tuner.text import one_line
from tui_tuner.verdicts.verdict_words import VERDICTS, Advice

LONGEST = 400  # characters of a sentence
VERY_SURE, SURE = 0.95, 0.8


def find_verdict_label(name: str) -> str:
    """Return the label of a verdict; for a name of a newer version, that name made safe for a terminal."""
    return _(VERDICTS[name].label) if name in VERDICTS else one_line(name, 30)


def find_verdict_meaning(name: str) -> str:
    """Return a sentence on what a verdict means; empty for a name of a newer version."""
    return _(VERDICTS[name].means) if name in VERDICTS else ""


def find_verdict_worth(name: str) -> int:
    """Return 1, 0 or -1 as in `verdict_words.Word`; 0 for a name of a newer version."""
    return VERDICTS[name].worth if name in VERDICTS else 0


def is_verdict_useless(name: str) -> bool:
    """Return whether the model of a run with this verdict is useless."""
    return find_verdict_worth(name) < 0


def format_run_status(status: str, name: str) -> str:
    """Describe how a run ended, and with which verdict: `completed · nothing learnt`."""
    ended = _(one_line(status))
    if not name or status not in ("completed", "stopped"):
        return ended
    return f"{ended} · {find_verdict_label(name).lower()}"


def format_verdict_headline(verdict: Verdict) -> str:
    """Format the label of a verdict and since which step it holds."""
    if verdict.since_step is None:
        return find_verdict_label(verdict.verdict)
    return _(
        "{label} since step {step:,}", label=find_verdict_label(verdict.verdict), step=verdict.since_step
    )


def format_verdict_line(verdict: Verdict) -> str:
    """Format a verdict on one line: its headline and the first sentence of its evidence."""
    first = next(iter(list_verdict_evidence(verdict)), "") or find_verdict_meaning(verdict.verdict)
    return _("{headline}: {evidence}", headline=format_verdict_headline(verdict), evidence=first)


def list_verdict_evidence(verdict: Verdict) -> list[str]:
    """List the sentences of evidence, shortened and safe for a terminal."""
    return [one_line(said, LONGEST) for said in verdict.evidence if isinstance(said, str) and said.strip()]


def list_verdict_advice(verdict: Verdict) -> list[Advice]:
    """List the advice of a verdict; damaged entries are left out."""
    found = []
    # A journal is a file that anything may have changed, and events check only the outer types
    for item in verdict.advice:
        words = item.get("words") if isinstance(item, Mapping) else None
        if not isinstance(words, str) or not words.strip():
            continue
        values = item.get("values")
        kept = {str(path): value for path, value in values.items()} if isinstance(values, Mapping) else {}
        found.append(Advice(one_line(words, LONGEST), kept))
    return found


def list_settings_advice(verdict: Verdict) -> list[Advice]:
    """List the advice that has values for a new config."""
    return [item for item in list_verdict_advice(verdict) if item.values]


def describe_confidence(confidence: float | None) -> str:
    """Describe how sure a verdict is."""
    if confidence is None:
        return _("confidence unknown")
    share = f"{100 * confidence:.0f} %"
    if confidence >= VERY_SURE:
        return _("very sure: {share} of draws agree", share=share)
    if confidence >= SURE:
        return _("fairly sure: {share} of draws agree", share=share)
    return _("not sure: {share} of draws agree", share=share)
