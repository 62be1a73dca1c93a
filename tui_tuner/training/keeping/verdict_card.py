"""Add to the cards of a run's final models what is known once the run has ended: the verdict, and scores."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path

from tui_tuner.locales import _
from tui_tuner.runs.events import Evaluation, HeldOutRows, Resolved, RolledBack, RunStarted, Verdict
from tui_tuner.runs.journal import JournalReader
from tui_tuner.runs.scan import scan_journal_lines
from tui_tuner.runs.store import RunFolder
from tui_tuner.runs.view import RunView, fold_view_events
from tui_tuner.runs.wire import decode_event_line
from tui_tuner.training.keeping import answers_card
from tui_tuner.training.keeping.answers_card import (
    add_hub_metrics,
    find_scored_answers,
    format_answers_section,
)
from tui_tuner.training.keeping.model_card import CARD, escape_markdown
from tui_tuner.verdicts.gain import describe_gain, list_gains
from tui_tuner.verdicts.verdict_lines import (
    describe_confidence,
    find_verdict_meaning,
    format_verdict_headline,
    list_verdict_evidence,
)

_READ_AT_ONCE = 4 << 20  # bytes of a journal
_TELLING = (RunStarted, Resolved, RolledBack, Evaluation, HeldOutRows, Verdict)
_BEGIN, _END = "<!-- verdict -->", "<!-- /verdict -->"


def add_verdict(folder: RunFolder) -> None:
    """Write the verdict on an ended run, and the scores of its answers, into the cards of `best` and `last`;
    a failure is ignored.
    """
    view = read_verdict(folder.events_path)
    sections = [format_answers_section(view), format_verdict_section(view)]
    if not any(sections):
        return
    scored = [name for point in find_scored_answers(view) for name in point.metrics]
    for place in (folder.best_path, folder.last_path):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            _put_in(place / CARD, [section for section in sections if section], scored)


def read_verdict(events: Path) -> RunView:
    """Read a journal without its steps: the figures measured, and the verdict on them."""
    view, reader = RunView(), JournalReader(events)
    while block := reader.read_block(_READ_AT_ONCE):
        # Most lines are steps. `scan_journal_lines` leaves their last figure empty, so they are never
        # decoded.
        found = (decode_event_line(figures[-1]) for figures in scan_journal_lines(block) if figures[-1])
        view = fold_view_events(
            view, [event for event in found if event and isinstance(event.body, _TELLING)]
        )
    return view


def format_verdict_section(view: RunView) -> str:
    """Format the verdict and the gain as a section of Markdown; empty if there is neither."""
    found, gains = view.verdict, list_gains(view)
    if found is None and not gains:
        return ""
    lines = [_BEGIN, f"## {_('Verdict')}", ""]
    if found is not None:
        head, sure = (
            escape_markdown(format_verdict_headline(found)),
            escape_markdown(describe_confidence(found.confidence)),
        )
        lines.append(f"**{head}** ({sure}). {escape_markdown(find_verdict_meaning(found.verdict))}".rstrip())
        lines += ["", *(f"- {escape_markdown(said)}" for said in list_verdict_evidence(found)[:1])]
    lines += [f"- {escape_markdown(describe_gain(gain))}" for gain in gains]
    if gains:
        said = _("In brackets: the 95 % interval of the difference, row by row on the same held-out rows.")
        lines += ["", said]
    return "\n".join([*lines, _END])


def _put_in(card: Path, sections: Sequence[str], scored: Sequence[str]) -> None:
    """Insert sections before the one on how to use the model, replacing earlier ones."""
    text = card.read_text(encoding="utf-8")
    for begin, end in ((_BEGIN, _END), (answers_card.BEGIN, answers_card.END)):
        text = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}\n*", "", text, flags=re.DOTALL)
    text = add_hub_metrics(text, scored)
    section = "\n\n".join(sections)
    before, heading, after = text.partition(f"## {_('How to use it')}\n")
    whole = f"{before}{section}\n\n{heading}{after}" if heading else f"{text.rstrip()}\n\n{section}\n"
    # Written to a second file and renamed: a full disk must not cut the card short.
    written = card.with_name(f".{CARD}.new")
    try:
        written.write_text(whole, encoding="utf-8")
        written.replace(card)
    finally:
        written.unlink(missing_ok=True)
