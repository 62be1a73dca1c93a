"""The live pane over real journals: live, ended, lost, and with text that wants to break the screen."""

from __future__ import annotations

import math
import re

import pytest
from textual.widgets import ContentSwitcher

from tests.ui import fakes
from tests.ui.conftest import SIZES, Opened, below_verdict, text, until
from tui_tuner.runs.events import (
    CheckpointSaved,
    Evaluation,
    Finished,
    Log,
    Phase,
    Resolved,
    RowLedger,
    RunDuration,
    RunStarted,
    Sample,
    Step,
    Warned,
)
from tui_tuner.runs.journal import JournalWriter
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.runs.view import RunView
from tui_tuner.text import format_bytes, format_money, format_seconds
from tui_tuner.ui.screen_words import format_screen_duration, format_screen_number, rough
from tui_tuner.ui.screens.results import ResultsScreen
from tui_tuner.ui.screens.run import RunScreen
from tui_tuner.ui.widgets.changed_lines import Lines
from tui_tuner.ui.widgets.judged.measures import list_metric_changes
from tui_tuner.ui.widgets.live.chart_data import Points, drop_first_curve_tenth, make_run_chart
from tui_tuner.ui.widgets.live.chart_plot import draw_chart_scores
from tui_tuner.ui.widgets.live.log_pane import LogPane

HOSTILE = "[/red] [@click=app.quit]x[/] \x1b[2J\x1b]0;owned\x07 \x9b31m \u202egnp.exe"


@pytest.mark.parametrize("size", SIZES)
async def test_a_finished_run_shows_its_curve_figures_log_and_end(
    store: RunStore, opened: Opened, size: tuple[int, int]
) -> None:
    folder = fakes.make_run(store, "done")
    fakes.write_run(folder, 100, 100, "completed")
    async with opened(size, open_run=folder) as pilot:
        await until(pilot, lambda: "completed" in text(pilot))
        shown = text(pilot)
        assert "step 100 of 100" in shown and "100%" in shown
        assert "demo · lora · cpu, 2 cores" in shown
        assert f"{fakes.loss_at(100):.4f}" in shown  # the last loss
        assert f"{fakes.loss_at(100) + 0.15:.4f}" in shown  # the last validation loss
        assert "evaluated at step 100" in shown
        assert "●" in shown and "⠈" in shown  # validation points and the curve
        await until(pilot, lambda: "Results" in text(pilot))  # the footer is drawn a moment later
        assert "Pause" not in text(pilot)


async def test_a_live_run_obeys_the_keys_and_says_so(store: RunStore, opened: Opened) -> None:
    folder = fakes.make_run(store, "live")
    async with opened(open_run=folder, train=True) as pilot:
        app = pilot.app
        await until(pilot, lambda: "● running" in text(pilot) and "step 5" in text(pilot))
        await pilot.press("p")
        await until(pilot, lambda: "‖ paused" in text(pilot))
        await until(pilot, lambda: "p Continue" in text(pilot) and "p Pause" not in text(pilot))
        await pilot.press("p")
        await until(pilot, lambda: "● running" in text(pilot))
        await pilot.press("e", "s")
        await until(pilot, lambda: {"evaluate", "save"} <= set(app.host.commands))
        await pilot.press("x")
        await until(pilot, lambda: "Stop this run?" in text(pilot))
        await pilot.press("y")
        await until(pilot, lambda: "■ stopped" in text(pilot))
        assert app.host.commands == ["pause", "continue", "evaluate", "save", "stop"]
        await until(pilot, lambda: "r Resume" in text(pilot))


async def test_two_viewers_see_the_same_run_and_a_resume_goes_on_in_the_same_pane(
    store: RunStore, opened: Opened
) -> None:
    folder = fakes.make_run(store, "twice")
    fakes.write_run(folder, 30, 200, "stopped")
    async with opened(open_run=folder) as pilot:
        await until(pilot, lambda: "■ stopped" in text(pilot))
        async with opened(open_run=folder) as other:
            await until(other, lambda: "step 30 of 200" in text(other))
            await pilot.press("r")
            await until(pilot, lambda: "● running" in text(pilot))
            other.app.host = pilot.app.host  # both are this process, which has one host
            await until(other, lambda: "● running" in text(other))


