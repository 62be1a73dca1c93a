"""Every change of a draft is a step that can be taken back, in the form and on the screen of the plan."""

from __future__ import annotations

from typing import Any

from textual.pilot import Pilot
from textual.widgets import Input

from tests.ui.conftest import Opened, text, until
from tui_tuner.ui import form_values
from tui_tuner.ui.drafts import DraftKeeper
from tui_tuner.ui.screens.home import HomeScreen
from tui_tuner.ui.screens.settings import SettingsScreen


async def go_to(pilot: Pilot[Any], path: str) -> None:
    """Have the form put the focus into a field."""
    screen = pilot.app.screen
    assert isinstance(screen, SettingsScreen)
    await screen._go_to_field(path)
    await until(pilot, lambda: at(pilot) == path)


def at(pilot: Pilot[Any]) -> str:
    """The field that has the focus."""
    screen = pilot.app.screen
    assert isinstance(screen, SettingsScreen)
    here = screen._form_pages.focused_field
    return here.option.path if here is not None else ""


def said(pilot: Pilot[Any]) -> str:
    notes = list(pilot.app._notifications)
    return notes[-1].message if notes else ""


async def write(pilot: Pilot[Any], path: str, words: str) -> None:
    """Go to a field and write something else into it, letter by letter."""
    await go_to(pilot, path)
    await pilot.press("end", "ctrl+u", *words)
    await until(pilot, lambda: isinstance(pilot.app.focused, Input) and pilot.app.focused.value == words)


async def test_each_field_is_a_step_and_undo_goes_to_it(opened: Opened) -> None:
    async with opened() as pilot:
        await pilot.press("n")
        await until(pilot, lambda: "✓ ready" in text(pilot))
        await write(pilot, "method.rank", "99")
        await write(pilot, "training.epochs", "7")
        await write(pilot, "method.rank", "")  # no value
        draft = pilot.app.drafts.draft
        assert (
            draft.texts == {"method.rank": ""}
            and form_values.find_draft_value(draft.values, "training.epochs") == 7
        )

        await go_to(pilot, "training.seed")
        await pilot.press("ctrl+z")
        await until(pilot, lambda: at(pilot) == "method.rank")
        assert draft.texts == {} and draft.values["method"]["rank"] == 99
        assert "method.rank is 99" in said(pilot)
        await pilot.press("ctrl+z")
        await until(pilot, lambda: at(pilot) == "training.epochs")
        assert (
            form_values.find_draft_value(draft.values, "training.epochs") == 3
            and draft.values["method"]["rank"] == 99
        )
        await pilot.press("ctrl+z")
        await until(pilot, lambda: at(pilot) == "method.rank")
        assert form_values.list_differing_values(draft.values) == {}
        await pilot.press("ctrl+z")
        await until(pilot, lambda: "nothing to undo" in said(pilot))

        await pilot.press("ctrl+y", "ctrl+y", "ctrl+y")
        await until(pilot, lambda: draft.texts == {"method.rank": ""} and at(pilot) == "method.rank")
        focused = pilot.app.focused
        assert isinstance(focused, Input) and focused.value == ""
        assert "✗ 1 problem" in text(pilot)


async def test_keys_in_one_burst_lose_no_letter(opened: Opened) -> None:
    async with opened() as pilot:
        await pilot.press("n")
        await until(pilot, lambda: "✓ ready" in text(pilot))
        await go_to(pilot, "method.rank")
        from textual.events import Key

        for key, letter in (("4", "4"), ("7", "7"), ("ctrl+z", None), ("ctrl+y", None)):
            pilot.app._driver.process_message(Key(key, letter))  # none waits for the one before
        await until(pilot, lambda: "Redone: method.rank is 47" in said(pilot))
        assert isinstance(pilot.app.focused, Input) and pilot.app.focused.value == "47"
        assert not pilot.app.drafts.draft.texts


