"""The exact tokens of a prompt, as running text or one per line."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Resize

from tui_tuner.inference.origin import Origin
from tui_tuner.locales import _, _n
from tui_tuner.text import one_line
from tui_tuner.ui.screen_words import make_safe_line
from tui_tuner.ui.screens.screen_base import TunerScreen
from tui_tuner.ui.widgets.chat.token_lines import TokenLines

Token = tuple[int, str, bool]


class TokensScreen(TunerScreen):
    """The tokens that each model gets, one model at a time."""

    HELP_TEXT = _(
        "Every token that the model gets before it answers, as its chat template formats the chat.\n"
        "▏ separates tokens, ‹ › enclose special ones. i shows one token per line, with its id.\n"
        "→ shows the tokens of the next model, if several answer side by side."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f8", "back", _("Back")),
        Binding("i", "ids", _("Ids or text")),
        Binding("right", "turn(1)", _("Next model")),
        Binding("left", "turn(-1)", _("Previous model"), show=False),
    ]

    def __init__(self, models: list[Origin], tokens: list[list[Token]], at: int = 0) -> None:
        super().__init__()
        self._models, self._tokens, self._at = models, tokens, at
        self._ids = False

    def build_crumb(self) -> Content:
        return Content.assemble((_("Chat") + " › ", "$dim"), _("tokens"))

    def compose_body(self) -> ComposeResult:
        yield TokenLines(id="tokens", classes="panel")

    def on_mount(self) -> None:
        self.query_one(TokenLines).focus()
        self.call_after_refresh(self._show_model)

    def on_resize(self, _event: Resize) -> None:
        self.call_after_refresh(self._show_model)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return len(self._models) > 1 if action == "turn" else True

    def _show_model(self) -> None:
        lines, tokens = self.query_one(TokenLines), self._tokens[self._at]
        special = sum(1 for _id, _text, is_special in tokens if is_special)
        count = _n("{n:,} token", "{n:,} tokens", len(tokens), n=len(tokens))
        words = _("{count}, {special} of them special", count=count, special=special)
        lines.border_title = Content.assemble(
            make_safe_line(self._models[self._at].display_label, 50), ("  " + one_line(words), "$dim")
        )
        lines.show_tokens(tokens, self._ids)

    def action_ids(self) -> None:
        """Switch between one token per line, with its id, and running text."""
        self._ids = not self._ids
        self._show_model()

    def action_turn(self, by: int) -> None:
        """Show the tokens of the next or the previous model."""
        self._at = (self._at + by) % len(self._models)
        self._show_model()
