"""How well a GPU is used, in the live pane, results and lists: where it was measured, and only there."""

from __future__ import annotations

import json

import pytest
from textual.widgets import ContentSwitcher
from typer.testing import CliRunner

from tests.ui import fakes
from tests.ui.conftest import SIZES, Opened, below_verdict, text, until
from tui_tuner.cli import history_commands as history_cli
from tui_tuner.runs.events import Bottleneck, Kernels, Phase, RunStarted, Step
from tui_tuner.runs.history import summarise_run
from tui_tuner.runs.journal import JournalWriter
from tui_tuner.runs.store import RunFolder, RunStore

HOSTILE = "[/red] \x1b[2J\x9b31m"
CHOSEN = [
    {"part": "attention", "kernel": "varlen_attn", "why": "flash_attn is not installed", "layers": 32},
    {"part": "norm", "kernel": "", "why": HOSTILE, "layers": 0},
    {"part": HOSTILE, "kernel": HOSTILE, "why": [HOSTILE], "layers": "many"},
    "damaged",
]


def _journal(folder: RunFolder, steps: int = 30) -> JournalWriter:
    journal = JournalWriter(folder.events_path, folder.name)
    journal.emit(RunStarted(config={}, device="NVIDIA H100", process=1, total_steps=100))
    journal.emit(Kernels(CHOSEN))
    journal.emit(Phase("training", 0, 100))
    for step in range(1, steps + 1):
        measured = {"mfu": 0.4125, "gpu_busy": 0.5} if step > 2 else {}
        journal.emit(Step(step, step / 50, 2.0, 1e-4, 1.0, 500, 1000, 500.0, seconds=1.0, **measured))
    return journal


def _bottleneck() -> Bottleneck:
    message = f"waiting for the processor: the GPU is busy 50% of the time {HOSTILE}"
    return Bottleneck(
        "processor", message, "--set training.batch_size=32", 30, 0.5, 0.4, 0.5, "Raise the batch."
    )


@pytest.mark.parametrize("size", SIZES)
async def test_the_live_pane_shows_what_was_measured(
    store: RunStore, opened: Opened, size: tuple[int, int]
) -> None:
    folder = fakes.make_run(store, "gpu")
    journal = _journal(folder)
    journal.emit(_bottleneck())
    async with opened(size, open_run=folder) as pilot:
        await until(pilot, lambda: "GPU busy" in text(pilot) and "! waiting for the processor" in text(pilot))
        lines = text(pilot).split("\n")
        assert any("MFU" in line and "41.2%" in line for line in lines)
        assert any("GPU busy" in line and "50%" in line for line in lines)
        (limit,) = [line for line in lines[:6] if "waiting for the processor" in line]
        assert "busy 50%" in limit and "\x1b" not in limit
        await until(pilot, lambda: "Raise the batch." in text(pilot))  # in the log, as a screen says it
        assert "kernels: attention varlen_attn (32)" in text(pilot)
        assert "--set" not in text(pilot)
        await pilot.press("c")
        await until(pilot, lambda: "kernel: attention" in text(pilot))
        assert "flash_attn is not installed" in text(pilot) or size[0] == 80
        assert "kernel: norm" in text(pilot) and "the model's own" in text(pilot)
        assert "\x1b" not in text(pilot) and "\x9b" not in text(pilot)
        assert pilot.app.screen.query_one("#lower", ContentSwitcher).current == "choices"
        journal.emit(Bottleneck(message="The GPU is busy 90% of the time again."))
        journal.close()
        await until(pilot, lambda: "! waiting for the processor" not in text(pilot))


@pytest.mark.parametrize("size", SIZES)
async def test_where_nothing_was_measured_nothing_is_said(
    store: RunStore, opened: Opened, size: tuple[int, int]
) -> None:
    folder = fakes.make_run(store, "cpu")
    fakes.write_run(folder, 40, 40, "completed")
    async with opened(size, open_run=folder) as pilot:
        await until(pilot, lambda: "✓ completed" in text(pilot))
        assert "MFU" not in text(pilot) and "GPU busy" not in text(pilot)
        await pilot.press("c")
        await until(pilot, lambda: "customary for lora" in text(pilot))
        assert "kernel" not in text(pilot)
        await pilot.press("v")
        await below_verdict(pilot)
        await until(pilot, lambda: "after training" in text(pilot))
        assert "MFU" not in text(pilot)


async def test_results_and_lists_show_the_mean_of_a_run(store: RunStore, opened: Opened) -> None:
    folder = fakes.make_run(store, "done")
    journal = _journal(folder)
    fakes.samples(journal, 0, "before")
    fakes.finish(journal)
    journal.close()
    async with opened((120, 40), open_run=folder) as pilot:
        await until(pilot, lambda: "✓ completed" in text(pilot))
        await pilot.press("v")
        await until(pilot, lambda: "MFU 41.2%" in text(pilot) and "GPU busy 50%" in text(pilot))
    row = summarise_run(folder)
    assert (row["mfu"], row["gpu_busy"]) == (pytest.approx(0.4125), pytest.approx(0.5))
    assert summarise_run(folder) == row  # from the sums that were kept
    plain = fakes.make_run(store, "cpu")
    fakes.write_run(plain, 5, 5, "completed")
    assert summarise_run(plain)["mfu"] is None and summarise_run(plain)["gpu_busy"] is None
    shown = CliRunner().invoke(history_cli.app, ["--runs", str(store.root)])
    assert shown.exit_code == 0 and shown.output.count("MFU 41.2%, GPU busy 50%") == 1
    found = CliRunner().invoke(history_cli.app, ["--runs", str(store.root), "--json"])
    assert {row["name"]: row["gpu_busy"] for row in json.loads(found.output)} == {"done": 0.5, "cpu": None}
