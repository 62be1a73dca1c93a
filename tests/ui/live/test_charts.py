"""Charts on keys: each named, with round ticks and its spikes; and what a live pane says of waits."""

from __future__ import annotations

import re

import pytest
from textual.widgets import OptionList

from tests.ui import fakes
from tests.ui.conftest import SIZES, Opened, text, until
from tui_tuner.runs.events import Evaluation, Event, Heartbeat, Phase, RolledBack, RunStarted, Step
from tui_tuner.runs.store import RunStore
from tui_tuner.runs.view import RunView, fold_view_events
from tui_tuner.ui.screen_words import format_duration_range
from tui_tuner.ui.widgets.live.chart_data import list_run_charts, make_run_chart
from tui_tuner.ui.widgets.live.chart_plot import choose_log_ticks, choose_x_ticks

HOLDS = (
    "import sys\nfrom pathlib import Path\nfrom tui_tuner.launch.lock import hold_lock\n"
    "from tui_tuner.runs.store import RunFolder\n"
    "with hold_lock(RunFolder(Path(sys.argv[1]))):\n    print('held', flush=True)\n    sys.stdin.readline()\n"
)


def view_of(losses: list[float], tokens: int = 100, seconds: float = 0.5) -> RunView:
    bodies = [RunStarted(device="cpu", total_steps=len(losses)), Phase("training", 0, len(losses))]
    bodies += [
        Step(
            number,
            loss=loss,
            learning_rate=1e-3,
            grad_norm=1.0,
            tokens=tokens,
            tokens_per_second=7.0,
            seconds=seconds,
        )
        for number, loss in enumerate(losses, 1)
    ]
    bodies += [Evaluation(len(losses) // 2, "validation", {"loss": 2.0, "accuracy": 0.5})]
    bodies += [Heartbeat(len(losses), 300 << 20)]
    return fold_view_events(RunView(), [Event(body, "run", 0, 1000.0) for body in bodies])


def test_the_memory_of_a_long_run_is_thinned_and_that_of_steps_done_again_is_left_out() -> None:
    beats = [Heartbeat(step, (step % 97 + 1) << 20) for step in range(1, 20_001)]
    beats[7_000] = Heartbeat(7_001, 1 << 30)
    view = fold_view_events(RunView(), [Event(body, "run", 0, 1000.0) for body in beats])
    line = make_run_chart(view, "memory", "step", 140).line
    assert len(line) <= 280 and line == sorted(line) and (7_001.0, float(1 << 30)) in line
    again = [RolledBack(step=5_000), Heartbeat(5_001, 3 << 20)]
    line = make_run_chart(
        fold_view_events(view, [Event(body, "run", 0, 1000.0) for body in again]), "memory", "step", 140
    ).line
    assert line == sorted(line) and line[-1] == (5_001.0, float(3 << 20))


@pytest.mark.parametrize(
    ("right", "axis", "width", "labels"),
    [
        (90, "step", 60, ["0", "25", "50", "75"]),
        (3, "step", 60, ["0", "1", "2", "3"]),
        (100_000, "step", 60, ["0", "25,000", "50,000", "75,000", "100,000"]),
        (90, "step", 30, ["0", "50"]),
        (1_230_000, "tokens", 60, ["0", "500k", "1,000k", "1,500k"]),
        (600, "time", 60, ["0", "2.5 min", "5 min", "7.5 min", "10 min"]),
    ],
)
def test_ticks_are_round_numbers(right: float, axis: str, width: int, labels: list[str]) -> None:
    end, ticks, said = choose_x_ticks(right, axis, width)
    assert said == labels and len(ticks) == len(said) and end >= right * 0.999


def test_a_single_spike_is_seen_however_many_steps_there_are() -> None:
    losses = [1.0] * 20_000
    losses[12_345] = 9.0
    line = make_run_chart(view_of(losses), "loss", "step", 80).line
    assert (12_346.0, 9.0) in line and len(line) <= 2 * 80
    assert min(value for _x, value in line) == 1.0


def test_by_tokens_and_by_time_evaluations_stand_at_their_step() -> None:
    view = view_of([float(number) for number in range(10, 0, -1)], tokens=100, seconds=0.5)
    by_tokens, by_time = make_run_chart(view, "loss", "tokens", 80), make_run_chart(view, "loss", "time", 80)
    assert by_tokens.line[-1] == (1000.0, 1.0) and by_tokens.marks == [(500.0, 2.0)]
    assert by_time.line[-1] == (5.0, 1.0) and by_time.marks == [(2.5, 2.0)]


def test_a_wide_range_has_a_logarithmic_scale_and_a_narrow_one_has_not() -> None:
    assert make_run_chart(
        view_of([500.0 / number**2 for number in range(1, 60)]), "loss", "step", 80
    ).is_logarithmic
    assert not make_run_chart(
        view_of([3.0 - number / 60 for number in range(60)]), "loss", "step", 80
    ).is_logarithmic
    low, high, ticks = choose_log_ticks(0.02, 300.0, 5)
    assert (low, high) == (-2.0, 3.0) and ticks == [0.01, 0.1, 1.0, 10.0, 100.0, 1000.0]


def test_a_run_has_a_chart_for_what_it_measured() -> None:
    assert list(list_run_charts(view_of([1.0, 2.0]))) == [
        "loss",
        "rate",
        "speed",
        "norm",
        "memory",
        "metric:accuracy",
    ]
    assert list(list_run_charts(RunView())) == ["loss", "rate", "speed", "norm"]


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (18, 18, "18 s"),
        (18, 20, "18–20 s"),
        (50, 75, "50 s–1.2 min"),
        (270, 320, "4.5–5.3 min"),
        (9000, 12600, "2.5–3.5 h"),
    ],
)
def test_a_range_of_times_has_room_in_the_figures(low: float, high: float, said: str) -> None:
    assert format_duration_range(low, high) == said and len(said) <= 14


