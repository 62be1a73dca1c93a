"""Columnar files are read where a crash takes nothing along, and no further than files of their size go."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet
import pytest

from tui_tuner.data.sources.columnar import read_arrow, read_parquet
from tui_tuner.data.sources.native import process
from tui_tuner.errors import DataError


def read(path: Path) -> list[Any]:
    reader = read_parquet if path.suffix == ".parquet" else read_arrow
    return list(reader(path, path.name))


def children(pid: int | None = None) -> list[psutil.Process]:
    """Readers that live, of this process or another."""
    found = []
    for one in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            if "child.py" in " ".join(one.cmdline()):
                found.append(one)
    return found


def wait_until(condition: Any, seconds: float = 30.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file that is not read to its end in a moment: the pipe holds a small part of it."""
    path = tmp_path / "large.parquet"
    text = [f"{number} " + "word " * 200 for number in range(20_000)]
    pyarrow.parquet.write_table(pa.table({"text": text}), path)
    return path


@pytest.mark.parametrize("name", [signal.SIGSEGV, signal.SIGBUS, signal.SIGKILL])
def test_a_reader_that_crashes_is_a_sentence_with_the_file_in_it(large: Path, name: signal.Signals) -> None:
    rows = read_parquet(large, "large.parquet")
    next(rows)
    (reader,) = children()
    reader.send_signal(name)
    with pytest.raises(DataError, match=f"^large.parquet: .*{name.name}"):
        list(rows)
    assert not children()


def test_a_file_that_is_cut_while_it_is_read_ends_nothing_here(tmp_path: Path) -> None:
    """A page of a mapped file that is no longer there is SIGBUS, in whatever process reads it."""
    path = tmp_path / "a.arrow"
    batch = pa.record_batch({"text": ["x" * 1000] * 1000})
    with pyarrow.ipc.new_file(path, batch.schema) as sink:
        for _unused in range(20):
            sink.write_batch(batch)
    rows = read_arrow(path, "a.arrow")
    next(rows)
    os.truncate(path, 4096)
    with pytest.raises(DataError, match=r"^a.arrow"):
        list(rows)