async def test_the_log_keeps_lines_on_a_small_screen(store: RunStore, opened: Opened) -> None:
    folder = fakes.make_run(store, "small")
    fakes.write_run(folder, 100, 100, "completed")
    async with opened((50, 18), open_run=folder) as pilot:
        await until(pilot, lambda: text(pilot).count("✓ completed") == 2)  # in the head, and in the log
        assert pilot.app.screen.query_one(LogPane).size.height >= 3


async def test_a_dead_process_is_shown_as_lost_with_its_last_words(store: RunStore, opened: Opened) -> None:
    folder = fakes.make_run(store, "gone")
    fakes.write_run(folder, 12, 100)
    fakes.claim_dead(folder)
    folder.log_path.write_text("CUDA error: an illegal memory access\n" + HOSTILE)
    async with opened((120, 40), open_run=folder) as pilot:
        await until(pilot, lambda: "? lost" in text(pilot))
        assert "illegal memory access" in text(pilot)
        await until(pilot, lambda: "r Resume" in text(pilot))
        assert " left" not in text(pilot)


@pytest.mark.parametrize("size", SIZES)
async def test_no_text_of_a_run_can_break_or_command_the_screen(
    store: RunStore, opened: Opened, size: tuple[int, int]
) -> None:
    path = store.root / "[red]\x1b[2J[@click=app.quit]x"
    config = fakes.make_run(store, "donor").path / "config.yaml"
    path.mkdir()
    (path / "config.yaml").write_bytes(config.read_bytes())
    folder = RunFolder(path)
    journal = JournalWriter(folder.events_path, HOSTILE)
    journal.emit(RunStarted(config={"model": {"name": HOSTILE}, "method": {"kind": HOSTILE}}, device=HOSTILE))
    journal.emit(Phase(name=HOSTILE, note=HOSTILE))
    journal.emit(Resolved(field=HOSTILE, value=HOSTILE, why=HOSTILE))
    journal.emit(RowLedger(read=3, outcomes={HOSTILE: 3}))
    journal.emit(Warned(code=HOSTILE, message=HOSTILE, hint=HOSTILE))
    journal.emit(Log(level=HOSTILE, message=HOSTILE))
    journal.emit(Evaluation(step=1, metrics={HOSTILE: 1.0}))
    journal.emit(CheckpointSaved(step=HOSTILE, path=HOSTILE, bytes=HOSTILE))
    journal.emit(Sample(step=0, index=0, stage=HOSTILE, prompt=HOSTILE, text=HOSTILE, reference=HOSTILE))
    journal.emit(Step(step=1, loss=float("nan"), learning_rate=None, grad_norm=HOSTILE, seconds=0))
    journal.emit(Step(step="one", loss=HOSTILE))
    journal.emit(Finished(status="failed", message=HOSTILE, hint=HOSTILE))
    journal.close()
    async with opened(size, open_run=folder) as pilot:
        await until(pilot, lambda: "✗ failed" in text(pilot))
        for key in ("a", "c", "l", "v"):
            await pilot.press(key)
            await pilot.pause(0.1)
            shown = text(pilot)
            assert "\x1b" not in shown and "\x9b" not in shown and "\u202e" not in shown
        assert isinstance(pilot.app.screen, ResultsScreen)
        assert "[/red]" in text(pilot)
        await pilot.press("escape", "escape")
        await until(pilot, lambda: "␛[2J" in text(pilot))
        await pilot.press("r", "ctrl+p")
        await pilot.press(*"red")
        await until(pilot, lambda: "Run [red]" in text(pilot))


async def test_a_covered_pane_draws_nothing_and_catches_up(store: RunStore, opened: Opened) -> None:
    folder = fakes.make_run(store, "covered")
    async with opened(open_run=folder, train=True) as pilot:
        await until(pilot, lambda: "step 5" in text(pilot))
        pane = pilot.app.screen
        assert isinstance(pane, RunScreen)
        pilot.app.push_screen(ResultsScreen(folder))
        await pilot.pause(0.3)
        before = pane.snapshot
        await pilot.pause(0.5)
        head = pane.query_one("#words").lines[0].plain
        await pilot.pause(1.2)
        assert pane.query_one("#words").lines[0].plain == head
        await pilot.press("escape")
        await until(pilot, lambda: pane.query_one("#words").lines[0].plain != head)
        assert before is not None


