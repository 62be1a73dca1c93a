"""The first rows, encoded before a run is begun: what is wrong with all of them is said, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeConfig
from tui_tuner.errors import DataError
from tui_tuner.launch.helper import Helper
from tui_tuner.tasks.preview.trying import try_rows
from tui_tuner.ui.checking import try_rows as checked

LONG = "word " * 400


def rows(path: Path, *pairs: tuple[str, str]) -> str:
    lines = [json.dumps({"prompt": prompt, "response": answer}) for prompt, answer in pairs]
    path.write_text("\n".join(lines))
    return str(path)


def test_rows_that_come_through_are_counted(make_config: MakeConfig) -> None:
    assert try_rows(make_config()) == 1


def test_what_is_wrong_with_all_rows_is_said_with_the_first(make_config: MakeConfig, tmp_path: Path) -> None:
    path = rows(tmp_path / "long.jsonl", *[(LONG, "yes")] * 3)
    with pytest.raises(DataError, match="no row can be trained on: 3 of 3 rows") as caught:
        try_rows(make_config(data={"path": path, "max_length": 32, "overlong": "drop", "workers": 1}))
    assert caught.value.field


def test_one_good_row_behind_bad_ones_is_enough(make_config: MakeConfig, tmp_path: Path) -> None:
    path = rows(tmp_path / "mixed.jsonl", *[(LONG, "yes")] * 20, ("short", "yes"))
    assert try_rows(make_config(data={"path": path, "max_length": 32, "overlong": "drop", "workers": 1})) == 1


def test_each_source_is_tried(make_config: MakeConfig, tmp_path: Path, chats: Path) -> None:
    bad = rows(tmp_path / "long.jsonl", (LONG, "yes"))
    data = {"path": [str(chats), bad], "max_length": 32, "overlong": "drop", "workers": 1}
    with pytest.raises(DataError, match="1 of 1 rows"):
        try_rows(make_config(data=data))


def test_a_screen_hears_of_it_through_a_helper(tiny_model: Path, tmp_path: Path) -> None:
    path = rows(tmp_path / "long.jsonl", (LONG, "yes"))
    values: dict[str, Any] = {"model": {"name": str(tiny_model)}, "data": {"path": path, "max_length": 32}}
    values["data"]["overlong"] = "drop"
    with Helper() as helper:
        refusal = checked(values, helper)
        assert refusal is not None and "no row can be trained on" in refusal.sentence
        assert refusal.field.startswith("data.")
        values["data"]["max_length"] = 4096
        assert checked(values, helper) is None
        assert checked({**values, "data": {"path": "demo"}}, helper) is None  # which come with this package
