"""The sampling settings of a chat: a small form with a line of help for each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static

from tui_tuner.errors import UsageError
from tui_tuner.inference.sampling import Sampling
from tui_tuner.locales import _
from tui_tuner.ui.screen_words import make_safe_block, mark_placeholder_value, render_marked_sentence

_FIELDS: tuple[tuple[str, str, str], ...] = (
    (
        "temperature",
        _("Temperature"),
        _("0 always takes the likeliest token; 0.7 varies; above 1, answers become erratic."),
    ),
    (
        "top_p",
        _("Top p"),
        _("Samples from the likeliest tokens whose probabilities add up to this; 1 uses all."),
    ),
    ("top_k", _("Top k"), _("Samples from this number of likeliest tokens; 0 uses all.")),
    (
        "repetition_penalty",
        _("Repetition"),
        _("Above 1, tokens that occurred before become less likely; 1.1 is mild."),
    ),
    ("max_new_tokens", _("Longest answer"), _("In tokens; the answer is cut there.")),
    ("seed", _("Seed"), _("The same number gives the same answer again; empty varies each time.")),
)
_WHOLE = ("top_k", "max_new_tokens", "seed")


class SamplingDialog(ModalScreen[Sampling | None]):
    """Gives the new settings; None if they stay as they are."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss_none", _("Cancel")),
        Binding("up", "app.focus_previous", show=False),
        Binding("down", "app.focus_next", show=False),
    ]
    DEFAULT_CSS = """
    SamplingDialog .row { height: 1; }
    SamplingDialog Label { width: 18; }
    SamplingDialog .row Input { width: 14; }
    SamplingDialog .about { color: $dim; padding: 0 0 0 2; }
    SamplingDialog VerticalScroll { height: auto; max-height: 100%; }
    """

    def __init__(self, now: Sampling) -> None:
        super().__init__()
        self._now = now

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(_("Sampling"))
            with VerticalScroll(can_focus=False):
                for name, label, about in _FIELDS:
                    value = getattr(self._now, name)
                    with Horizontal(classes="row"):
                        yield Label(Content(label))
                        yield Input("" if value is None else f"{value:g}", id=name, select_on_focus=True)
                    yield Static(Content(about), classes="about")
            words = _(
                "{enter} apply  {esc} cancel",
                enter=mark_placeholder_value("Enter"),
                esc=mark_placeholder_value("Esc"),
            )
            yield Static(render_marked_sentence(words, "$dim"), id="told")

    @on(Input.Submitted)
    def _dismiss_with_settings(self) -> None:
        try:
            found = self._read_settings()
        except UsageError as error:
            self.query_one("#told", Static).update(make_safe_block(error.what).stylize("$error"))
            return
        self.dismiss(found)

    def _read_settings(self) -> Sampling:
        values: dict[str, Any] = {}
        for name, label, _about in _FIELDS:
            field = self.query_one(f"#{name}", Input)
            text = field.value.strip()
            try:
                if name == "seed" and not text:
                    values[name] = None
                else:
                    values[name] = int(text) if name in _WHOLE else float(text)
                    # Each value is checked alone, so that the error leads to the field that it came from.
                    replace(Sampling(), **{name: values[name]}).check_ranges()
            except ValueError:
                self.set_focus(field)
                raise UsageError(_("{name}: enter a number.", name=label)) from None
            except UsageError as error:
                self.set_focus(field)
                raise UsageError(_("{name}: {problem}", name=label, problem=error.what)) from None
        return Sampling(**values)

    def action_dismiss_none(self) -> None:
        self.dismiss(None)
