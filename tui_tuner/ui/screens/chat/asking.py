"""What a chat asks of its helper, one thing at a time: to load models, to answer, to show tokens."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from textual import on, work
from textual.message import Message

from tui_tuner.config.advice import words_of
from tui_tuner.errors import TunerError
from tui_tuner.inference.origin import Origin
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.screens.base import TunerScreen
from tui_tuner.ui.screens.using.coming import fetching_words

OPEN, ANSWER, TOKENS = "chat_open", "chat_answer", "chat_tokens"
_LOOK = 0.5  # seconds between two looks at how long something takes


class Said(Message):
    """The helper has told something on its way."""

    def __init__(self, number: int, told: dict[str, Any]) -> None:
        super().__init__()
        self.number, self.told = number, told


class Ended(Message):
    """The helper is done: its result, or why there is none."""

    def __init__(self, number: int, result: Any, error: str, cancelled: bool) -> None:
        super().__init__()
        self.number, self.result, self.error, self.cancelled = number, result, error, cancelled


class Asking(TunerScreen):
    """A screen that asks. Subclasses are told of pieces (`heard`) and of the end (`answered`)."""

    device = "auto"

    def __init__(self) -> None:
        super().__init__()
        self._request: Any = None
        self._number = 0
        self._doing = ""
        self._began = 0.0
        self._coming = ""  # which model is fetched or loaded now, and how far that is
        self._then: Callable[[Any], None] = lambda _: None
        self._stopping = False

    @property
    def busy(self) -> str:
        """What it is asked for now; empty if nothing is."""
        return self._doing

    def heard(self, told: dict[str, Any]) -> None:
        """A piece of an answer."""

    def failed(self, doing: str, error: str, cancelled: bool, partly: Any) -> None:
        """What was asked for has not come; `partly` is what there was of it when it was cancelled."""

    def say(self, words: str, style: str = "$dim") -> None:
        """Tell how things are."""

    def on_mount(self) -> None:
        self.set_interval(_LOOK, self._say_wait)

    def on_unmount(self) -> None:
        if self._request is not None:
            self._request.cancel()
        self.tuner.helper.rest(OPEN)

    def ask(
        self,
        operation: str,
        models: list[Origin],
        then: Callable[[Any], None],
        **arguments: Any,
    ) -> None:
        """Ask for something; `then` gets the result."""
        assert not self._doing
        self._number += 1
        number = self._number
        device = "cpu" if self.tuner.training else self.device  # a run in this process has its device

        def told(said: Any) -> None:
            if isinstance(said, dict):
                self.post_message(Said(number, said))

        asked = {"models": [model.plain() for model in models], "device": device, **arguments}
        self._doing, self._then, self._began, self._coming = operation, then, time.monotonic(), ""
        self._stopping = False
        self._request = self.tuner.helper.request(operation, asked, progress=told)
        self._say_wait()
        self.refresh_bindings()
        self._wait(number, self._request)

    def stop(self) -> None:
        """End what is being done; what there is of an answer stays."""
        if self._request is not None and not self._stopping:
            self._stopping = True
            self._request.cancel()
            self._say_wait()
            self.refresh_bindings()

    @work(thread=True, group="chat")
    def _wait(self, number: int, request: Any) -> None:
        from tui_tuner.launch.helper import Cancelled

        result, error, cancelled = None, "", False
        try:
            result = request.wait()
        except TunerError as problem:
            error = words_of(problem)
        except Cancelled as stopped:
            result, cancelled = stopped.result, True
        self.post_message(Ended(number, result, error, cancelled))

    def work_failed(self, group: str, words: str) -> None:
        if group == "chat":
            self._ended(Ended(self._number, None, words, False))

    @on(Said)
    def _said(self, message: Said) -> None:
        if message.number != self._number or not self._doing:
            return
        told = message.told
        if "loading" in told:
            done, total = int(told.get("done", 0)), int(told.get("total", 0))
            name = one_line(told["loading"], 40)
            model = f"{name}: {done / total:.0%}" if total else name
            self._coming = _("Loading {model}…", model=model)
        elif "fetching" in told:
            self._coming = fetching_words(told["fetching"], told)
        elif "piece" in told:
            self._coming = ""
            self.heard(told)

    @on(Ended)
    def _ended(self, message: Ended) -> None:
        if message.number != self._number or not self._doing:
            return
        doing, self._doing, self._request = self._doing, "", None
        self.refresh_bindings()
        if message.error or message.cancelled:
            self.failed(doing, message.error, message.cancelled, message.result)
        else:
            self._then(message.result)

    def _say_wait(self) -> None:
        if not self._doing or not self.on_view:
            return
        seconds = f"{time.monotonic() - self._began:.0f}"
        if self._stopping:
            self.say(_("It is being stopped… {seconds} s", seconds=seconds), "$warning")
        elif self._coming:
            self.say(_("{what} {seconds} s", what=self._coming, seconds=seconds))
        elif self._doing == OPEN:
            self.say(_("Starting the process that holds the model… {seconds} s", seconds=seconds))
        elif self._doing == TOKENS:
            self.say(_("Writing the tokens down… {seconds} s", seconds=seconds))
        else:
            self.say(_("It answers… {seconds} s. Esc stops it.", seconds=seconds))
