"""Targets, progress and outcome of an export as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.cells import cell_len
from textual.content import Content

from tui_tuner.exporting.kinds import TargetKind
from tui_tuner.locales import _
from tui_tuner.text import format_bytes, format_seconds, one_line
from tui_tuner.ui.screen_words import fit_screen_column, make_safe_line
from tui_tuner.ui.screens.using.helper_jobs import JobState

_LABEL, _SIZE = 16, 10  # cells


def render_target_row(kind: TargetKind, look: Mapping[str, Any] | None) -> Content:
    """Return the line of a target in the list: its name, its size here, and what it is for."""
    if look is None:
        size, style = "…", "$dim"
    elif look.get("problem"):
        size, style = "✗", "$error"
    else:
        size, style = format_bytes(int(look.get("bytes") or 0)), "$dim"
    padded = " " * max(0, _SIZE - cell_len(size)) + size
    return Content.assemble(
        fit_screen_column(_(kind.label), _LABEL), (padded, style), ("  ", ""), (_(kind.purpose), "$dim")
    )


def describe_target(kind: TargetKind, look: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return what is said about the chosen target below the list, and the colour for it."""
    if look is None:
        return _("Looking at what it would take…"), "$dim"
    if look.get("problem"):
        return _("Not from this model: {problem}", problem=str(look["problem"])), "$error"
    notes = [str(note) for note in look.get("notes") or ()]
    return " ".join([_(kind.purpose), *notes]), "$dim"


def describe_export(standing: JobState) -> tuple[str, str]:
    """Return the state of an export as a sentence, and the colour for it."""
    if standing.error:
        return standing.error, "$error"
    if not standing.on:
        return _describe_end(standing)
    if standing.stopping:
        return _("Stopping; what is half written is removed…"), "$warning"
    told = standing.told
    if not told.get("doing"):
        return _("Starting…"), "$dim"
    doing, done, total = one_line(told["doing"], 100), int(told.get("done") or 0), int(told.get("total") or 0)
    if not total:
        return f"{doing}…", "$primary"
    said = format_bytes if told.get("unit") == "bytes" else lambda number: f"{number:,}"
    return _("{doing}: {done} of {total}", doing=doing, done=said(done), total=said(total)), "$primary"


def _describe_end(standing: JobState) -> tuple[str, str]:
    found = standing.found
    if found is None:
        return _("Stopped; nothing is left of it. Press ^r to start again."), "$warning"
    place = str(found.get("address") or found.get("folder") or "")
    size, took = format_bytes(int(found.get("bytes") or 0)), format_seconds(float(found.get("seconds") or 0))
    return _("✓ {size} in {time}: {place}", size=size, time=took, place=one_line(place, 300)), "$success"


def render_outcome(standing: JobState, width: int) -> Content:
    """Return what the comparison found, prompt by prompt, and the notes."""
    lines = [make_safe_line(note, 400).stylize("$dim") for note in standing.notes]
    report = (standing.found or {}).get("parity") or {}
    if not report:
        return Content("\n").join(lines)
    if not report.get("checked"):
        return Content("\n").join([*lines, make_safe_line(str(report.get("reason")), 300)])
    greedy = _("{equal} of {asked} greedy answers equal", equal=int(report.get("greedy_equal_answers") or 0),
               asked=int(report.get("greedy_answers") or 0))  # fmt: skip
    lines += [
        make_safe_line(_("Loaded by {program}", program=str(report.get("program"))), 200),
        Content(
            _("{count:,} tokens differ", count=int(report.get("token_differences") or 0))
            + (f" · {greedy}" if report.get("greedy_answers") else "")
        ),
        Content(
            _("largest logit difference {difference:.2g} · same top token at {share:.2%} · KL {kl:.2g}",
              difference=float(report.get("largest_logit_difference") or 0),
              share=float(report.get("top_1_agreement") or 0), kl=float(report.get("mean_kl") or 0))
        ),
    ]  # fmt: skip
    for one in report.get("prompts") or ():
        mark = ("✗ ", "$error") if one.get("greedy_equal") is False else ("✓ ", "$success")
        lines.append(Content.assemble(mark, make_safe_line(str(one.get("text")), max(20, width - 3))))
    return Content("\n").join(lines)
