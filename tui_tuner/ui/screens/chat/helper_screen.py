"""Requests of a chat to its helper process, one at a time: load models, answer, list tokens."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from textual import on, work
from textual.message import Message

from tui_tuner.config.advice import format_error_words
from tui_tuner.errors import TunerError
from tui_tuner.inference.origin import Origin
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.screens.screen_base import TunerScreen
from tui_tuner.ui.screens.using.load_progress import describe_fetch_progress

OPEN, ANSWER, TOKENS = "chat_open", "chat_answer", "chat_tokens"
_LOOK = 0.5  # seconds between updates of the waiting time


class PieceArrived(Message):
    """Progress of the helper, or a piece of an answer."""

    def __init__(self, number: int, told: dict[str, Any]) -> None:
        super().__init__()
        self.number, self.told = number, told


class RequestEnded(Message):
    """The end of a request: its result, or the error."""

    def __init__(self, number: int, result: Any, error: str, cancelled: bool) -> None:
        super().__init__()
        self.number, self.result, self.error, self.cancelled = number, result, error, cancelled


class HelperScreen(TunerScreen):
    """A screen with a helper process. Subclasses get pieces of answers (`take_piece`) and errors
    (`show_failure`).
    """

    device = "auto"

    def __init__(self) -> None:
        super().__init__()
        self._request: Any = None
        self._number = 0
        self._doing = ""
        self._began = 0.0
        self._coming = ""  # progress of fetching or loading a model, as words
        self._then: Callable[[Any], None] = lambda _: None
        self._stopping = False

    @property
    def current_operation(self) -> str:
        """The operation that is running now; empty if the helper is idle."""
        return self._doing

    def take_piece(self, told: dict[str, Any]) -> None:
        """Take a piece of an answer."""

    def show_failure(self, doing: str, error: str, cancelled: bool, partly: Any) -> None:
        """Handle a failed or cancelled request; `partly` is the part of its result, if it was cancelled."""

    def show_status(self, words: str, style: str = "$dim") -> None:
        """Show a status line."""

    def on_mount(self) -> None:
        self.set_interval(_LOOK, self._show_wait)

    def on_unmount(self) -> None:
        if self._request is not None:
            self._request.cancel()
        # The helper keeps the models loaded between requests; leaving the chat frees their memory.
        self.tuner_app.helper.end_when_idle(OPEN)

    def ask_helper(
        self,
        operation: str,
        models: list[Origin],
        then: Callable[[Any], None],
        **arguments: Any,
    ) -> None:
        """Start a request; `then` gets its result."""
        # The helper works on one request at a time, and the fields below belong to that one.
        assert not self._doing
        self._number += 1
        number = self._number
        device = "cpu" if self.tuner_app.is_training else self.device  # a run in this process has its device

        def post_progress(said: Any) -> None:
            if isinstance(said, dict):
                self.post_message(PieceArrived(number, said))

        asked = {"models": [model.list_origin_values() for model in models], "device": device, **arguments}
        self._doing, self._then, self._began, self._coming = operation, then, time.monotonic(), ""
        self._stopping = False
        # `request` returns at once; the thread of `_wait_for_result` is the one that blocks.
        self._request = self.tuner_app.helper.prepare_request(operation, asked, progress=post_progress)
        self._show_wait()
        self.refresh_bindings()
        self._wait_for_result(number, self._request)

    def stop_request(self) -> None:
        """Cancel the current request; the answer so far is kept."""
        if self._request is not None and not self._stopping:
            self._stopping = True
            self._request.cancel()
            self._show_wait()
            self.refresh_bindings()

    @work(thread=True, group="chat")
    def _wait_for_result(self, number: int, request: Any) -> None:
        from tui_tuner.launch.helper import Cancelled

        result, error, cancelled = None, "", False
        try:
            result = request.wait_for_result()
        except TunerError as problem:
            error = format_error_words(problem)
        except Cancelled as stopped:
            result, cancelled = stopped.result, True
        self.post_message(RequestEnded(number, result, error, cancelled))

    def work_failed(self, group: str, words: str) -> None:
        if group == "chat":
            self._finish_request(RequestEnded(self._number, None, words, False))

    @on(PieceArrived)
    def _take_progress(self, message: PieceArrived) -> None:
        if message.number != self._number or not self._doing:
            return
        told = message.told
        if "loading" in told:
            done, total = int(told.get("done", 0)), int(told.get("total", 0))
            name = one_line(told["loading"], 40)
            model = f"{name}: {done / total:.0%}" if total else name
            self._coming = _("Loading {model}…", model=model)
        elif "fetching" in told:
            self._coming = describe_fetch_progress(told["fetching"], told)
        elif "piece" in told:
            self._coming = ""
            self.take_piece(told)

    @on(RequestEnded)
    def _finish_request(self, message: RequestEnded) -> None:
        if message.number != self._number or not self._doing:
            return
        # Idle before the callbacks run: they may start the next request.
        doing, self._doing, self._request = self._doing, "", None
        self.refresh_bindings()
        if message.error or message.cancelled:
            self.show_failure(doing, message.error, message.cancelled, message.result)
        else:
            self._then(message.result)

    def _show_wait(self) -> None:
        if not self._doing or not self.is_on_view:
            return
        seconds = f"{time.monotonic() - self._began:.0f}"
        if self._stopping:
            self.show_status(_("Stopping… {seconds} s", seconds=seconds), "$warning")
        elif self._coming:
            self.show_status(_("{what} {seconds} s", what=self._coming, seconds=seconds))
        elif self._doing == OPEN:
            self.show_status(_("Starting the process that holds the model… {seconds} s", seconds=seconds))
        elif self._doing == TOKENS:
            self.show_status(_("Listing the tokens… {seconds} s", seconds=seconds))
        else:
            self.show_status(_("Answering… {seconds} s. Press Esc to stop.", seconds=seconds))
