"""A plan as text for the plan screen: lines, each with the settings that it would change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from textual.content import Content

from tui_tuner.locales import _
from tui_tuner.planning.plan_words import format_duration_lines, format_learning_rate
from tui_tuner.planning.range_suggestion import SOURCE, RangeTest, evaluate_range_curve, plot_range_curve
from tui_tuner.text import join_sentence_items, one_line
from tui_tuner.ui.planlook import PlanPreview
from tui_tuner.ui.screen_words import fit_screen_column, format_plain_value, make_safe_line

LABEL = 23  # cells of a lever's name


def format_lever_title() -> Content:
    """Return the header above the levers."""
    return Content(f"{fit_screen_column(_('change'), LABEL)}{_('GiB'):>7}{_('time'):>7}").stylize("$dim")


@dataclass(frozen=True)
class Offer:
    """A line of a list, an explanation, and the settings that it applies (empty if it is only a note)."""

    line: Content
    words: Content = field(default_factory=lambda: Content(""))
    values: dict[str, Any] = field(default_factory=dict)


def describe_plan_fit(look: PlanPreview) -> Content:
    """Describe whether the run fits, where its memory peaks, and the margin of error."""
    found, fitted = look.estimate, look.plan.fit
    mark = ("✓ ", "$success") if fitted.fits else ("✗ ", "$error")
    parts: list[Content | str | tuple[str, str]] = [mark, (one_line(fitted.describe_fit(), 300), "bold")]
    said = {"phase": _(found.phase), "share": f"{found.band:.0%}"}
    if fitted.fits:
        parts.append(("  " + _("peak in: {phase}, give or take {share}", **said), "$dim"))
    else:
        parts.append(("  " + _("give or take {share}", share=said["share"]), "$dim"))
    return Content.assemble(*parts)


def describe_memory_basis(look: PlanPreview, traced: str = "") -> Content:
    """Describe the basis of the memory figures besides formulas: doubts, measurements, a trace."""
    found = look.estimate
    lines = []
    if not found.verified:
        why = one_line(found.reason, 150)
        lines.append(Content.assemble((_("rough estimate:"), "$warning"), (f" {why}", "$dim")))
    lines.append(make_safe_line(look.plan.parameters.describe_counts(), 200).stylize("$dim"))
    lines += [make_safe_line(note, 200).stylize("$dim") for note in found.notes]
    if traced:
        lines.append(make_safe_line(traced, 200).stylize("$primary"))
    return Content("\n").join(lines)


def list_lever_offers(look: PlanPreview) -> list[Offer]:
    """List what saves memory: first the smallest change that makes the run fit, then each lever."""
    fitted = look.plan.fit
    offers = []
    # Several changes at once, as each alone may not be enough.
    if fitted.smallest:
        label = join_sentence_items([change.label for change in fitted.smallest])
        values = {change.path: change.value for change in fitted.smallest}
        line = Content.assemble((_("Make it fit: {what}", what=label), "bold $success"))
        offers.append(Offer(line, values=values))
    for lever in fitted.levers:
        mark = (" ✓", "$success") if lever.fits and not fitted.fits else ""
        label = fit_screen_column(lever.change.label, LABEL)
        line = Content.assemble(label, f"{lever.saves:7.2f}", f"  ×{lever.time:.2f}", mark)
        offers.append(Offer(line, values={lever.change.path: lever.change.value}))
    return offers


def list_rule_offers(look: PlanPreview) -> list[Offer]:
    """List the learning-rate rules, with a mark at the one in use."""
    rate = look.plan.rate
    offers = []
    if not rate.rule:
        line = Content.assemble(("● ", "$accent"), f"{rate.value:<10.3g}", _("set in the settings"))
        words = Content(_("Press f to reset to auto."))
        offers.append(Offer(line, words, {"training.learning_rate": "auto"}))
    for rule in look.plan.rules:
        used = rule.name == rate.rule
        said = rule.formula if rule.rate is not None else _("needs {what}", what=rule.missing)
        line = Content.assemble(
            ("● ", "$accent") if used else "  ",
            (f"{format_learning_rate(rule):<10}", "" if rule.rate is not None else "$dim"),
            fit_screen_column(_(rule.name), 26),
            make_safe_line(said).stylize("$dim"),
        )
        parts: list[Content | str | tuple[str, str]] = [make_safe_line(rule.formula)]
        if rule.source:
            parts += ["\n", make_safe_line(rule.source)]
        if used:
            parts += ["\n", (_("auto uses this one."), "$accent")]
        # Rounded as it is shown, so that the form does not fill with digits that mean nothing.
        values = {} if rule.rate is None else {"training.learning_rate": float(f"{rule.rate:.3g}")}
        offers.append(Offer(line, Content.assemble(*parts), values))
    return offers


def list_range_offers(test: RangeTest | None) -> list[Offer]:
    """Return the range test's result with its plot; empty before a test."""
    if test is None:
        return []
    found = test.suggestion
    lines = [Content(line) for line in plot_range_curve(test, 76, 9)] if len(test.rates) > 1 else []
    lines.append(make_safe_line(f"{found.why}. {_(SOURCE)}", 150))
    words = Content("\n").join(lines)
    rate = "–" if found.rate is None else f"{found.rate:.2g}"
    line = Content.assemble(
        ("◆ ", "$success"),
        f"{rate:<10}",
        fit_screen_column(_("range test"), 26),
        (one_line(found.why), "$dim"),
    )
    values = {} if found.rate is None else {"training.learning_rate": float(rate)}
    return [Offer(line, words, values)]


def plot_running_curve(points: Sequence[tuple[float, float]]) -> Content:
    """Plot the curve of a running range test; points are (rate, loss)."""
    test = evaluate_range_curve([rate for rate, _loss in points], [loss for _rate, loss in points])
    # A suggestion from half a curve would jump about while it grows.
    growing = replace(test, suggestion=replace(test.suggestion, rate=None))
    return Content("\n".join(plot_range_curve(growing, 76, 9)))


def list_advice_offers(look: PlanPreview) -> list[Offer]:
    """List the problems of the plan, serious ones first, each with its fix."""
    offers = []
    for advice in look.plan.advice:
        mark = ("✗ ", "$error") if advice.serious else ("! ", "$warning")
        fix = "  ".join(f"{path}: {format_plain_value(value)}" for path, value in (advice.fix or {}).items())
        words = Content.assemble(
            make_safe_line(advice.reason),
            "\n" if fix else "",
            (_("f: {fix}", fix=fix), "$accent") if fix else "",
        )
        offers.append(
            Offer(Content.assemble(mark, make_safe_line(advice.text)), words, dict(advice.fix or {}))
        )
    return offers


def describe_plan_time(look: PlanPreview, width: int = 0) -> Content:
    """Describe steps, tokens, arithmetic, time and money; unknown ones with a reason."""
    lines = [make_safe_line(line) for line in format_duration_lines(look.plan.duration, look.counted, width)]
    if look.config.hardware.price_per_hour is None:
        money = _("unknown: press m to set the price per hour")
        lines.append(Content(f"{_('money'):8}{money}").stylize("$dim"))
    if not look.counted.exact:
        lines.append(Content("\n" + _("Press t to tokenise all rows for exact counts.")).stylize("$dim"))
    return Content("\n").join(lines)
