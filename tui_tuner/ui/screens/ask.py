"""Ask a run's model about a text of the user's own. A helper process loads the model."""

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

from tui_tuner.config.advice import format_error_words
from tui_tuner.config.kinds.tasks import TaskKind
from tui_tuner.errors import TunerError
from tui_tuner.evaluation.inside_text import read_shown_sample
from tui_tuner.evaluation.samples import ShownSample
from tui_tuner.evaluation.text_input import LARGEST, read_text_input
from tui_tuner.locales import _
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import one_line, sanitize
from tui_tuner.ui.screen_words import make_safe_block, make_safe_line
from tui_tuner.ui.screens.dialogs import PathDialog
from tui_tuner.ui.screens.screen_base import TunerScreen
from tui_tuner.ui.screens.using.load_progress import describe_fetch_progress, describe_loading
from tui_tuner.ui.widgets.judged.fitted_text import Fitted
from tui_tuner.ui.widgets.judged.pair import draw_judged_parts

_BEGINNING = 600  # characters of a file that are shown


class HelperProgressed(Message):
    """Progress of the helper, as words."""

    def __init__(self, turn: int, words: str) -> None:
        super().__init__()
        self.turn, self.words = turn, words


class AnswerArrived(Message):
    """The model's answer, or the error that replaced it; neither after a cancel."""

    def __init__(self, turn: int, shown: ShownSample | None, error: str) -> None:
        super().__init__()
        self.turn, self.shown, self.error = turn, shown, error


