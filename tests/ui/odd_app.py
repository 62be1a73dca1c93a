"""`python -m tests.ui.odd_app FOLDER RUN`: the workbench as `tui-tuner` opens it, with keys that break it.

RUN is the name of a run to train with a host that only writes a journal, or `-` for none; `slow` in its name
makes it take long to save. What F6 does stands in the file `odd` of the working folder.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

from textual.app import ComposeResult
from textual.binding import Binding
from textual.notifications import Notification
from textual.widgets import Static
from textual.widgets._toast import Toast
from textual.worker import get_current_worker

import tui_tuner.ui.app as app_module
from tests.ui import fakes
from tui_tuner.cli.screen import show_screen
from tui_tuner.ui.guard.stalls import StallWatch
from tui_tuner.ui.screens.home import HomeScreen
from tui_tuner.ui.screens.screen_base import TunerScreen


class Host(fakes.FakeHost):
    total, pace = 100_000, 0.02

    def _train(self, journal: Any) -> str:
        status = super()._train(journal)
        time.sleep(4.0 if "slow" in self.folder.name else 0.05)
        return status


class Broken(TunerScreen):
    """A screen that cannot be made, or painted."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def compose_body(self) -> ComposeResult:
        if self.how == "compose":
            raise LookupError("no body")
        yield Unpaintable() if self.how == "render" else Static("fine")

    def on_mount(self) -> None:
        if self.how == "mount":
            raise LookupError("no mount")


class Unpaintable(Static):
    def render(self) -> Any:
        raise ZeroDivisionError("no paint")


def deep(depth: int = 0) -> int:
    big = list(range(10_000))  # a value that a drawn traceback would draw
    return deep(depth + 1) + len(big)


class OddApp(app_module.TunerApp):
    CSS_PATH = Path(app_module.__file__).with_name("style.tcss")
    BINDINGS = [Binding("f6", "odd", priority=True), Binding("f7", "still", priority=True)]  # noqa: RUF012

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, host_factory=Host, **more)

    def action_still(self) -> None:
        self.show_notice("still here")

    def action_odd(self) -> None:
        what, _unused, more = Path("odd").read_text().partition(":")
        getattr(self, f"do_{what}")(more)

    def do_spin(self, _more: str) -> None:
        while True:
            pass

    def do_await(self, _more: str) -> None:
        async def spin() -> None:
            while True:
                try:
                    deep()
                except Exception:
                    continue

        self.run_worker(spin())

    def do_sleep(self, _more: str) -> None:
        time.sleep(1000)

    def do_hold(self, _more: str) -> None:
        """C code that never gives the interpreter back, and looks at no signal."""
        sum(itertools.repeat(1, 10**11))

    def do_stop(self, _more: str) -> None:
        """A stop that comes while something is being written."""
        driver: Any = self._driver
        with driver._writer_thread._queue.mutex:
            os.kill(os.getpid(), signal.SIGTSTP)
            sum(range(1000))  # a handler of Python's runs between two instructions

    def do_stall(self, more: str) -> None:
        time.sleep(float(more))

    def do_reader(self, _more: str) -> None:
        """A worker that waits for ever for something to read."""
        self.run_worker(lambda: os.read(os.pipe()[0], 1), thread=True)

    def do_toast(self, _more: str) -> None:
        notice = Notification("too late")
        notice.timeout = -0.0003
        toast = Toast(notice)
        toast._timeout = -0.0003
        self.screen.mount(toast)
        self.set_timer(-0.0003, lambda: self.show_notice("came in time"))
        self.set_interval(-0.0003, lambda: None)

    def do_raise(self, kind: str) -> None:
        raise {"error": ValueError, "memory": MemoryError, "exit": SystemExit}[kind]("[bold raised [/x]")

    def do_timer(self, _more: str) -> None:
        self.set_interval(0.05, deep, repeat=20)

    def do_worker(self, kind: str) -> None:
        def work() -> None:
            if kind == "deep":
                deep()
            if kind == "memory":
                raise MemoryError
            if kind == "exit":
                sys.exit(5)
            if kind == "panic":
                raise BaseException("a panic of a library")
            assert get_current_worker() is None

        self.run_worker(work, thread=True, name="reading")

    def do_screen(self, how: str) -> None:
        self.push_screen(Broken(how))

    def do_lowest(self, _more: str) -> None:
        HomeScreen.compose_body = lambda _: (_ for _ in ()).throw(LookupError("no home"))  # type: ignore[method-assign]
        self.switch_screen(HomeScreen())

    def do_core(self, _more: str) -> None:
        """What no handler can catch: Textual's own loop ends."""

        async def fail() -> None:
            raise RuntimeError("[bold the core failed")

        self._get_message = fail  # type: ignore[method-assign, assignment]

    def do_input(self, _more: str) -> None:
        """The thread that reads keys meets something that it does not understand, once."""
        driver: Any = self._driver
        process, threads = driver.process_message, threading.active_count()

        def fail(message: Any) -> None:
            driver.process_message = process
            raise IndexError(f"of {threads}")

        driver.process_message = fail


if __name__ == "__main__":
    app_module.TunerApp = OddApp  # type: ignore[misc]
    app_module.StallWatch = partial(StallWatch, least=1.0, look=0.1)  # type: ignore[misc, assignment]
    store = fakes.store_at(Path(sys.argv[1]))
    folder = None if sys.argv[2] == "-" else fakes.make_run(store, sys.argv[2])
    sys.exit(show_screen(store, folder, train=folder is not None))
