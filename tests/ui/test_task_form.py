"""Choosing a task: only the fields and methods that apply are shown, and nothing that was typed is lost."""

from __future__ import annotations

import pytest
from textual.widgets import Input

from tests.ui.conftest import SIZES, Opened, text, until
from tui_tuner.config.applying import BESIDE, list_particular_fields
from tui_tuner.config.kinds.tasks import TASKS, TaskKind
from tui_tuner.ui import form_values
from tui_tuner.ui.screens.settings import SettingsScreen
from tui_tuner.ui.widgets.form.field import Field, FieldSelect


def shown(pilot) -> list[str]:
    """Fields on view, in order."""
    return [field.option.path for field in pilot.app.screen.query_one("FormPages").visible_fields]


async def open_form(pilot) -> None:
    pilot.app.open_settings()
    await until(pilot, lambda: isinstance(pilot.app.screen, SettingsScreen) and "ready" in text(pilot))


async def choose_task(pilot, name: str) -> None:
    """In the select of the task, which has the focus, by keys alone."""
    here = list(TASKS).index(form_values.find_draft_value(pilot.app.draft, "task"))
    there = list(TASKS).index(name)
    keys = ["down"] * (there - here) if there > here else ["up"] * (here - there)
    await pilot.press("enter", *keys, "enter")
    await until(pilot, lambda: form_values.find_draft_value(pilot.app.draft, "task") == name)


@pytest.mark.parametrize("size", SIZES)
async def test_choosing_a_task_shows_what_applies_at_once(opened: Opened, size: tuple[int, int]) -> None:
    async with opened(size=size) as pilot:
        pilot.app.draft = {"data": {"path": "demo"}}
        await open_form(pilot)
        await pilot.press("f2")
        await pilot.pause()
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.focused, FieldSelect))
        assert "model.chat_template" in shown(pilot)
        await pilot.press("enter")
        await pilot.pause()
        assert "Find the answer to a question inside a text." in text(pilot)  # each explains itself
        await pilot.press("escape")
        await choose_task(pilot, "question_answering")
        assert "model.chat_template" not in shown(pilot)
        assert isinstance(pilot.app.focused, FieldSelect)  # the focus stays where it was
        assert pilot.app.focused.value == "question_answering"
        await until(pilot, lambda: "Find the answer to a question" in text(pilot))
        for section in ("data", "evaluation") if size == SIZES[0] else ("training",):
            await pilot.app.screen._show_section(section)
            paths = [option.path for option in form_values.list_section_options(section)]
            assert shown(pilot) == [
                path for path in paths if form_values.is_field_effective(pilot.app.draft, path)
            ]
        await pilot.app.screen._go_to_field("task")
        await choose_task(pilot, "sft")
        assert "model.chat_template" in shown(pilot)


async def test_what_was_typed_is_kept_and_a_run_gets_what_applies(opened: Opened) -> None:
    async with opened() as pilot:
        pilot.app.draft = {"data": {"path": "demo", "train_on": "everything"}, "evaluation": {"samples": 2}}
        await open_form(pilot)
        screen = pilot.app.screen
        # In the screen's own turn: while it is being mounted, it draws its first section over this one.
        screen.call_later(screen._go_to_field, "evaluation.max_new_tokens")
        await until(pilot, lambda: isinstance(pilot.app.focused, Input))
        await pilot.press("home", *"many")  # no number: it stays as it is
        await until(pilot, lambda: "evaluation.max_new_tokens" in screen._standing.problems)
        await screen._go_to_field("task")
        await choose_task(pilot, "classification")
        assert not screen._standing.problems  # what has no effect hinders nothing
        held = form_values.build_draft_config(pilot.app.draft)
        assert held.data.train_on == "all_answers" and held.evaluation.samples == 2
        assert pilot.app.draft["data"]["train_on"] == "everything"
        assert await screen._form_pages.show_field("data.train_on", pilot.app.drafts.draft) is None
        await screen._go_to_field("task")
        await choose_task(pilot, "sft")
        assert "evaluation.max_new_tokens" in screen._standing.problems
        field = await screen._form_pages.show_field("evaluation.max_new_tokens", pilot.app.drafts.draft)
        assert field is not None and field.query_one(Input).value == "many200"
        assert (
            form_values.build_draft_config({**pilot.app.draft, "evaluation": {}}).data.train_on
            == "everything"
        )


async def test_methods_that_cannot_train_the_task_are_not_offered(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = TASKS["question_answering"]
    without = {"loha": "its head is out of its reach", "ia3": "it has no outputs to scale"}
    monkeypatch.setitem(TASKS, kind.name, TaskKind(**{**vars(kind), "without": without}))
    async with opened() as pilot:
        pilot.app.draft = {"data": {"path": "demo"}, "method": {"kind": "ia3"}}
        await open_form(pilot)
        screen = pilot.app.screen
        field = await screen._form_pages.show_field("method.kind", pilot.app.drafts.draft)
        assert isinstance(field, Field)
        select = field.query_one(FieldSelect)
        names = lambda: [value for _prompt, value in select._options]  # noqa: E731
        assert "loha" in names() and select.value == "ia3"
        form_values.set_draft_value(screen.draft_values, "task", "question_answering")
        screen._check_draft()
        await pilot.pause()
        assert "loha" not in names() and select.value == "ia3"  # what is wrong is shown, and not changed
        assert (
            "ia3 cannot train task question_answering: it has no outputs"
            in screen._standing.problems["method.kind"]
        )
        form_values.set_draft_value(screen.draft_values, "method.kind", "lora")
        screen._check_draft()
        assert not screen._standing.problems


def test_fields_that_are_named_apply_to_some_task_alone() -> None:
    values = {"task": "token_classification", "data": {"stride": 8, "problem": "multi", "path": "demo"}}
    assert form_values.drop_ineffective_fields(values)["data"] == {"stride": 8, "path": "demo"}
    assert values["data"]["problem"] == "multi"
    assert (
        form_values.drop_ineffective_fields({"task": "nonsense", "data": {"problem": "multi"}})["data"][
            "problem"
        ]
        == "multi"
    )
    assert all(
        form_values.is_field_effective({"task": "nonsense"}, path)
        for path in list_particular_fields() - set(BESIDE)
    )
    assert form_values.drop_ineffective_fields({"data": "no mapping"}) == {"data": "no mapping"}
    problem = {"evaluation.prompts": "no list", "data.stride": "no number"}
    assert form_values.find_draft_problems({"task": "sft"}, problem) == {"evaluation.prompts": "no list"}
    assert form_values.find_draft_problems({"task": "question_answering"}, problem) == {
        "data.stride": "no number"
    }


def test_a_field_is_marked_before_it_is_composed() -> None:
    """A page is mounted a moment before its fields are composed, and the answer may come then."""
    field = Field(form_values.list_options()["training.epochs"], 3)
    field.mark_field(changed=True, sentence="training.epochs: too many")
    assert "✗ epochs" in str(field._label.content)
    assert str(field._below.content) == "too many"
