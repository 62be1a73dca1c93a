"""Output of `data mask` below the tokens of a row: its forward pass, and the lengths of nearby rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from tui_tuner.locales import _

if TYPE_CHECKING:
    from tui_tuner.tasks.preview.forward_rows import ForwardRows
    from tui_tuner.tasks.preview.row_window import RowWindow

_CELLS = 76
_BAR = 44
_STYLES = {"edge": "bold", "trained": "green", "read": "", "padding": "dim"}
_MOST_NAMED = 12


def format_mask_layout(laid: ForwardRows, row: int) -> list[Text]:
    """Draw the layout of a forward pass: █ trained, ░ read, │ an edge, · padding."""
    from tui_tuner.tasks.preview.forward_rows import describe_rows, draw_forward_line

    lines = [Text(), Text(_format_heading(laid))]
    for line in laid.lines:
        lines.append(
            Text.assemble(
                *((text, _STYLES[what]) for text, what in draw_forward_line(line, laid.width, _CELLS))
            )
        )
    ones = [one for line in laid.lines for one in line]
    named = [f"{'▸' * (one.row == row)}{one.row:,} ({len(one):,})" for one in ones[:_MOST_NAMED]]
    named += ["…"] if len(ones) > _MOST_NAMED else []
    lines.append(Text(_("row (tokens): {rows}", rows=", ".join(named))))
    lines.append(Text(describe_rows(laid)))
    lines.append(Text(_("A run shuffles its rows: the neighbours shown here are only an example.")))
    return lines


def _format_heading(laid: ForwardRows) -> str:
    size = laid.micro_batch
    if laid.packing and laid.assumed:
        return _("One forward pass, packed, micro_batch {size} (auto: an example):", size=size)
    if laid.packing:
        return _("One forward pass, packed, micro_batch {size}:", size=size)
    if laid.assumed:
        return _("One forward pass, padded, micro_batch {size} (auto: an example):", size=size)
    return _("One forward pass, padded, micro_batch {size}:", size=size)


def format_mask_lengths(around: RowWindow) -> list[Text]:
    """Show the trained share and a histogram of row lengths in tokens, with `max_length` marked."""
    last = around.first + around.rows - 1
    counts = ", ".join(f"{count:,} {_(name)}" for name, count in around.outcomes.items() if count)
    lines = [
        Text(),
        Text(_("Rows {first:,} to {last:,}: {counts}", first=around.first, last=last, counts=counts)),
        Text(
            _(
                "{tokens:,} tokens, {trained:,} trained ({share:.0%})",
                tokens=around.count_tokens,
                trained=around.count_trained,
                share=around.trained_share,
            )
        ),
    ]
    bars = around.count_lengths()
    most = max((count for _low, _high, count in bars), default=0)
    for low, high, count in bars:
        # A bar that rounds to nothing still shows that there are rows
        bar = "█" * round(count / most * _BAR) or ("▏" if count else "")
        lines.append(Text(f"{low + 1:>7,}–{high:<7,} {count:>6,} {bar}"))
        if high == around.max_length:
            edge = _(
                "── max_length {max_length:,}: {rows:,} rows are longer ──",
                max_length=high,
                rows=around.count_longer,
            )
            lines.append(Text(f"{'':15} {edge}"))
    if bars and bars[-1][1] < around.max_length:
        edge = _("max_length {max_length:,}: no row is longer", max_length=around.max_length)
        lines.append(Text(f"{'':15} {edge}"))
    return lines
