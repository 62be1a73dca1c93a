"""The data screen over real files and a real tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.ui.conftest import SIZES, Opened, text, until
from tui_tuner.ui import datalook
from tui_tuner.ui.datalook import RowMask, Token
from tui_tuner.ui.screens.data_screen import DataScreen
from tui_tuner.ui.screens.settings import SettingsScreen
from tui_tuner.ui.widgets.data.mask_view import MaskView, draw_mask_tokens

HOSTILE = "[/red] [@click=app.quit]x[/] \x1b[2J"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "[red] rows.jsonl"
    data = [
        {"instruction": "Say a colour.", "input": "", "output": "Blue."},
        {"instruction": HOSTILE, "input": "", "output": f"{HOSTILE} 颜色"},
        {"instruction": "Name a fruit.", "input": "", "output": "A pear."},
    ]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in data), encoding="utf-8")
    return path


@pytest.fixture
def tokenizer_folder(tmp_path: Path, tiny_tokenizer: Any) -> Path:
    folder = tmp_path / "tokenizer"
    tiny_tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return folder


@pytest.mark.parametrize("size", SIZES)
async def test_a_file_shows_its_format_rows_ledger_and_tokens(
    rows: Path, tokenizer_folder: Path, opened: Opened, size: tuple[int, int]
) -> None:
    async with opened(
        size, config={"model": {"name": str(tokenizer_folder)}, "data": {"path": str(rows)}}
    ) as pilot:
        await pilot.press("d")
        await until(pilot, lambda: "3 rows: 3 kept" in text(pilot), 60)
        shown = text(pilot)
        assert "alpaca" in shown and "% sure" in shown and "instruction" in shown
        view = pilot.app.screen.query_one(MaskView)
        await until(pilot, lambda: view.mask is not None, 60)
        await until(pilot, lambda: "▸Blue." in text(pilot))
        assert f"{view.mask.trained} trained" in text(pilot)
        await pilot.press("down")
        await until(pilot, lambda: "row 2:" in text(pilot), 30)
        assert "[/red]" in text(pilot) and "颜" in text(pilot) and "\x1b" not in text(pilot)
        await pilot.press("t")
        await until(pilot, lambda: "│" in text(pilot))
        await pilot.press("u")
        await until(pilot, lambda: isinstance(pilot.app.screen, SettingsScreen))
        assert pilot.app.draft["data"]["path"] == str(rows)


@pytest.mark.parametrize("size", SIZES)
async def test_lengths_and_neighbours_of_a_row(
    rows: Path, tokenizer_folder: Path, opened: Opened, size: tuple[int, int]
) -> None:
    config = {
        "model": {"name": str(tokenizer_folder)},
        "data": {"path": str(rows), "packing": False},
        "training": {"micro_batch": 2, "batch_size": 2},
    }
    async with opened(size, config=config) as pilot:
        await pilot.press("d")
        view = pilot.app.screen.query_one(MaskView)
        await until(pilot, lambda: view.mask is not None, 60)
        alone = view.mask
        await pilot.press("l")
        await until(pilot, lambda: "Tokens of a row" in text(pilot), 30)
        shown = text(pilot)
        assert "rows 1 to 3:" in shown and "3 kept" in shown and "max_length 1,024: no row is longer" in shown
        found, laid = datalook.read_rows_around(config, str(rows), 0)
        assert found.lengths[0] == alone.count and sum(found.pieces[0][1]) == alone.trained
        assert [one.row for line in laid.lines for one in line] == [2, 1]
        assert laid.count_padding == found.lengths[1] - found.lengths[0] > 0
        await pilot.press("l")
        await until(pilot, lambda: "▸Blue." in text(pilot), 30)


async def test_data_that_cannot_be_read_says_why(tmp_path: Path, opened: Opened) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text("")
    async with opened(config={"data": {"path": str(broken)}}) as pilot:
        await pilot.press("d")
        await until(pilot, lambda: "✗" in text(pilot), 60)
        assert isinstance(pilot.app.screen, DataScreen) and "Use in a run" not in text(pilot)


async def test_the_tree_opens_any_name(rows: Path, opened: Opened) -> None:
    (rows.parent / "x\x1b[2J[@click=app.quit]").mkdir()
    async with opened() as pilot:
        await pilot.press("d", *str(rows.parent), "enter")
        await until(pilot, lambda: "[red] rows.jsonl" in text(pilot))
        assert "x␛[2J[@click=app.quit]" in text(pilot)
        assert not pilot.app.screen.query_one("#look").display


def test_trained_tokens_have_a_mark_beside_their_colour() -> None:
    tokens = (
        Token("<s>", False, True),
        Token("hi", False, False),
        Token("yo", True, False),
        Token("\n", True, False),
        Token("</s>", True, True),
        Token("again", False, False, piece=1),
    )
    assert draw_mask_tokens(tokens, False).plain == "<s>hi▸yo↵\n</s>◂\n── sequence 2 ──\nagain"
    assert draw_mask_tokens(tokens[:3], True).plain == "<s>│hi▸yo◂"
    assert RowMask(tokens).trained == 3


def test_the_parts_of_a_character_stand_together() -> None:
    class Bytes:
        def decode(self, ids: list[int]) -> str:
            return bytes(ids).decode("utf-8", "replace")

    class Part:
        def __init__(self, id: int, trained: bool) -> None:
            self.id, self.shown, self.trained, self.special = id, f"<{id}>", trained, False
            self.piece, self.weight, self.wanted = 0, 1.0, ""

    parts = [Part(byte, True) for byte in "a颜b".encode()]
    whole = list(datalook._whole_characters(parts, Bytes()))
    assert [(token.text, token.count) for token in whole] == [("<97>", 1), ("颜", 3), ("<98>", 1)]
    parts[2].trained = False  # a character that is trained in part is shown in parts
    assert [token.count for token in datalook._whole_characters(parts, Bytes())] == [1] * 5
