"""Square brackets in words, names and data are shown, and never read as markup: on every screen."""

from __future__ import annotations

import gettext
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text
from textual.content import Content
from textual.widgets import Input

from tests.ui import fakes
from tests.ui.conftest import Opened, text, until
from tui_tuner import locales
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.ui.screens import plan_screen
from tui_tuner.ui.screens.data_screen import DataScreen
from tui_tuner.ui.screens.plan_screen import PlanScreen
from tui_tuner.ui.screens.results import ResultsScreen
from tui_tuner.ui.screens.run import RunScreen
from tui_tuner.ui.screens.runs import RunsScreen
from tui_tuner.ui.screens.settings import SettingsScreen

CLOSES = "[/zz]"  # a closing tag of nothing: an error where it is read as markup
OPENS = "[red on zz "
NAME = "run[b [∕zz]"


class Bracketed(gettext.NullTranslations):
    """Every sentence ends in brackets, as a translation may."""

    def gettext(self, message: str) -> str:
        return f"{message} {CLOSES}"

    def ngettext(self, one: str, many: str, count: int) -> str:
        return self.gettext(one if count == 1 else many)


@pytest.fixture
def read_as_markup(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What of ours was read as markup while the test ran; whatever reads it goes on with plain text."""
    found: list[str] = []
    for kind in (Content, Text):
        read = kind.from_markup

        def from_markup(words: Any, *more: Any, read: Any = read, kind: Any = kind, **named: Any) -> Any:
            if isinstance(words, str) and (CLOSES in words or OPENS in words or "[b" in words):
                found.append(words)
                return kind(words)
            return read(words, *more, **named)

        monkeypatch.setattr(kind, "from_markup", staticmethod(from_markup))
    monkeypatch.setattr(locales, "_catalogue", Bracketed())
    for name, title in plan_screen.PAGES.items():
        monkeypatch.setitem(plan_screen.PAGES, name, f"{title} {CLOSES}")
    yield found


def odd_run(store: RunStore) -> RunFolder:
    folder = fakes.make_run(store, "plain", model={"name": f"{OPENS}model"})
    fakes.write_run(folder, 40, 100, "failed")
    os.rename(folder.path, folder.path.with_name(NAME))
    return RunFolder(folder.path.with_name(NAME))


async def test_no_screen_reads_brackets_as_markup(
    tmp_path: Path, store: RunStore, opened: Opened, read_as_markup: list[str]
) -> None:
    odd_run(store)
    rows = tmp_path / f"{OPENS}rows.jsonl"
    rows.write_text('{"prompt": "[/zz] [b", "response": "[@click=app.bell]x"}\n' * 9)
    async with opened(config={"model": {"name": f"{OPENS}x"}}) as pilot:

        async def go(*keys: str, to: type[Any] | None = None) -> None:
            await pilot.press(*keys)
            await pilot.pause(0.1)
            if to is not None:
                await until(pilot, lambda: isinstance(pilot.app.screen, to), 60)
                await go("question_mark")
                await go("escape")

        await until(pilot, lambda: NAME[:6] in text(pilot))
        assert CLOSES in text(pilot)
        await go("ctrl+p")
        await pilot.pause(0.3)
        await go(*"run", "escape")
        await go("enter", to=RunScreen)
        await go("tab")
        await go("tab")
        await go("v", to=ResultsScreen)
        await go("escape", "escape")
        await go("r", to=RunsScreen)
        await go("slash", "left_square_bracket", "b", "enter", "escape")
        await go("escape")
        await go("n", to=SettingsScreen)
        await go("f2")
        await go("down", "down", "left_square_bracket", "slash", "right_square_bracket", "ctrl+s")
        await go("escape")
        pilot.app.draft = {}  # type: ignore[attr-defined]
        pilot.app.push_screen(PlanScreen())
        await until(pilot, lambda: pilot.app.screen.query("#tabs"), 60)
        await until(pilot, lambda: getattr(pilot.app.screen, "look", None) is not None, 30)
        assert f"1 {plan_screen.PAGES['memory']}" in text(pilot)
        for key in "1234":
            await go(key)
        await go("c")
        await go("escape", "escape")
        pilot.app.push_screen(DataScreen())
        await until(pilot, lambda: pilot.app.screen.query("#path"))
        pilot.app.screen.query_one("#path", Input).value = str(rows)
        await go("enter")
        await until(pilot, lambda: pilot.app.screen.query_one("#rows").count == 9, 60)
        await until(pilot, lambda: "assistant: [@click=app.bell]x" in text(pilot))
        pilot.app.show_notice(f"{OPENS} {CLOSES}")  # type: ignore[attr-defined]
        await go("q")
    assert read_as_markup == []
