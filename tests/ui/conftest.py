"""The app at a fixed size over run folders on the disk, with a host that trains nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.containers import VerticalScroll
from textual.pilot import Pilot

from tests.ui import fakes
from tui_tuner.runs.store import RunStore
from tui_tuner.ui.app import TunerApp
from tui_tuner.ui.screens.results import ResultsScreen

SIZES = [(80, 24), (120, 40)]


@pytest.fixture(autouse=True)
def own_preferences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUI_TUNER_CONFIG_DIR", str(tmp_path / "preferences"))
    monkeypatch.setenv("TEXTUAL_ANIMATIONS", "none")


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return fakes.store_at(tmp_path)


Opened = Callable[..., AbstractAsyncContextManager[Pilot[Any]]]


@pytest.fixture
def opened(store: RunStore) -> Opened:
    """Open the app: `async with opened(size=(80, 24), open_run=folder) as pilot`."""

    @asynccontextmanager
    async def open_app(size: tuple[int, int] = (80, 24), **more: Any) -> AsyncIterator[Pilot[Any]]:
        app = TunerApp(store, host_factory=fakes.FakeHost, **more)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            yield pilot
            if app.host is not None and app.host.is_alive:
                app.host.control.request_command("stop")
                app.host.join_thread(5)
        faults = app.fault_log.file_path
        assert not faults.exists(), f"the app survived what should not be:\n{faults.read_text()[-4000:]}"

    return open_app


def text(pilot: Pilot[Any]) -> str:
    """What stands on the screen, line by line."""
    screen = pilot.app.screen
    width, height = pilot.app.size
    lines = screen._compositor.render_strips()
    return "\n".join(strip.text[:width] for strip in lines[:height])


async def until(pilot: Pilot[Any], condition: Callable[[], Any], seconds: float = 40.0) -> None:
    """Wait until something is true; fail with the screen if it never is."""
    waited = 0.0
    while not condition():
        await pilot.pause(0.05)
        waited += 0.05
        if waited > seconds:
            raise AssertionError(f"waited {seconds} s in vain; the screen says:\n{text(pilot)}")


async def below_verdict(pilot: Pilot[Any]) -> None:
    """Wait until the results have their verdict, and scroll past it to what was measured."""

    def judged() -> bool:
        screen = pilot.app.screen
        return isinstance(screen, ResultsScreen) and bool(screen._drawn) and not screen._judging

    await until(pilot, judged, 30)
    await pilot.pause()
    page = pilot.app.screen.query_one("#scroll", VerticalScroll)
    page.scroll_to_widget(pilot.app.screen.query_one("#metrics"), top=True, animate=False, immediate=True)
    await pilot.pause()
