"""`python -m tui_tuner.serving.child PARENT SOCKET MODEL OPTIONS`: `transformers serve` on a Unix socket.

It ends with its parent, however that ends.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Any

_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux


def die_with_parent(parent: int) -> None:
    """Let the system kill this process when its parent ends, even if that is killed itself."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    # it may have ended before that was said
    if os.getppid() != parent:
        os._exit(1)


def serve_on_socket(path: str, model: str, options: dict[str, Any]) -> None:
    """Run `transformers serve` with a model, on a Unix socket instead of a port."""
    import uvicorn
    from transformers.cli.serve import Serve

    plain = uvicorn.Config

    def build(app: Any, host: str = "", port: int = 0, **told: Any) -> Any:
        # a port of this machine would be open to its other users
        return plain(app, uds=path, **told)

    uvicorn.Config = build  # type: ignore[assignment,misc]
    os.umask(0o177)
    Serve(force_model=model, **options)


def main(arguments: list[str]) -> None:
    """Run as a child of the process whose number is the first argument."""
    import json

    die_with_parent(int(arguments[0]))
    if arguments[1] == "exec":
        # the signal stays set for the program that takes the place of this one
        os.execvp(arguments[2], arguments[2:])
    serve_on_socket(arguments[1], arguments[2], json.loads(arguments[3]))


if __name__ == "__main__":
    main(sys.argv[1:])
