"""A run that fails before its first step: one sentence, and a key to the field; nothing that fails alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from tests.ui import fakes
from tests.ui.conftest import SIZES, Opened, text, until
from tui_tuner.config.advice import build_hint, write_setting
from tui_tuner.errors import DataError, RunError, TunerError
from tui_tuner.launch.run_host import host_run
from tui_tuner.locales import N_
from tui_tuner.runs.control import CommandReceiver
from tui_tuner.runs.events import Finished, Phase
from tui_tuner.runs.journal import JournalWriter
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.ui.run_overview import can_resume_run, read_run_row
from tui_tuner.ui.screens.run import RunScreen
from tui_tuner.ui.screens.settings import SettingsScreen

LONG = "half of the rows would be dropped, " * 8 + "and this is the end of it."


def failed(folder: RunFolder, error: TunerError) -> RunFolder:
    """The journal of a run that an error kept from its first step."""
    journal = JournalWriter(folder.events_path, folder.name)
    journal.emit(Phase(name="loading", note="importing torch and transformers"))
    journal.emit(Finished.from_error(error))
    journal.close()
    folder.log_path.write_text("Traceback (most recent call last):\n  File x\nDataError: no\n")
    return folder


@pytest.mark.parametrize("size", SIZES)
async def test_a_failed_start_leads_back_to_its_field(
    store: RunStore, opened: Opened, size: tuple[int, int]
) -> None:
    hint = build_hint(N_("Accept it with {command}.", command=write_setting({"data.max_dropped": 0.5})))
    error = DataError(LONG, where="a.jsonl:2", hint=hint, field="data.max_dropped")
    run = fakes.make_run(store, "half", method={"rank": 7}, data={"path": "demo", "max_length": 99})
    failed(run, error)
    async with opened(size, open_run=run) as pilot:
        await until(pilot, lambda: "The run did not start" in text(pilot))
        shown = text(pilot)
        assert " ".join(LONG.split()) in " ".join(shown.split())  # whole, over several lines
        assert "Traceback" not in shown and "--set" not in shown and "r Resume" not in shown
        assert "data.max_dropped = 0.5" in shown and not pilot.app._notifications
        await pilot.press("l")
        await until(pilot, lambda: "Traceback" in text(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, SettingsScreen))
        await until(pilot, lambda: isinstance(pilot.app.focused, Input))
        assert pilot.app.focused.parent.parent.option.path == "data.max_dropped"
        await until(pilot, lambda: "Data ✗1" in text(pilot) and "✗ max dropped" in text(pilot))
        assert pilot.app.draft["method"] == {"rank": 7} and pilot.app.draft["data"]["max_length"] == 99
        await pilot.press("f4", "enter")  # the way that the hint tells
        await until(pilot, lambda: "✓ ready" in text(pilot))
        assert pilot.app.draft["data"]["max_dropped"] == 0.5


async def test_what_may_go_better_another_time_can_be_tried_again(store: RunStore, opened: Opened) -> None:
    run = failed(fakes.make_run(store, "disk"), RunError("the hub did not answer."))
    async with opened(open_run=run) as pilot:
        await until(pilot, lambda: "The run did not start" in text(pilot))
        assert "r Resume" in text(pilot) and "the hub did not answer." in text(pilot)
        await pilot.press("r")
        await until(pilot, lambda: "● running" in text(pilot) and "The run did not start" not in text(pilot))


def test_a_real_failed_start_names_its_field_in_the_journal(store: RunStore, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a1,b2\nx,y\n")
    run = fakes.make_run(store, "real", data={"path": str(path)})
    host_run(run, CommandReceiver(run.control_path))
    body = fakes_last(run)
    assert body.field == "data.columns" and body.exit_code == 3
    assert body.fixes == [
        {"data.format": "prompt_response", "data.columns": {"prompt": "a1", "response": "b2"}}
    ]
    assert "--set" in body.hint and "--set" not in body.advice
    found = read_run_row(run)
    assert found.state == "failed" and not can_resume_run(found.state, found.step, found.exit_code)


@pytest.mark.parametrize(
    ("sections", "field"),
    [
        ({"data": {"path": "demo", "max_length": 16}}, "data.max_length"),
        ({"data": {"path": "demo"}, "method": {"layers": 99}}, "method.layers"),
        ({"data": {"path": "demo"}, "model": {"chat_template": "refusing.jinja"}}, "model.chat_template"),
    ],
)
def test_a_failed_start_leads_to_the_field_that_mends_it(
    store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sections: dict[str, Any], field: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "refusing.jinja").write_text("{{ raise_exception('no') }}")
    run = fakes.make_run(store, "led", **sections)
    host_run(run, CommandReceiver(run.control_path))
    assert fakes_last(run).field == field


def fakes_last(run: RunFolder) -> Any:
    from tui_tuner.runs.journal import JournalReader

    bodies = [event.body for event in JournalReader(run.events_path).read_events(1 << 20)]
    return next(body for body in reversed(bodies) if isinstance(body, Finished))


async def test_a_question_about_a_run_ends_with_it(store: RunStore, opened: Opened) -> None:
    async with opened(open_run=fakes.make_run(store, "short"), train=True) as pilot:
        await until(pilot, lambda: "● running" in text(pilot))
        await pilot.press("x")
        await until(pilot, lambda: "Stop this run?" in text(pilot))
        pilot.app.host.control.request_command("stop")  # as from another terminal
        said = "The run has ended in the meantime."
        await until(pilot, lambda: said in [notice.message for notice in pilot.app._notifications], 60)
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen) and "■ stopped" in text(pilot))
