"""Without colour, what a walk leads to is painted from its first moment on."""

from __future__ import annotations

import pytest

from tests.ui import fakes
from tests.ui.conftest import Opened, text, until
from tui_tuner.runs.journal import JournalWriter
from tui_tuner.runs.store import RunStore


async def test_a_run_without_a_step_is_painted(
    store: RunStore, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    folder = fakes.make_run(store)
    journal = JournalWriter(folder.events_path, folder.name)
    fakes.begin(journal, 100)
    journal.close()
    async with opened(open_run=folder) as pilot:  # it asserts that there was no fault
        await until(pilot, lambda: "The curve starts with the first step." in text(pilot))
