"""The range test for the plan screen, in a process of its own: it can be ended, and keeps nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tui_tuner.config.load import build_config, dump_config
from tui_tuner.errors import RunError
from tui_tuner.locales import _
from tui_tuner.planning.range_test import RangeTest, evaluate
from tui_tuner.text import one_line

COMMAND = "from tui_tuner.cli import main; main()"
STEPS = 60


class RangeProcess:
    """Runs `tui-tuner lr` on a draft. `end` may be called from another thread."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._ended = False

    def run(self, draft: dict[str, Any]) -> RangeTest | None:
        """The curve and what it suggests; None if it was ended.

        Raises:
            RunError: the test failed, with the command's own words.
        """
        with tempfile.TemporaryDirectory(prefix="tui-tuner-lr-") as folder:
            path = Path(folder) / "run.yaml"
            path.write_text(dump_config(build_config(draft), changed_only=True) or "{}", encoding="utf-8")
            command = [sys.executable, "-c", COMMAND, "lr", str(path), "--steps", str(STEPS), "--json"]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            out, err = self._process.communicate()
        if self._ended:
            return None
        if self._process.returncode:
            words = err.strip().removeprefix(_("error: {error}", error=""))
            raise RunError(one_line(words or _("the range test ended without a word."), 300))
        points = json.loads(out)["points"]
        return evaluate([point["rate"] for point in points], [point["loss"] for point in points])

    def end(self) -> None:
        """End the process, if there is one."""
        self._ended = True
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
