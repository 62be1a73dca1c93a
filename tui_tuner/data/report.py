"""Inspections, previews and masks as lines for a terminal; what a file said is sanitised here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from tui_tuner.data.ledger import Ledger
from tui_tuner.text import one_line, sanitize

if TYPE_CHECKING:
    from tui_tuner.data.preview import Inspection, MaskToken, MaskView, Preview

TRAINED = "reverse green"
UNTRAINED = "dim"


def detection_lines(detections: list[dict[str, Any]]) -> list[str]:
    """One line for each format found."""
    lines = []
    for item in detections:
        columns = ", ".join(f"{role}: {one_line(name, 40)}" for role, name in item["columns"].items())
        more = f" (and {item['files'] - 1:,} more files)" if item["files"] > 1 else ""
        sure = "chosen" if item["chosen"] else f"{item['confidence']:.0%} sure"
        lines.append(f"{one_line(item['file'])}{more}: {item['format']}, {sure}: {item['why']}")
        lines.append(f"  {columns}")
        if item["unused"]:
            lines.append(f"  not used: {', '.join(one_line(name, 40) for name in item['unused'][:12])}")
    return lines


def ledger_lines(ledger: Ledger) -> list[str]:
    """The ledger with reasons and one sample each."""
    lines = [f"{ledger.read:>12,}  rows read"]
    for outcome, count in ledger.outcomes.items():
        if not count:
            continue
        lines.append(f"{count:>12,}  {outcome}")
        for reason in ledger.reasons(outcome):
            lines.append(f"{reason.count:>16,}  {one_line(reason.reason)}")
            for sample in reason.samples[:2]:
                lines.append(f"{'':18}{sample['origin']}  {one_line(sample['text'], 80)}")
    for step in ledger.steps():
        lines.append(f"{step.count:>12,}  {one_line(step.reason)}")
    return lines


def inspection_lines(found: Inspection) -> list[str]:
    """What `data inspect` prints."""
    lines = [*detection_lines(found.detections), "", *ledger_lines(found.ledger), ""]
    for what, lengths in (("a row", found.lengths), ("an answer", found.answer_lengths)):
        if lengths.count:
            mean = lengths.total / lengths.count
            lines.append(f"Length of {what}: {mean:,.0f} characters on average, {lengths.longest:,} at most")
    if found.labels:
        shown = ", ".join(
            f"{one_line(name, 30)} {count:,}" for name, count in list(found.labels.items())[:12]
        )
        lines.append(f"Labels: {shown}")
    return lines + [sanitize(note) for note in found.notes]


def preview_lines(found: Preview) -> list[str]:
    """What `data preview` prints."""
    lines = detection_lines(found.detections)
    for row in found.rows:
        lines += ["", row.origin + (f"  {one_line(row.problem)}" if row.problem else "")]
        shown = row.record if row.record is not None else row.values
        turns = [turn for key in ("messages", "chosen", "rejected") for turn in _turns(shown, key)]
        if turns:
            lines += turns
        else:
            lines += [
                f"  {one_line(key, 30)}: {one_line(value, 200)}"
                for key, value in shown.items()
                if key != "kind"
            ]
    return lines + [sanitize(note) for note in found.notes]


def _turns(shown: dict[str, Any], key: str) -> list[str]:
    prefix = "" if key == "messages" else f"{key} "
    lines = []
    for turn in shown.get(key) or []:
        if isinstance(turn, dict) and "role" in turn:
            said = turn.get("content") or turn.get("tool_calls") or ""
            lines.append(f"  {prefix}{one_line(turn['role'], 20)}: {one_line(said, 200)}")
    return lines


def mask_lines(view: MaskView) -> list[Text]:
    """What `data mask` prints: trained tokens in colour and between marks, special tokens visible."""
    head = Text(f"{view.origin}: {view.outcome}" + (f" ({one_line(view.reason)})" if view.reason else ""))
    trained = sum(token.trained for token in view.tokens)
    share = f" ({trained / len(view.tokens):.0%})" if view.tokens else ""
    lines = [
        head,
        Text(f"{len(view.tokens):,} tokens, {trained:,} trained{share}; trained ones between ‹ and ›"),
    ]
    piece, line, on = 0, Text(), False
    for token in view.tokens:
        if token.piece != piece:
            lines += [line, Text(f"── piece {token.piece + 1} ──")]
            piece, line, on = token.piece, Text(), False
        if token.trained != on:
            line.append("‹" if token.trained else "›")
            on = token.trained
        text = shown_token(token)
        style = TRAINED if token.trained else UNTRAINED
        line.append(text, f"{style} bold magenta" if token.special else style)
        if text.endswith("\u21b5"):
            lines.append(line)
            line = Text()
    if on:
        line.append("›")
    return [*lines, line, *(Text(sanitize(note)) for note in view.notes)]


def shown_token(token: MaskToken) -> str:
    """A token on one line; newlines and tabs as pictures."""
    return one_line(token.text.replace("\t", "\u21e5"))
