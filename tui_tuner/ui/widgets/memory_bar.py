"""A bar of a run's memory against a card, one stretch for each part, and the parts by name beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content

from tui_tuner.locales import _
from tui_tuner.ui.words import column

if TYPE_CHECKING:
    from tui_tuner.planning.estimate import Estimate, Row
    from tui_tuner.planning.gpus import Card

# What a part is drawn with: a pattern, so that it is told apart without colour too.
PARTS: dict[str, tuple[str, str]] = {
    "weights": ("█", "$primary"),
    "quantisation constants": ("█", "$primary"),
    "adapters": ("▓", "$accent"),
    "gradients": ("▓", "$accent"),
    "optimizer states": ("▓", "$accent"),
    "activations": ("▒", "$success"),
    "logits and loss": ("▒", "$secondary"),
}
OTHER = ("░", "$dim")
LEAST = 0.005  # GiB; smaller parts are not listed


def parts(found: Estimate) -> list[Row]:
    """The parts of the device's total, in the order of the bar."""
    order = {name: index for index, name in enumerate(PARTS)}
    return sorted(found.rows, key=lambda row: (order.get(row.name, len(order)), -row.gib))


def bar_content(found: Estimate, card: Card | None, width: int) -> Content:
    """The bar in `width` cells. Its whole width is the card, or the run where that wants more."""
    whole = max(found.device, card.usable if card else 0.0)
    if whole <= 0 or width < 4:
        return Content("")
    ends, total, pieces = [], 0.0, parts(found)
    for row in pieces:
        total += row.gib
        ends.append(round(total / whole * width))
    stretches: list[tuple[str, str]] = []
    before = 0
    for row, end in zip(pieces, ends, strict=True):
        sign, colour = PARTS.get(row.name, OTHER)
        stretches.append((sign * (end - before), colour))
        before = max(before, end)
    stretches.append(("·" * (width - before), "$line"))
    content = Content.assemble(*(stretch for stretch in stretches if stretch[0]))
    if card and card.usable < found.device:  # where the card ends
        edge = min(width - 1, round(card.usable / whole * width))
        content = Content.assemble(content[:edge], ("▏", "bold $error"), content[edge + 1 :])
    return content


def breakdown(found: Estimate, width: int) -> Content:
    """A line for each part, and what they come to."""
    lines = []
    for row in parts(found):
        if row.gib < LEAST:
            continue
        sign, colour = PARTS.get(row.name, OTHER)
        lines.append(
            Content.assemble((sign, colour), " ", column(_(row.name), width - 14), f"{row.gib:8.2f} GiB")
        )
    small = sum(row.gib for row in found.rows if row.gib < LEAST)
    if small >= LEAST:
        name = column(_("smaller parts"), width - 14)
        lines.append(Content.assemble(OTHER, " ", name, f"{small:8.2f} GiB"))
    for name, gib in ((_("on the device"), found.device), (_("between steps"), found.static)):
        lines.append(Content.assemble("  ", (column(name, width - 14), "$dim"), f"{gib:8.2f} GiB"))
    return Content("\n").join(lines)
