"""Commands from outside, as the training loop sees them: asked for at step boundaries and between phases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tui_tuner.errors import EXIT_INTERRUPTED, EXIT_TERMINATED
from tui_tuner.runs.control import Control
from tui_tuner.runs.events import CommandDone
from tui_tuner.training.watching.reporting import Reporter

PAUSE_POLL_SECONDS = 0.2


class Stopped(Exception):
    """A stop was asked for before there was anything to save."""


@dataclass
class Wishes:
    """What was asked for since the last step boundary."""

    stop: bool = False
    save: bool = False
    evaluate: bool = False


class Commands:
    """Reads `Control` and remembers what is still to be done."""

    def __init__(self, control: Control, reporter: Reporter) -> None:
        self._control = control
        self._reporter = reporter
        self._wishes = Wishes()
        self.waited = 0.0  # seconds paused, in this process
        self._pause = False

    @property
    def exit_code(self) -> int:
        """143 after SIGTERM, else 130."""
        return EXIT_TERMINATED if self._control.stop_reason == "SIGTERM" else EXIT_INTERRUPTED

    @property
    def reason(self) -> str:
        return self._control.stop_reason

    def poll(self) -> Wishes:
        """Take in new commands; the result is shared and changes with the next call."""
        for command in self._control.poll():
            self._reporter.emit(CommandDone(command))
            if command == "pause":
                self._pause = True
            elif command == "continue":
                self._pause = False
            else:
                setattr(self._wishes, command, True)
        return self._wishes

    def stop_wanted(self) -> bool:
        """For loops outside of training: whether to give up."""
        return self.poll().stop

    def check(self) -> None:
        """Raise `Stopped` if a stop was asked for."""
        if self.stop_wanted():
            raise Stopped

    def take(self) -> Wishes:
        """New commands, each given once; waits here while the run is paused."""
        self.poll()
        wishes, self._wishes = self._wishes, Wishes()
        return wishes

    @contextmanager
    def held(self) -> Iterator[Callable[[], bool]]:
        """Wait for something else than a command: gives a function that says whether to wait on.

        `stop` and `continue` end the wait; a stop is kept for the next step boundary. A run that was paused
        before stays paused after.
        """
        paused, self._pause = self._pause, True

        def still_held() -> bool:
            return not self.poll().stop and self._pause

        try:
            yield still_held
        finally:
            self._pause = paused and self._pause

    def wait_while_paused(self, step: int, total: int, save: Callable[[], None]) -> float:
        """Seconds spent waiting. A save asked for meanwhile is done; stop and evaluate end the wait for
        the caller to see."""
        if not self._pause:
            return 0.0
        began = time.monotonic()
        self._reporter.phase("paused", step, total)
        while self._pause:
            time.sleep(PAUSE_POLL_SECONDS)
            wishes = self.poll()
            if wishes.stop:
                self._pause = False
            elif wishes.save:
                wishes.save = False
                save()
                self._reporter.phase("paused", step, total)
        self._reporter.phase("training", step, total)
        waited = time.monotonic() - began
        self.waited += waited
        return waited
