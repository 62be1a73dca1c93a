"""A plan in words and lines for the plan screen; each line with the settings it would change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from textual.content import Content

from tui_tuner.locales import _
from tui_tuner.planning.range_test import SOURCE, RangeTest, evaluate, plot
from tui_tuner.planning.words import duration_lines, rate_words
from tui_tuner.text import listed, one_line
from tui_tuner.ui.planlook import Look
from tui_tuner.ui.words import column, plain_value, safe

LABEL = 23  # cells of a lever's name


def lever_title() -> Content:
    """What stands above the levers."""
    return Content(f"{column(_('change'), LABEL)}{_('GiB'):>7}{_('time'):>7}").stylize("$dim")


@dataclass(frozen=True)
class Offer:
    """A line of a list, more words about it, and the settings it stands for (empty if it is only said)."""

    line: Content
    words: Content = field(default_factory=lambda: Content(""))
    values: dict[str, Any] = field(default_factory=dict)


def verdict(look: Look) -> Content:
    """Whether it fits, where its peak is and how sure that is."""
    found, fitted = look.estimate, look.plan.fit
    mark = ("✓ ", "$success") if fitted.fits else ("✗ ", "$error")
    parts: list[Content | str | tuple[str, str]] = [mark, (one_line(fitted.sentence(), 300), "bold")]
    said = {"phase": _(found.phase), "share": f"{found.band:.0%}"}
    if fitted.fits:
        parts.append(("  " + _("most of it in: {phase}, give or take {share}", **said), "$dim"))
    else:
        parts.append(("  " + _("give or take {share}", share=said["share"]), "$dim"))
    return Content.assemble(*parts)


def footing(look: Look, traced: str = "") -> Content:
    """What the memory figures rest on, beside the formulas: doubts, measurements, a trace."""
    found = look.estimate
    lines = []
    if not found.verified:
        why = one_line(found.reason, 150)
        lines.append(Content.assemble((_("rough figures:"), "$warning"), (f" {why}", "$dim")))
    lines.append(safe(look.plan.parameters.sentence(), 200).stylize("$dim"))
    lines += [safe(note, 200).stylize("$dim") for note in found.notes]
    if traced:
        lines.append(safe(traced, 200).stylize("$primary"))
    return Content("\n").join(lines)


def lever_offers(look: Look) -> list[Offer]:
    """What saves memory: first the smallest change that makes a misfit fit, then each lever."""
    fitted = look.plan.fit
    offers = []
    if fitted.smallest:
        label = listed([change.label for change in fitted.smallest])
        values = {change.path: change.value for change in fitted.smallest}
        line = Content.assemble((_("Make it fit: {what}", what=label), "bold $success"))
        offers.append(Offer(line, values=values))
    for lever in fitted.levers:
        mark = (" ✓", "$success") if lever.fits and not fitted.fits else ""
        label = column(lever.change.label, LABEL)
        line = Content.assemble(label, f"{lever.saves:7.2f}", f"  ×{lever.time:.2f}", mark)
        offers.append(Offer(line, values={lever.change.path: lever.change.value}))
    return offers


def rule_offers(look: Look) -> list[Offer]:
    """The learning-rate rules; the one in use is marked."""
    rate = look.plan.rate
    offers = []
    if not rate.rule:
        line = Content.assemble(("● ", "$accent"), f"{rate.value:<10.3g}", _("set in the settings"))
        words = Content(_("f here lets auto choose again."))
        offers.append(Offer(line, words, {"training.learning_rate": "auto"}))
    for rule in look.plan.rules:
        used = rule.name == rate.rule
        said = rule.formula if rule.rate is not None else _("needs {what}", what=rule.missing)
        line = Content.assemble(
            ("● ", "$accent") if used else "  ",
            (f"{rate_words(rule):<10}", "" if rule.rate is not None else "$dim"),
            column(_(rule.name), 26),
            safe(said).stylize("$dim"),
        )
        parts: list[Content | str | tuple[str, str]] = [safe(rule.formula)]
        if rule.source:
            parts += ["\n", safe(rule.source)]
        if used:
            parts += ["\n", (_("auto uses this one."), "$accent")]
        values = {} if rule.rate is None else {"training.learning_rate": float(f"{rule.rate:.3g}")}
        offers.append(Offer(line, Content.assemble(*parts), values))
    return offers


def range_offers(test: RangeTest | None) -> list[Offer]:
    """The range test's result with its plot; nothing before there was one."""
    if test is None:
        return []
    found = test.suggestion
    lines = [Content(line) for line in plot(test, 76, 9)] if len(test.rates) > 1 else []
    lines.append(safe(f"{found.why}. {_(SOURCE)}", 150))
    words = Content("\n").join(lines)
    rate = "–" if found.rate is None else f"{found.rate:.2g}"
    line = Content.assemble(
        ("◆ ", "$success"), f"{rate:<10}", column(_("range test"), 26), (one_line(found.why), "$dim")
    )
    values = {} if found.rate is None else {"training.learning_rate": float(rate)}
    return [Offer(line, words, values)]


def curve_words(points: Sequence[tuple[float, float]]) -> Content:
    """The curve of a range test that is still growing: (rate, loss) each."""
    test = evaluate([rate for rate, _loss in points], [loss for _rate, loss in points])
    growing = replace(test, suggestion=replace(test.suggestion, rate=None))
    return Content("\n".join(plot(growing, 76, 9)))


def advice_offers(look: Look) -> list[Offer]:
    """What looks wrong, serious things first, each with its fix."""
    offers = []
    for advice in look.plan.advice:
        mark = ("✗ ", "$error") if advice.serious else ("! ", "$warning")
        fix = "  ".join(f"{path}: {plain_value(value)}" for path, value in (advice.fix or {}).items())
        words = Content.assemble(
            safe(advice.reason),
            "\n" if fix else "",
            (_("f: {fix}", fix=fix), "$accent") if fix else "",
        )
        offers.append(Offer(Content.assemble(mark, safe(advice.text)), words, dict(advice.fix or {})))
    return offers


def time_words(look: Look, width: int = 0) -> Content:
    """Steps, tokens, arithmetic, time and money; what is not known says why."""
    lines = [safe(line) for line in duration_lines(look.plan.duration, look.counted, width)]
    if look.config.hardware.price_per_hour is None:
        money = _("unknown: m asks for the price of an hour")
        lines.append(Content(f"{_('money'):8}{money}").stylize("$dim"))
    if not look.counted.exact:
        lines.append(Content("\n" + _("t tokenises all rows, for exact counts.")).stylize("$dim"))
    return Content("\n").join(lines)
