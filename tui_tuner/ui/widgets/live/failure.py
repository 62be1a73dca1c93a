"""Shows why a run failed before its first step and what to do, in place of a curve."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui_tuner.locales import _
from tui_tuner.text import sanitize
from tui_tuner.ui.screen_words import mark_placeholder_value, render_marked_sentence
from tui_tuner.ui.start_checking import Refusal


class Failure(VerticalScroll):
    """The whole sentence, the advice, and the keys for next steps."""

    DEFAULT_CSS = """
    Failure { height: 1fr; padding: 1 2; border-top: solid $error; border-title-color: $error;
              border-title-align: left; }
    Failure > Static { height: auto; max-width: 100; }
    """

    def compose(self) -> ComposeResult:
        yield Static()

    def on_mount(self) -> None:
        self.border_title = Content(_("The run did not start"))

    def show_refusal(self, refusal: Refusal, resumable: bool) -> None:
        """Show the reason and what can be done."""
        lines = [Content(sanitize(refusal.sentence).strip()).stylize("bold")]
        if refusal.advice:
            lines += [Content(""), Content(sanitize(refusal.advice))]
        back = _("{key} returns to the settings with its values.", key=mark_placeholder_value("Enter"))
        if refusal.field:
            back = _(
                "{key} returns to the settings with its values, at {field}.",
                key=mark_placeholder_value("Enter"),
                field=mark_placeholder_value(refusal.field, "bold"),
            )
        lines += [Content(""), render_marked_sentence(back)]
        if refusal.is_fixable:
            lines.append(
                render_marked_sentence(_("{key} shows the options.", key=mark_placeholder_value("F4")))
            )
        if resumable:
            lines.append(render_marked_sentence(_("{key} tries again.", key=mark_placeholder_value("r"))))
        lines.append(
            render_marked_sentence(
                _("{key} shows the log, with the output of the libraries.", key=mark_placeholder_value("l"))
            )
        )
        self.query_one(Static).update(Content("\n").join(lines))