async def test_a_choice_and_a_mend_are_steps(opened: Opened) -> None:
    async with opened() as pilot:
        await pilot.press("n")
        await until(pilot, lambda: "✓ ready" in text(pilot))
        await go_to(pilot, "method.kind")
        await pilot.press("enter", "down", "enter")
        await until(pilot, lambda: form_values.find_draft_value(pilot.app.draft, "method.kind") != "lora")
        screen = pilot.app.screen
        assert isinstance(screen, SettingsScreen)
        await screen.take_values({"task": "classification", "data.max_length": 64})
        await pilot.press("ctrl+z")
        await until(pilot, lambda: form_values.find_draft_value(pilot.app.draft, "task") == "sft")
        assert "task" in said(pilot) and "data.max_length" in said(pilot)
        assert form_values.find_draft_value(pilot.app.draft, "method.kind") != "lora"
        await pilot.press("ctrl+z")
        await until(pilot, lambda: form_values.find_draft_value(pilot.app.draft, "method.kind") == "lora")


async def test_the_plan_and_the_form_have_one_history_that_outlives_both(opened: Opened) -> None:
    async with opened() as pilot:
        await pilot.press("n")
        await until(pilot, lambda: "✓ ready" in text(pilot))
        await write(pilot, "training.epochs", "2")
        await pilot.press("f3")
        await until(pilot, lambda: "Learning rate" in text(pilot))
        pilot.app.draft = {**pilot.app.draft, "method": {"rank": 4}}  # as its key `f` does
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, SettingsScreen))
        await pilot.press("escape", "escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, HomeScreen))
        await pilot.press("n")  # something else, and back
        await until(pilot, lambda: isinstance(pilot.app.screen, SettingsScreen))
        await pilot.press("escape")
        await until(pilot, lambda: "✎ your draft" in text(pilot))
        await pilot.press("c")
        await until(pilot, lambda: "✓ ready" in text(pilot))
        await pilot.press("ctrl+z")
        await until(pilot, lambda: at(pilot) == "method.rank")
        assert form_values.list_differing_values(pilot.app.draft) == {"training.epochs": 2.0}
        await pilot.press("f3")
        await until(pilot, lambda: "Learning rate" in text(pilot))
        await pilot.press("z")
        await until(pilot, lambda: form_values.list_differing_values(pilot.app.draft) == {})
        await pilot.press("escape", "ctrl+y", "ctrl+y")
        await until(
            pilot,
            lambda: (
                form_values.list_differing_values(pilot.app.draft)
                == {"method.rank": 4, "training.epochs": 2.0}
            ),
        )


def test_a_draft_that_is_begun_again_comes_back_with_its_own_file() -> None:
    keeper = DraftKeeper()
    keeper.draft.values = {"method": {"rank": 5}}
    keeper.note_change(typed="method.rank")
    first = keeper.draft.id
    keeper.begin_again({"training": {"epochs": 1}}, "demo", "preset demo")
    keeper.draft.values["training"]["epochs"] = 2
    keeper.note_change()
    keeper.flush_draft()
    assert keeper.draft.id not in ("", first)
    keeper.undo()
    assert keeper.draft.values == {"training": {"epochs": 1}}
    keeper.undo()
    keeper.flush_draft()
    assert keeper.draft.id == first and keeper.draft.values == {"method": {"rank": 5}}
    from tui_tuner.ui.editing.draft_files import read_drafts

    (kept,) = read_drafts()
    assert kept.values == {"method": {"rank": 5}}
    keeper.redo()
    keeper.redo()
    assert keeper.draft.values == {"training": {"epochs": 2}} and keeper.draft.name == "demo"
    keeper.flush_draft()


def test_what_is_typed_and_deleted_again_is_no_step_and_old_steps_end() -> None:
    from tui_tuner.ui.editing import undo

    keeper = DraftKeeper()
    for value in (1, 12, 1, 16):
        form_values.set_draft_value(keeper.draft.values, "method.rank", value)
        keeper.note_change(typed="method.rank")
    assert len(keeper.history.done) == 1
    for value in range(undo.MOST + 5):
        form_values.set_draft_value(keeper.draft.values, "training.seed", value)
        keeper.note_change()
    assert len(keeper.history.done) == undo.MOST
    states = keeper.history.done
    assert states[-1].before.values["method"] is states[-2].before.values["method"]  # shared
    keeper.flush_draft()
