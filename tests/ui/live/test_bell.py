"""The workbench rings the terminal's bell where a run's config asks for it, and not otherwise."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.ui.terminal import Terminal, python
from tui_tuner.config.load import build_config
from tui_tuner.runs.events import Finished, RunStarted
from tui_tuner.runs.journal import JournalWriter
from tui_tuner.runs.store import RunStore

OTHER_USES = re.compile(rb"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")  # a bell also ends an operating system command


@pytest.mark.parametrize(("notify", "bells"), [(["bell"], 1), ([], 0)])
def test_a_run_that_ended_just_now_rings_once(tmp_path: Path, notify: list[str], bells: int) -> None:
    config = build_config({"output": {"folder": str(tmp_path / "runs"), "name": "job", "notify": notify}})
    folder = RunStore(tmp_path / "runs").create_run(config)
    journal = JournalWriter(folder.events_path, folder.name)
    journal.emit(RunStarted(config.model_dump(mode="json"), device="CPU"))
    journal.emit(Finished("completed", 0, "40 steps."))
    journal.close()
    terminal = Terminal(tmp_path, *python("-m", "tui_tuner", "attach", "job"))
    try:
        until = time.monotonic() + 60
        while b"40 steps" not in terminal.read(0.1):
            assert time.monotonic() < until, terminal.raw[-2000:]
        terminal.read(0.5)
        assert OTHER_USES.sub(b"", terminal.raw).count(b"\a") == bells
    finally:
        terminal.end()
