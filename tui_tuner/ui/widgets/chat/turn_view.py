"""A turn of a chat in a column: the prompt, the model's answer, and its figures."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from tui_tuner.inference.origin import Origin
from tui_tuner.inference.talk import Reply, Turn
from tui_tuner.locales import _, _n
from tui_tuner.ui.screen_words import make_safe_block
from tui_tuner.ui.widgets.chat.answer_text import AnswerText

_MOST_SHOWN = 4000  # characters of a prompt


class TurnView(Vertical):
    """A turn with the answer of one model.

    Args:
        context: The model's context length in tokens; None if unknown.
    """

    DEFAULT_CSS = """
    TurnView { height: auto; margin: 0 0 1 0; }
    TurnView .said { height: auto; color: $primary; }
    TurnView .figures { height: auto; color: $dim; }
    TurnView.-silent AnswerText { display: none; }
    """

    def __init__(self, turn: Turn, model: Origin, plain: bool, context: int | None) -> None:
        super().__init__()
        self.turn, self.model = turn, model
        self.context = context
        self._plain = plain
        self._chosen = False
        self._told: tuple[str, str] = ("", "")

    @property
    def reply(self) -> Reply | None:
        """The model's answer so far."""
        return self.turn.replies.get(self.model)

    def compose(self) -> ComposeResult:
        yield Static(self._format_prompt(), classes="said")
        yield AnswerText(self.reply.text if self.reply else "", self._plain)
        yield Static(self._format_figures(), classes="figures")

    def on_mount(self) -> None:
        self.set_class(not (self.reply and self.reply.text), "-silent")

    def set_chosen(self, chosen: bool) -> None:
        """Set whether keys apply to this turn."""
        if chosen != self._chosen:
            self._chosen = chosen
            self._redraw_changed()

    def show_reply(self) -> None:
        """Show the current state of the turn."""
        # Pieces of an answer may arrive before the view is composed, which shows them itself.
        if not self.is_mounted or not self.children:
            return
        reply = self.reply
        if reply is not None and reply.text:
            self.remove_class("-silent")
            self.query_one(AnswerText).set_text(reply.text)
        self._redraw_changed()

    async def show_as(self, plain: bool) -> None:
        """Show the answer as plain text or as Markdown."""
        self._plain = plain
        await self.query_one(AnswerText).show_as(plain)

    def _redraw_changed(self) -> None:
        if not self.children:
            return
        said, figures = self._format_prompt(), self._format_figures()
        # Many pieces arrive each second, and the prompt and the figures rarely change with them.
        told = said.markup, figures.markup
        if told[0] != self._told[0]:
            self.query_one(".said", Static).update(said)
        if told[1] != self._told[1]:
            self.query_one(".figures", Static).update(figures)
        self._told = told

    def _format_prompt(self) -> Content:
        prompt = self.turn.prompt
        shown = prompt[:_MOST_SHOWN] + (" …" if len(prompt) > _MOST_SHOWN else "")
        place, of = self.turn.version_place
        versions = (f"  ‹{place}/{of}›", "$accent") if of > 1 else ("", "")
        return Content.assemble(
            ("▶ " if self._chosen else "› ", "bold $accent"), make_safe_block(shown), versions
        )

    def _format_figures(self) -> Content:
        reply = self.reply
        if reply is None:
            return Content("…")
        if not reply.done:
            words = _n("{n} token", "{n} tokens", reply.tokens, n=reply.tokens) if reply.tokens else "…"
            return Content(words)
        parts: list[Content | tuple[str, str]] = []
        if reply.good is not None:
            parts.append((_("✓ good"), "$success") if reply.good else (_("✗ bad"), "$error"))
        if reply.error:
            parts.append(make_safe_block(reply.error).stylize("$error"))
        elif reply.note:
            parts.append(make_safe_block(reply.note).stylize("$warning"))
        if not reply.text and not reply.error:
            parts.append(Content(_("no text: the model stopped immediately")))
        if reply.first:
            parts += [Content(words) for words in describe_answer_measures(reply, self.context)]
        return Content(" · ").join(Content.assemble(part) for part in parts)


def describe_answer_measures(reply: Reply, context: int | None) -> list[str]:
    """Describe the length and speed of an answer, and the use of the context."""
    words = [_n("{n} token", "{n} tokens", reply.tokens, n=reply.tokens)]
    if reply.rate is not None:
        words.append(_("{rate}/s", rate=f"{reply.rate:.1f}" if reply.rate < 100 else f"{reply.rate:.0f}"))
    words.append(_("first after {seconds} s", seconds=f"{reply.first:.2f}"))
    used = reply.prompt_tokens + reply.tokens
    if context:
        words.append(_("context {used:,}/{context:,}", used=used, context=context))
    else:
        words.append(_("context {used:,}", used=used))
    return words
