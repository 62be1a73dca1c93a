"""What came of a run, in the cards of its final models: added at its end, when it is known."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from tui_tuner.locales import _
from tui_tuner.runs.events import Evaluation, HeldOutRows, Resolved, RolledBack, RunStarted, Verdict
from tui_tuner.runs.journal import JournalReader
from tui_tuner.runs.scan import scan
from tui_tuner.runs.store import RunFolder
from tui_tuner.runs.view import RunView, fold
from tui_tuner.runs.wire import decode
from tui_tuner.training.keeping.model_card import CARD, escaped
from tui_tuner.verdicts.gain import gain_words, gains_of
from tui_tuner.verdicts.told import confidence_words, evidence_of, headline, means_of

_READ_AT_ONCE = 4 << 20  # bytes of a journal
_TELLING = (RunStarted, Resolved, RolledBack, Evaluation, HeldOutRows, Verdict)
_BEGIN, _END = "<!-- verdict -->", "<!-- /verdict -->"


def add_verdict(folder: RunFolder) -> None:
    """Write the verdict on a run that has ended into the cards of `best` and `last`, if the disk lets it."""
    view = read_verdict(folder.events)
    section = verdict_section(view)
    if not section:
        return
    for place in (folder.best, folder.last):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            _put_in(place / CARD, section)


def read_verdict(events: Path) -> RunView:
    """A journal without its steps: what was measured, and what was made of it."""
    view, reader = RunView(), JournalReader(events)
    while block := reader.read_block(_READ_AT_ONCE):
        found = (decode(figures[-1]) for figures in scan(block) if figures[-1])
        view = fold(view, [event for event in found if event and isinstance(event.body, _TELLING)])
    return view


def verdict_section(view: RunView) -> str:
    """The verdict and the gain as a section of Markdown; empty where there is neither."""
    found, gains = view.verdict, gains_of(view)
    if found is None and not gains:
        return ""
    lines = [_BEGIN, f"## {_('Verdict')}", ""]
    if found is not None:
        head, sure = escaped(headline(found)), escaped(confidence_words(found.confidence))
        lines.append(f"**{head}** ({sure}). {escaped(means_of(found.verdict))}".rstrip())
        lines += ["", *(f"- {escaped(said)}" for said in evidence_of(found)[:1])]
    lines += [f"- {escaped(gain_words(gain))}" for gain in gains]
    if gains:
        said = _("In brackets: the 95 % interval of the difference, row by row on the same held-out rows.")
        lines += ["", said]
    return "\n".join([*lines, _END])


def _put_in(card: Path, section: str) -> None:
    """Put the section before how the model is used, in the place of an earlier one."""
    text = card.read_text(encoding="utf-8")
    text = re.sub(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}\n*", "", text, flags=re.DOTALL)
    before, heading, after = text.partition(f"## {_('How to use it')}\n")
    whole = f"{before}{section}\n\n{heading}{after}" if heading else f"{text.rstrip()}\n\n{section}\n"
    written = card.with_name(f".{CARD}.new")
    try:
        written.write_text(whole, encoding="utf-8")
        written.replace(card)
    finally:
        written.unlink(missing_ok=True)  # what a full disk left
