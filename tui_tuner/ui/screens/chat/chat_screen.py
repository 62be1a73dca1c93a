"""The chat screen: one model, or several side by side, in a helper process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Static

from tui_tuner.inference.origin import Origin
from tui_tuner.inference.sampling import Sampling
from tui_tuner.inference.talk import Talk, Turn
from tui_tuner.locales import _
from tui_tuner.ui.screen_words import make_safe_block
from tui_tuner.ui.screens.chat.answer_marks import MarkingScreen
from tui_tuner.ui.screens.chat.chat_members import MembersScreen
from tui_tuner.ui.screens.chat.helper_screen import ANSWER, OPEN, TOKENS
from tui_tuner.ui.screens.chat.kept_talks import keep_talk
from tui_tuner.ui.widgets.chat.prompt_input import PromptInput


class ChatScreen(MarkingScreen, MembersScreen):
    """Columns of turns, a status line, and the prompt field."""

    HELP_TEXT = _(
        "Enter sends, Alt+Enter or ^j starts a new line, ↑ recalls earlier prompts and the run's held-out "
        "prompts. Esc stops an answer; the part so far is kept.\n"
        "Tab goes to the answers: ↑ ↓ choose a turn. r generates another answer to it, e edits its prompt; "
        "earlier versions are kept, ← → switch between them (‹1/2›).\n"
        "g and b save an answer as good or bad, in files next to the run that you can train on; press again "
        "to undo. Of two answers to the same prompt, the good one is saved as the preferred one.\n"
        "F7 adds another model: the base, another checkpoint or run. x removes one."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "answers", _("Answers")),
        Binding("g", "keep(True)", _("Good")),
        Binding("b", "keep(False)", _("Bad")),
        Binding("r", "again", _("Again")),
        Binding("e", "edit", _("Edit")),
        Binding("x", "drop", _("Drop")),
        Binding("left", "version(-1)", _("Previous version"), show=False),
        Binding("right", "version(1)", _("Next version"), show=False),
        Binding("y", "copy", _("Copy the answer"), show=False),
        Binding("f2", "sampling", _("Settings"), priority=True),
        Binding("f6", "system", _("System prompt"), show=False, priority=True),
        Binding("f7", "beside", _("Add model"), priority=True),
        Binding("f8", "tokens", _("Exact tokens"), show=False, priority=True),
        Binding("f9", "plain", _("Plain text or Markdown"), show=False, priority=True),
        Binding("ctrl+n", "anew", _("New chat"), show=False, priority=True),
        # Escape stops a running request and leaves otherwise; `check_action` decides which.
        Binding("escape,ctrl+c", "stop", _("Stop"), key_display="Esc", priority=True),
        Binding("escape", "back", _("Back"), priority=True),
    ]
    DEFAULT_CSS = """
    ChatScreen #columns { height: 1fr; }
    ChatScreen #status { height: auto; max-height: 5; padding: 0 1; }
    """

    def __init__(
        self,
        names: Sequence[str | Origin],
        *,
        talk: Talk | None = None,
        device: str = "auto",
    ) -> None:
        super().__init__(talk or Talk())
        self._names = list(names)
        self._editing: Turn | None = None  # the turn that the next prompt replaces
        self.device = device

    # What it is made of

    def build_crumb(self) -> Content:
        return Content(_("Chat"))

    def compose_body(self) -> ComposeResult:
        yield Horizontal(id="columns")
        yield Static(id="status")
        yield PromptInput()

    def on_mount(self) -> None:
        # While models load, a prompt may be sent already: it is answered after that.
        self.prompt_field.may_send = lambda: self.current_operation not in (ANSWER, TOKENS)
        self.set_focus(self.prompt_field)
        if self._names:
            self.show_status(_("Looking for the model…"))
            self.find_models(self._names, False)
        else:
            self.action_beside()

    def on_unmount(self) -> None:
        keep_talk(self.app, self.talk)

    @property
    def prompt_field(self) -> PromptInput:
        return self.query_one(PromptInput)

    def show_status(self, words: str, style: str = "$dim") -> None:
        content = make_safe_block(words).stylize(style)
        status = self.query_one("#status", Static)
        # The waiting time is shown twice a second; the same words again must not repaint the line.
        if getattr(status, "told", None) != (words, style):
            status.told = (words, style)  # type: ignore[attr-defined]
            status.update(content)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        # Textual asks for bindings before the widgets exist.
        if not self.is_mounted:
            return True
        there = any(column.has_focus for column in self.answer_columns)
        if action in ("keep", "again", "edit", "copy", "version"):
            return there and bool(self.talk.current_turns)
        if action == "answers":
            return not there and bool(self.talk.current_turns)
        if action == "drop":
            return there and len(self.answer_columns) > 1
        if action == "stop":
            # Stopping a load may take long: a second Esc leaves the screen
            return bool(self.current_operation) and not (self._stopping and self.current_operation == OPEN)
        if action == "back":
            return not self.current_operation or self.current_operation == OPEN
        return True

    # Saying something

    @on(PromptInput.Sent)
    async def _send_prompt(self, message: PromptInput.Sent) -> None:
        editing, self._editing = self._editing, None
        if editing is not None:
            self.talk.say_instead(editing, message.text)
        else:
            self.talk.say_prompt(message.text)
        await self._show_turns()
        self.answer_missing()

    @on(PromptInput.Refused)
    def _warn_busy(self) -> None:
        self.show_status(_("The model is still answering. Press Esc to stop it."), "$warning")

    async def _show_turns(self) -> None:
        for column in self.answer_columns:
            # The choice may be a turn of another version, which is no longer shown.
            column.choose_turn(None)
            await column.show_turns(self.talk.current_turns)

    def show_idle(self) -> None:
        """Show the sampling settings and whether there is a system prompt."""
        self.show_status(self._settings_words())

    def _settings_words(self) -> str:
        sampling = self.talk.sampling
        if self._editing is not None:
            return _("Press Enter to replace the prompt, Esc to keep it.")
        system = _("with a system prompt") if self.talk.system else _("no system prompt")
        if sampling.temperature:
            return _("Temperature {value:g} (F2) · {system} (F6)", value=sampling.temperature, system=system)
        return _("Greedy: always the likeliest token (F2) · {system} (F6)", system=system)

    # Keys

    def action_stop(self) -> None:
        """Stop the answer; the part so far is kept."""
        self.stop_request()

    def action_back(self) -> None:
        """Leave editing, then the answers, then the screen."""
        if self._editing is not None:
            self._editing = None
            self.prompt_field.put_text("")
            self.show_idle()
        elif not self.prompt_field.has_focus and self.answer_columns:
            self.set_focus(self.prompt_field)
        else:
            super().action_back()

    def action_answers(self) -> None:
        """Focus the answers, where letters are keys."""
        if self.answer_columns:
            self.set_focus(self.answer_columns[0])

    @on(PromptInput.Paged)
    def _scroll_columns(self, message: PromptInput.Paged) -> None:
        for column in self.answer_columns:
            page = max(1, column.scrollable_content_region.height - 1)
            column.scroll_relative(y=message.by * page, animate=False)

    async def action_again(self) -> None:
        """Generate another answer to the chosen turn, and keep the old one as a version."""
        turn = self._chosen_turn()
        if turn is None or self.current_operation:
            return
        self.talk.ask_again(turn)
        await self._show_turns()
        self.answer_missing()

    def action_edit(self) -> None:
        """Edit the prompt of the chosen turn."""
        turn = self._chosen_turn()
        if turn is None or self.current_operation:
            return
        self._editing = turn
        self.prompt_field.put_text(turn.prompt)
        self.set_focus(self.prompt_field)
        self.show_idle()

    async def action_version(self, by: int) -> None:
        """Switch to another version of the chosen turn, with the turns after it."""
        turn = self._chosen_turn()
        if turn is None or self.current_operation or not self.talk.change_version(turn, by):
            return
        # The other version is another object. It is found as the turn now shown after the same turn as
        # before.
        place = self.talk.current_turns.index(
            next(one for one in self.talk.current_turns if one.before is turn.before)
        )
        for column in self.answer_columns:
            await column.show_turns(self.talk.current_turns)
            column.choose_turn(self.talk.current_turns[place])
        self.answer_missing()

    def _chosen_turn(self) -> Turn | None:
        view = self.active_column.chosen_view if self.active_column else None
        return view.turn if view else None

    async def action_anew(self) -> None:
        """Start a new chat with the same models; pressed again while it is empty, go back to the old one."""
        if self.current_operation == ANSWER:
            self.show_status(_("The model is still answering. Press Esc to stop it."), "$warning")
            return
        if not self.talk.current_turns and self.talk.go_back():
            await self._show_turns()
            self.show_idle()
            return
        if self.talk.current_turns:
            self.talk.begin_new_chat()
            await self._show_turns()
            self.show_status(
                _("New chat. To return to the old one, press ^n again before you send a message.")
            )
        self.set_focus(self.prompt_field)

    async def action_plain(self) -> None:
        """Switch between plain text and Markdown."""
        self.plain = not self.plain
        for column in self.answer_columns:
            await column.show_as(self.plain)

    def action_copy(self) -> None:
        """Send the chosen answer to the terminal's clipboard."""
        reply = self.active_column.chosen_reply if self.active_column else None
        if reply is not None and reply.text:
            self.app.copy_to_clipboard(reply.text)
            self.tuner_app.show_notice(_("Sent to the terminal's clipboard, if the terminal supports it."))

    def action_sampling(self) -> None:
        """Edit the sampling settings."""
        from tui_tuner.ui.screens.chat.sampling import SamplingDialog

        def take_sampling(found: Sampling | None) -> None:
            if found is not None:
                self.talk.sampling = found
                self._rest_unless_busy()

        self.app.push_screen(SamplingDialog(self.talk.sampling), take_sampling)

    def action_system(self) -> None:
        """Edit the system prompt."""
        from tui_tuner.ui.screens.chat.system_prompt import SystemDialog

        def take_system(text: str | None) -> None:
            if text is not None:
                self.talk.system = text
                self._rest_unless_busy()

        self.app.push_screen(SystemDialog(self.talk.system), take_system)

    def _rest_unless_busy(self) -> None:
        if not self.current_operation:
            self.show_idle()

    def action_tokens(self) -> None:
        """Show the exact tokens of the typed prompt, or of the chosen turn."""
        prompt, turn = self.prompt_field.text.strip(), self._chosen_turn()
        if self.current_operation:
            self.show_status(_("The model is still busy. Press Esc to stop it."), "$warning")
        elif not prompt and turn is None:
            self.show_status(_("Type a prompt first; F8 shows its tokens."), "$warning")
        elif self.answer_columns:
            # An edited prompt follows the turn before the one that it replaces, not the last turn of the
            # chat.
            at = self._editing.before if self._editing is not None and prompt else None
            last = at or (self.talk.current_turns[-1] if self.talk.current_turns else None)
            turns = [
                self.talk.build_messages(model, last, prompt)
                if prompt
                else self.talk.build_messages(model, turn)
                for model in self.talk.models
            ]
            self.ask_helper(TOKENS, self.talk.models, self._show_tokens, turns=turns)

    def _show_tokens(self, tokens: list[list[Any]]) -> None:
        from tui_tuner.ui.screens.chat.token_screen import TokensScreen

        self.show_idle()
        models = list(self.talk.models)
        at = next((place for place, column in enumerate(self.answer_columns) if column.has_focus), 0)
        found = [[(int(one[0]), str(one[1]), bool(one[2])) for one in some] for some in tokens]
        self.app.push_screen(TokensScreen(models, found, at))
