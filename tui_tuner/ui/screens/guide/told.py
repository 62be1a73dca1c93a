"""The page of the guide as text: what will happen, what may go wrong and the ways out, all settings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from textual.content import Content

from tui_tuner.config.advice import written
from tui_tuner.guiding.proposal import Concern, Proposal, Setting
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.checking import Refusal
from tui_tuner.ui.screens.guide.looking import concern_lines, refusal_lines
from tui_tuner.ui.words import block, column

_FIELDS = 30  # cells of a field with its value


@dataclass(frozen=True)
class Way:
    """A way out that is a setting, and the concern that it is for."""

    words: str
    values: Mapping[str, Any]
    of: str


def ways_of(proposal: Proposal | None) -> list[Way]:
    """Every way out that one key takes, in the order in which they are told."""
    return [
        Way(words, values, concern.message)
        for concern in _in_order(proposal)
        for words, values in concern.fixes
        if values
    ]


def _in_order(proposal: Proposal | None) -> list[Concern]:
    """What stops the run comes first."""
    concerns = proposal.concerns if proposal is not None else ()
    return sorted(concerns, key=lambda concern: not concern.stops)


def page_content(proposal: Proposal | None, refusal: Refusal | None, width: int) -> Content:
    """The page, for so many cells; a sentence while it is worked out."""
    if refusal is None and proposal is None:
        return Content(_("Working out what these answers come to…")).stylize("$dim")
    lines: list[Content] = []
    if refusal is not None:
        lines += [*refusal_lines(refusal), Content("")]
    if proposal is not None:
        lines += _happens(proposal)
        lines += _risks(proposal)
        lines += _settings(proposal, width)
    return Content("\n").join(lines)


def _happens(proposal: Proposal) -> Iterator[Content]:
    yield Content(_("What will happen")).stylize("bold $primary")
    for sentence in proposal.summary:
        yield block(sentence)
    if proposal.cost is None and proposal.summary:
        yield block(_("No price of an hour was given, so it is not counted in money.")).stylize("$dim")
    yield Content("")


def _risks(proposal: Proposal) -> Iterator[Content]:
    concerns = _in_order(proposal)
    if not concerns:
        return
    yield Content(_("What may go wrong, and the way out")).stylize("bold $primary")
    number = 0
    for concern in concerns:
        yield from concern_lines(concern)
        for words, values in concern.fixes:
            if values:
                number += 1
                key = str(number) if number < 10 else "F4"
                yield Content.assemble("  ", (key, "$accent"), " ", block(words))
            else:
                yield Content.assemble("  · ", block(words))
    yield Content("")


def _settings(proposal: Proposal, width: int) -> Iterator[Content]:
    if not proposal.settings:
        return
    yield Content(_("Every setting, and why")).stylize("bold $primary")
    for setting in proposal.settings:
        yield from _setting(setting, width)


def _setting(setting: Setting, width: int) -> Iterator[Content]:
    """The field and its value, and the reason beside it or below."""
    from textwrap import wrap

    head = f"{setting.field} = {one_line(written(_short(setting.value)), 40)}"
    beside = min(44, max(_FIELDS, width // 2 - 4))
    reasons = wrap(one_line(setting.why, 600), max(20, width - beside - 1)) or [""]
    if len(head) > beside:
        yield Content(head)
        head = ""
    for line in reasons:
        yield Content.assemble(column(head, beside), " ", (line, "$dim"))
        head = ""


def _short(value: Any) -> Any:
    """A value; of a path in the working folder what one would type here."""
    here = os.getcwd().rstrip("/") + "/"
    return value.removeprefix(here) if isinstance(value, str) else value
