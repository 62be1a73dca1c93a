"""Commands from outside, as the training loop sees them: asked for at step boundaries and between phases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tui_tuner.errors import EXIT_INTERRUPTED, EXIT_TERMINATED
from tui_tuner.locales import _
from tui_tuner.runs.control import Control
from tui_tuner.runs.events import CommandDone
from tui_tuner.training.ranks import Ranks
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

    def add(self, other: Wishes) -> None:
        """Want what `other` wants as well."""
        self.stop |= other.stop
        self.save |= other.save
        self.evaluate |= other.evaluate


class Commands:
    """Reads `Control` and remembers what is still to be done.

    With several ranks the main one reads and decides, and the others learn it at the points which all of them
    pass: `check`, `take` and `wait_while_paused`. Nothing else may end what a rank does, for the others would
    wait for it.
    """

    def __init__(self, control: Control, reporter: Reporter, ranks: Ranks | None = None) -> None:
        self._control = control
        self._reporter = reporter
        self._ranks = ranks or Ranks()
        self._reason = ""
        self._wishes = Wishes()
        self.waited = 0.0  # seconds paused, in this process
        self._pause = False

    @property
    def exit_code(self) -> int:
        """143 after SIGTERM, else 130."""
        return EXIT_TERMINATED if self.reason == "SIGTERM" else EXIT_INTERRUPTED

    @property
    def reason(self) -> str:
        return self._reason or self._control.stop_reason

    def poll(self) -> Wishes:
        """Take in new commands; the result is shared and changes with the next call."""
        found = self._control.poll() if self._ranks.main else []
        if self._control.refused:
            self._control.refused = 0
            self._reporter.warn(
                "commands_refused",
                _("Commands in control.jsonl were refused: others than you can write that file."),
                _("Run `chmod 600` on it, or delete it; and look at who can write the run folder."),
            )
        for command in found:
            self._reporter.emit(CommandDone(command))
            if command == "pause":
                self._pause = True
            elif command == "continue":
                self._pause = False
            else:
                setattr(self._wishes, command, True)
        return self._wishes

    def _agree(self) -> Wishes:
        """Take in new commands, the same on every rank; all have to call this together."""
        wishes = self.poll()
        if self._ranks.world > 1:
            decided = (wishes, self._pause, self.reason)
            self._wishes, self._pause, self._reason = self._ranks.broadcast(decided)
        return self._wishes

    def stop_wanted(self) -> bool:
        """For loops outside of training: whether to give up. With several ranks not before `check`."""
        return self._ranks.world == 1 and self.poll().stop

    def check(self) -> None:
        """Raise `Stopped` if a stop was asked for."""
        if self._agree().stop:
            raise Stopped

    def take(self) -> Wishes:
        """New commands, each given once."""
        self._agree()
        wishes, self._wishes = self._wishes, Wishes()
        return wishes

    def put_back(self, wishes: Wishes) -> None:
        """Give these again with the next `take`, beside what comes until then."""
        self._wishes.add(wishes)

    @contextmanager
    def held(self) -> Iterator[Callable[[], bool]]:
        """Wait for something else than a command: gives a function that says whether to wait on.

        `stop` and `continue` end the wait; a stop is kept for the next step boundary. A run that was paused
        before stays paused after. Of several ranks, only the main one may wait so.
        """
        paused, self._pause = self._pause, True
        began = time.monotonic()

        def still_held() -> bool:
            return not self.poll().stop and self._pause

        try:
            yield still_held
        finally:
            self._pause = paused and self._pause
            self.waited += time.monotonic() - began

    def wait_while_paused(self, step: int, total: int, save: Callable[[], None]) -> float:
        """Seconds spent waiting. A save asked for meanwhile is done at once; stop ends the wait, and what
        else was asked for is done after it."""
        if not self._pause:
            return 0.0
        began, before = time.monotonic(), self.waited
        self._reporter.phase("paused", step, total)
        while self._pause:
            time.sleep(PAUSE_POLL_SECONDS)
            wishes = self._agree()
            if wishes.stop:
                self._pause = False
            elif wishes.save:
                wishes.save = False
                save()
                self._reporter.phase("paused", step, total)
        self._reporter.phase("training", step, total)
        waited = time.monotonic() - began
        self.waited = before + waited  # with what was waited for room on the disk meanwhile
        return waited
