"""A bar that compares a run's memory with a GPU's, one stretch per part, and a list of the parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content

from tui_tuner.locales import _
from tui_tuner.ui.screen_words import fit_screen_column

if TYPE_CHECKING:
    from tui_tuner.planning.estimate import Estimate, Row
    from tui_tuner.planning.gpus import Card

# Each part has a pattern, so that parts can be distinguished without colour.
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


def sort_memory_parts(found: Estimate) -> list[Row]:
    """Return the parts of the total on the device, in the order of the bar."""
    order = {name: index for index, name in enumerate(PARTS)}
    return sorted(found.rows, key=lambda row: (order.get(row.name, len(order)), -row.gib))


def draw_memory_bar(found: Estimate, card: Card | None, width: int) -> Content:
    """Draw the bar in `width` cells; its width is the GPU's memory, or the run's if that is more."""
    whole = max(found.device, card.usable if card else 0.0)
    if whole <= 0 or width < 4:
        return Content("")
    ends, total, pieces = [], 0.0, sort_memory_parts(found)
    for row in pieces:
        total += row.gib
        # Ends are rounded, not lengths, so that rounding errors do not add up.
        ends.append(round(total / whole * width))
    stretches: list[tuple[str, str]] = []
    before = 0
    for row, end in zip(pieces, ends, strict=True):
        sign, colour = PARTS.get(row.name, OTHER)
        stretches.append((sign * (end - before), colour))
        before = max(before, end)
    stretches.append(("·" * (width - before), "$line"))
    content = Content.assemble(*(stretch for stretch in stretches if stretch[0]))
    if card and card.usable < found.device:  # mark the end of the GPU's memory
        edge = min(width - 1, round(card.usable / whole * width))
        content = Content.assemble(content[:edge], ("▏", "bold $error"), content[edge + 1 :])
    return content


def draw_memory_breakdown(found: Estimate, width: int) -> Content:
    """List the parts and their totals, one per line."""
    lines = []
    for row in sort_memory_parts(found):
        if row.gib < LEAST:
            continue
        sign, colour = PARTS.get(row.name, OTHER)
        lines.append(
            Content.assemble(
                (sign, colour), " ", fit_screen_column(_(row.name), width - 14), f"{row.gib:8.2f} GiB"
            )
        )
    small = sum(row.gib for row in found.rows if row.gib < LEAST)
    if small >= LEAST:
        name = fit_screen_column(_("smaller parts"), width - 14)
        lines.append(Content.assemble(OTHER, " ", name, f"{small:8.2f} GiB"))
    for name, gib in ((_("on the device"), found.device), (_("between steps"), found.static)):
        lines.append(Content.assemble("  ", (fit_screen_column(name, width - 14), "$dim"), f"{gib:8.2f} GiB"))
    return Content("\n").join(lines)
