"""All methods next to each other, from the form and from the plan, and the counts while one is typed."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest

from tests.ui.conftest import SIZES, Opened, text, until
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.ui import planlook
from tui_tuner.ui.screens.method_table import MethodTableScreen
from tui_tuner.ui.screens.plan_screen import PlanScreen
from tui_tuner.ui.screens.settings import SettingsScreen
from tui_tuner.ui.widgets.form.about import About
from tui_tuner.ui.widgets.methods.method_list import MethodList


async def open_form(pilot: Any, card: str = "T4") -> SettingsScreen:
    pilot.app.card = card
    pilot.app.push_screen(SettingsScreen())
    await until(pilot, lambda: isinstance(pilot.app.screen, SettingsScreen))
    await pilot.pause()
    screen = pilot.app.screen
    assert isinstance(screen, SettingsScreen)
    return screen


async def open_table(pilot: Any) -> MethodList:
    """Press F7 and wait until every method is computed."""
    await pilot.press("f7")
    await until(pilot, lambda: isinstance(pilot.app.screen, MethodTableScreen))
    await until(pilot, lambda: pilot.app.screen.query_one(MethodList).filled_rows == len(METHODS), 60)
    await pilot.pause()
    found = pilot.app.screen.query_one(MethodList)
    assert isinstance(found, MethodList)
    return found


async def mark(pilot: Any, table: MethodList, name: str) -> None:
    await pilot.press("home")
    for _unused in METHODS:
        if table.marked_name == name:
            break
        await pilot.press("down")
    await pilot.pause()
    assert table.marked_name == name


@pytest.mark.parametrize("size", SIZES)
async def test_every_method_with_the_numbers_of_its_plan(opened: Opened, size: tuple[int, int]) -> None:
    async with opened(size, config={"method": {"rank": 8}}) as pilot:
        await open_form(pilot)
        table = await open_table(pilot)
        assert "T4" in text(pilot) and "usual first" in text(pilot)
        for name in ("lora", "vera"):
            await mark(pilot, table, name)
            plan = planlook.plan_draft({"method": {"kind": name, "rank": 8}}, "T4").plan
            line = next(line for line in text(pilot).splitlines() if line.startswith(f" {name} "))
            assert f"{plan.parameters.trained:,}" in line and "✓" in line
            assert f"{plan.fit.estimate.device:.2f} GiB" in line
            assert plan.parameters.describe_counts() in text(pilot)
            assert "predicted: " in text(pilot) and " in all" in text(pilot)
            assert max(len(line.rstrip()) for line in text(pilot).splitlines()) <= size[0]


async def test_the_marked_method_is_taken_into_the_form_and_back(opened: Opened) -> None:
    async with opened(config={"method": {"kind": "lora", "rank": 8}}) as pilot:
        form = await open_form(pilot)
        table = await open_table(pilot)
        assert table.marked_name == "lora"
        await mark(pilot, table, "freeze")
        assert "with method.layers=" in text(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app.screen is form)
        assert pilot.app.draft["method"] == {"kind": "freeze", "rank": 8, "layers": 1}
        await until(pilot, lambda: "method.kind" in text(pilot) and "freeze" in text(pilot))
        await pilot.press("ctrl+z")
        await until(pilot, lambda: pilot.app.draft["method"] == {"kind": "lora", "rank": 8})
        table = await open_table(pilot)
        await pilot.press("down", "escape")
        await until(pilot, lambda: pilot.app.screen is form)
        assert pilot.app.draft["method"] == {"kind": "lora", "rank": 8}


async def test_a_method_that_lacks_a_field_leads_to_it(opened: Opened) -> None:
    async with opened() as pilot:
        form = await open_form(pilot)
        table = await open_table(pilot)
        await pilot.press("end")
        await pilot.pause()
        assert table.marked_name == "fusion" and "needs method.adapters" in text(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app.screen is form and form._focused_path == "method.adapters")
        assert pilot.app.draft["method"]["kind"] == "fusion"


async def test_a_method_that_the_model_cannot_have_is_not_taken(opened: Opened) -> None:
    shape = {"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    shape |= {"intermediate_size": 64, "vocab_size": 500}
    tiny = {"task": "pretraining", "model": {"architecture": shape, "tokenizer": "train"}}
    async with opened(config={**tiny, "method": {"kind": "full"}}) as pilot:
        await open_form(pilot)
        table = await open_table(pilot)
        await mark(pilot, table, "lora")
        assert "starts from random weights" in " ".join(text(pilot).split())
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(pilot.app.screen, MethodTableScreen)
        assert pilot.app.draft["method"]["kind"] == "full"


async def test_the_cursor_stays_on_its_method_while_it_is_sorted(opened: Opened) -> None:
    async with opened() as pilot:
        await open_form(pilot)
        table = await open_table(pilot)
        await mark(pilot, table, "ia3")
        for words in ("fewest trained", "least memory", "shortest time", "smallest file", "usual first"):
            await pilot.press("s")
            await until(pilot, lambda words=words: words in text(pilot))
            assert table.marked_name == "ia3" and table._names[-1] == "fusion"


async def test_the_screen_answers_while_methods_are_computed(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, threads = threading.Event(), []
    plan = planlook.plan_run

    def plan_slowly(*arguments: Any, **more: Any) -> Any:
        threads.append(threading.current_thread())
        assert go_on.wait(60)
        return plan(*arguments, **more)

    async with opened() as pilot:
        await open_form(pilot)
        await until(pilot, lambda: "fits" in text(pilot))
        monkeypatch.setattr(planlook, "plan_run", plan_slowly)
        await pilot.press("f7")
        await until(pilot, lambda: threads)
        table = pilot.app.screen.query_one(MethodList)
        await pilot.press("down", "down", "s")
        await until(pilot, lambda: table.marked_name == "rslora" and "reading the model" in text(pilot))
        await pilot.press("enter")  # there is nothing to take yet
        assert isinstance(pilot.app.screen, MethodTableScreen)
        go_on.set()
        await until(pilot, lambda: table.filled_rows == len(METHODS), 60)
        assert table.marked_name == "rslora" and "fewest trained" in text(pilot)
        assert threading.main_thread() not in threads


async def test_leaving_ends_the_computation(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, planned = threading.Event(), []
    plan = planlook.plan_run

    def plan_slowly(config: Any, **more: Any) -> Any:
        planned.append(config.method.kind)
        assert go_on.wait(60)
        return plan(config, **more)

    async with opened() as pilot:
        form = await open_form(pilot)
        await until(pilot, lambda: "fits" in text(pilot))
        monkeypatch.setattr(planlook, "plan_run", plan_slowly)
        await pilot.press("f7")
        await until(pilot, lambda: planned)
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is form)
        go_on.set()
        await until(pilot, lambda: not any(worker.group == "methods" for worker in pilot.app.workers))
        assert planned == ["lora"]


async def test_a_model_of_unknown_shapes_says_why_there_are_no_numbers(opened: Opened) -> None:
    async with opened(config={"model": {"name": "nobody/has-this"}}) as pilot:
        await open_form(pilot)
        await pilot.press("down", "down", "down")
        await until(pilot, lambda: "not counted: " in text(pilot), 60)
        await pilot.press("f7")
        await until(pilot, lambda: "No figures" in text(pilot) and "nobody/has-this" in text(pilot), 60)


async def test_the_plan_opens_the_table_too(opened: Opened) -> None:
    async with opened() as pilot:
        await open_form(pilot)
        await pilot.press("f3")
        await until(pilot, lambda: isinstance(pilot.app.screen, PlanScreen) and pilot.app.screen.look, 60)
        screen = pilot.app.screen
        before = screen.look
        table = await open_table(pilot)
        await mark(pilot, table, "ia3")
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app.screen is screen and screen.look is not before, 60)
        assert screen.look.config.method.kind == "ia3"


async def test_counts_and_file_follow_what_is_typed(opened: Opened) -> None:
    async with opened() as pilot:
        form = await open_form(pilot)
        await pilot.press("down", "down", "down")
        await until(pilot, lambda: "trains 122,880 weights" in text(pilot) and "480.0 KiB" in text(pilot))
        assert "A model's weights are large matrices" in text(pilot) and "f7 Methods" in text(pilot)
        await pilot.press("enter", "down")
        await until(pilot, lambda: form._focused_path == "method.rank")
        await pilot.press("backspace", "backspace", "8")
        await until(pilot, lambda: "trains 61,440 weights (6.4 %), saves 240.0 KiB" in text(pilot))
        await pilot.press("backspace")
        await until(pilot, lambda: "✗ method.rank" in text(pilot))
        assert not re.search(r"trains .* saves", text(pilot))


async def test_the_help_of_a_method_can_be_read_to_its_end(opened: Opened) -> None:
    async with opened() as pilot:
        form = await open_form(pilot)
        await pilot.press("down", "down", "down")
        await until(pilot, lambda: "F8 reads on" in text(pilot) and "trains" in text(pilot))
        assert "arXiv 2106.09685" not in text(pilot)
        await pilot.press("f8")
        await until(pilot, lambda: "arXiv 2106.09685" in text(pilot))
        await until(pilot, lambda: form.query_one(About).scroll_y == form.query_one(About).max_scroll_y)
        await pilot.press("f8")
        await until(pilot, lambda: form.query_one(About).scroll_y == 0)
