"""Rows kept by a pass over the data: any of them again, words in them, those that are of no use."""

from __future__ import annotations

import gzip
import json
import threading
from pathlib import Path

import pytest

from tui_tuner.config.schema import DataSection
from tui_tuner.data import spool as spools
from tui_tuner.data.preview import inspect_data
from tui_tuner.data.read_data import DataReading
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
    found = inspect_data(data, each=spool.add_row)
    assert spool.count == found.ledger.read == 1000
    assert list(spool.bad) == [7, 500, 900] and found.ledger.outcomes["dropped"] == 3
    for index, read in enumerate(DataReading(data)):
        kept = spool.read_row(index)
        assert kept.read.row.values == read.row.values and str(kept.read.row.origin) == str(read.row.origin)
        assert kept.read.record == read.record and str(kept.read.problem) == str(read.problem)
        assert kept.usable == (read.record is not None)
    with pytest.raises(IndexError):
        spool.read_row(1000)
    spool.close()
    with pytest.raises(IndexError):
        spool.read_row(3)


def test_words_are_found_downwards_and_upwards_in_any_case(rows: Path) -> None:
    spool = RowSpool()
    inspect_data(DataSection(path=str(rows)), each=spool.add_row)

    def find(words: str, start: int, step: int) -> int | None:
        return spool.find_words(words, start, step, lambda _count: None, lambda: False)

    assert find("a33 äö", 0, 1) == 33 and find("a33 äö", 34, 1) is None and find("a33 ÄÖ", 999, -1) == 33
    assert find("Q99", 100, 1) == 990 and find("q99", 989, -1) == 99
    assert find("rows.jsonl", 0, 1) is None  # where a row is from is not in it
    assert spool.find_words("Q1", 0, 1, lambda _count: None, lambda: True) is None


def test_a_full_disk_ends_keeping_and_not_reading(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools, "_FREE", 1 << 62)
    spool = RowSpool()
    found = inspect_data(DataSection(path=str(rows)), each=spool.add_row)
    assert spool.full and spool.count == 0 and found.ledger.read == 1000 and not spool.bad


def test_a_row_of_a_huge_text_is_kept_in_part(tmp_path: Path) -> None:
    path = tmp_path / "huge.jsonl"
    path.write_text(json.dumps({"instruction": "short", "output": "x" * 5_000_000}))
    spool = RowSpool()
    inspect_data(DataSection(path=str(path)), each=spool.add_row)
    kept = spool.read_row(0)
    assert kept.cut and kept.read.row.values["instruction"] == "short"
    assert len(kept.read.row.values["output"]) == 100_000


def test_rows_are_looked_at_while_others_are_added(rows: Path) -> None:
    spool, wrong = RowSpool(), []
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            for index in range(0, spool.count, 97):
                if index != 7 and spool.read_row(index).read.row.values.get("n", index) != index:
                    wrong.append(index)

    looker = threading.Thread(target=look)
    looker.start()
    for _again in range(5):
        inspect_data(DataSection(path=str(rows)), each=spool.add_row)
        if spool.count >= 1000:
            break
    ended.set()
    looker.join(30)
    assert not wrong and not looker.is_alive()


def _spooled(path: Path) -> RowSpool:
    spool = RowSpool()
    inspect_data(DataSection(path=str(path)), each=spool.add_row)
    return spool


def test_lines_of_json_are_read_again_from_their_file_and_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"instruction": f"Q{n} {'ü' * 500}", "output": f"A{n}"}) for n in range(2000)]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(lines).encode())
    spool, packed = _spooled(path), tmp_path / "rows.jsonl.gz"
    assert spool.kept_bytes < 0.02 * path.stat().st_size
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for one in (spool, _spooled(packed)):
        assert one.count == 2000 and one.read_row(1999).read.row.origin.line == 3999
        assert all(one.read_row(n).read.row.values == json.loads(lines[n]) for n in (0, 1, 700, 1999))
        assert one.find_words("q1999 ÜÜ", 0, 1, lambda _count: None, lambda: False) == 1999


def test_rows_of_a_file_that_is_written_to_meanwhile_are_never_taken_for_others(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"instruction": f"Q{n:04}", "output": f"A{n:04}"}) for n in range(1000)]
    path.write_text("\n".join(lines) + "\n")
    spool = _spooled(path)
    with path.open("a") as file:
        file.write(lines[0] + "\n")  # it grows at its end: what was counted still stands there
    assert spool.read_row(999).read.row.values == json.loads(lines[999])
    with path.open("r+") as file:
        file.write("\n".join(lines[1:]) + "\n")  # a row is taken out: all others move up
        file.truncate()
    kept = spool.read_row(3)
    assert not kept.usable and kept.read.problem is not None and "changed" in str(kept.read.problem)
    assert spool.find_words("Q0500", 0, 1, lambda _count: None, lambda: False) is None


def test_rows_of_files_that_are_replaced_or_removed_are_still_there(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"instruction": "before", "output": "a"}) + "\n")
    spool = _spooled(path)
    other = tmp_path / "other"
    other.write_text(json.dumps({"instruction": "after!", "output": "a"}) + "\n")
    other.replace(path)
    assert spool.read_row(0).read.row.values["instruction"] == "before"
    path.unlink()
    assert spool.read_row(0).read.row.values["instruction"] == "before"


def test_a_folder_of_more_files_than_may_be_open(tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"{number:02}.jsonl").write_text(json.dumps({"instruction": "q", "output": f"{number}"}))
    spool = _spooled(tmp_path)
    assert [spool.read_row(n).read.row.values["output"] for n in range(60)] == [str(n) for n in range(60)]
