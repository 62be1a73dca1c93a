"""What `data mask` prints below the tokens of a row: its forward pass, and the lengths of the rows around."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from tui_tuner.locales import _

if TYPE_CHECKING:
    from tui_tuner.tasks.preview.around import Around
    from tui_tuner.tasks.preview.forward_rows import ForwardRows

_CELLS = 76
_BAR = 44
_STYLES = {"edge": "bold", "trained": "green", "read": "", "padding": "dim"}
_MOST_NAMED = 12


def forward_lines(laid: ForwardRows, row: int) -> list[Text]:
    """The forward pass as it lies in memory: █ trained, ░ read, │ an edge, · padding."""
    from tui_tuner.tasks.preview.forward_rows import drawn, sums

    lines = [Text(), Text(_heading(laid))]
    for line in laid.lines:
        lines.append(
            Text.assemble(*((text, _STYLES[what]) for text, what in drawn(line, laid.width, _CELLS)))
        )
    ones = [one for line in laid.lines for one in line]
    named = [f"{'▸' * (one.row == row)}{one.row:,} ({len(one):,})" for one in ones[:_MOST_NAMED]]
    named += ["…"] if len(ones) > _MOST_NAMED else []
    lines.append(Text(_("row (tokens): {rows}", rows=", ".join(named))))
    lines.append(Text(sums(laid)))
    lines.append(Text(_("A run deals its rows out in a random order: the neighbours are an example.")))
    return lines


def _heading(laid: ForwardRows) -> str:
    size = laid.micro_batch
    if laid.packing and laid.assumed:
        return _("One forward pass, packed, micro_batch {size} (auto: an example):", size=size)
    if laid.packing:
        return _("One forward pass, packed, micro_batch {size}:", size=size)
    if laid.assumed:
        return _("One forward pass, padded, micro_batch {size} (auto: an example):", size=size)
    return _("One forward pass, padded, micro_batch {size}:", size=size)


def around_lines(around: Around) -> list[Text]:
    """Trained share and a histogram of whole rows in tokens, max_length marked."""
    last = around.first + around.rows - 1
    counts = ", ".join(f"{count:,} {_(name)}" for name, count in around.outcomes.items() if count)
    lines = [
        Text(),
        Text(_("Rows {first:,} to {last:,}: {counts}", first=around.first, last=last, counts=counts)),
        Text(
            _(
                "{tokens:,} tokens, {trained:,} trained ({share:.0%})",
                tokens=around.tokens,
                trained=around.trained,
                share=around.share,
            )
        ),
    ]
    bars = around.bars()
    most = max((count for _low, _high, count in bars), default=0)
    for low, high, count in bars:
        bar = "█" * round(count / most * _BAR) or ("▏" if count else "")
        lines.append(Text(f"{low + 1:>7,}–{high:<7,} {count:>6,} {bar}"))
        if high == around.max_length:
            edge = _(
                "── max_length {max_length:,}: {rows:,} rows are longer ──",
                max_length=high,
                rows=around.longer,
            )
            lines.append(Text(f"{'':15} {edge}"))
    if bars and bars[-1][1] < around.max_length:
        edge = _("max_length {max_length:,}: no row is longer", max_length=around.max_length)
        lines.append(Text(f"{'':15} {edge}"))
    return lines