async def test_the_lower_part_turns_through_log_answers_and_choices(store: RunStore, opened: Opened) -> None:
    folder = fakes.make_run(store, "tabs")
    fakes.write_run(folder, 40, 100, "completed")
    async with opened(open_run=folder) as pilot:
        await until(pilot, lambda: "✓ completed" in text(pilot))
        switcher = pilot.app.screen.query_one("#lower", ContentSwitcher)
        await pilot.press("a")
        await until(pilot, lambda: "A long red coat" in text(pilot))
        await pilot.press("z")
        await until(pilot, lambda: "cut off, no stop" in text(pilot))
        await pilot.press("z", "c")
        await until(pilot, lambda: "customary for lora" in text(pilot))
        assert "kept 790, dropped 10" in text(pilot)
        await pilot.press("tab")
        assert switcher.current == "log"


@pytest.mark.parametrize("size", SIZES)
async def test_results_show_before_and_after_and_the_commands(
    store: RunStore, opened: Opened, size: tuple[int, int]
) -> None:
    folder = fakes.make_run(store, "res")
    fakes.write_run(folder, 40, 40, "completed")
    (folder.last_path).mkdir()
    (folder.last_path / "adapter_config.json").write_text("{}")
    async with opened(size, open_run=folder) as pilot:
        await until(pilot, lambda: "✓ completed" in text(pilot))
        await pilot.press("v")
        await below_verdict(pilot)
        await until(pilot, lambda: "after training" in text(pilot))
        shown = text(pilot)
        assert "0.1200 → 0.9100 ▲" in " ".join(shown.split())
        await until(
            pilot, lambda: "of of the and … cut off, no" in text(pilot) and "A long red coat" in text(pilot)
        )
        rows = {row.name: row for row in list_metric_changes(pilot.app.follow_run(folder).view)}
        coverage = rows["attribute_coverage"]
        assert coverage.first.metrics[coverage.name] == 0.12 and coverage.last.metrics[coverage.name] == 0.91
        pilot.app.screen.query_one("#scroll").scroll_end(animate=False)
        await until(pilot, lambda: "AutoPeftModelForCausalLM.from_pretrained" in text(pilot))


async def test_a_long_journal_is_read_in_slices_and_drawn_whole(store: RunStore, opened: Opened) -> None:
    folder = fakes.make_run(store, "long")
    fakes.write_run(folder, 4000, 4000, "completed")
    async with opened(open_run=folder) as pilot:
        await until(pilot, lambda: "step 4,000 of 4,000" in text(pilot), 60)
        assert len(pilot.app.follow_run(folder).view.steps) == 4000


@pytest.mark.parametrize("size", SIZES)
async def test_numbers_that_are_none_are_said_and_leave_the_curve_readable(
    store: RunStore, opened: Opened, size: tuple[int, int]
) -> None:
    folder = fakes.make_run(store, "nan")
    journal = JournalWriter(folder.events_path, "nan")
    fakes.begin(journal, 90)
    losses = [
        fakes.loss_at(step) if step % 7 else (math.nan, math.inf, -math.inf)[step % 3]
        for step in range(1, 90)
    ]
    for step, loss in enumerate([*losses, math.nan], 1):
        journal.emit(Step(step, math.nan, loss, math.inf, loss, 5, 5, math.nan, 0, 0, loss, {"margin": loss}))
    for step, loss in ((30, 1.75), (60, 1.5), (90, math.nan)):
        journal.emit(Evaluation(step, "validation", {"loss": loss, "perplexity": math.inf}))
    for by in (0, 4):
        journal.emit(
            RunDuration(math.inf, math.nan, math.inf, cost=math.nan, cost_spent=math.inf, corrected_by=by)
        )
    async with opened(size, open_run=folder) as pilot:
        await until(pilot, lambda: "✗ 14 not finite" in text(pilot))
        assert "●" in text(pilot) and "⠈" in text(pilot)  # the rest of the curve, and the points
        values = [line.plain for line in pilot.app.screen.query_one("#values", Lines).lines]
        assert values[:7] == ["nan", "nan", "1.5000", "inf", "nan", "nan", "–"]
        fakes.finish(journal, "failed", 1, "the loss is nan")
        journal.close()
        await until(pilot, lambda: "✗ failed" in text(pilot))
        await pilot.press("v")
        await below_verdict(pilot)
        await until(pilot, lambda: "perplexity" in text(pilot))
        assert (
            pilot.app.screen._judged_view.verdict.verdict == "unstable"
        )  # which says it, and the table does not
        assert "Loss on held-out rows is not a finite number" not in text(pilot)
        assert [line for line in text(pilot).split("\n") if "1.7500 → nan" in " ".join(line.split())]
        await pilot.press("escape", "escape")
        await until(pilot, lambda: "failed" in text(pilot) and "nan" in text(pilot))


