"""Commands from outside, as the training loop sees them: read at step boundaries and between phases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tui_tuner.errors import EXIT_INTERRUPTED, EXIT_TERMINATED
from tui_tuner.locales import _
from tui_tuner.runs.control import CommandReceiver
from tui_tuner.runs.events import CommandDone
from tui_tuner.training.ranks import Ranks
from tui_tuner.training.watching.reporting import Reporter

PAUSE_POLL_SECONDS = 0.2


class StopRequested(Exception):
    """Raised when a stop is requested before there is anything to save."""


@dataclass
class Wishes:
    """The requests since the last step boundary."""

    stop: bool = False
    save: bool = False
    evaluate: bool = False

    def add_wishes(self, other: Wishes) -> None:
        """Add the requests of `other`."""
        self.stop |= other.stop
        self.save |= other.save
        self.evaluate |= other.evaluate


class Commands:
    """Reads `CommandReceiver` and remembers what is still to be done.

    With several ranks the main one reads and decides, and the others learn of it at the points that all
    pass: `check_stop`, `take_wishes` and `wait_while_paused`. Nothing else may stop a rank, as the others
    would wait for it.
    """

    def __init__(self, control: CommandReceiver, reporter: Reporter, ranks: Ranks | None = None) -> None:
        self._control = control
        self._reporter = reporter
        self._ranks = ranks or Ranks()
        self._reason = ""
        self._wishes = Wishes()
        self.waited = 0.0  # seconds paused, in this process
        self._pause = False

    @property
    def exit_code(self) -> int:
        """Return 143 after SIGTERM, otherwise 130."""
        return EXIT_TERMINATED if self.stop_reason == "SIGTERM" else EXIT_INTERRUPTED

    @property
    def stop_reason(self) -> str:
        return self._reason or self._control.stop_reason

    def poll_commands(self) -> Wishes:
        """Read new commands; the returned object is shared and changes with the next call."""
        found = self._control.poll_commands() if self._ranks.is_main else []
        if self._control.refused:
            self._control.refused = 0
            self._reporter.report_warning(
                "commands_refused",
                _("Commands in control.jsonl were refused because other users can write to that file."),
                _("Run `chmod 600` on it, or delete it; and check who can write to the run folder."),
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

    def _agree_with_ranks(self) -> Wishes:
        """Read new commands, the same on every rank; all ranks must call this together."""
        wishes = self.poll_commands()
        if self._ranks.world > 1:
            decided = (wishes, self._pause, self.stop_reason)
            self._wishes, self._pause, self._reason = self._ranks.broadcast_object(decided)
        return self._wishes

    def stop_wanted(self) -> bool:
        """Return whether a loop outside of training must give up; with several ranks always False."""
        # Ranks come here at different times: one that gave up alone would leave the others waiting.
        return self._ranks.world == 1 and self.poll_commands().stop

    def check_stop(self) -> None:
        """Raise `StopRequested` if a stop was requested."""
        if self._agree_with_ranks().stop:
            raise StopRequested

    def take_wishes(self) -> Wishes:
        """Return the new requests, each of them once."""
        self._agree_with_ranks()
        wishes, self._wishes = self._wishes, Wishes()
        return wishes

    def put_back(self, wishes: Wishes) -> None:
        """Return these again with the next `take_wishes`, together with those that arrive until then."""
        self._wishes.add_wishes(wishes)

    @contextmanager
    def hold_run(self) -> Iterator[Callable[[], bool]]:
        """Wait for something other than a command; yield a function that returns whether to keep waiting.

        `stop` and `continue` end the wait; a stop is kept for the next step boundary. A run that was paused
        before is paused again afterwards. Of several ranks, only the main one may wait like this.
        """
        paused, self._pause = self._pause, True
        began = time.monotonic()

        def still_held() -> bool:
            return not self.poll_commands().stop and self._pause

        try:
            yield still_held
        finally:
            # A `continue` meanwhile ends the earlier pause as well.
            self._pause = paused and self._pause
            self.waited += time.monotonic() - began

    def wait_while_paused(self, step: int, total: int, save: Callable[[], None]) -> float:
        """Wait while the run is paused; return the seconds.

        A save requested meanwhile is done at once. A stop ends the wait; other requests are left for later.
        """
        if not self._pause:
            return 0.0
        began, before = time.monotonic(), self.waited
        self._reporter.report_phase("paused", step, total)
        while self._pause:
            time.sleep(PAUSE_POLL_SECONDS)
            wishes = self._agree_with_ranks()
            if wishes.stop:
                self._pause = False
            elif wishes.save:
                # The object is shared: left true, it would save again every time.
                wishes.save = False
                save()
                self._reporter.report_phase("paused", step, total)
        self._reporter.report_phase("training", step, total)
        waited = time.monotonic() - began
        # Set rather than added to: `save` may have waited for disk space, which is part of this time.
        self.waited = before + waited
        return waited
