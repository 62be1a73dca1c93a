"""Home, settings, quitting, the palette, help and preferences."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from textual.widgets import Input

from tests.ui import fakes
from tests.ui.conftest import SIZES, Opened, text, until
from tui_tuner.config.load import load_config
from tui_tuner.config.options import list_options
from tui_tuner.runs.store import RunStore
from tui_tuner.ui import form_values
from tui_tuner.ui.preferences import read_preferences
from tui_tuner.ui.screens.home import HomeScreen
from tui_tuner.ui.screens.run import RunScreen
from tui_tuner.ui.screens.settings import SettingsScreen
from tui_tuner.ui.themes import LIGHT
from tui_tuner.ui.widgets.form.field import Field


@pytest.mark.parametrize("size", SIZES)
async def test_a_beginner_is_told_what_to_press(opened: Opened, size: tuple[int, int]) -> None:
    async with opened(size) as pilot:
        await until(pilot, lambda: "No runs yet." in text(pilot))
        for words in ("n sets up a run of your own", "n New run", "d Data"):
            await until(pilot, lambda words=words: words in text(pilot))


@pytest.mark.parametrize("size", SIZES)
async def test_home_lists_runs_with_state_step_and_loss(
    store: RunStore, opened: Opened, size: tuple[int, int]
) -> None:
    for name, steps, status in (("one", 100, "completed"), ("two", 60, "stopped"), ("three", 30, None)):
        folder = fakes.make_run(store, name)
        fakes.write_run(folder, steps, 100, status)
        fakes.claim_dead(folder)
    async with opened(size) as pilot:
        await until(pilot, lambda: "✓ completed" in text(pilot))
        lines = [line for line in text(pilot).splitlines() if "/100" in line]
        assert len(lines) == 3
        by_name = {line.split()[2]: line for line in lines}
        assert "■ stopped" in by_name["two"] and "60/100" in by_name["two"]
        assert "? lost" in by_name["three"] and f"{fakes.loss_at(30):.3f}" in by_name["three"]
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))
        await pilot.press("escape", "r")
        await until(pilot, lambda: "3 runs" in text(pilot))
        await pilot.press("slash", *"stopped", "enter")
        await until(pilot, lambda: "1 of 3 runs" in text(pilot))
        await pilot.press("s")
        await until(pilot, lambda: isinstance(pilot.app.screen, SettingsScreen))


@pytest.mark.parametrize("size", SIZES)
async def test_wrong_values_are_marked_as_they_are_typed(
    store: RunStore, opened: Opened, size: tuple[int, int]
) -> None:
    async with opened(size) as pilot:
        await pilot.press("n")
        await until(pilot, lambda: "✓ ready" in text(pilot))
        await pilot.press("down", "down", "down", "enter", "down")  # method.rank
        await until(pilot, lambda: "method.rank" in text(pilot))
        await pilot.press("0")
        await until(pilot, lambda: "✗ 1 problem" in text(pilot))
        assert "✗ method.rank: expected a whole number" in text(pilot) and "at most 4,096" in text(pilot)
        assert "Method ✗1" in text(pilot)
        await pilot.press("ctrl+r")  # does not start
        await pilot.pause(0.2)
        assert isinstance(pilot.app.screen, SettingsScreen) and not list(store.list_runs())
        await pilot.press("backspace", "8")
        await until(pilot, lambda: "✓ ready" in text(pilot))
        assert "• rank" in text(pilot)
        await pilot.press("ctrl+r")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))
        (folder,) = store.list_runs()
        assert folder.load_config().method.rank == 8
        await until(pilot, lambda: "● running" in text(pilot))


async def test_arrow_keys_walk_every_field_and_keep_it_in_view(opened: Opened) -> None:
    async with opened((80, 24)) as pilot:
        pilot.app.push_screen(SettingsScreen())
        await until(pilot, lambda: "✓ ready" in text(pilot))
        await pilot.press(*["down"] * 4, "enter")  # training: more fields than fit on the screen
        expected = [
            o.path
            for s in ("training", "evaluation")
            for o in form_values.list_section_options(s)
            if not o.advanced
        ]
        for path in expected:
            (here,) = [field for field in pilot.app.screen.query(Field) if field.has_focus_within]
            assert here.option.path == path
            assert here.region.y >= 1 and here.region.bottom <= 17, path  # above the help panel
            await pilot.press("down")
            await pilot.pause(0.02)


async def test_contradictions_stand_at_their_field_and_every_section_opens(opened: Opened) -> None:
    async with opened(
        (120, 40), config={"method": {"kind": "full"}, "model": {"quantization": "nf4"}}
    ) as pilot:
        pilot.app.push_screen(SettingsScreen())
        await until(pilot, lambda: "Model ✗1" in text(pilot))
        assert "nf4 weights cannot be trained with method.kind full" in text(pilot)
        await pilot.press("f2")
        seen = set()
        for _section in form_values.SECTIONS:
            await pilot.pause(0.05)
            seen |= {field.option.path for field in pilot.app.screen.query(Field)}
            await pilot.press("down")
        assert seen == {
            path for path in list_options() if form_values.is_field_effective(pilot.app.draft, path)
        }


async def test_settings_are_kept_as_yaml_that_runs(tmp_path: Path, opened: Opened) -> None:
    target = tmp_path / "mine.yaml"
    async with opened(config={"training": {"epochs": 2.0}}) as pilot:
        pilot.app.push_screen(SettingsScreen())
        await until(pilot, lambda: "✓ ready" in text(pilot))
        await pilot.press("ctrl+s")
        await pilot.pause()
        pilot.app.screen.query_one(Input).value = str(target)
        await pilot.press("enter")
        await until(pilot, target.exists)
    assert "#     tui-tuner run mine.yaml\n" in target.read_text()
    assert load_config(target).training.epochs == 2.0


@pytest.mark.parametrize(
    ("path", "typed", "value"),
    [
        ("training.learning_rate", "1e-4", 1e-4),
        ("training.learning_rate", "auto", "auto"),
        ("training.max_steps", "", None),
        ("training.epochs", "3", 3.0),
        ("data.path", "[a.jsonl, b.jsonl]", ["a.jsonl", "b.jsonl"]),
        ("data.path", "rows.jsonl", "rows.jsonl"),
        ("data.validation", "0.1", 0.1),
        ("data.validation", "held.jsonl", "held.jsonl"),
        ("data.columns", "{prompt: q}", {"prompt": "q"}),
        ("data.packing", "true", True),
        ("model.name", "123", "123"),
        ("evaluation.every", "50", 50),
    ],
)
def test_typed_text_becomes_the_value_it_looks_like(path: str, typed: str, value: object) -> None:
    assert form_values.parse_field_text(list_options()[path], typed) == value
    if value is not None and value != "auto":
        assert (
            form_values.parse_field_text(list_options()[path], form_values.format_field_value(value)) == value
        )


def test_text_that_is_no_value_is_explained() -> None:
    with pytest.raises(ValueError, match=r"training.epochs: expected a number"):
        form_values.parse_field_text(list_options()["training.epochs"], "")
    with pytest.raises(ValueError, match=r"data.columns: expected a mapping"):
        form_values.parse_field_text(list_options()["data.columns"], "{a: ")


@pytest.mark.parametrize(("downs", "alive"), [(0, True), (1, False)])
async def test_quitting_asks_what_becomes_of_the_run(
    store: RunStore, opened: Opened, downs: int, alive: bool
) -> None:
    folder = fakes.make_run(store, "quit")
    async with opened(open_run=folder, train=True) as pilot:
        app = pilot.app
        await until(pilot, lambda: "● running" in text(pilot))
        await pilot.press("ctrl+q")
        await until(pilot, lambda: "What should happen to it?" in text(pilot))
        await pilot.press("escape")
        await pilot.pause()
        assert app.is_running and app.host.is_alive  # stayed
        await pilot.press("ctrl+q")
        await pilot.pause()
        await pilot.press(*["down"] * downs, "enter")
        await until(pilot, lambda: app._exit)
        assert app.return_value.host is app.host
        assert app.host.is_alive is alive
        if not alive:
            assert app.host.outcome.status == "stopped"


async def test_help_palette_and_theme(opened: Opened) -> None:
    async with opened((120, 40)) as pilot:
        await pilot.press("question_mark")
        await until(pilot, lambda: "Everywhere" in text(pilot))
        assert "New run" in text(pilot)
        await pilot.press("escape", "ctrl+t")
        assert pilot.app.theme == LIGHT and read_preferences()["theme"] == LIGHT
        await pilot.press("ctrl+p", *"new run")
        await pilot.pause(0.5)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, SettingsScreen))
    async with opened() as pilot:
        assert pilot.app.theme == LIGHT


async def test_a_config_folder_that_cannot_be_written_costs_only_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: Opened
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TUI_TUNER_CONFIG_DIR", str(tmp_path / "file" / "below"))
    async with opened() as pilot:
        await pilot.press("ctrl+t")
        assert pilot.app.theme == LIGHT and isinstance(pilot.app.screen, HomeScreen)


def test_the_app_imports_no_training_library() -> None:
    code = (
        "import sys, tui_tuner.ui.app, tui_tuner.ui.screens.home, tui_tuner.ui.screens.run,"
        " tui_tuner.ui.screens.settings, tui_tuner.ui.screens.data_screen;"
        "print([m for m in ('torch','transformers','peft','trl','datasets','plotext') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_garbage_is_collected_again_once_the_first_frame_stands(opened: Opened) -> None:
    gc.disable()
    try:
        async with opened() as pilot:
            await until(pilot, gc.isenabled)
    finally:
        gc.unfreeze()
        gc.enable()


def test_the_first_frame_waits_for_no_library_that_only_other_screens_need() -> None:
    code = (
        "import sys, tui_tuner.cli.screen, tui_tuner.launch.terminal.leaving, "
        "tui_tuner.launch.output_capture, tui_tuner.ui.app, tui_tuner.ui.screens.home;"
        "print([m for m in ('typer','pydantic','yaml','psutil','orjson','numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("arguments", [[], ["--runs", "x"], ["--runs=x"], ["--runs"], ["--runs", "--help"]])
def test_the_short_way_to_the_workbench_answers_as_the_long_one(arguments: list[str]) -> None:
    answers = []
    for way in ("_choose_entry", "_run_typer"):
        code = f"import sys, tui_tuner.cli as c; c._choose_entry = c.{way}; c.main()"
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        answers.append((done.returncode, done.stdout, done.stderr))
    assert answers[0] == answers[1] and answers[0][0] == 2


def test_the_folder_of_the_workbench_is_not_taken_for_that_of_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tui_tuner", "--runs", "x", "runs"], capture_output=True, text=True
    )
    assert done.returncode == 2 and "tui-tuner runs … --runs FOLDER" in done.stderr


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_a_terminal_that_hangs_up_leaves_the_run_going(tmp_path: Path) -> None:
    """A real process on a pseudo-terminal: the terminal closes, the journal still comes to its end."""
    script = tmp_path / "app.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.ui import fakes\n"
        "from tui_tuner.ui.app import TunerApp\n"
        "fakes.FakeHost.total, fakes.FakeHost.pace = 60, 0.05\n"
        f"store = fakes.store_at(Path({str(tmp_path)!r}))\n"
        "folder = fakes.make_run(store, 'hup')\n"
        "app = TunerApp(store, open_run=folder, train=True, host_factory=fakes.FakeHost)\n"
        "result = app.run()\n"
        "Path('result').write_text(f'{result.terminal_gone} {result.host.is_alive}')\n"
        "result.host.join_thread(20)\n"
        "Path('after').write_text('still here')\n"
    )
    main, side = os.openpty()
    root = str(Path(__file__).parents[2])
    child = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=side, stdout=side, stderr=side, cwd=tmp_path, start_new_session=True,
        env={**os.environ, "PYTHONPATH": root, "TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(side)
    folder = fakes.store_at(tmp_path).root / "hup" / "events.jsonl"
    shown = b""
    while b"running" not in shown:
        shown += os.read(main, 65536)
    os.close(main)
    child.send_signal(signal.SIGHUP)
    child.wait(30)
    assert (tmp_path / "result").read_text() == "True True"
    assert (tmp_path / "after").exists()
    assert b'"kind":"finished"' in folder.read_bytes()


def test_garbage_is_looked_for_when_the_keys_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    from tui_tuner.ui import garbage

    found: list[int] = []
    monkeypatch.setattr(garbage.gc, "collect", lambda: found.append(1))
    monkeypatch.setattr(garbage.gc, "get_count", lambda: (0, 0, garbage.MANY))
    collector = garbage.GarbageTiming()
    collector.collect_if_idle()
    assert found == [1]
    collector.note_input()
    collector.collect_if_idle()
    assert found == [1]
