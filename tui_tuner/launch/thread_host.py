"""Hosts a run in a worker thread of this process, for the workbench."""

from __future__ import annotations

import threading

from tui_tuner.errors import EXIT_FAILED, TunerError
from tui_tuner.launch.output_capture import redirect_output
from tui_tuner.launch.run_host import HostOutcome, host_run
from tui_tuner.runs.control import CommandReceiver
from tui_tuner.runs.store import RunFolder


class ThreadHost:
    """Trains one run in a thread. The thread outlives the screen: the process stays until the run ends."""

    def __init__(self, folder: RunFolder, resume: bool = False, log_output: bool = True) -> None:
        self.folder = folder
        self.resume = resume
        self.control = CommandReceiver(folder.control_path)
        self.outcome: HostOutcome | None = None
        self._log_output = log_output
        # Not a daemon: the interpreter must wait for the run when the screen closes
        self._thread = threading.Thread(target=self._run_hosted, name=f"run-{folder.name}", daemon=False)

    def start_run(self) -> None:
        """Start training and return at once; the journal reports everything."""
        if self._log_output:
            redirect_output(self.folder.log_path)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def join_thread(self, timeout: float | None = None) -> None:
        self._thread.join(timeout)

    def _run_hosted(self) -> None:
        try:
            self.outcome = host_run(self.folder, self.control, self.resume)
        except TunerError as error:
            self.outcome = HostOutcome("failed", error.exit_code, str(error))
        except BaseException as error:
            self.outcome = HostOutcome("failed", EXIT_FAILED, f"{type(error).__name__}: {error}")
            raise
