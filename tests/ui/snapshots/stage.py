"""A small world that is the same on every machine: its clock, folder, processor and files.

Nothing of the program is played: real screens read real files and journals. Only what it asks of the machine
has a fixed answer, and the clock stands still unless a scene moves it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from tests.ui import fakes
from tests.ui.conftest import text
from tests.ui.snapshots.picture import Picture, picture
from tui_tuner.planning.hardware import Hardware
from tui_tuner.runs.store import RunStore
from tui_tuner.ui.app import TunerApp
from tui_tuner.ui.machine_load import LoadReader, MachineLoad

HERE = "/home/ada/fine-tuning/shop-texts"  # what stands for the folder of a scene
BEGAN = 1_790_000_000.0  # Unix seconds, a day in September 2026
GIB = 1 << 30


class Clock:
    """`time.time` of the whole program. It stands still: ages and durations are what a scene makes them.

    Args:
        pace: Seconds that go by each time it is read: while a scene has a journal written, for example.
    """

    def __init__(self) -> None:
        self.now = BEGAN
        self.pace = 0.0

    def __call__(self) -> float:
        self.now += self.pace
        return self.now

    @contextlib.contextmanager
    def running(self, ago: float, pace: float = 0.2) -> Iterator[None]:
        """Let it run from so many seconds ago; afterwards it stands at the present again."""
        self.now, self.pace = BEGAN - ago, pace
        yield
        self.now, self.pace = BEGAN, 0.0


class StillHost(fakes.FakeHost):
    """Holds a run whose journal a scene has written; obeys nothing but the end of the test."""

    def _run(self) -> None:
        while "stop" not in self.control.poll_commands():
            time.sleep(0.01)


@dataclass
class Stage:
    """Where a scene plays.

    Args:
        folder: The working folder, as long as `HERE` on every machine.
        replaced: What a picture shows for what differs.
    """

    folder: Path
    clock: Clock
    size: tuple[int, int]  # at which the app begins
    replaced: dict[str, str] = field(default_factory=dict)

    @property
    def store(self) -> RunStore:
        """The runs of this folder, by a relative path, as the command line has them."""
        return RunStore(Path("runs"))

    @asynccontextmanager
    async def app(self, config: dict[str, Any] | None = None, **more: Any) -> AsyncIterator[Pilot[Any]]:
        """The workbench; a fault that it survives is one of the scene."""
        app = TunerApp(self.store, host_factory=StillHost, config=config, **more)
        async with app.run_test(size=self.size) as pilot:
            await pilot.pause()
            yield pilot
            if app.host is not None and app.host.is_alive:
                app.host.control.request_command("stop")
                app.host.join_thread(5)
        faults = app.fault_log.file_path
        assert not faults.exists(), f"the app survived what should not be:\n{faults.read_text()[-4000:]}"

    async def look(self, pilot: Pilot[Any]) -> Picture:
        """The screen once nothing moves any more."""
        await still(pilot)
        return picture(pilot, self.replaced)

    def write(self, name: str, rows: list[Any]) -> str:
        """A JSONL file in the folder; gives its name."""
        lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
        path = self.folder / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._date(path)
        return name

    def _date(self, path: Path) -> None:
        os.utime(path, (BEGAN, BEGAN))


async def shows(pilot: Pilot[Any], *words: str, seconds: float = 30.0) -> None:
    """Wait until all these words stand on the screen."""
    waited = 0.0
    while any(word not in text(pilot) for word in words):
        await asyncio.sleep(0.05)
        waited += 0.05
        assert waited < seconds, f"waited {seconds} s for {words} in vain; the screen says:\n{text(pilot)}"
    await pilot.pause()


async def still(pilot: Pilot[Any]) -> None:
    """Wait until work is done and the screen stays as it is."""
    app = pilot.app
    for area in (*app.screen.query(Input), *app.screen.query(TextArea)):
        area.cursor_blink = False
    app.clear_notifications()
    before, same = "", 0
    for _unused in range(300):
        await pilot.pause(0.05)
        now = text(pilot)
        same = same + 1 if now == before and not _working(pilot) else 0
        before = now
        if same >= 4:
            return
    raise AssertionError(f"the screen does not come to rest; it says:\n{before}")


def _working(pilot: Pilot[Any]) -> bool:
    """Whether a thread reads or works something out; what waits for an answer, or for ever, is no thread."""
    return any(not worker.is_finished and worker._thread_worker for worker in pilot.app.workers)


@contextlib.contextmanager
def stage(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A stage that is gone afterwards."""
    outer, folder = _folder_as_long_as(HERE)
    clock = Clock()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(time, "time", clock)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setenv("PWD", str(folder))
    monkeypatch.setenv("TUI_TUNER_CONFIG_DIR", str(folder / ".config"))
    monkeypatch.setenv("TUI_TUNER_CACHE_DIR", str(folder / ".cache"))
    monkeypatch.setenv("HOME", str(folder / ".home"))
    for name in ("NO_COLOR", "VISUAL", "EDITOR"):
        monkeypatch.delenv(name, raising=False)
    _one_machine(monkeypatch)
    _no_models(folder, monkeypatch)
    try:
        yield Stage(folder, clock, size, {str(folder): HERE})
    finally:
        shutil.rmtree(outer, ignore_errors=True)


def _folder_as_long_as(path: str) -> tuple[Path, Path]:
    """A new folder whose path is as long as `path`: lines break, and are cut, in the same places."""
    root = os.path.realpath("/tmp" if os.access("/tmp", os.W_OK) else tempfile.gettempdir())
    outer = tempfile.mkdtemp(prefix="", dir=root)
    missing = len(path) - len(outer) - 1
    if missing < 1:
        shutil.rmtree(outer)
        pytest.skip(f"the folder for temporary files, {root}, has too long a name")
    folder = Path(outer) / ("w" * missing)
    folder.mkdir()
    return Path(outer), folder


def _one_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    from tui_tuner.ui import planlook
    from tui_tuner.ui.base_models import fits
    from tui_tuner.ui.screens import run

    monkeypatch.setattr(run, "_FIGURES_SECONDS", 0.1)  # or a picture depends on how long it took
    monkeypatch.setattr(run, "_MACHINE_SECONDS", 0.1)
    monkeypatch.setattr(planlook, "_counts", {})  # what another scene has counted is known to it alone
    monkeypatch.setattr(fits, "_kept", {})
    monkeypatch.setattr(planlook, "QUICK", planlook.PATIENT)  # a slow machine counts the same
    here = Hardware(memory_gib=32.0, available_gib=24.0, cores=8)
    monkeypatch.setattr(planlook, "detect_hardware", lambda: here)
    disk = shutil._ntuple_diskusage(500 * GIB, 100 * GIB, 400 * GIB)  # type: ignore[attr-defined]
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: disk)
    load = MachineLoad(0.42, 9 * GIB, 32 * GIB)
    monkeypatch.setattr(LoadReader, "__init__", _eight_cores)
    monkeypatch.setattr(LoadReader, "read_load", lambda _self: load)


def _no_models(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No models of a hub on this machine, which is offline; libraries look at their environment only once."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / ".hub" / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("MODELSCOPE_CACHE", str(folder / ".modelscope"))


def _eight_cores(self: LoadReader) -> None:
    self.cpu_count, self.gpu_name = 8, ""
    self._nvml, self._gpus = None, []
