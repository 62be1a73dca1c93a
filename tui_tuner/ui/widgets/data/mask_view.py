"""A row as tokens. Trained ones are between ▸ and ◂ on a coloured background; special ones are violet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui_tuner.locales import _
from tui_tuner.text import mark_blanks, sanitize
from tui_tuner.ui.datalook import RowMask, Token
from tui_tuner.ui.screen_words import make_safe_line
from tui_tuner.ui.widgets.data.around_view import draw_forward_content, draw_lengths_around

if TYPE_CHECKING:
    from tui_tuner.tasks.preview.forward_rows import ForwardRows
    from tui_tuner.tasks.preview.row_window import RowWindow

_TRAINED = "$trained on $trained-back"
_MOST = 6000  # tokens that are drawn; the title has the total


class MaskView(VerticalScroll):
    """Shows a `RowMask`; `t` draws a bar between tokens."""

    DEFAULT_CSS = "MaskView { height: 1fr; padding: 0 1; } MaskView > Static { height: auto; }"

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id, classes="panel")
        self.borders = False
        self.lengths = False  # shows the lengths of the rows around instead of tokens
        self.mask: RowMask | None = None

    def compose(self) -> ComposeResult:
        yield Static()

    def on_mount(self) -> None:
        self.show_words(Content(_("The tokens of a row appear here.")).stylize("$dim"))

    def show_words(self, words: Content) -> None:
        """Show words instead of tokens."""
        self.mask = None
        self.border_title = Content(_("Tokens"))
        self.query_one(Static).update(words)

    def show_mask(self, mask: RowMask, row: int) -> None:
        """Show the tokens of a row (from 0)."""
        # Toggling the borders shows the same mask again, and must not lose the place.
        if self.mask is not mask:
            self.scroll_home(animate=False)
        self.mask = mask
        count, trained = mask.count, mask.trained
        share = f"{trained / count:.0%}" if count else "–"
        if mask.teaches and not trained:
            title = _("row {row}: {count:,} tokens", row=row + 1, count=count)
        else:
            title = _(
                "row {row}: {count:,} tokens, {trained:,} trained ({share})",
                row=row + 1,
                count=count,
                trained=trained,
                share=share,
            )
        legend = (
            ("  ▸", "$trained"),
            (_("trained"), _TRAINED),
            ("◂ ", "$trained"),
            (" " + _("special"), "$special"),
        )
        self.border_title = Content.assemble(title, *legend)
        parts = [Content.assemble(("→ ", "$accent"), make_safe_line(words)) for words in mask.teaches]
        parts.append(draw_mask_tokens(mask.tokens[:_MOST], self.borders))
        if mask.outcome != "kept":
            words = f"{_(mask.outcome)}: {mask.reason}" if mask.reason else _(mask.outcome)
            parts.insert(0, Content.assemble(("! ", "$warning"), make_safe_line(words)))
        parts += [
            Content.assemble(("· ", "$accent"), make_safe_line(note)).stylize("$dim") for note in mask.notes
        ]
        self.query_one(Static).update(Content("\n").join(parts))

    def show_around(self, around: RowWindow, laid: ForwardRows | None, row: int) -> None:
        """Show the rows around a row (from 0): its forward pass and a histogram of lengths."""
        self.mask = None
        title = _(
            "rows {first:,} to {last:,}: {tokens:,} tokens, {trained:,} trained ({share:.0%})",
            first=around.first,
            last=around.first + around.rows - 1,
            tokens=around.count_tokens,
            trained=around.count_trained,
            share=around.trained_share,
        )
        self.border_title = Content(title)
        cells = max(20, self.scrollable_content_region.width - 1)
        parts = [draw_lengths_around(around, cells)]
        if laid is not None:
            parts.append(draw_forward_content(laid, row + 1, cells))
        self.query_one(Static).update(Content("\n\n").join(parts))
        self.scroll_home(animate=False)


def draw_mask_tokens(tokens: tuple[Token, ...], borders: bool) -> Content:
    """Draw tokens one after the other; a newline is drawn as ↵ and a line break."""
    parts: list[tuple[str, str]] = []
    inside, weight = False, 1.0
    piece = 0
    for token in tokens:
        # A row longer than max_length gives several sequences; no loss reaches over their border.
        if token.piece != piece:
            parts.append((("◂" if inside else "") + "\n", "bold $trained"))
            parts.append((_("── sequence {n} ──", n=token.piece + 1) + "\n", "$accent"))
            inside, piece = False, token.piece
        if token.trained != inside or (inside and token.weight != weight):
            parts.append(("◂" if inside else "", "bold $trained"))
            inside, weight = token.trained, token.weight
            parts.append(("▸" if inside else "", "bold $trained"))
            # Other weights than 1 stand before the tokens that they are for.
            parts.append((f"×{weight:g} " if inside and weight != 1 else "", "$accent"))
        elif borders and parts:
            parts.append(("│", "$dim"))
        text = sanitize(mark_blanks(token.text)).replace("\n", "↵\n").replace("\t", "→   ")
        if borders:
            text = text.replace(" ", "·")
        colour = _TRAINED if token.trained else "$foreground"
        if token.special:
            colour = f"bold $special{' on $trained-back' if token.trained else ''}"
        parts.append((text, colour))
    if inside:
        parts.append(("◂", "bold $trained"))
    return Content.assemble(*parts)
