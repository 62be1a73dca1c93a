"""What `data mask` prints below the tokens of a row: its forward pass, and the lengths of the rows around."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

if TYPE_CHECKING:
    from tui_tuner.tasks.preview.around import Around
    from tui_tuner.tasks.preview.forward_rows import ForwardRows

_CELLS = 76
_BAR = 44
_STYLES = {"edge": "bold", "trained": "green", "read": "", "padding": "dim"}
_MOST_NAMED = 12


def forward_lines(laid: ForwardRows, row: int) -> list[Text]:
    """The forward pass as it lies in memory: █ trained, ░ read, │ an edge, · padding."""
    from tui_tuner.tasks.preview.forward_rows import drawn

    how = "packed" if laid.packing else "padded"
    auto = " (auto: an example)" if laid.assumed else ""
    lines = [Text(), Text(f"One forward pass, {how}, micro_batch {laid.micro_batch}{auto}:")]
    for line in laid.lines:
        lines.append(
            Text.assemble(*((text, _STYLES[what]) for text, what in drawn(line, laid.width, _CELLS)))
        )
    ones = [one for line in laid.lines for one in line]
    named = ", ".join(f"{'▸' * (one.row == row)}{one.row:,} ({len(one):,})" for one in ones[:_MOST_NAMED])
    lines.append(Text(f"row (tokens): {named}{', …' if len(ones) > _MOST_NAMED else ''}"))
    tokens = sum(map(len, ones))
    limit = f" of at most {laid.most:,}" if laid.packing else ""
    lines.append(
        Text(f"{tokens:,} tokens{limit}, {laid.padding:,} of padding; █ trained ░ read │ edge · padding")
    )
    lines.append(Text("A run deals its rows out in a random order: the neighbours are an example."))
    return lines


def around_lines(around: Around) -> list[Text]:
    """Trained share and a histogram of whole rows in tokens, max_length marked."""
    last = around.first + around.rows - 1
    counts = ", ".join(f"{count:,} {name}" for name, count in around.outcomes.items() if count)
    lines = [
        Text(),
        Text(f"Rows {around.first:,} to {last:,}: {counts}"),
        Text(f"{around.tokens:,} tokens, {around.trained:,} trained ({around.share:.0%})"),
    ]
    bars = around.bars()
    most = max((count for _low, _high, count in bars), default=0)
    for low, high, count in bars:
        bar = "█" * round(count / most * _BAR) or ("▏" if count else "")
        lines.append(Text(f"{low + 1:>7,}–{high:<7,} {count:>6,} {bar}"))
        if high == around.max_length:
            lines.append(Text(f"{'':15} ── max_length {high:,}: {around.longer:,} rows are longer ──"))
    if bars and bars[-1][1] < around.max_length:
        lines.append(Text(f"{'':15} max_length {around.max_length:,}: no row is longer"))
    return lines
