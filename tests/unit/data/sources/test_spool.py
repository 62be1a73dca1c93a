"""Rows kept by a pass over the data: any of them again, words in them, those that are of no use."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from tui_tuner.config.schema import DataSection
from tui_tuner.data import spool as spools
from tui_tuner.data.preview import inspect
from tui_tuner.data.reading import Reading
from tui_tuner.data.spool import RowSpool


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"instruction": f"Q{n}", "output": f"A{n} ÄÖ", "n": n}) for n in range(1000)]
    lines[7], lines[500] = "{", json.dumps({"instruction": "", "output": "x"})
    lines[900] = '{"instruction": "half \\ud83d", "output": "a"}'
    path.write_text("\n".join(lines))
    return path


def test_every_row_comes_back_as_it_was_read(rows: Path) -> None:
    data, spool = DataSection(path=str(rows)), RowSpool()
    found = inspect(data, each=spool.add)
    assert spool.count == found.ledger.read == 1000
    assert list(spool.bad) == [7, 500, 900] and found.ledger.outcomes["dropped"] == 3
    for index, read in enumerate(Reading(data)):
        kept = spool.row(index)
        assert kept.read.row.values == read.row.values and str(kept.read.row.origin) == str(read.row.origin)
        assert kept.read.record == read.record and str(kept.read.problem) == str(read.problem)
        assert kept.usable == (read.record is not None)
    with pytest.raises(IndexError):
        spool.row(1000)
    spool.close()
    with pytest.raises(IndexError):
        spool.row(3)


def test_words_are_found_downwards_and_upwards_in_any_case(rows: Path) -> None:
    spool = RowSpool()
    inspect(DataSection(path=str(rows)), each=spool.add)

    def find(words: str, start: int, step: int) -> int | None:
        return spool.find(words, start, step, lambda _count: None, lambda: False)

    assert find("a33 äö", 0, 1) == 33 and find("a33 äö", 34, 1) is None and find("a33 ÄÖ", 999, -1) == 33
    assert find("Q99", 100, 1) == 990 and find("q99", 989, -1) == 99
    assert find("rows.jsonl", 0, 1) is None  # where a row is from is not in it
    assert spool.find("Q1", 0, 1, lambda _count: None, lambda: True) is None


def test_a_full_disk_ends_keeping_and_not_reading(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools, "_FREE", 1 << 62)
    spool = RowSpool()
    found = inspect(DataSection(path=str(rows)), each=spool.add)
    assert spool.full and spool.count == 0 and found.ledger.read == 1000 and not spool.bad


def test_a_row_of_a_huge_text_is_kept_in_part(tmp_path: Path) -> None:
    path = tmp_path / "huge.jsonl"
    path.write_text(json.dumps({"instruction": "short", "output": "x" * 5_000_000}))
    spool = RowSpool()
    inspect(DataSection(path=str(path)), each=spool.add)
    kept = spool.row(0)
    assert kept.cut and kept.read.row.values["instruction"] == "short"
    assert len(kept.read.row.values["output"]) == 100_000


def test_rows_are_looked_at_while_others_are_added(rows: Path) -> None:
    spool, wrong = RowSpool(), []
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            for index in range(0, spool.count, 97):
                if index != 7 and spool.row(index).read.row.values.get("n", index) != index:
                    wrong.append(index)

    looker = threading.Thread(target=look)
    looker.start()
    for _again in range(5):
        inspect(DataSection(path=str(rows)), each=spool.add)
        if spool.count >= 1000:
            break
    ended.set()
    looker.join(30)
    assert not wrong and not looker.is_alive()
