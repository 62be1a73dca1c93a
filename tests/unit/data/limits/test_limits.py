"""Files of at most 100 kB that would take minutes or gigabytes: each is read, or refused in words, at once.

What is measured is the CPU time of this process, against a bound of ten seconds: each of them took that long
or longer, or ended in a traceback.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import re
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tui_tuner.config.schema import DataSection
from tui_tuner.data.cleaning.cleaner import Cleaner
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.markup import UnparsableHtml, convert_html_to_markdown, convert_html_to_text
from tui_tuner.data.nesting import MAX_DEPTH
from tui_tuner.data.preview import Inspection, inspect_data, read_first_rows
from tui_tuner.data.records import Chat, Message, Origin, Text
from tui_tuner.data.sources import datafile, lines, tables, zips
from tui_tuner.errors import DataError
from tui_tuner.evaluation.metrics import ScoredAnswer, find_prompt_attributes, measure_rouge

SIZE = 100_000
SECONDS = 10.0


def timed(work: Callable[[], object]) -> object:
    begun = time.process_time()
    try:
        return work()
    finally:
        assert time.process_time() - begun < SECONDS


def read(path: Path) -> Inspection | str:
    """What the file holds, or what is wrong with it."""

    def work() -> Inspection | str:
        try:
            read_first_rows(DataSection(path=str(path)))
            return inspect_data(DataSection(path=str(path)))
        except DataError as error:
            assert path.name in str(error), "an error names its file"
            return str(error)

    found = timed(work)
    assert isinstance(found, Inspection | str)
    return found


def write(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


HTML = {
    "elements in one another": "<p><b>" * (SIZE // 6) + "x",
    "tables in one another": "<table><tr><td>" * (SIZE // 15) + "x",
    "line breaks": "<br>" * (SIZE // 4) + "x",
    "ends of what never began": "<p>" * (SIZE // 8) + "</a>" * (SIZE // 8) + "x",
    "attributes": "<p " + " ".join(f"a{number}=1" for number in range(SIZE // 8)) + ">x</p>",
    "digits": f"<p>x&#{'9' * SIZE};</p>",
}


@pytest.mark.parametrize("name", HTML)
def test_html_takes_time_that_grows_with_its_length(tmp_path: Path, name: str) -> None:
    found = read(write(tmp_path / "a.html", HTML[name]))
    assert isinstance(found, Inspection) and found.ledger.read == 1
    assert str(timed(lambda: convert_html_to_text(HTML[name]))).startswith("x")


def test_html_that_nobody_wrote_is_dropped_and_counted() -> None:
    section = DataSection.model_validate(
        {"path": "x", "cleaning": {"html": "markdown", "max_characters": None}}
    )
    for text in (HTML["elements in one another"], "<p>" + "<!--" * 20_000):
        ledger = Ledger()
        clean = partial(Cleaner(section.cleaning).clean_record, Text(text), Origin("a", 1), ledger)
        assert timed(clean) is None
        assert ledger.outcomes["dropped"] == 1 and "HTML that cannot be parsed" in str(ledger.to_json())
    with pytest.raises(UnparsableHtml):
        convert_html_to_text("<p>" + "<!--" * 20_000)
    timed(lambda: convert_html_to_markdown("<b>" + " " * SIZE + "x</b>"))


@pytest.mark.parametrize("depth", [MAX_DEPTH - 1, MAX_DEPTH + 1, 1000, 40_000])
def test_a_row_that_is_nested_too_deeply_is_dropped_alone(tmp_path: Path, depth: int) -> None:
    deep = '{"text": "b", "x": ' + "[" * depth + "]" * depth + "}"
    rows = ['{"text": "a"}', deep, '{"text": "c"}']
    kept = 3 if depth < MAX_DEPTH else 2
    found = read(write(tmp_path / "a.jsonl", "\n".join(rows)))
    assert isinstance(found, Inspection)
    assert found.ledger.read == 3 and found.ledger.outcomes["kept"] == kept
    found = read(write(tmp_path / "a.json", f"[{','.join(rows)}]"))
    if depth <= 1000:
        assert isinstance(found, Inspection) and found.ledger.outcomes["kept"] == kept
    else:  # more than the parser reads at all
        assert isinstance(found, str)


def test_json_in_a_text_may_be_nested_as_it_likes(tmp_path: Path) -> None:
    deep = "[" * 900 + "]" * 900
    good = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    rows = [good, {"messages": deep}, good]
    found = read(write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows))))
    assert isinstance(found, Inspection) and found.ledger.outcomes["kept"] == 2


def packed(name: str, data: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    block = io.BytesIO()
    with zipfile.ZipFile(block, "w", method) as archive:
        archive.writestr(name, data)
    return block.getvalue()


def sharing(count: int) -> bytes:
    """A zip of many files whose bytes are the same ones."""
    data = b'{"text": "a"}\n' * 70_000
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(data) + packer.flush()
    fields = (0, zlib.crc32(data), len(block), len(data), 10, 0)
    local = struct.pack("<4s3H2H3I2H", b"PK\3\4", 20, 0, 8, 0, *fields) + b"a000.jsonl" + block
    entries = b"".join(
        struct.pack("<4s4H2H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, *fields, 0, 0, 0, 0, 0)
        + f"a{number:03}.jsonl".encode()
        for number in range(count)
    )
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(entries), len(local), 0)
    return local + entries + end


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_members_of_a_zip_are_unpacked_piece_by_piece(tmp_path: Path, method: int) -> None:
    data = os.urandom(3000) + b"a\n" * 200_000
    path = write(tmp_path / "a.zip", packed("a.jsonl", data, method))
    with path.open("rb") as source:
        member = zips.Member(source, zips.read_zip_index(path)["a.jsonl"])
        pieces = list(iter(lambda: member.read(1000), b""))
    assert b"".join(pieces) == data and max(map(len, pieces)) <= 1000
    if method != zipfile.ZIP_STORED:
        damaged = bytearray(path.read_bytes())
        damaged[200] ^= 255
        damaged[1500] ^= 255
        assert "damaged" in str(read(write(tmp_path / "b.zip", bytes(damaged))))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_of_gigabytes_is_refused(tmp_path: Path, method: int) -> None:
    found = read(write(tmp_path / "a.zip", packed("a.jsonl", b" " * (40 * 1024 * 1024), method)))
    assert isinstance(found, str) and "bomb" in found


def test_many_files_of_a_zip_are_read_in_time_that_grows_with_their_number(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(1000):
            archive.writestr(f"{number}.jsonl", '{"text": "a"}\n')
    zips._read_cached_index.cache_clear()
    found = read(path)
    assert isinstance(found, Inspection) and found.ledger.read == 1000
    assert zips._read_cached_index.cache_info().misses == 1
    assert "overlap" in str(read(write(tmp_path / "b.zip", sharing(500))))


def test_packed_files_that_hold_the_same_without_end_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MOST_BLANK", 20_000)
    monkeypatch.setattr(tables, "MOST_BLANK", 20_000)
    monkeypatch.setattr(datafile, "FREE_ROWS", 5_000)
    for name, unit, words in (
        ("a.jsonl.gz", b"\n", "blank lines"),
        ("a.csv.gz", b"\n", "blank lines"),
        ("a.txt.gz", b"a\n", "rows, too many"),
    ):
        begin = b"text,label\n" if ".csv" in name else b""
        found = read(write(tmp_path / name, gzip.compress(begin + unit * 300_000)))
        assert isinstance(found, str) and words in found
    assert "nested" in str(read(write(tmp_path / "a.json.gz", gzip.compress(b"[" * 9_000_000))))


CHEAP = {
    "columns.csv": ",".join(f"c{number}" for number in range(14_000)) + "\n" + "," * 13_999,
    "columns.jsonl": json.dumps({f"c{number}": 1 for number in range(8000)}),
    "named.jsonl": "\n".join(json.dumps({f"k{number}": 1, "text": "a"}) for number in range(3800)),
    "cells.sql": "COPY t FROM stdin;\n" + "\t" * 90_000 + "\n\\.\n",
    "brackets.sql": "INSERT INTO t VALUES (" + "(" * 50_000 + ")" * 49_000 + ");",
    "bits.sql": "-- MySQL dump\nINSERT INTO t VALUES (B'" + "1" * 90_000 + "');",
    "grows.sql": "INSERT INTO t VALUES ("
    + "REPLACE(" * 5
    + "'"
    + "a" * 20_000
    + "'"
    + f",'a','{'a' * 200}')" * 5
    + ");",
    "digits.jsonl": '{"text": "a", "n": ' + "9" * 90_000 + "}\n" + '{"text": "b", "n": 1e400}\n' * 3,
    "column.conll": "a B-X " * 16_000,
    "tabs.conllu": "1\ta\t" * 25_000,
    "quotes.tsv": "text\tlabel\n" + '"a\tb\n' * 20_000,
    "hashes.csv": "#\n" * 40_000 + "text,label\na,b\n",
    "bad.csv": b"te\xffxt,la\xfebel\na,b\nc,d\n",
    "zero.txt": b"\0" * SIZE,
    "half.txt": "hallo\n".encode("utf-16")[:-1],
    "lone.jsonl": '{"text": "\\ud800 a"}\n{"text": "b"}\n',
    "quad.json": json.dumps(
        [{"paragraphs": [{"qas": [{"question": 5, "answers": "x"}, 7]}, {"qas": 5}, 3]}, 5]
    ),
    "file.jsonl": json.dumps({"prompt": "<img>" + "a." * 40_000, "response": "a"}),
    "image.jsonl": json.dumps({"prompt": "x<image>" * 9000 + "x", "response": "a"}),
    "chat.jsonl": json.dumps(
        {"chosen": "Human: a" + "\n" * 90_000 + "\n\nAssistant: x", "rejected": "\n\nHuman: a"}
    ),
    "think.jsonl": json.dumps({"prompt": "a", "response": "<think>" + " " * 90_000 + "x"}),
}


@pytest.mark.parametrize("name", CHEAP)
def test_odd_files_are_read_or_refused_at_once(tmp_path: Path, name: str) -> None:
    read(write(tmp_path / name, CHEAP[name]))


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    write(tmp_path / "a" / "a.jsonl", '{"text": "a"}\n')
    os.mkfifo(tmp_path / "a" / "b.jsonl")
    (tmp_path / "a" / "around").symlink_to(tmp_path)
    (tmp_path / "a" / "endless.jsonl").symlink_to("/dev/zero")
    found = read(tmp_path / "a")
    assert isinstance(found, Inspection) and found.ledger.read == 1
    for name in ("b.jsonl", "endless.jsonl"):
        assert "regular file" in str(read(tmp_path / "a" / name))


def test_folders_may_be_deep(tmp_path: Path) -> None:
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        for _unused in range(1200):
            os.mkdir("folder")
            os.chdir("folder")
        Path("a.jsonl").write_text('{"text": "a"}\n')
    finally:
        os.chdir(here)
    write(tmp_path / "b.jsonl", '{"text": "b"}\n')
    found = timed(lambda: inspect_data(DataSection(path=str(tmp_path))))
    assert isinstance(found, Inspection) and found.ledger.read >= 1
    deepest = tmp_path
    os.chdir(tmp_path)
    try:
        for _unused in range(1200):
            os.chdir("folder")
        os.remove("a.jsonl")
        for _unused in range(1200):
            os.chdir("..")
            os.rmdir("folder")
    finally:
        os.chdir(here)
    assert deepest.exists()


def test_answers_of_a_model_are_measured_at_once() -> None:
    timed(
        lambda: [
            find_prompt_attributes(text)
            for text in ("a: " * 33_000, "a#" * 50_000, "a" * SIZE, "a: b| " * 16_000)
        ]
    )
    assert find_prompt_attributes("Write colour: red | size: small\nx") == [
        ("colour", "red"),
        ("size", "small"),
    ]
    long = " ".join(str(number % 997) for number in range(20_000))
    assert timed(
        lambda: measure_rouge("rougeL", [ScoredAnswer("", long, long + " end", True)])
    ) == pytest.approx(1, abs=1e-3)


def test_a_chat_with_thoughts_without_end_is_looked_at_at_once() -> None:
    from tui_tuner.data.chat.marks import INLINE

    record = Chat([Message("user", "a"), Message("assistant", "<think>" + " " * SIZE + "x")])
    assert timed(lambda: INLINE.fullmatch(record.messages[1].content or "")) is None
    assert INLINE.fullmatch(" <think> a < b \n</think>\n c")  # and what is closed is found as before
    assert re.fullmatch(INLINE, "<think></think>") is not None


def test_bz2_is_not_taken_for_text(tmp_path: Path) -> None:
    assert isinstance(read(write(tmp_path / "a.bz2", bz2.compress(b" " * 10_000_000))), str)
