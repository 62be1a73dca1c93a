"""The numbers before the run, on the screen."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from textual.widgets import OptionList

from tests.ui.conftest import SIZES, Opened, text, until
from tui_tuner.launch.tracing import Tracer
from tui_tuner.models.facts import load_facts
from tui_tuner.planning.estimate import estimate_memory
from tui_tuner.planning.gpus import find_gpu_card
from tui_tuner.planning.hardware import Gpu, Hardware
from tui_tuner.ui import planlook
from tui_tuner.ui.screens.plan_screen import PlanScreen
from tui_tuner.ui.screens.settings import SettingsScreen
from tui_tuner.ui.widgets.form.plan_line import PlanLine
from tui_tuner.ui.widgets.memory_bar import draw_memory_bar, sort_memory_parts

LARGE = {"model": {"name": "mistralai/Mistral-7B-v0.1"}}


async def to_plan(pilot: Any) -> PlanScreen:
    pilot.app.push_screen(SettingsScreen())
    await pilot.pause()
    await pilot.press("f3")
    await until(pilot, lambda: isinstance(pilot.app.screen, PlanScreen) and pilot.app.screen.look, 60)
    await pilot.pause()
    screen = pilot.app.screen
    assert isinstance(screen, PlanScreen)
    return screen


async def planned_anew(pilot: Any, screen: PlanScreen, key: str) -> None:
    before = screen.look
    await pilot.press(key)
    await until(pilot, lambda: screen.look is not before, 60)
    await pilot.pause()


@pytest.mark.parametrize("size", SIZES)
async def test_memory_against_a_card_with_its_parts_and_levers(opened: Opened, size: tuple[int, int]) -> None:
    async with opened(size, config=dict(LARGE)) as pilot:
        pilot.app.card = "T4"
        screen = await to_plan(pilot)
        shown = text(pilot)
        assert "Undo" in shown and "Range test" in shown and "Help" in shown  # all keys have room
        assert "Does not fit T4" in shown and "Make it fit" in shown and "█" in shown and "GiB" in shown
        listed = [float(found) for found in re.findall(r"[█▓▒░] [\w…\- ]+?(\d+\.\d\d) GiB", shown)]
        assert sum(listed) == pytest.approx(screen.look.estimate.device, abs=0.05)
        assert re.search(rf"on the device +{screen.look.estimate.device:.2f} GiB", shown)
        assert f"{find_gpu_card('T4').usable - screen.look.estimate.safe_limit:.1f}".lstrip("-") in shown


async def test_the_offered_change_makes_it_fit_and_can_be_taken_back(opened: Opened) -> None:
    async with opened(config=dict(LARGE)) as pilot:
        pilot.app.card = "T4"
        screen = await to_plan(pilot)
        await planned_anew(pilot, screen, "f")
        assert screen.look.plan.fit.fits and "Fits T4" in text(pilot)
        assert pilot.app.draft["model"]["quantization"] == "nf4"
        await planned_anew(pilot, screen, "z")
        assert "quantization" not in pilot.app.draft["model"] and not screen.look.plan.fit.fits


async def test_advice_is_applied_with_a_key_and_stands_in_the_form(opened: Opened) -> None:
    config = {**LARGE, "training": {"learning_rate": 0.5}}
    async with opened(config=config) as pilot:
        pilot.app.card = "24GiB"
        screen = await to_plan(pilot)
        await pilot.press("4")
        await until(pilot, lambda: "learning rate 0.5 is far above" in text(pilot))
        await planned_anew(pilot, screen, "f")
        assert "Nothing looks wrong" in text(pilot)
        rate = pilot.app.draft["training"]["learning_rate"]
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, SettingsScreen))
        await pilot.press(*["down"] * 4)
        await until(pilot, lambda: re.search(rf"• learning rate +{rate:g}", text(pilot)))


async def test_a_rule_of_the_learning_rate_can_be_taken(opened: Opened) -> None:
    async with opened(config={"training": {"batch_size": 64}}) as pilot:
        pilot.app.card = "T4"
        screen = await to_plan(pilot)
        await pilot.press("2")
        await until(pilot, lambda: "usual for the method" in text(pilot) and "●" in text(pilot))
        rules = screen.look.plan.rules
        index = next(i for i, rule in enumerate(rules) if rule.name == "linear in the batch")
        screen.query_one("#rules", OptionList).highlighted = index
        await pilot.pause()
        assert "Goyal" in text(pilot)
        await planned_anew(pilot, screen, "f")
        assert pilot.app.draft["training"]["learning_rate"] == pytest.approx(rules[index].rate, rel=0.01)
        assert "set in the settings" in text(pilot)


async def test_time_and_money_say_what_they_rest_on(opened: Opened) -> None:
    async with opened(config={"hardware": {"price_per_hour": 3600}}) as pilot:
        pilot.app.card = "RTX 4090"
        screen = await to_plan(pilot)
        await pilot.press("3")
        await until(pilot, lambda: "money" in text(pilot))
        shown = text(pilot)
        assert "rows counted" in shown and "TFLOP/s" in shown
        assert f"{screen.look.plan.duration.seconds:.2f}" in shown  # a second costs 1


async def test_another_card_is_chosen_and_remembered(opened: Opened) -> None:
    async with opened(config=dict(LARGE)) as pilot:
        pilot.app.card = "T4"
        screen = await to_plan(pilot)
        await pilot.press("c")
        await until(pilot, lambda: "✓ needs" in text(pilot), 60)
        assert "RTX 3080" in text(pilot)
        await pilot.press("tab", *"no such", "enter")
        await until(pilot, lambda: "no GPU is called" in text(pilot))
        pilot.app.screen.query_one("Input").value = "80GiB"
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app.screen is screen and "Fits 80 GiB" in text(pilot), 60)
    async with opened() as pilot:
        assert pilot.app.card == "80GiB"


async def test_the_form_says_memory_and_fit_as_values_change(opened: Opened) -> None:
    async with opened(config=dict(LARGE)) as pilot:
        pilot.app.card = "T4"
        pilot.app.push_screen(SettingsScreen())
        await until(pilot, lambda: "does not fit" in text(pilot), 60)
        screen = pilot.app.screen
        pilot.app.draft["model"]["quantization"] = "nf4"
        screen._check_draft()
        await until(pilot, lambda: "✓ fits" in text(pilot), 60)
        pilot.app.draft["training"] = {"batch_size": -1}
        screen._check_draft()
        await pilot.pause()
        assert "when all values are valid" in text(pilot)
        pilot.app.draft.update(training={}, model={"name": "nobody/has-[red]this"})
        screen._check_draft()
        await until(pilot, lambda: "No plan" in text(pilot) and "[red]" in text(pilot), 30)
        assert screen.query_one(PlanLine).size.height == 2


@pytest.mark.parametrize("size", SIZES)
async def test_the_form_shows_the_parts_of_the_peak(opened: Opened, size: tuple[int, int]) -> None:
    async with opened(size, config=dict(LARGE)) as pilot:
        pilot.app.card = "H100"
        pilot.app.push_screen(SettingsScreen())
        await until(pilot, lambda: "✓ fits" in text(pilot), 60)
        await pilot.pause()
        shown = text(pilot)
        found = planlook.plan_draft(LARGE, "H100").estimate
        most = max((row for row in found.rows if row.phase == found.phase), key=lambda row: row.gib)
        assert f"most memory: {most.name} {most.gib:.1f} GiB" in shown  # whole, at 80 columns too
        assert re.search(r"trains [\d,.]+( [MB])? weights \([\d.]+ %\)", shown)
        wide = size[0] >= 100
        listed = [float(one) for one in re.findall(r"[█▓▒░] [\w…\- ]+?(\d+\.\d\d) GiB", shown)]
        assert (sum(listed) == pytest.approx(found.device, abs=0.05)) == wide


async def test_a_model_without_shapes_is_said(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "[/red]"}')
    async with opened(config={"model": {"name": str(tmp_path)}}) as pilot:
        pilot.app.push_screen(SettingsScreen())
        await pilot.pause()
        await pilot.press("f3")
        await until(pilot, lambda: "✗" in text(pilot) and isinstance(pilot.app.screen, PlanScreen), 60)


@pytest.mark.parametrize("card", ["T4", "A100-80", "B200"])
@pytest.mark.parametrize("width", [4, 38, 78])
def test_the_bar_is_as_wide_as_the_card_and_as_long_as_the_run(card: str, width: int) -> None:
    from tui_tuner.config.load import build_config

    config = build_config(LARGE)
    found, against = estimate_memory(config, facts=load_facts(config.model), card=card), find_gpu_card(card)
    drawn = draw_memory_bar(found, against, width).plain
    assert len(drawn) == width
    free = drawn.count("·")
    assert free == pytest.approx(max(0.0, 1 - found.device / against.usable) * width, abs=1)
    assert ("▏" in drawn) == (found.device > against.usable)
    assert sum(row.gib for row in sort_memory_parts(found)) == pytest.approx(found.device)


def test_planning_for_the_screen_imports_no_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys\nfrom tui_tuner.ui import planlook\nfrom tui_tuner.ui.screens import plan_screen, cards\n"
        "planlook.plan_draft({}, 'T4')\nprint([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_counts_are_kept_until_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = '{"prompt": "a", "response": "b"}\n'
    path.write_text(row * 10)
    draft = {"data": {"path": str(path), "validation": None}}
    assert planlook.plan_draft(draft, "T4").counted.facts.rows == 10
    path.write_text(row * 12)
    assert planlook.plan_draft(draft, "T4").counted.facts.rows == 12


async def test_the_range_test_suggests_a_rate_that_can_be_taken(opened: Opened) -> None:
    config = {"data": {"limit": 64}, "training": {"batch_size": 4}, "method": {"kind": "full"}}
    async with opened(config=config) as pilot:
        pilot.app.card = "T4"
        screen = await to_plan(pilot)
        await pilot.press("r")
        await until(pilot, lambda: re.search(r"step \d+ of 60, r stops it", text(pilot)), 240)
        growing = screen.query_one("#rates .words")
        seen: set[bool] = set()  # whether the curve was there before the test had ended
        await until(
            pilot,
            lambda: screen._ranged is not None or seen.add("·" in str(growing.render())),
            240,
        )
        assert True in seen
        await pilot.pause()
        rate = screen._ranged.suggestion.rate
        assert rate is not None and "range test" in text(pilot) and "●" in text(pilot)
        await planned_anew(pilot, screen, "f")
        assert pilot.app.draft["training"]["learning_rate"] == pytest.approx(rate, rel=0.1)


def test_a_range_test_that_fails_says_why(tmp_path: Path) -> None:
    from tui_tuner.errors import RunError
    from tui_tuner.ui.rangelook import RangeProcess

    with pytest.raises(RunError, match="not-here"):
        RangeProcess().run_test({"data": {"path": str(tmp_path / "not-here.jsonl")}})


@pytest.mark.parametrize("size", SIZES)
async def test_a_trace_is_shown_under_the_bar(opened: Opened, size: tuple[int, int]) -> None:
    async with opened(size) as pilot:
        pilot.app.card = "T4"
        screen = await to_plan(pilot)
        before = text(pilot)
        await pilot.press("x")
        await until(pilot, lambda: "trace" in text(pilot) and "Tracing" not in text(pilot), 120)
        assert re.search(r"Confirmed by a trace|A trace of the installed|cannot be traced", text(pilot))
        assert before.splitlines()[2] in text(pilot)  # the verdict stands above it
        await planned_anew(pilot, screen, "f")
        assert "trace of" not in text(pilot)  # other settings, nothing traced


async def test_without_a_gpu_the_run_is_held_against_the_ram(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Hardware(memory_gib=8.0, available_gib=6.0, cores=2)
    monkeypatch.setattr(planlook, "detect_hardware", lambda: here)
    async with opened() as pilot:
        pilot.app.card = ""
        screen = await to_plan(pilot)
        shown = text(pilot)
        assert "Fits this machine's RAM" in shown and "rough estimate" in shown and "process" in shown
        assert screen.look.card.usable == 6.0


async def test_counts_that_fail_leave_the_plan(opened: Opened, tmp_path: Path) -> None:
    async with opened(config={**LARGE, "data": {"path": str(tmp_path / "none.jsonl")}}) as pilot:
        pilot.app.card = "H100"
        screen = await to_plan(pilot)
        look = screen.look
        await pilot.press("t")
        await until(
            pilot,
            lambda: any(
                "none.jsonl" in str(n.message) or "hub" in str(n.message) for n in pilot.app._notifications
            ),
            60,
        )
        assert screen.look is look and "Fits H100" in text(pilot)


async def test_a_range_test_is_ended_by_the_key_that_began_it(opened: Opened) -> None:
    async with opened(config={"data": {"limit": 64}}) as pilot:
        pilot.app.card = "T4"
        screen = await to_plan(pilot)
        await pilot.press("r")
        await until(pilot, lambda: "r stops it" in text(pilot))
        await until(pilot, lambda: screen._ranging.pid is not None, 60)
        await pilot.press("r")
        await until(pilot, lambda: screen._ranging is None, 60)
        await pilot.pause()
        assert screen._ranged is None and "r stops it" not in text(pilot)


async def test_leaving_gives_the_helpers_memory_back(opened: Opened) -> None:
    async with opened() as pilot:
        helper = pilot.app.helper
        screen = await to_plan(pilot)
        screen._tracer = Tracer(helper=helper)
        first = psutil.Process(helper.start_process("trace"))
        await pilot.press("escape")
        await until(pilot, lambda: not first.is_running())
        second = psutil.Process(helper.start_process("trace"))
        assert second.is_running()
    assert not second.is_running()


async def test_what_was_measured_here_is_said(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(0, "NVIDIA L4", 22.5, 22.0, (8, 9))
    monkeypatch.setattr(planlook, "detect_hardware", lambda: Hardware(gpus=(gpu,), memory_gib=64.0))
    learned = replace(find_gpu_card("L4"), name="NVIDIA L4", context=0.7, cache=0.11, error=0.02, runs=4)
    monkeypatch.setattr(planlook, "calibrate_card", lambda card: learned)
    async with opened(config=dict(LARGE)) as pilot:
        pilot.app.card = ""
        screen = await to_plan(pilot)
        assert "0.70 GiB" in text(pilot) and "4 runs here" in text(pilot)
        rows = {row.name: row.gib for row in screen.look.estimate.rows}
        assert rows["context"] == 0.7
