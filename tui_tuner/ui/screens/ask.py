"""A text of the user's own, and what the model of a run finds in it. A helper process loads the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static, TextArea

from tui_tuner.config.advice import words_of
from tui_tuner.config.kinds import TaskKind
from tui_tuner.errors import TunerError
from tui_tuner.evaluation.asked import LARGEST, read_text
from tui_tuner.evaluation.inside import read_shown
from tui_tuner.evaluation.samples import Shown
from tui_tuner.locales import _
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import one_line, sanitize
from tui_tuner.ui.screens.base import TunerScreen
from tui_tuner.ui.screens.dialogs import AskPath
from tui_tuner.ui.screens.using.coming import fetching_words, loading_words
from tui_tuner.ui.widgets.judged.fitted import Fitted
from tui_tuner.ui.widgets.judged.pair import judged_parts
from tui_tuner.ui.words import block, safe

_BEGINNING = 600  # characters of a file that are shown


class Doing(Message):
    """How far the helper is."""

    def __init__(self, turn: int, words: str) -> None:
        super().__init__()
        self.turn, self.words = turn, words


class Answered(Message):
    """What the model said, or why it did not."""

    def __init__(self, turn: int, shown: Shown | None, error: str) -> None:
        super().__init__()
        self.turn, self.shown, self.error = turn, shown, error


class AskScreen(TunerScreen):
    """Text, question, answer."""

    HELP_TEXT = _(
        "Type or paste a text, or take one from a file with F3. F5 asks the model of the best checkpoint.\n"
        "The first answer takes longest: the model is loaded, and kept until you leave this screen.\n"
        "What was found stands in [brackets], with its label behind; the rest of a long text is left out.\n"
        "The same on the command line: tui-tuner ask."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f5", "ask", _("Ask"), priority=True),
        Binding("f3", "file", _("Text of a file"), priority=True),
        Binding("f2", "typed", _("Type a text"), priority=True),
        Binding("escape", "back", _("Back"), priority=True),
        Binding("escape", "cancel", _("Cancel"), priority=True),
    ]
    DEFAULT_CSS = """
    AskScreen #asked { height: auto; border-top: solid $line; padding: 0 1; border-title-color: $dim; }
    AskScreen #question { width: 1fr; margin-bottom: 1; }
    AskScreen TextArea { height: 6; border: none; padding: 0 1; background: $panel; }
    AskScreen TextArea:focus { border: none; }
    AskScreen.-tall TextArea { height: 12; }
    AskScreen #file { height: auto; max-height: 6; display: none; }
    AskScreen.-file TextArea { display: none; }
    AskScreen.-file #file { display: block; }
    AskScreen #answer { height: 1fr; }
    AskScreen #status { height: auto; }
    """

    def __init__(self, folder: RunFolder, kind: TaskKind | None) -> None:
        super().__init__()
        self.folder = folder
        self._question = kind is not None and kind.question
        self._text: str | None = None  # of the file that was chosen
        self._request: Any = None
        self._turn = 0

    def crumb(self) -> Content:
        return Content.assemble(safe(self.folder.name), ("  ›  ", "$dim"), _("Ask"))

    def body(self) -> ComposeResult:
        with Vertical(id="asked") as box:
            box.border_title = Content(_("Question and text") if self._question else _("Text"))
            if self._question:
                yield Input(placeholder=_("question"), id="question")
            yield TextArea(placeholder=_("the text to look in"), soft_wrap=True)
            yield Static(id="file")
        with VerticalScroll(id="answer", classes="panel") as box:
            box.border_title = Content(_("Answer"))
            yield Static(Content(_("F5 asks.")).stylize("$dim"), id="status")
            yield Fitted(lambda _width: Content(""), id="found")

    def on_mount(self) -> None:
        self.set_focus(self.query_one(Input) if self._question else self.query_one(TextArea))

    def on_unmount(self) -> None:
        if self._request is not None:
            self._request.cancel()
        self.tuner.helper.rest("ask")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        busy = self._request is not None
        if action == "cancel":
            return busy
        if action in ("ask", "back"):
            return not busy
        if action == "typed":
            return self._text is not None
        return True

    # ---- the text ---------------------------------------------------------------------------------------

    @on(TextArea.Changed)
    def _typed(self, event: TextArea.Changed) -> None:
        """Characters that steer a terminal, or that nobody sees, may have been pasted: they are left out."""
        area = event.text_area
        text = area.text
        if sanitize(text) != text:
            area.text = "".join(character for character in text if sanitize(character) == character)
            area.move_cursor(area.document.end)

    def action_file(self) -> None:
        self.app.push_screen(AskPath(_("Text of a file"), _("Read the text from"), ""), self._file_chosen)

    def _file_chosen(self, path: str | None) -> None:
        if not path:
            return
        try:
            text = read_text(path)
        except TunerError as error:
            self._say(words_of(error), "$error")
            return
        self._text = text
        name = _("{path}: {count:,} characters", path=one_line(path, 200), count=len(text))
        beginning = text[:_BEGINNING] + (" …" if len(text) > _BEGINNING else "")
        self.query_one("#file", Static).update(
            Content.assemble((name + "\n", "$accent"), block(beginning).stylize("$dim"))
        )
        self.add_class("-file")
        self._say(_("F5 asks."))
        self.refresh_bindings()
        self.set_focus(self.query_one(Input) if self._question else self.query_one("#answer"))

    def action_typed(self) -> None:
        """Back to the text that is typed."""
        self._text = None
        self.remove_class("-file")
        self.refresh_bindings()
        self.set_focus(self.query_one(TextArea))

    # ---- asking -----------------------------------------------------------------------------------------

    @on(Input.Submitted, "#question")
    def _entered(self) -> None:
        self.action_ask()

    def action_ask(self) -> None:
        if self._request is not None:
            return
        text = self._text if self._text is not None else self.query_one(TextArea).text
        question = self.query_one(Input).value.strip() if self._question else ""
        if self._question and not question:
            self._say(_("Type a question first."), "$warning")
            self.set_focus(self.query_one(Input))
            return
        if not text.strip():
            self._say(_("Type or paste a text first, or take one from a file with F3."), "$warning")
            return
        if len(text.encode("utf-8", "replace")) > LARGEST:
            self._say(_("This text is too long. Paste only the part that matters."), "$warning")
            return
        self._turn += 1
        turn = self._turn
        arguments = {
            "run": str(self.folder.path.resolve()),
            "text": text,
            "question": question,
            "device": "cpu" if self.tuner.training else "auto",  # a run in this process has its device
        }

        def heard(said: Any) -> None:
            self.post_message(Doing(turn, doing_words(said) if isinstance(said, dict) else ""))

        self._request = self.tuner.helper.request("ask", arguments, progress=heard)
        self._say(_("Starting…"))
        self.query_one("#found", Fitted).show(lambda _width: Content(""))
        self.refresh_bindings()
        self._wait(turn, self._request)

    @work(thread=True, group="ask")
    def _wait(self, turn: int, request: Any) -> None:
        from tui_tuner.launch.helper import Cancelled

        shown, error = None, ""
        try:
            shown = read_shown(request.wait())
        except TunerError as problem:
            error = words_of(problem)
        except Cancelled:
            error = ""
        self.post_message(Answered(turn, shown, error))

    def work_failed(self, group: str, words: str) -> None:
        self._done(Answered(self._turn, None, words))

    @on(Doing)
    def _doing(self, message: Doing) -> None:
        if message.turn == self._turn and self._request is not None and message.words:
            self._say(message.words)

    @on(Answered)
    def _done(self, message: Answered) -> None:
        if message.turn != self._turn:
            return
        self._request = None
        self.refresh_bindings()
        shown = message.shown
        if shown is None:
            self._say(message.error or _("Cancelled."), "$error" if message.error else "$warning")
            return
        self._say("")
        self.query_one("#found", Fitted).show(
            lambda width: Content("\n").join(judged_parts(shown, width, judged=False))
        )
        self.set_focus(self.query_one("#answer"))

    def action_cancel(self) -> None:
        if self._request is not None:
            self._request.cancel()
            self._say(_("Cancelling…"))

    def _say(self, words: str, style: str = "$dim") -> None:
        self.query_one("#status", Static).update(block(words).stylize(style))


def doing_words(told: Mapping[str, Any]) -> str:
    """What the helper does now."""
    doing, name = told.get("doing"), told.get("name", "")
    if doing == "fetching":
        return fetching_words(name, told)
    if doing == "loading":
        return loading_words(name, told) if told.get("total") else _("Loading the model…")
    return _("Reading the text…") if doing == "answering" else ""
