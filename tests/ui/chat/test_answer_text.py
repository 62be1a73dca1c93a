"""What a model writes is shown as it is: no link, no markup, no control character does anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import Markdown

from tests.ui import fakes
from tests.ui.conftest import Opened, text, until
from tui_tuner.runs.store import RunStore
from tui_tuner.ui.widgets.chat.answer_text import AnswerText, make_markdown_parser, split_long_lists

TEXT = "[bold]x[/] <b>y</b> [a](https://e.org) ![i](f) <https://e.org> &#x202e;z\n\n<div>in a block</div>\n"


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    """No run is needed here."""
    return fakes.store_at(tmp_path)


class Shown(Screen[None]):
    def compose(self) -> ComposeResult:
        yield AnswerText("", False)


def test_nothing_is_hidden_and_nothing_leads_elsewhere() -> None:
    kinds = {token.type for token in make_markdown_parser().parse(TEXT)}
    assert kinds == {"paragraph_open", "inline", "paragraph_close"}


@pytest.mark.parametrize("plain", [False, True])
async def test_pieces_make_the_whole(plain: bool, opened: Opened) -> None:
    whole = TEXT + "\n\x1b[31mred **not bold\n\n- one\n- two\n\n```\ncode [x]\n```\nend\n"
    async with opened() as pilot:
        screen = Shown()
        await pilot.app.push_screen(screen)
        answer = screen.query_one(AnswerText)
        await answer.show_as(plain)
        for end in range(0, len(whole) + 1, 7):
            answer.set_text(whole[:end])
            if end % 35 == 0:
                await until(pilot, lambda: answer.is_drawn)
        answer.set_text(whole)
        await until(pilot, lambda: answer.is_drawn)
        await pilot.pause(0.1)
        shown = text(pilot)
        for words in (
            "[bold]x[/] <b>y</b> [a](https://e.org)",
            "<div>in a block</div>",
            "&#x202e;z",
            "code [x]",
        ):
            assert words in shown
        assert "\x1b" not in shown and "\u202e" not in shown and "␛[31mred **not bold" in shown
        assert bool(screen.query(Markdown)) is not plain
        if not plain:
            await answer.show_as(True)
            await answer.show_as(False)
            await pilot.pause(0.2)
            assert text(pilot) == shown  # pieces give what the whole text gives at once


def test_a_long_list_is_drawn_in_parts() -> None:
    whole = "Yes:\n\n" + "".join(f"- {at}\n  - more\n" for at in range(40)) + "```\n" + "- x\n" * 90 + "```\n"
    parts = split_long_lists(whole)
    assert "".join(parts) == whole and len(parts) == 4
    assert parts[-1].count("- x") == 90  # code is no list
    for end in range(len(whole)):
        assert split_long_lists(whole[:end])[:-1] == parts[: len(split_long_lists(whole[:end])) - 1]


async def test_a_long_answer_is_plain_text(opened: Opened) -> None:
    async with opened() as pilot:
        screen = Shown()
        await pilot.app.push_screen(screen)
        screen.query_one(AnswerText).set_text("- a\n" * 12_000)
        await until(pilot, lambda: not screen.query(Markdown))
        assert screen.query_one(AnswerText).is_plain
