"""The text of the guide's last page: what will happen, problems with their fixes, all settings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from textual.content import Content

from tui_tuner.config.advice import write_shell_value
from tui_tuner.guiding.proposal import Concern, Proposal, Setting
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.screen_words import fit_screen_column, make_safe_block
from tui_tuner.ui.screens.guide.data_findings import format_concern_lines, format_refusal_lines
from tui_tuner.ui.start_checking import Refusal

_FIELDS = 30  # cells of a field with its value


@dataclass(frozen=True)
class NumberedFix:
    """A fix that sets fields, and the message of the concern that it is for."""

    words: str
    values: Mapping[str, Any]
    of: str


def list_page_fixes(proposal: Proposal | None) -> list[NumberedFix]:
    """Return the fixes that have a key, in the order of the page."""
    return [
        NumberedFix(words, values, concern.message)
        for concern in _sort_concerns(proposal)
        for words, values in concern.fixes
        if values
    ]


def _sort_concerns(proposal: Proposal | None) -> list[Concern]:
    """Return the concerns, those that stop the run first."""
    concerns = proposal.concerns if proposal is not None else ()
    return sorted(concerns, key=lambda concern: not concern.stops)


def render_page(proposal: Proposal | None, refusal: Refusal | None, width: int) -> Content:
    """Return the page for a width in cells; a sentence while there is neither proposal nor refusal."""
    if refusal is None and proposal is None:
        return Content(_("Working out the settings for these answers…")).stylize("$dim")
    lines: list[Content] = []
    if refusal is not None:
        lines += [*format_refusal_lines(refusal), Content("")]
    if proposal is not None:
        lines += _render_summary(proposal)
        lines += _render_risks(proposal)
        lines += _render_settings(proposal, width)
    return Content("\n").join(lines)


def _render_summary(proposal: Proposal) -> Iterator[Content]:
    yield Content(_("What will happen")).stylize("bold $primary")
    for sentence in proposal.summary:
        yield make_safe_block(sentence)
    if proposal.cost is None and proposal.summary:
        yield make_safe_block(_("Set the price of an hour to see the cost.")).stylize("$dim")
    yield Content("")


def _render_risks(proposal: Proposal) -> Iterator[Content]:
    concerns = _sort_concerns(proposal)
    if not concerns:
        return
    yield Content(_("Possible problems and their fixes")).stylize("bold $primary")
    number = 0
    for concern in concerns:
        yield from format_concern_lines(concern)
        for words, values in concern.fixes:
            if values:
                number += 1
                # Only nine fixes can have a digit; the others are in the list of F4.
                key = str(number) if number < 10 else "F4"
                yield Content.assemble("  ", (key, "$accent"), " ", make_safe_block(words))
            else:
                yield Content.assemble("  · ", make_safe_block(words))
    yield Content("")


def _render_settings(proposal: Proposal, width: int) -> Iterator[Content]:
    if not proposal.settings:
        return
    yield Content(_("All settings with reasons")).stylize("bold $primary")
    for setting in proposal.settings:
        yield from _render_setting(setting, width)


def _render_setting(setting: Setting, width: int) -> Iterator[Content]:
    """Return a field with its value, and the reason next to it, or below it if the value is long."""
    from textwrap import wrap

    head = f"{setting.field} = {one_line(write_shell_value(_relative_value(setting.value)), 40)}"
    beside = min(44, max(_FIELDS, width // 2 - 4))
    reasons = wrap(one_line(setting.why, 600), max(20, width - beside - 1)) or [""]
    if len(head) > beside:
        yield Content(head)
        head = ""
    for line in reasons:
        yield Content.assemble(fit_screen_column(head, beside), " ", (line, "$dim"))
        head = ""


def _relative_value(value: Any) -> Any:
    """Return a value; a path in the working folder is made relative."""
    here = os.getcwd().rstrip("/") + "/"
    return value.removeprefix(here) if isinstance(value, str) else value
