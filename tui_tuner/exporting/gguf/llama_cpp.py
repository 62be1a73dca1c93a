"""The tools of llama.cpp, where they are installed: in the folder LLAMA_CPP, or on PATH."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tui_tuner.errors import RunError, UsageError
from tui_tuner.locales import _
from tui_tuner.text import one_line

VARIABLE = "LLAMA_CPP"
QUANTIZE = "llama-quantize"
# Where builds of llama.cpp put their programs, below its folder
_PLACES = ("", "bin", "build/bin", "build/bin/Release")


def find_tool(name: str) -> str | None:
    """Return the path of a program of llama.cpp; None if it is not installed."""
    folder = os.environ.get(VARIABLE)
    if folder:
        for place in _PLACES:
            found = shutil.which(name, path=str(Path(folder).expanduser() / place))
            if found:
                return found
    return shutil.which(name)


def require_quantize(word: str) -> str:
    """Return the path of `llama-quantize`.

    Raises:
        UsageError: it is not installed.
    """
    found = find_tool(QUANTIZE)
    if found is None:
        raise UsageError(
            _("{word} is packed by llama.cpp's {tool}, which is not on PATH.", word=word, tool=QUANTIZE),
            where="--quantize",
            hint=_(
                "Install llama.cpp, or name its folder in the variable {name}. "
                "q8_0, q5_1, q5_0, q4_1 and q4_0 need no other program.",
                name=VARIABLE,
            ),
        )
    return found


def quantize_file(
    source: Path, target: Path, word: str, cancelled: Callable[[], bool] = lambda: False
) -> None:
    """Pack a GGUF file of floating-point numbers into another one.

    Raises:
        UsageError: the program is not installed.
        RunError: it failed.
    """
    command = [require_quantize(word), str(source), str(target), word.upper()]
    # its output may be long, and only its end says what went wrong
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
    ) as process:
        told: list[str] = []
        assert process.stdout is not None
        for line in process.stdout:
            told = [*told[-4:], line]
            if cancelled():
                process.terminate()
        code = process.wait()
    if code or not target.is_file():
        raise RunError(
            _("{tool} failed: {problem}", tool=QUANTIZE, problem=one_line(" ".join(told), 300)),
            where=one_line(target),
        )
