"""`python -m tui_tuner.launch.worker FOLDER [--resume]`: the process behind `--detach`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tui_tuner.config import consent
from tui_tuner.errors import EXIT_CONFIG, TunerError
from tui_tuner.launch.host import host
from tui_tuner.launch.output import open_missing_streams, scrub_streams
from tui_tuner.launch.signals import install
from tui_tuner.locales import _
from tui_tuner.runs.control import Control
from tui_tuner.runs.store import RunFolder


def main(arguments: list[str]) -> int:
    """Train the run folder named in the arguments; returns the exit code."""
    paths = [argument for argument in arguments if argument not in ("--resume", "--trust-remote-code")]
    if len(paths) != 1:
        return EXIT_CONFIG
    open_missing_streams()
    folder = RunFolder(Path(paths[0]))
    control = Control(folder.control)
    install(control)
    scrub_streams()
    try:
        if "--trust-remote-code" in arguments:
            consent.remember(folder.config().model)
        return host(folder, control, resume="--resume" in arguments, end=os._exit).exit_code
    except TunerError as error:
        sys.stderr.write(_("error: {error}", error=error) + "\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
