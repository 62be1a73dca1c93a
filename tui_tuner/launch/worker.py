"""`python -m tui_tuner.launch.worker FOLDER [--resume]`: the process behind `--detach`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tui_tuner.config import consent
from tui_tuner.errors import EXIT_CONFIG, TunerError
from tui_tuner.launch.output_capture import open_missing_streams, scrub_output_streams
from tui_tuner.launch.run_host import host_run
from tui_tuner.launch.signals import install_signal_handlers
from tui_tuner.locales import _
from tui_tuner.runs.control import CommandReceiver
from tui_tuner.runs.store import RunFolder


def run_worker(arguments: list[str]) -> int:
    """Train the run folder named in the arguments; return the exit code."""
    paths = [argument for argument in arguments if argument not in ("--resume", "--trust-remote-code")]
    if len(paths) != 1:
        return EXIT_CONFIG
    open_missing_streams()
    folder = RunFolder(Path(paths[0]))
    control = CommandReceiver(folder.control_path)
    # Before anything slow, so that a stop that comes early is not lost
    install_signal_handlers(control)
    scrub_output_streams()
    try:
        if "--trust-remote-code" in arguments:
            consent.record_code_consent(folder.load_config().model)
        return host_run(folder, control, resume="--resume" in arguments, end=os._exit).exit_code
    except TunerError as error:
        sys.stderr.write(_("error: {error}", error=error) + "\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(run_worker(sys.argv[1:]))