async def test_a_run_without_one_finite_loss_says_so(store: RunStore, opened: Opened) -> None:
    folder = fakes.make_run(store, "all-nan")
    journal = JournalWriter(folder.events_path, "all-nan")
    fakes.begin(journal, 9)
    for step in range(1, 4):
        journal.emit(Step(step, loss=math.nan, seconds=0.1))
    journal.close()
    async with opened(open_run=folder) as pilot:
        await until(pilot, lambda: "No loss so far is a finite number." in text(pilot))


@pytest.mark.parametrize("loss", [0.0, 2.0, 1e-12])
async def test_a_loss_that_never_changes_is_a_straight_line(
    store: RunStore, opened: Opened, loss: float
) -> None:
    folder = fakes.make_run(store, "flat")
    journal = JournalWriter(folder.events_path, "flat")
    fakes.begin(journal, 9)
    for step in range(1, 9):
        journal.emit(Step(step, loss=loss, seconds=0.1))
    journal.close()
    async with opened(open_run=folder) as pilot:
        await until(pilot, lambda: "step 8 of 9" in text(pilot))
        await until(pilot, lambda: any("\u2800" < cell <= "\u28ff" for cell in text(pilot)))


def test_words_for_numbers_that_are_none() -> None:
    assert [format_screen_number(value) for value in (math.nan, math.inf, -math.inf, None, 1.5)] == [
        "nan", "inf", "-inf", "–", "1.5000"
    ]  # fmt: skip
    for words in (format_screen_duration, rough, format_seconds):
        assert words(math.nan) == "nan s" and words(math.inf) == "inf s"
    assert "nan" in format_bytes(math.nan) and "inf" in format_money(math.inf)
    steps = [Step(step, loss=loss) for step, loss in enumerate((1.0, math.nan, 3.0, 1e40, None, math.inf))]

    def curve(steps: list[Step], columns: int) -> Points:
        return make_run_chart(RunView(steps=tuple(steps)), "loss", "step", columns).line

    assert curve(steps, 100) == [(0.0, 1.0), (2.0, 3.0)] and curve(steps, 1) == [(0.0, 1.0), (2.0, 3.0)]
    assert curve(steps[1:2], 100) == []


def test_the_steep_beginning_of_a_curve_does_not_flatten_the_rest() -> None:
    line = [(float(step), 10.0 if step < 8 else 1.0 - step / 1000) for step in range(100)]
    assert max(loss for _, loss in drop_first_curve_tenth(line)) < 1.0 < max(loss for _, loss in line)
    assert drop_first_curve_tenth(line[:20]) == line[:20]


@pytest.mark.parametrize(
    ("metric", "labels"), [("accuracy", ["0.40", "0.60", "0.80", "1.00"]), ("f1", ["40", "60", "80", "100"])]
)
def test_the_scale_of_a_metric_is_readable_to_its_last_digit(metric: str, labels: list[str]) -> None:
    from textual_plotext.plot import Plot

    plot = Plot()
    plot.theme("clear")
    plot.plotsize(40, 12)
    plot._set_size(40, 12)
    plot.xlim(0, 10)
    plot.yaxes(True, False)
    draw_chart_scores(plot, (1, 2, 3), [(0.0, 0.51), (5.0, 0.8), (10.0, 0.98)], metric, 12)
    drawn = re.sub(r"\x1b\[[0-9;]*m", "", plot.build())
    assert [line.split()[-1] for line in drawn.splitlines() if line.split()[-1][-1].isdigit()][:-1] == labels[
        ::-1
    ]
