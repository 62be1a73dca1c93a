"""Draws the lengths of rows and the sequences of a forward pass, for the mask viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content

from tui_tuner.locales import _

if TYPE_CHECKING:
    from tui_tuner.tasks.preview.forward_rows import ForwardRows
    from tui_tuner.tasks.preview.row_window import RowWindow

_STYLES = {"edge": "bold $accent", "trained": "$trained", "read": "$foreground", "padding": "$dim"}
_LABEL = 23  # cells of a bar's label
_MOST_NAMED = 12


def draw_lengths_around(around: RowWindow, cells: int) -> Content:
    """Draw a histogram of row lengths in tokens, with max_length marked."""
    counts = ", ".join(f"{count:,} {_(name)}" for name, count in around.outcomes.items() if count)
    lines = [Content.assemble((_("Tokens of a row") + "  ", "bold"), (counts, "$dim"))]
    bars = around.count_lengths()
    # All rows may have been dropped, so there may be no bars.
    most = max((count for _low, _high, count in bars), default=0)
    for low, high, count in bars:
        bar = "█" * round(count / most * max(1, cells - _LABEL)) or ("▏" if count else "")
        beyond = low >= around.max_length
        lines.append(
            Content.assemble(
                (f"{low + 1:>7,}–{high:<7,} {count:>6,} ", ""), (bar, "$warning" if beyond else "$primary")
            )
        )
        if high == around.max_length:
            words = _(
                "── max_length {max_length:,}: {rows:,} rows are longer ──",
                max_length=high,
                rows=around.count_longer,
            )
            lines.append(Content(words).stylize("$warning"))
    if bars and bars[-1][1] < around.max_length:
        words = _("max_length {max_length:,}: no row is longer", max_length=around.max_length)
        lines.append(Content(words).stylize("$dim"))
    return Content("\n").join(lines)


def draw_forward_content(laid: ForwardRows, row: int, cells: int) -> Content:
    """Draw the forward pass that contains a row (from 1): █ trained, ░ read, │ an edge, · padding."""
    from tui_tuner.tasks.preview.forward_rows import describe_rows, draw_forward_line

    lines = [Content(_make_title(laid)).stylize("bold")]
    for line in laid.lines:
        parts = ((text, _STYLES[what]) for text, what in draw_forward_line(line, laid.width, cells))
        lines.append(Content.assemble(*parts))
    ones = [one for line in laid.lines for one in line]
    named = [f"{'▸' * (one.row == row)}{one.row:,} ({len(one):,})" for one in ones[:_MOST_NAMED]]
    named += ["…"] if len(ones) > _MOST_NAMED else []
    lines.append(Content(_("row (tokens): {rows}", rows=", ".join(named))))
    lines.append(Content(describe_rows(laid)))
    words = _("A run draws its rows in random order: the neighbours are only an example.")
    lines.append(Content(words).stylize("$dim"))
    return Content("\n").join(lines)


def _make_title(laid: ForwardRows) -> str:
    size = laid.micro_batch
    if laid.packing and laid.assumed:
        return _("One forward pass, packed, micro_batch {size} (auto: an example)", size=size)
    if laid.packing:
        return _("One forward pass, packed, micro_batch {size}", size=size)
    if laid.assumed:
        return _("One forward pass, padded, micro_batch {size} (auto: an example)", size=size)
    return _("One forward pass, padded, micro_batch {size}", size=size)
