"""The chat: one model, or several side by side. They are in a helper process."""

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
from tui_tuner.ui.screens.chat.asking import ANSWER, OPEN, TOKENS
from tui_tuner.ui.screens.chat.marking import Marking
from tui_tuner.ui.screens.chat.members import Members
from tui_tuner.ui.screens.chat.remembered import keep_talk
from tui_tuner.ui.widgets.chat.prompt import PromptInput
from tui_tuner.ui.words import block


class ChatScreen(Marking, Members):
    """Columns of turns, a line that says what is going on, and the field for what is said."""

    HELP_TEXT = _(
        "Enter sends, Alt+Enter or ^j begins a new line, ↑ brings what was said before, and prompts that the "
        "run has held out. Esc stops an answer; what there is of it stays.\n"
        "Tab goes to the answers: ↑ ↓ choose a turn. r has it answered again, e says something else in its "
        "place: what was there stays, ← → go through the versions (‹1/2›).\n"
        "g and b keep an answer as good or bad, in files to train on beside the run; again, they take it "
        "back. Of two answers to the same, the good one is kept as the better one.\n"
        "F7 has another model answer beside: the base, another checkpoint or run. x drops one."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "answers", _("Answers")),
        Binding("g", "keep(True)", _("Good")),
        Binding("b", "keep(False)", _("Bad")),
        Binding("r", "again", _("Again")),
        Binding("e", "edit", _("Edit")),
        Binding("x", "drop", _("Drop")),
        Binding("left", "version(-1)", _("Version before"), show=False),
        Binding("right", "version(1)", _("Next version"), show=False),
        Binding("y", "copy", _("Copy the answer"), show=False),
        Binding("f2", "sampling", _("Settings"), priority=True),
        Binding("f6", "system", _("System prompt"), show=False, priority=True),
        Binding("f7", "beside", _("Beside"), priority=True),
        Binding("f8", "tokens", _("Exact tokens"), show=False, priority=True),
        Binding("f9", "plain", _("Plain text or Markdown"), show=False, priority=True),
        Binding("ctrl+n", "anew", _("New chat"), show=False, priority=True),
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
        self._editing: Turn | None = None  # what is said now comes in the place of this one
        self.device = device

    # What it is made of

    def crumb(self) -> Content:
        return Content(_("Chat"))

    def body(self) -> ComposeResult:
        yield Horizontal(id="columns")
        yield Static(id="status")
        yield PromptInput()

    def on_mount(self) -> None:
        self.field.may_send = lambda: self.busy not in (ANSWER, TOKENS)
        self.set_focus(self.field)
        if self._names:
            self.say(_("Looking for the model…"))
            self.find(self._names, False)
        else:
            self.action_beside()

    def on_unmount(self) -> None:
        keep_talk(self.app, self.talk)

    @property
    def field(self) -> PromptInput:
        """Where one types."""
        return self.query_one(PromptInput)

    def say(self, words: str, style: str = "$dim") -> None:
        content = block(words).stylize(style)
        status = self.query_one("#status", Static)
        if getattr(status, "told", None) != (words, style):
            status.told = (words, style)  # type: ignore[attr-defined]
            status.update(content)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not self.is_mounted:
            return True
        there = any(column.has_focus for column in self.columns)
        if action in ("keep", "again", "edit", "copy", "version"):
            return there and bool(self.talk.turns)
        if action == "answers":
            return not there and bool(self.talk.turns)
        if action == "drop":
            return there and len(self.columns) > 1
        if action == "stop":
            return bool(self.busy) and not (self._stopping and self.busy == OPEN)  # then Esc leaves
        if action == "back":
            return not self.busy or self.busy == OPEN
        return True

    # Saying something

    @on(PromptInput.Sent)
    async def _sent(self, message: PromptInput.Sent) -> None:
        editing, self._editing = self._editing, None
        if editing is not None:
            self.talk.say_instead(editing, message.text)
        else:
            self.talk.say(message.text)
        await self._show_turns()
        self.go_on()

    @on(PromptInput.Refused)
    def _refused(self) -> None:
        self.say(_("It is still answering. Esc stops it."), "$warning")

    async def _show_turns(self) -> None:
        for column in self.columns:
            column.choose(None)
            await column.show(self.talk.turns)

    def rest(self) -> None:
        """Say what there is to say while nothing goes on."""
        self.say(self._settings_words())

    def _settings_words(self) -> str:
        sampling = self.talk.sampling
        if self._editing is not None:
            return _("Enter says this instead; Esc leaves it as it was.")
        system = _("with a system prompt") if self.talk.system else _("no system prompt")
        if sampling.temperature:
            return _("Temperature {value:g} (F2) · {system} (F6)", value=sampling.temperature, system=system)
        return _("Always the likeliest token (F2) · {system} (F6)", system=system)

    # Keys

    def action_stop(self) -> None:
        """End the answer; what there is of it stays."""
        self.stop()

    def action_back(self) -> None:
        """From the answers to the field, from there to the screen below."""
        if self._editing is not None:
            self._editing = None
            self.field.put("")
            self.rest()
        elif not self.field.has_focus and self.columns:
            self.set_focus(self.field)
        else:
            super().action_back()

    def action_answers(self) -> None:
        """To the answers, where letters are keys."""
        if self.columns:
            self.set_focus(self.columns[0])

    @on(PromptInput.Paged)
    def _paged(self, message: PromptInput.Paged) -> None:
        for column in self.columns:
            page = max(1, column.scrollable_content_region.height - 1)
            column.scroll_relative(y=message.by * page, animate=False)

    async def action_again(self) -> None:
        """Another answer to the chosen turn; the one that was there is kept as another version."""
        turn = self._chosen_turn()
        if turn is None or self.busy:
            return
        self.talk.ask_again(turn)
        await self._show_turns()
        self.go_on()

    def action_edit(self) -> None:
        """Say something else in the place of the chosen turn."""
        turn = self._chosen_turn()
        if turn is None or self.busy:
            return
        self._editing = turn
        self.field.put(turn.prompt)
        self.set_focus(self.field)
        self.rest()

    async def action_version(self, by: int) -> None:
        """Another version of the chosen turn, and what came after it."""
        turn = self._chosen_turn()
        if turn is None or self.busy or not self.talk.change_version(turn, by):
            return
        place = self.talk.turns.index(next(one for one in self.talk.turns if one.before is turn.before))
        for column in self.columns:
            await column.show(self.talk.turns)
            column.choose(self.talk.turns[place])
        self.go_on()

    def _chosen_turn(self) -> Turn | None:
        view = self.column.chosen if self.column else None
        return view.turn if view else None

    async def action_anew(self) -> None:
        """A new chat with the same models; pressed again before anything is said, back to the old one."""
        if self.busy == ANSWER:
            self.say(_("It is still answering. Esc stops it."), "$warning")
            return
        if not self.talk.turns and self.talk.go_back():
            await self._show_turns()
            self.rest()
            return
        if self.talk.turns:
            self.talk.begin_anew()
            await self._show_turns()
            self.say(_("A new chat. ^n brings the one before back, as long as nothing is said."))
        self.set_focus(self.field)

    async def action_plain(self) -> None:
        """Answers as the model wrote them, or as Markdown."""
        self.plain = not self.plain
        for column in self.columns:
            await column.show_as(self.plain)

    def action_copy(self) -> None:
        """Send the chosen answer to the terminal's clipboard."""
        reply = self.column.reply if self.column else None
        if reply is not None and reply.text:
            self.app.copy_to_clipboard(reply.text)
            self.tuner.say(_("Sent to the terminal, which keeps it for pasting if it can."))

    def action_sampling(self) -> None:
        """How answers are drawn."""
        from tui_tuner.ui.screens.chat.sampling import SamplingDialog

        def chosen(found: Sampling | None) -> None:
            if found is not None:
                self.talk.sampling = found
                self._rest_unless_busy()

        self.app.push_screen(SamplingDialog(self.talk.sampling), chosen)

    def action_system(self) -> None:
        """What every model is told first."""
        from tui_tuner.ui.screens.chat.system import SystemDialog

        def chosen(text: str | None) -> None:
            if text is not None:
                self.talk.system = text
                self._rest_unless_busy()

        self.app.push_screen(SystemDialog(self.talk.system), chosen)

    def _rest_unless_busy(self) -> None:
        if not self.busy:
            self.rest()

    def action_tokens(self) -> None:
        """The exact tokens of what is typed, or of the chosen turn."""
        prompt, turn = self.field.text.strip(), self._chosen_turn()
        if self.busy:
            self.say(_("It is still busy. Esc stops it."), "$warning")
        elif not prompt and turn is None:
            self.say(_("Type something first: F8 shows the tokens that it becomes."), "$warning")
        elif self.columns:
            at = self._editing.before if self._editing is not None and prompt else None
            last = at or (self.talk.turns[-1] if self.talk.turns else None)
            turns = [
                self.talk.messages(model, last, prompt) if prompt else self.talk.messages(model, turn)
                for model in self.talk.models
            ]
            self.ask(TOKENS, self.talk.models, self._show_tokens, turns=turns)

    def _show_tokens(self, tokens: list[list[Any]]) -> None:
        from tui_tuner.ui.screens.chat.tokens import TokensScreen

        self.rest()
        models = list(self.talk.models)
        at = next((place for place, column in enumerate(self.columns) if column.has_focus), 0)
        found = [[(int(one[0]), str(one[1]), bool(one[2])) for one in some] for some in tokens]
        self.app.push_screen(TokensScreen(models, found, at))
