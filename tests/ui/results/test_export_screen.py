"""The screen that exports: what each target takes, a real export by keys, and a way out at any time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input, OptionList

from tests.conftest import MakeConfig, Trained
from tests.ui import fakes
from tests.ui.conftest import Opened, text, until
from tui_tuner.exporting.kinds import TARGETS
from tui_tuner.inference.origin import Origin
from tui_tuner.runs.store import RunStore
from tui_tuner.ui.app import TunerApp
from tui_tuner.ui.screens.exporting import export_jobs
from tui_tuner.ui.screens.exporting.export_screen import ExportScreen, TargetsLooked
from tui_tuner.ui.screens.using.helper_jobs import JobState

LOOK = {"bytes": 3 << 20, "notes": ["It stays small."], "problem": ""}
NOT = {"bytes": 0, "notes": [], "problem": "stands on other adapters."}


def origin_of(folder: Any) -> Origin:
    return Origin("run", folder.name, str(folder.path), "best")


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No helper looks at targets: the tests say what it found."""
    monkeypatch.setattr(ExportScreen, "_look_at_targets", lambda self: None)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_targets_show_what_they_take_and_what_they_are_for(
    store: RunStore, opened: Opened, size: tuple[int, int]
) -> None:
    folder = fakes.make_run(store, "writes")
    async with opened(size) as pilot:
        screen = ExportScreen(origin_of(folder))
        await pilot.app.push_screen(screen)
        await until(pilot, lambda: "Looking at what it would take" in text(pilot))
        screen.post_message(TargetsLooked(dict.fromkeys(TARGETS, LOOK) | {"adapter": NOT}))
        await until(pilot, lambda: "3.0 MiB" in text(pilot) and "stays small." in text(pilot))
        shown = text(pilot)
        for kind in TARGETS.values():
            assert kind.label in shown
        assert "writes-merged" in shown
        await pilot.press(*["down"] * list(TARGETS).index("adapter"))
        await until(pilot, lambda: "Not from this model: stands on other" in text(pilot))
        assert "writes-adapter" in text(pilot)
        await pilot.press("down", "down")
        await until(pilot, lambda: "Repository" in text(pilot) and "Folder" not in text(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is not screen)


@pytest.mark.usefixtures("quiet")
async def test_an_export_that_goes_on_is_found_again_and_a_failed_one_says_why(
    store: RunStore, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fakes.make_run(store, "writes")
    told = {"doing": "writing weights", "done": 1 << 20, "total": 4 << 20, "unit": "bytes"}

    class Played(export_jobs.RunningExport):
        def __init__(self, values: dict[str, Any]) -> None:
            self.values = values
            self.standing = JobState(told=told)

    values = {
        "model": origin_of(folder).list_origin_values(),
        "to": "gguf",
        "output": "/x/y",
        "quantize": "q8_0",
    }
    job = Played(values)
    monkeypatch.setattr(export_jobs, "find_export", lambda app, model: job)
    async with opened((80, 24)) as pilot:
        screen = ExportScreen(origin_of(folder))
        await pilot.app.push_screen(screen)
        await until(pilot, lambda: "writing weights: 1.0 MiB of 4.0 MiB" in text(pilot))
        assert screen.query_one("#targets", OptionList).highlighted == list(TARGETS).index("gguf")
        assert screen.query_one("#quantize", Input).value == "q8_0"
        await until(pilot, lambda: "x Stop" in text(pilot).splitlines()[-1])
        job.standing = JobState(error="/x/y.failed-parity: the export does not answer [bold]", on=False)
        await until(pilot, lambda: "the export does not answer [bold]" in text(pilot))
        report = {
            "checked": True, "program": "transformers 5", "token_differences": 0, "greedy_equal_answers": 1,
            "greedy_answers": 2, "largest_logit_difference": 0.25, "top_1_agreement": 0.5, "mean_kl": 0.001,
            "prompts": [{"text": "why [red]", "greedy_equal": True}, {"text": "how", "greedy_equal": False}],
        }  # fmt: skip
        found = {"folder": "/x/y", "bytes": 4 << 20, "seconds": 3.0, "parity": report}
        job.standing = JobState(found=found, on=False, notes=("a note",))
        await until(pilot, lambda: "1 of 2 greedy answers equal" in text(pilot))
        assert "✓ why [red]" in text(pilot) and "✗ how" in text(pilot) and "4.0 MiB in" in text(pilot)
        await pilot.press("y")
        assert pilot.app.clipboard == "/x/y"


async def test_a_run_is_exported_by_keys(
    make_config: MakeConfig, train: Callable[..., Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = train(make_config(training__max_steps=2)).folder
    app = TunerApp(RunStore(folder.path.parent), open_run=folder)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "e export it" in text(pilot))
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, ExportScreen))
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "✓" in text(pilot) and "greedy answers equal" in text(pilot), 240)
        assert "8 of 8 greedy answers equal" in text(pilot)
    out = tmp_path / f"{folder.name}-merged"
    told = json.loads((out / "parity.json").read_text(encoding="utf-8"))
    assert told["passed"] and told["greedy_equal"] and len(told["prompts"]) >= 8
    assert not app.fault_log.file_path.exists()