@pytest.mark.parametrize("size", SIZES)
async def test_a_key_turns_the_chart_and_another_goes_back(
    store: RunStore, opened: Opened, size: tuple[int, int]
) -> None:
    folder = fakes.make_run(store, "charts")
    fakes.write_run(folder, 100, 100, "completed")
    async with opened(size, open_run=folder) as pilot:
        await until(
            pilot, lambda: "━ training" in text(pilot) and "50" in text(pilot) and "75" in text(pilot)
        )
        for title in ("Learning rate", "Trained tokens/s", "Gradient norm", "Perplexity"):
            await pilot.press("g")
            await until(pilot, lambda title=title: title.lower() in text(pilot).lower().split("figures")[0])
        await pilot.press("G")
        await until(pilot, lambda: "Gradient norm" in text(pilot).split("Figures")[0])
        await pilot.press("b")
        await until(pilot, lambda: "by tokens" in text(pilot) and "100k" in text(pilot))
        await pilot.press("b")
        await until(pilot, lambda: "by time" in text(pilot) and "10 s" in text(pilot))


async def test_stop_is_not_one_careless_press_away(store: RunStore, opened: Opened) -> None:
    folder = fakes.make_run(store, "careful")
    async with opened(open_run=folder, train=True) as pilot:
        await until(pilot, lambda: "● running" in text(pilot) and "step 3" in text(pilot))
        await pilot.press("x")
        await until(pilot, lambda: "Stop this run?" in text(pilot))
        assert pilot.app.screen.query_one(OptionList).highlighted == 1
        await pilot.press("enter")
        await until(pilot, lambda: "Stop this run?" not in text(pilot))
        assert "stop" not in pilot.app.host.commands
        await pilot.press("ctrl+z")
        await until(
            pilot, lambda: any("would pause the training" in str(n.message) for n in pilot.app._notifications)
        )


async def test_leaving_a_paused_run_of_another_process_says_that_it_stays_so(
    store: RunStore, opened: Opened
) -> None:
    import subprocess
    import sys

    from tui_tuner.runs.journal import JournalWriter

    folder = fakes.make_run(store, "held")
    journal = JournalWriter(folder.events_path, folder.name)
    fakes.begin(journal, 100)
    fakes.step(journal, 1, 100)
    journal.emit(Phase("paused", 1, 100))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(folder.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    try:
        async with opened(open_run=folder) as pilot:
            await until(pilot, lambda: "‖ paused" in text(pilot) and "for " in text(pilot))
            await pilot.press("d")
        result = pilot.app.return_value
    finally:
        holder.communicate("\n", timeout=60)
        journal.close()
    assert "stays paused" in result.words and f"attach {folder.name}" in result.words


@pytest.mark.parametrize("size", SIZES)
async def test_a_wait_of_a_run_has_a_name_a_count_and_seconds(
    store: RunStore, opened: Opened, size: tuple[int, int]
) -> None:
    from tui_tuner.runs.journal import JournalWriter

    folder = fakes.make_run(store, "waits")
    journal = JournalWriter(folder.events_path, folder.name)
    async with opened(size, open_run=folder) as pilot:
        pilot.app.is_hosting = lambda _folder: True
        pilot.app.follow_run(folder)._hosted = lambda: True
        journal.emit(RunStarted(device="cpu"))
        journal.emit(Phase("fetching", 1 << 30, 4 << 30, "qwen", unit="bytes"))
        await until(pilot, lambda: "fetching the model" in text(pilot) and "1.0 of 4.0 GiB" in text(pilot))
        journal.emit(Phase("sampling", 1, 4, "before training, token 7 of at most 128", "prompts"))
        await until(pilot, lambda: "1 of 4 prompts" in text(pilot) and "token 7 of" in text(pilot))
        await until(pilot, lambda: re.search(r"for \d+ s", text(pilot)))
        journal.emit(Phase("loading", note="model"))
        await until(pilot, lambda: re.search(r"loading +model .*for \d+ s", text(pilot), re.DOTALL))
    journal.close()
