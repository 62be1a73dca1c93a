"""Verdicts in words: what a journal tells of one, made safe and whole, for lines and for screens."""

from __future__ import annotations

from collections.abc import Mapping

from tui_tuner.locales import _
from tui_tuner.runs.events import Verdict
from tui_tuner.text import one_line
from tui_tuner.verdicts.words import VERDICTS, Advice

LONGEST = 400  # characters of a sentence
VERY_SURE, SURE = 0.95, 0.8


def label_of(name: str) -> str:
    """What a verdict is called; safe for a terminal."""
    return _(VERDICTS[name].label) if name in VERDICTS else one_line(name, 30)


def means_of(name: str) -> str:
    """What a verdict means."""
    return _(VERDICTS[name].means) if name in VERDICTS else ""


def worth_of(name: str) -> int:
    """1, 0 or -1 as in `words.Word`; 0 for the word of a newer version, and for none."""
    return VERDICTS[name].worth if name in VERDICTS else 0


def is_useless(name: str) -> bool:
    """Whether the result of such a run is of no use."""
    return worth_of(name) < 0


def status_words(status: str, name: str) -> str:
    """How a run ended, and what came of it: `completed · nothing learnt`."""
    ended = _(one_line(status))
    if not name or status not in ("completed", "stopped"):
        return ended
    return f"{ended} · {label_of(name).lower()}"


def headline(verdict: Verdict) -> str:
    """Its label, and from where on it holds."""
    if verdict.since_step is None:
        return label_of(verdict.verdict)
    return _("{label} since step {step:,}", label=label_of(verdict.verdict), step=verdict.since_step)


def verdict_line(verdict: Verdict) -> str:
    """A verdict on one line: its headline and the first sentence of its evidence."""
    first = next(iter(evidence_of(verdict)), "") or means_of(verdict.verdict)
    return _("{headline}: {evidence}", headline=headline(verdict), evidence=first)


def evidence_of(verdict: Verdict) -> list[str]:
    """The sentences of evidence."""
    return [one_line(said, LONGEST) for said in verdict.evidence if isinstance(said, str) and said.strip()]


def advice_of(verdict: Verdict) -> list[Advice]:
    """What is advised; what is damaged is left out."""
    found = []
    for item in verdict.advice:
        words = item.get("words") if isinstance(item, Mapping) else None
        if not isinstance(words, str) or not words.strip():
            continue
        values = item.get("values")
        kept = {str(path): value for path, value in values.items()} if isinstance(values, Mapping) else {}
        found.append(Advice(one_line(words, LONGEST), kept))
    return found


def ways_of(verdict: Verdict) -> list[Advice]:
    """What is advised that settings can do."""
    return [item for item in advice_of(verdict) if item.values]


def confidence_words(confidence: float | None) -> str:
    """How sure a verdict is."""
    if confidence is None:
        return _("nobody can say how sure this is")
    share = f"{100 * confidence:.0f} %"
    if confidence >= VERY_SURE:
        return _("very sure: {share} of draws say the same", share=share)
    if confidence >= SURE:
        return _("fairly sure: {share} of draws say the same", share=share)
    return _("not sure: {share} of draws say the same", share=share)
