"""The first rows, encoded before a run is begun: what is wrong with all of them is said, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeConfig
from tui_tuner.config.load import build_config
from tui_tuner.errors import DataError
from tui_tuner.launch.helper import Helper
from tui_tuner.tasks.preview.trying import try_source_rows
from tui_tuner.ui.start_checking import try_draft_rows as checked

LONG = "word " * 400


def rows(path: Path, *pairs: tuple[str, str]) -> str:
    lines = [json.dumps({"prompt": prompt, "response": answer}) for prompt, answer in pairs]
    path.write_text("\n".join(lines))
    return str(path)


def test_rows_that_come_through_are_counted(make_config: MakeConfig) -> None:
    assert try_source_rows(make_config()) == 1


def test_what_is_wrong_with_all_rows_is_said_with_the_first(make_config: MakeConfig, tmp_path: Path) -> None:
    path = rows(tmp_path / "long.jsonl", *[(LONG, "yes")] * 3)
    with pytest.raises(DataError, match="no row can be trained on: 3 of 3 rows") as caught:
        try_source_rows(make_config(data={"path": path, "max_length": 32, "overlong": "drop", "workers": 1}))
    assert caught.value.field


def test_one_good_row_behind_bad_ones_is_enough(make_config: MakeConfig, tmp_path: Path) -> None:
    path = rows(tmp_path / "mixed.jsonl", *[(LONG, "yes")] * 20, ("short", "yes"))
    assert (
        try_source_rows(make_config(data={"path": path, "max_length": 32, "overlong": "drop", "workers": 1}))
        == 1
    )


def test_a_small_file_of_classes_has_something_to_learn_in_each_row(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    found = [json.dumps({"text": f"boots {n}", "label": ("good", "bad")[n % 2]}) for n in range(12)]
    path.write_text("\n".join(found))
    told = {"task": "classification", "model": {"name": "tiny"}, "data": {"path": str(path)}}
    assert try_source_rows(build_config(told)) == 1


SHORT = {"max_length": 32, "overlong": "drop", "workers": 1}


def test_a_source_without_a_row_that_fits_is_no_reason_where_another_has_some(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    bad, good = rows(tmp_path / "long.jsonl", (LONG, "yes")), rows(tmp_path / "good.jsonl", ("short", "yes"))
    assert try_source_rows(make_config(data={**SHORT, "path": [good, bad]})) == 1
    assert try_source_rows(make_config(data={**SHORT, "path": [bad, good]})) == 1
    with pytest.raises(DataError, match="2 of 2 rows"):
        try_source_rows(
            make_config(data={**SHORT, "path": [bad, rows(tmp_path / "too.jsonl", (LONG, "no"))]})
        )


def test_a_good_source_behind_one_that_was_not_read_to_its_end(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    bad = rows(tmp_path / "long.jsonl", *[(LONG, "yes")] * 600)
    good = rows(tmp_path / "good.jsonl", ("short", "yes"))
    assert try_source_rows(make_config(data={**SHORT, "path": [bad, good]})) == 1
    assert (
        try_source_rows(make_config(data={**SHORT, "path": bad})) == 0
    )  # more rows follow, nobody knows them


def test_rows_that_are_picked_at_random_may_be_better_than_the_first(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    path = rows(tmp_path / "mixed.jsonl", *[(LONG, "yes")] * 20, *[("short", "yes")] * 20)
    assert try_source_rows(make_config(data={**SHORT, "path": path, "limit": 10, "pick": "random"})) == 1
    with pytest.raises(DataError, match="10 of 10 rows"):
        try_source_rows(make_config(data={**SHORT, "path": path, "limit": 10}))


def test_a_limit_counts_the_rows_of_all_sources(make_config: MakeConfig, tmp_path: Path) -> None:
    bad = rows(tmp_path / "long.jsonl", *[(LONG, "yes")] * 4)
    good = rows(tmp_path / "good.jsonl", ("short", "yes"))
    assert try_source_rows(make_config(data={**SHORT, "path": [bad, good], "limit": 5})) == 1
    with pytest.raises(DataError, match="4 of 4 rows"):
        try_source_rows(make_config(data={**SHORT, "path": [bad, good], "limit": 4}))


def test_no_hub_is_asked_and_no_large_file_read_as_a_whole(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_tuner.data.sources import files

    bad = rows(tmp_path / "long.jsonl", (LONG, "yes"))
    assert try_source_rows(make_config(data={**SHORT, "path": [bad, "hub:nobody/nothing"]})) == 0
    monkeypatch.setattr(files, "LARGEST_AT_ONCE", 10)
    whole = tmp_path / "whole.json"
    whole.write_text("[" + Path(bad).read_text() + "]")
    assert try_source_rows(make_config(data={**SHORT, "path": str(whole)})) == 0


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
