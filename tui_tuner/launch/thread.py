"""A run in a worker thread of this process: the workbench's own host."""

from __future__ import annotations

import threading

from tui_tuner.errors import EXIT_FAILED, TunerError
from tui_tuner.launch.host import Ended, host
from tui_tuner.launch.output import redirect
from tui_tuner.runs.control import Control
from tui_tuner.runs.store import RunFolder


class ThreadHost:
    """Trains one run in a thread. The thread outlives the screen: the process stays until the run ends."""

    def __init__(self, folder: RunFolder, resume: bool = False, log_output: bool = True) -> None:
        self.folder = folder
        self.resume = resume
        self.control = Control(folder.control)
        self.outcome: Ended | None = None
        self._log_output = log_output
        self._thread = threading.Thread(target=self._run, name=f"run-{folder.name}", daemon=False)

    def start(self) -> None:
        """Begin. Returns at once; everything that happens is in the journal."""
        if self._log_output:
            redirect(self.folder.log)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def join(self, timeout: float | None = None) -> None:
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            self.outcome = host(self.folder, self.control, self.resume)
        except TunerError as error:
            self.outcome = Ended("failed", error.exit_code, str(error))
        except BaseException as error:
            self.outcome = Ended("failed", EXIT_FAILED, f"{type(error).__name__}: {error}")
            raise