class AskScreen(TunerScreen):
    """A text, a question where the task takes one, and the model's answer."""

    HELP_TEXT = _(
        "Type or paste a text, or read one from a file with F3. F5 asks the model of the best checkpoint.\n"
        "The first answer takes longest: the model is loaded, and stays loaded until you leave this screen.\n"
        "Results are in [brackets], followed by their label; the rest of a long text is left out.\n"
        "On the command line: tui-tuner ask."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f5", "ask", _("Ask"), priority=True),
        Binding("f3", "file", _("Text from a file"), priority=True),
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
        self._rewrites = kind is not None and kind.encoder_decoder
        self._text: str | None = None  # of the file that was chosen
        self._request: Any = None
        self._turn = 0

    def build_crumb(self) -> Content:
        return Content.assemble(make_safe_line(self.folder.name), ("  ›  ", "$dim"), _("Ask"))

    def compose_body(self) -> ComposeResult:
        with Vertical(id="asked") as box:
            box.border_title = Content(_("Question and text") if self._question else _("Text"))
            if self._question:
                yield Input(placeholder=_("question"), id="question")
            words = _("the text to rewrite") if self._rewrites else _("the text to look in")
            yield TextArea(placeholder=words, soft_wrap=True)
            yield Static(id="file")
        with VerticalScroll(id="answer", classes="panel") as box:
            box.border_title = Content(_("Answer"))
            yield Static(Content(_("Press F5 to ask.")).stylize("$dim"), id="status")
            yield Fitted(lambda _width: Content(""), id="found")

    def on_mount(self) -> None:
        self.set_focus(self.query_one(Input) if self._question else self.query_one(TextArea))

    def on_unmount(self) -> None:
        if self._request is not None:
            self._request.cancel()
        # The helper keeps the model loaded between questions; leaving the screen frees its memory.
        self.tuner_app.helper.end_when_idle("ask")

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
    def _remove_control_characters(self, event: TextArea.Changed) -> None:
        """Remove pasted control characters and invisible characters."""
        area = event.text_area
        text = area.text
        if sanitize(text) != text:
            area.text = "".join(character for character in text if sanitize(character) == character)
            # Setting the text puts the cursor at the start, where the user would go on typing before what was
            # pasted.
            area.move_cursor(area.document.end)

    def action_file(self) -> None:
        self.app.push_screen(
            PathDialog(_("Text from a file"), _("Read the text from"), ""), self._load_text_file
        )

    def _load_text_file(self, path: str | None) -> None:
        if not path:
            return
        try:
            text = read_text_input(path)
        except TunerError as error:
            self._show_status(format_error_words(error), "$error")
            return
        self._text = text
        name = _("{path}: {count:,} characters", path=one_line(path, 200), count=len(text))
        beginning = text[:_BEGINNING] + (" …" if len(text) > _BEGINNING else "")
        self.query_one("#file", Static).update(
            Content.assemble((name + "\n", "$accent"), make_safe_block(beginning).stylize("$dim"))
        )
        self.add_class("-file")
        self._show_status(_("Press F5 to ask."))
        self.refresh_bindings()
        self.set_focus(self.query_one(Input) if self._question else self.query_one("#answer"))

    def action_typed(self) -> None:
        """Go back to the typed text."""
        self._text = None
        self.remove_class("-file")
        self.refresh_bindings()
        self.set_focus(self.query_one(TextArea))

    # ---- asking -----------------------------------------------------------------------------------------

    @on(Input.Submitted, "#question")
    def _ask_from_question(self) -> None:
        self.action_ask()

    def action_ask(self) -> None:
        if self._request is not None:
            return
        text = self._text if self._text is not None else self.query_one(TextArea).text
        question = self.query_one(Input).value.strip() if self._question else ""
        if self._question and not question:
            self._show_status(_("Type a question first."), "$warning")
            self.set_focus(self.query_one(Input))
            return
        if not text.strip():
            self._show_status(_("Type or paste a text first, or read one from a file with F3."), "$warning")
            return
        # The limit is in bytes, as for a file. A lone surrogate from a paste must not raise here, hence
        # "replace".
        if len(text.encode("utf-8", "replace")) > LARGEST:
            self._show_status(_("This text is too long. Paste only the part that matters."), "$warning")
            return
        # A cancelled question may still answer. Whatever comes with another turn is dropped.
        self._turn += 1
        turn = self._turn
        arguments = {
            "run": str(self.folder.path.resolve()),
            "text": text,
            "question": question,
            "device": "cpu" if self.tuner_app.is_training else "auto",  # a run in this process has its device
        }

        def post_progress(said: Any) -> None:
            self.post_message(
                HelperProgressed(turn, describe_answering(said) if isinstance(said, dict) else "")
            )

        self._request = self.tuner_app.helper.prepare_request("ask", arguments, progress=post_progress)
        self._show_status(_("Starting…"))
        self.query_one("#found", Fitted).show_drawn(lambda _width: Content(""))
        self.refresh_bindings()
        self._wait_for_answer(turn, self._request)

    @work(thread=True, group="ask")
    def _wait_for_answer(self, turn: int, request: Any) -> None:
        from tui_tuner.launch.helper import Cancelled

        shown, error = None, ""
        try:
            shown = read_shown_sample(request.wait_for_result())
        except TunerError as problem:
            error = format_error_words(problem)
        except Cancelled:
            error = ""
        self.post_message(AnswerArrived(turn, shown, error))

    def work_failed(self, group: str, words: str) -> None:
        self._show_answer(AnswerArrived(self._turn, None, words))

    @on(HelperProgressed)
    def _show_helper_progress(self, message: HelperProgressed) -> None:
        if message.turn == self._turn and self._request is not None and message.words:
            self._show_status(message.words)

    @on(AnswerArrived)
    def _show_answer(self, message: AnswerArrived) -> None:
        if message.turn != self._turn:
            return
        self._request = None
        self.refresh_bindings()
        shown = message.shown
        if shown is None:
            self._show_status(message.error or _("Cancelled."), "$error" if message.error else "$warning")
            return
        self._show_status("")
        self.query_one("#found", Fitted).show_drawn(
            lambda width: Content("\n").join(draw_judged_parts(shown, width, judged=False))
        )
        self.set_focus(self.query_one("#answer"))

    def action_cancel(self) -> None:
        if self._request is not None:
            self._request.cancel()
            self._show_status(_("Cancelling…"))

    def _show_status(self, words: str, style: str = "$dim") -> None:
        self.query_one("#status", Static).update(make_safe_block(words).stylize(style))


def describe_answering(told: Mapping[str, Any]) -> str:
    """Return the helper's progress as words; empty for steps that are not worth showing."""
    doing, name = told.get("doing"), told.get("name", "")
    if doing == "fetching":
        return describe_fetch_progress(name, told)
    if doing == "loading":
        return describe_loading(name, told) if told.get("total") else _("Loading the model…")
    return _("Reading the text…") if doing == "answering" else ""
