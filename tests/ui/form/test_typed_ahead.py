"""Keys that come in one burst, as over a slow line: each arrives where it belongs, and the focus stays."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from textual import events
from textual.widgets import Input

from tests.ui.conftest import SIZES, Opened, text
from tui_tuner.ui import form_values
from tui_tuner.ui.screens.home import HomeScreen
from tui_tuner.ui.screens.settings import SettingsScreen
from tui_tuner.ui.widgets.form.field import FieldSelect
from tui_tuner.ui.widgets.form.form_pages import FormPages

LETTERS = {"-": "minus", ".": "full_stop", " ": "space"}


def burst(app: Any, *keys: str) -> None:
    """Hand in keys as a terminal does: all at once, and nobody waits."""
    for key in keys:
        name = LETTERS.get(key, key)
        app._driver.send_message(events.Key(name, key if len(key) == 1 else None))


async def until(pilot: Any, condition: Any, seconds: float = 60.0) -> None:
    """As that of all tests, but without the pilot, which waits for every widget each time it looks."""
    for _turn in range(round(seconds / 0.02)):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"waited in vain; the screen says:\n{text(pilot)}")


def here(app: Any) -> str:
    """The field in focus."""
    drawn = isinstance(app.screen, SettingsScreen) and app.screen.query(FormPages)
    found = app.screen._form_pages.focused_field if drawn else None
    return found.option.path if found is not None else ""


async def settled(pilot: Any) -> None:
    await until(pilot, lambda: not pilot.app.keys_wait and not pilot.app._typed)


@pytest.mark.parametrize("size", SIZES)
async def test_keys_for_a_form_that_is_not_there_yet(opened: Opened, size: tuple[int, int]) -> None:
    async with opened(size=size) as pilot:
        await until(pilot, lambda: isinstance(pilot.app.screen, HomeScreen) and "New run" in text(pilot))
        burst(pilot.app, "n", "enter", "down", "down")
        await until(pilot, lambda: here(pilot.app) == "model.dtype")
        await settled(pilot)
        await until(pilot, lambda: "ready" in text(pilot))
        assert here(pilot.app) == "model.dtype"  # what came back has moved nothing
        burst(pilot.app, "escape", "down", "down", "down", "enter")
        await until(pilot, lambda: here(pilot.app) == "method.kind")


async def test_a_choice_and_a_number_typed_in_one_go(opened: Opened) -> None:
    async with opened() as pilot:
        burst(pilot.app, "n", *["down"] * 3, "enter", "enter", *["down"] * 2, "enter", "down", "home", "8")
        await until(pilot, lambda: pilot.app.draft.get("method") == {"kind": "rslora", "rank": 816})
        assert here(pilot.app) == "method.rank"
        burst(pilot.app, "end", "backspace", "backspace", "4", *["up"], "enter", "down", "enter", "down")
        await until(pilot, lambda: pilot.app.draft["method"] == {"kind": "full", "rank": 84})
        await settled(pilot)
        # rank does not apply to full: below the method there is no field, and so comes the next section
        assert here(pilot.app) == "training.learning_rate"


async def test_advanced_fields_come_where_one_is(opened: Opened) -> None:
    async with opened() as pilot:
        burst(pilot.app, "n", *["down"] * 4, "enter", "down", "down", "f2")
        await until(
            pilot, lambda: here(pilot.app) == "training.max_steps" and pilot.app.screen._form_pages.advanced
        )
        page = pilot.app.screen.query_one("#page-training")
        pages = pilot.app.screen._form_pages
        assert any(f.option.path == "training.adam_beta1" for f in pages.visible_fields)
        burst(pilot.app, "7", "f2", "9")
        await until(pilot, lambda: pilot.app.draft.get("training") == {"max_steps": 79})
        await settled(pilot)
        assert here(pilot.app) == "training.max_steps"
        assert pilot.app.screen.query_one("#page-training") is page  # it was never made anew
        assert not any(f.option.path == "training.adam_beta1" for f in pages.visible_fields)


async def test_an_advanced_field_in_focus_stays_when_they_are_folded(opened: Opened) -> None:
    async with opened() as pilot:
        burst(pilot.app, "n", "f2", "enter", *["down"] * 4)
        await until(pilot, lambda: here(pilot.app) and form_values.list_options()[here(pilot.app)].advanced)
        path = here(pilot.app)
        burst(pilot.app, "f2")
        await until(pilot, lambda: not pilot.app.screen._form_pages.advanced)
        await settled(pilot)
        assert here(pilot.app) == path


async def test_an_answer_of_the_check_leaves_an_open_list_open(opened: Opened) -> None:
    async with opened() as pilot:
        burst(pilot.app, "n", *["down"] * 3, "enter", "enter", "down")
        await until(pilot, lambda: any(select.expanded for select in pilot.app.screen.query(FieldSelect)))
        await until(pilot, lambda: "ready" in text(pilot) and pilot.app.screen._costs)
        await asyncio.sleep(0.2)
        (select,) = [select for select in pilot.app.screen.query(FieldSelect) if select.expanded]
        burst(pilot.app, "enter")
        await until(pilot, lambda: select.value == "dora")
        assert "% of the weights trained" in str(select._options[0][0])  # which came while it was open
        await until(pilot, lambda: pilot.app.focused is select)


async def test_letters_and_arrows_in_a_burst_keep_their_order(opened: Opened) -> None:
    async with opened() as pilot:
        burst(pilot.app, "n", "enter", "down", "home", *"models-", "down", "up", "end", *".v2", "left", "x")
        await until(pilot, lambda: pilot.app.draft.get("model") == {"name": "models-demo.vx2"})
        assert isinstance(pilot.app.focused, Input)


async def test_a_way_out_waits_for_nothing(opened: Opened) -> None:
    async with opened() as pilot:
        slow = asyncio.Event()
        pilot.app.screen.call_later(slow.wait)  # a handler that takes its time
        burst(pilot.app, "down", "ctrl+q")
        for _turn in range(200):  # the pilot would wait for the handler
            await asyncio.sleep(0.01)
            if pilot.app._exit:
                break
        assert pilot.app._exit and pilot.app.keys_wait
        slow.set()
