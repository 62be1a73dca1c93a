"""`python -m tui_tuner.exporting.parity.fresh_process FUNCTION ARGUMENTS ANSWER`: work in a new process.

FUNCTION is `module:name` of a function of one dictionary; ARGUMENTS and ANSWER are JSON files. The process
ends with its parent, whose end closes its standard input.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tui_tuner import errors
from tui_tuner.errors import RunError, TunerError
from tui_tuner.exporting.target import ExportCancelled
from tui_tuner.locales import _
from tui_tuner.text import one_line, sanitize

_POLL = 0.1  # seconds
_TOLD = 3000  # bytes of a dead process's output


def call_in_fresh_process(
    function: str, arguments: dict[str, Any], cancelled: Callable[[], bool] = lambda: False
) -> Any:
    """Call `module:name` with `arguments` (plain values) in a new Python process; return its plain result.

    Raises:
        TunerError: raised by the function, of the same class.
        RunError: any other error, or the death of the process.
        ExportCancelled: `cancelled` returned true; the process is killed.
    """
    with tempfile.TemporaryDirectory(prefix="tui-tuner-") as folder:
        given, answer = Path(folder) / "arguments.json", Path(folder) / "answer.json"
        given.write_text(json.dumps(arguments), encoding="utf-8")
        output = Path(folder) / "output.txt"
        command = [sys.executable, "-P", "-m", __spec__.name, function, str(given), str(answer)]
        with output.open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=_build_environment()
            )
            try:
                while process.poll() is None:
                    if cancelled():
                        raise ExportCancelled
                    time.sleep(_POLL)
            finally:
                if process.poll() is None:
                    process.kill()
                process.wait()
                if process.stdin is not None:
                    process.stdin.close()
        return _read_answer(answer, output, process.returncode)


def _build_environment() -> dict[str, str]:
    # The package must be found from any folder, also where it is not installed
    root = str(Path(__file__).resolve().parents[3])
    known = os.environ.get("PYTHONPATH", "")
    path = os.pathsep.join([root, *(part for part in known.split(os.pathsep) if part and part != root)])
    return {**os.environ, "PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"}


def _read_answer(answer: Path, output: Path, code: int) -> Any:
    try:
        told = json.loads(answer.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        said = output.read_bytes()[-_TOLD:].decode("utf-8", "replace")
        raise RunError(
            _(
                "the process that loads the model ended with code {code}: {said}",
                code=code,
                said=one_line(said, 600),
            ),
            hint=_("If it was killed, memory may have run out: end other programs that use it."),
        ) from None
    if "result" in told:
        return told["result"]
    kind = getattr(errors, str(told.get("kind")), None)
    if isinstance(kind, type) and issubclass(kind, TunerError):
        raise kind(sanitize(told["what"]), where=sanitize(told["where"]), hint=sanitize(told["hint"]))
    raise RunError(f"{one_line(told.get('kind'))}: {one_line(told.get('what'), 500)}")


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def _run(function: str, given: str, answer: str) -> int:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    module, _unused, name = function.partition(":")
    told: dict[str, Any]
    code = 0
    try:
        from tui_tuner.models.loading import silence_libraries

        silence_libraries()
        found = getattr(importlib.import_module(module), name)
        told = {"result": found(json.loads(Path(given).read_text(encoding="utf-8")))}
    except TunerError as error:
        told = {
            "kind": type(error).__name__,
            "what": error.what,
            "where": error.where,
            "hint": str(error.hint),
        }
        code = 1
    except Exception as error:
        import traceback

        traceback.print_exc()
        told = {"kind": type(error).__name__, "what": str(error), "where": "", "hint": ""}
        code = 1
    part = Path(f"{answer}.part")
    part.write_text(json.dumps(told), encoding="utf-8")
    part.rename(answer)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _run(*sys.argv[1:4])
