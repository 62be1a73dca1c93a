"""Lengths of rows in tokens, and sequences as they lie in a forward pass, as content for the mask viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content

from tui_tuner.ui.i18n import _

if TYPE_CHECKING:
    from tui_tuner.tasks.preview.around import Around
    from tui_tuner.tasks.preview.forward_rows import ForwardRows

_STYLES = {"edge": "bold $accent", "trained": "$trained", "read": "$foreground", "padding": "$dim"}
_LABEL = 23  # cells of a bar's label
_MOST_NAMED = 12


def around_content(around: Around, cells: int) -> Content:
    """A histogram of whole rows in tokens, max_length marked."""
    counts = ", ".join(f"{count:,} {name}" for name, count in around.outcomes.items() if count)
    lines = [Content.assemble((_("Tokens of a row  "), "bold"), (counts, "$dim"))]
    bars = around.bars()
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
            words = _("── max_length {limit:,}: {n:,} rows are longer ──")
            lines.append(Content(words.format(limit=high, n=around.longer)).stylize("$warning"))
    if bars and bars[-1][1] < around.max_length:
        words = _("max_length {limit:,}: no row is longer").format(limit=around.max_length)
        lines.append(Content(words).stylize("$dim"))
    return Content("\n").join(lines)


def forward_content(laid: ForwardRows, row: int, cells: int) -> Content:
    """The forward pass with a row (from 1) in it: █ trained, ░ read, │ an edge, · padding."""
    from tui_tuner.tasks.preview.forward_rows import drawn

    how = _("packed") if laid.packing else _("padded")
    auto = _(" (auto: an example)") if laid.assumed else ""
    title = _("One forward pass, {how}, micro_batch {n}{auto}").format(how=how, n=laid.micro_batch, auto=auto)
    lines = [Content(title).stylize("bold")]
    for line in laid.lines:
        parts = ((text, _STYLES[what]) for text, what in drawn(line, laid.width, cells))
        lines.append(Content.assemble(*parts))
    ones = [one for line in laid.lines for one in line]
    named = ", ".join(f"{'▸' * (one.row == row)}{one.row:,} ({len(one):,})" for one in ones[:_MOST_NAMED])
    more = ", …" if len(ones) > _MOST_NAMED else ""
    lines.append(Content(_("row (tokens): {named}").format(named=named + more)))
    limit = _(" of at most {n:,}").format(n=laid.most) if laid.packing else ""
    words = _("{n:,} tokens{limit}, {padding:,} of padding; █ trained ░ read │ edge · padding")
    lines.append(Content(words.format(n=sum(map(len, ones)), limit=limit, padding=laid.padding)))
    words = _("A run deals its rows out in a random order: the neighbours are an example.")
    lines.append(Content(words).stylize("$dim"))
    return Content("\n").join(lines)