def test_no_reader_is_left_when_nobody_wants_more(large: Path) -> None:
    rows = read_parquet(large, "large.parquet")
    next(rows)
    assert len(children()) == 1
    rows.close()
    assert not children()
    threads = [threading.Thread(target=lambda: next(read_parquet(large, "l"))) for _unused in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wait_until(lambda: not children())


def test_a_reader_rests_for_the_next_file_and_then_ends(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.parquet" for number in range(3)]
    for path in paths:
        pyarrow.parquet.write_table(pa.table({"text": [path.name]}), path)
    readers = set()
    for path in paths:
        assert [row.values for row in read(path)] == [{"text": path.name}]
        readers |= {one.pid for one in children()}
    assert len(readers) < 3
    assert wait_until(lambda: not children(), 30 * process.REST)


CODE = """
import sys, pathlib, os
from tui_tuner.data.sources.columnar import read_parquet
for number in map(int, sys.argv[2].split()):
    os.close(number)
rows = read_parquet(pathlib.Path(sys.argv[1]), "large.parquet")
count = 1 + bool(next(rows))
pathlib.Path(sys.argv[3]).write_text("ready")
if sys.argv[4] == "all":
    count += sum(1 for row in rows)
    pathlib.Path(sys.argv[3]).write_text(str(count - 1))
else:
    import time
    time.sleep(60)
"""


def test_a_reader_ends_with_its_parent(large: Path, tmp_path: Path) -> None:
    said = tmp_path / "said"
    with subprocess.Popen([sys.executable, "-c", CODE, str(large), "", str(said), "wait"]) as parent:
        assert wait_until(said.exists, 60)
        (reader,) = children(parent.pid)
        parent.kill()
    assert wait_until(lambda: not reader.is_running() or reader.status() == "zombie", 60)


@pytest.mark.parametrize("closed", ["0", "1 2", "0 1 2"])
def test_standard_streams_need_not_be_there(large: Path, tmp_path: Path, closed: str) -> None:
    said = tmp_path / "said"
    subprocess.run(
        [sys.executable, "-c", CODE, str(large), closed, str(said), "all"], check=False, timeout=120
    )
    assert said.read_text() == "20000"


def test_a_module_in_the_folder_one_works_in_is_not_imported(
    tmp_path: Path, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyarrow.py").write_text(f"open({str(tmp_path / 'trap')!r}, 'w')\nraise SystemExit")
    monkeypatch.chdir(tmp_path)
    assert len(read(large)) == 20_000
    assert not (tmp_path / "trap").exists()


def bomb(name: str) -> pa.Table:
    if name == "words.parquet":
        return pa.table(
            {"text": pa.DictionaryArray.from_arrays(np.zeros(100_000, np.int32), ["a" * 5_000_000])}
        )
    return pa.table({"text": pa.nulls(20_000_000, pa.string() if name == "rows.parquet" else pa.null())})


@pytest.mark.parametrize("name", ["words.parquet", "rows.parquet", "rows.feather"])
def test_a_small_file_does_not_unpack_to_gigabytes(tmp_path: Path, name: str) -> None:
    path, table = tmp_path / name, bomb(name)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(table, path, compression="zstd")
    else:
        pyarrow.feather.write_feather(table, path, compression="zstd")
    assert path.stat().st_size < 100_000
    rows = read_parquet(path, name) if path.suffix == ".parquet" else read_arrow(path, name)
    peak = 0
    with pytest.raises(DataError, match=f"^{name}.*not data"):
        for number, _row in enumerate(rows):
            if number % 10_000 == 0:
                peak = max([peak, *(one.memory_info().rss for one in children())])
    assert peak < 500_000_000


def test_a_page_too_large_for_the_memory_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "MEMORY", 100_000_000)
    path = tmp_path / "a.parquet"
    table = pa.table({"text": ["a" * 70_000_000]})
    pyarrow.parquet.write_table(table, path, compression="zstd", use_dictionary=False)
    assert path.stat().st_size < 100_000
    with pytest.raises(DataError, match=r"^a.parquet: needs more than .* of memory .*row groups"):
        read(path)


def test_a_row_that_is_too_large_or_no_text_is_a_problem_of_its_own(tmp_path: Path) -> None:
    texts = [b"one", b"x" * (process.MOST_ROW + 100_000), b"\xff\xfe", b"vier"]
    array = pa.array(texts, pa.binary())
    for place, kind in enumerate((pyarrow.parquet.write_table, pyarrow.feather.write_feather)):
        path = tmp_path / ("a.parquet" if place == 0 else "a.feather")
        kind(pa.table({"text": pa.Array.from_buffers(pa.string(), 4, array.buffers())}), path)
        found = read(path)
        assert [row.problem for row in found] == [
            "", "the row is larger than 32.0 MiB", "bytes that are not UTF-8 text", "",
        ]  # fmt: skip
        assert [row.origin.row for row in found] == [1, 2, 3, 4]
        assert [row.values.get("text") for row in found] == ["one", None, None, "vier"]


def test_types_that_few_programs_write_are_read_all_the_same(tmp_path: Path) -> None:
    words = pa.array(["a", "b", None]).dictionary_encode()
    union = pa.UnionArray.from_sparse(
        pa.array([0, 1, 0], pa.int8()), [pa.array([1, 2, 3]), pa.array(list("xyz"))]
    )
    table = pa.table(
        {
            "coded": words,
            "listed": pa.ListArray.from_arrays([0, 2, 2, 3], words),
            "either": union,
            "seen": pa.array(["a", "b", "c"], pa.string_view()),
            "again": pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array([7, 8])),
            "away": pa.array([10**15, 0, 1], pa.timestamp("us", tz="Mars/Olympus")),
        }
    )
    path = tmp_path / "a.arrow"
    with pyarrow.ipc.new_file(path, table.schema) as sink:
        sink.write_table(table)
    found = [row.values for row in read(path)]
    assert [row["coded"] for row in found] == ["a", "b", None]
    assert [row["listed"] for row in found] == [["a", "b"], [], [None]]
    assert [row["either"] for row in found] == [1, "y", 3]
    assert [row["seen"] for row in found] == ["a", "b", "c"]
    assert [row["again"] for row in found] == [7, 7, 8]
    assert all("away" in row for row in found)


def test_two_columns_of_one_name_are_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "a.feather"
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    with pyarrow.ipc.new_file(path, table.schema) as sink:
        sink.write_table(table)
    with pytest.raises(DataError, match=r"^a.feather: has two columns with the name text"):
        read(path)


def test_a_request_that_comes_while_another_is_answered_ends_nothing(large: Path) -> None:
    """As it may where the kernel tells of a request only after the process has read it."""
    request = {"kind": "parquet", "path": str(large), "memory": process.MEMORY, "row": process.MOST_ROW}
    request |= {"rows": process.FREE_ROWS, "bytes": 1 << 30}
    reader = process._ReaderProcess()
    try:
        reader.send_request(request)
        answer = reader.read_frames("a")
        letters = [next(answer)[0], next(answer)[0]]
        reader.send_request(request)
        letters += [letter for letter, _block in answer]
        again = [letter for letter, _block in reader.read_frames("b")]
        assert letters == again and letters[0] == b"S" and letters[-1] == b"E"
    finally:
        reader.end_process()
