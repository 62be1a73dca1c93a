"""Format inspections, previews and masks as lines for a terminal; text from files is sanitised here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from tui_tuner.data.ledger import Ledger
from tui_tuner.locales import N_, _, _n
from tui_tuner.text import mark_blanks, one_line, sanitize

if TYPE_CHECKING:
    from tui_tuner.data.preview import Inspection, MaskToken, MaskView, Preview

TRAINED = "reverse green"
UNTRAINED = "dim"


def format_detections(detections: list[dict[str, Any]]) -> list[str]:
    """Describe each format that was found, with its columns."""
    lines = []
    for item in detections:
        columns = ", ".join(f"{role}: {one_line(name, 40)}" for role, name in item["columns"].items())
        sure = _("chosen") if item["chosen"] else _("{share:.0%} sure", share=item["confidence"])
        lines.append(f"{_name_files(item)}: {item['format']}, {sure}: {item['why']}")
        lines.append(f"  {columns}")
        # Unused columns may be the ones that the user meant, so they are always shown.
        if item["unused"]:
            names = ", ".join(one_line(name, 40) for name in item["unused"][:12])
            lines.append("  " + _("not used: {columns}", columns=names))
    return lines


def _name_files(item: dict[str, Any]) -> str:
    file, others = one_line(item["file"]), item["files"] - 1
    if others < 1:
        return file
    return _n(
        "{file} (and {count:,} more file)",
        "{file} (and {count:,} more files)",
        others,
        file=file,
        count=others,
    )


def format_ledger(ledger: Ledger) -> list[str]:
    """List the ledger with its reasons and a few samples."""
    lines = [f"{ledger.read:>12,}  {_('rows read')}"]
    for outcome, count in ledger.outcomes.items():
        if not count:
            continue
        lines.append(f"{count:>12,}  {_(outcome)}")
        # Two samples are enough to recognise a problem, and keep the list on a screen.
        for reason in ledger.list_reasons(outcome):
            lines.append(f"{reason.count:>16,}  {one_line(_(reason.reason))}")
            for sample in reason.samples[:2]:
                lines.append(f"{'':18}{sample['origin']}  {one_line(sample['text'], 80)}")
    for step in ledger.list_steps():
        lines.append(f"{step.count:>12,}  {one_line(_(step.reason))}")
    return lines


def format_inspection(found: Inspection) -> list[str]:
    """List the lines that `data inspect` prints."""
    lines = [*format_detections(found.detections), "", *format_ledger(found.ledger), ""]
    of_rows = N_("Length of a row: {mean:,.0f} characters on average, {longest:,} at most")
    of_answers = N_("Length of an answer: {mean:,.0f} characters on average, {longest:,} at most")
    for words, lengths in ((of_rows, found.lengths), (of_answers, found.answer_lengths)):
        if lengths.count:
            lines.append(_(words, mean=lengths.total / lengths.count, longest=lengths.longest))
    if found.labels:
        shown = ", ".join(
            f"{one_line(name, 30)} {count:,}" for name, count in list(found.labels.items())[:12]
        )
        lines.append(_("Labels: {labels}", labels=shown))
    return lines + [sanitize(note) for note in found.notes]


def format_preview(found: Preview) -> list[str]:
    """List the lines that `data preview` prints."""
    lines = format_detections(found.detections)
    for row in found.rows:
        lines += ["", row.origin + (f"  {one_line(row.problem)}" if row.problem else "")]
        lines += format_record(row.record if row.record is not None else row.values)
    return lines + [sanitize(note) for note in found.notes]


def format_record(shown: dict[str, Any]) -> list[str]:
    """List the turns of a record, or the values of a row."""
    turns = [turn for key in ("messages", "chosen", "rejected") for turn in _format_turns(shown, key)]
    plain = [
        f"  {one_line(key, 30)}: {one_line(mark_blanks(value), 200)}"
        for key, value in shown.items()
        if key != "kind"
    ]
    return turns or plain


def _format_turns(shown: dict[str, Any], key: str) -> list[str]:
    prefix = "" if key == "messages" else f"{key} "
    lines = []
    for turn in shown.get(key) or []:
        if isinstance(turn, dict) and "role" in turn:
            said = turn.get("content") or turn.get("tool_calls") or ""
            if turn.get("reasoning"):
                key, thought = turn.get("reasoning_key", ""), one_line(turn["reasoning"], 200)
                lines.append(f"  {prefix}{one_line(turn['role'], 20)}, {one_line(key, 20)}: {thought}")
            lines.append(f"  {prefix}{one_line(turn['role'], 20)}: {one_line(mark_blanks(said), 200)}")
    return lines


def format_mask(view: MaskView) -> list[Text]:
    """List the lines that `data mask` prints: trained tokens in colour and between marks."""
    head = Text(f"{view.origin}: {_(view.outcome)}" + (f" ({one_line(view.reason)})" if view.reason else ""))
    # A row that teaches a class or a tag has no trained tokens, so a share of 0 % would mislead.
    trained = sum(token.trained for token in view.tokens)
    said = {"tokens": len(view.tokens), "trained": trained}
    if view.teaches and not trained:
        sums = _("{tokens:,} tokens are read", **said)
    elif view.tokens:
        share = trained / len(view.tokens)
        sums = _(
            "{tokens:,} tokens, {trained:,} trained ({share:.0%}); trained ones between ‹ and ›",
            share=share,
            **said,
        )
    else:
        sums = _("{tokens:,} tokens, {trained:,} trained; trained ones between ‹ and ›", **said)
    lines = [head, Text(sums), *(Text(sanitize(words)) for words in view.teaches)]
    piece, line, on, weight = 0, Text(), False, 1.0
    for token in view.tokens:
        if token.piece != piece:
            lines += [line, Text(_("── piece {number} ──", number=token.piece + 1))]
            piece, line, on = token.piece, Text(), False
        if on and token.trained and token.weight != weight:
            line.append("›")
            on = False
        if token.trained != on:
            line.append(("‹" + format_weight(token.weight)) if token.trained else "›")
            on, weight = token.trained, token.weight
        text = format_token(token)
        style = TRAINED if token.trained else UNTRAINED
        line.append(text, f"{style} bold magenta" if token.special else style)
        # Break the line where the text has one, so that a long chat can be read.
        if text.endswith("\u21b5"):
            lines.append(line)
            line = Text()
    if on:
        line.append("›")
    return [*lines, line, *(Text(sanitize(note)) for note in view.all_notes)]


def format_weight(weight: float) -> str:
    """Write the weight of tokens before them; nothing for 1."""
    return "" if weight == 1 else f"×{weight:g} "


def format_token(token: MaskToken) -> str:
    """Write a token on one line, with symbols for newlines and tabs."""
    return one_line(mark_blanks(token.shown).replace("\t", "\u21e5"))
