"""Files of every kind, honest and nasty: each row is read or named, nothing hangs."""

from __future__ import annotations

import gzip
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tui_tuner.config.schema import DataSection
from tui_tuner.data.preview import inspect_data, read_first_rows
from tui_tuner.data.read_data import DataReading, ReadRow
from tui_tuner.data.sources import lines, streams, tables
from tui_tuner.data.sources.files import resolve_data_paths
from tui_tuner.errors import DataError, HubError, TunerError

ROWS = [{"prompt": f"question {i}", "response": f"answer {i}"} for i in range(5)]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def read(path: Path | str, **options: Any) -> list[ReadRow]:
    return list(DataReading(DataSection(path=str(path), **options)))


def pairs(path: Path | str, **options: Any) -> list[tuple[str, str]]:
    found = []
    for item in read(path, **options):
        assert item.record is not None, item.problem
        assert item.record.kind == "chat"
        found.append((item.record.messages[-2].content or "", item.record.messages[-1].content or ""))
    return found


WANTED = [(row["prompt"], row["response"]) for row in ROWS]


def write(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def csv_of(delimiter: str) -> str:
    return "".join(f"{a}{delimiter}{b}\r\n" for a, b in [("prompt", "response"), *WANTED])


def _parquet() -> bytes:
    import pyarrow
    import pyarrow.parquet

    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), sink)
    return sink.getvalue()


def _arrow() -> bytes:
    import pyarrow
    import pyarrow.feather

    sink = io.BytesIO()
    pyarrow.feather.write_feather(pyarrow.Table.from_pylist(ROWS), sink)
    return sink.getvalue()


def _zip(name: str, data: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return sink.getvalue()


SQL = (
    "CREATE TABLE chats (id int, prompt text, response text);\n"
    + "INSERT INTO chats (id, prompt, response) VALUES\n"
    + ",\n".join(f"({i}, 'question {i}', 'answer {i}')" for i in range(5))
    + ";\n"
)

KINDS = {
    "rows.jsonl": JSONL,
    "rows.json": json.dumps(ROWS, indent=1).encode(),
    "nested.json": json.dumps({"info": {"by": "me"}, "rows": ROWS}).encode(),
    "lines.json": JSONL,
    "list.jsonl": json.dumps(ROWS, indent=1).encode(),
    "rows.csv": csv_of(",").encode(),
    "semicolon.csv": csv_of(";").encode(),
    "rows.tsv": csv_of("\t").encode(),
    "bom.csv": csv_of(",").encode("utf-8-sig"),
    "wide.csv": csv_of(",").encode("utf-16"),
    "wide.jsonl": JSONL.decode().encode("utf-16"),
    "bom.jsonl": b"\xef\xbb\xbf" + JSONL,
    "rows.parquet": _parquet(),
    "rows.arrow": _arrow(),
    "rows.jsonl.gz": gzip.compress(JSONL),
    "rows.json.gz": gzip.compress(json.dumps(ROWS).encode()),
    "rows.csv.zst": zstandard.compress(csv_of(",").encode()),
    "rows.zip": _zip("deep/rows.jsonl", JSONL),
    "rows.sql": SQL.encode(),
    "unnamed": JSONL,
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    assert pairs(write(tmp_path / name, KINDS[name])) == WANTED


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "gb18030", "utf-16-le", "shift_jis"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    text = {
        "gb18030": "今天天气怎么样，我们去公园散步好不好",
        "shift_jis": "今日はとても良い天気ですね、散歩に行きましょう",
    }.get(encoding, "Über schöne Grüße und größere Bäume für dich in München déjà vu señor")
    body = "prompt,response\n" + f"{text},{text}\n" * 40
    for prompt, response in pairs(write(tmp_path / "rows.csv", body.encode(encoding))):
        assert prompt == response == text


def test_a_guessed_encoding_is_said_and_can_be_corrected(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", ("prompt,response\n" + "größer,schön\n" * 20).encode("latin-1"))
    assert any("cp1252" in note for note in read_first_rows(DataSection(path=str(path))).notes)
    told = DataSection(path=str(path), encoding="cp1250")
    assert not any("guess" in note for note in read_first_rows(told).notes)
    # `hex` and `zip` are codecs of no text; the time of `punycode` is quadratic; a NUL is in no name
    for name in ("klingon", "hex", "rot13", "zip", "punycode", "idna", "undefined", "a\0b"):
        with pytest.raises(DataError, match="unknown encoding") as caught:
            read(write(tmp_path / "a.txt", b"a text"), encoding=name)
        assert caught.value.field == "data.encoding"


@pytest.mark.parametrize("path", ["", [""], ["a.jsonl", ""]])
def test_an_empty_path_is_told_with_its_field(path: str | list[str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data set is named|no such file") as caught:
        list(DataReading(DataSection(path=path)))
    assert caught.value.field == "data.path"


def test_large_json_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "WHOLE_JSON", 10)
    assert pairs(write(tmp_path / "a.json", KINDS["rows.json"])) == WANTED
    assert pairs(write(tmp_path / "b.json", KINDS["nested.json"])) == WANTED
    assert pairs(write(tmp_path / "c.json", KINDS["nested.json"]), field="rows") == WANTED
    with pytest.raises(DataError, match="broken JSON"):
        pairs(write(tmp_path / "d.json", KINDS["rows.json"][:-20]))


def test_squad_conll_html_markdown_text(tmp_path: Path) -> None:
    squad = {
        "version": "2.0",
        "data": [
            {
                "title": "T",
                "paragraphs": [
                    {
                        "context": "The cat sat.",
                        "qas": [
                            {"id": "1", "question": "Who?", "answers": [{"text": "cat", "answer_start": 4}]},
                            {"id": "2", "question": "Where?", "answers": [], "is_impossible": True},
                            {"id": "3", "question": "Who?", "answers": [{"text": "cat", "answer_start": 5}]},
                        ],
                    }
                ],
            }
        ],
    }
    one, two, three = read(write(tmp_path / "squad.json", json.dumps(squad)))
    assert one.record and one.record.kind == "question" and one.record.answers == [("cat", 4)]
    assert two.record and two.record.kind == "question" and two.record.answers == []
    assert three.problem and three.problem.reason == "an answer is not at its answer_start"
    first, second = read(write(tmp_path / "a.conll", "EU NNP B-ORG\nrejects VBZ O\n\nPeter NNP B-PER\n"))
    assert first.record and first.record.kind == "tagged" and first.record.tags == ["B-ORG", "O"]
    assert second.row.origin.line == 4
    (page,) = read(write(tmp_path / "a.html", "<p>one<br>two</p><script>x()</script>"))
    assert page.record and page.record.kind == "text" and page.record.text == "one\ntwo"
    texts = read(write(tmp_path / "a.txt", "first\n\n\nsecond line\n"))
    assert [item.row.origin.line for item in texts] == [1, 4]


def test_sql_needs_the_table_where_there_are_several(tmp_path: Path) -> None:
    path = write(tmp_path / "a.sql", SQL + "INSERT INTO other (prompt, response) VALUES ('a; b', 'it''s');\n")
    with pytest.raises(DataError, match=r"chats \(5\), other \(1\).*data\.field=chats"):
        read(path)
    assert pairs(path, field="chats") == WANTED
    assert pairs(path, field="other") == [("a; b", "it's")]


def test_broken_line_is_named_and_the_others_are_kept(tmp_path: Path) -> None:
    chinese = '{"prompt": "你好", "response": "很好"}\n'.encode()
    broken = b'{"prompt": "x", \n' + b'{"prompt": "b\xff", "response": "c"}\n'
    path = write(tmp_path / "a.jsonl", JSONL + broken + chinese)
    found = inspect_data(DataSection(path=str(path))).ledger
    assert (
        found.read == 8
        and found.outcomes["kept"] == 6
        and found.outcomes["dropped"] == 2
        and found.is_consistent
    )
    reasons = {reason.reason: reason.samples[0]["line"] for reason in found.list_reasons("dropped")}
    assert reasons == {"broken JSON": 6, "not UTF-8 text": 7}


def test_broken_json_file_names_the_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", '[\n{"prompt": "a", "response": "b"},\n{"prompt": }\n]')
    with pytest.raises(DataError, match=r"a\.json:3: broken JSON"):
        read(path)


def test_ragged_rows_and_wrong_bytes_of_a_csv(tmp_path: Path) -> None:
    rows = b"prompt,response\n" + b"a,b\n" * 3 + b"a,b,c\n" + b'"multi\nline",x\n' + b"only\n"
    found = read(write(tmp_path / "a.csv", rows))
    assert [item.row.origin.line for item in found if item.problem] == [5, 8]
    good = "prompt,response\n" + "größer,schön\n" * 2000
    mixed = read(write(tmp_path / "b.csv", good.encode() + b"caf\xe9,x\n"))
    assert next(str(item.problem) for item in mixed if item.problem).startswith("bytes that are not utf-8")
    with pytest.raises(DataError, match="twice"):
        read(write(tmp_path / "c.csv", "a,a\n1,2\n"))


def test_a_huge_line_ends_in_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 10_000)
    huge = b'{"prompt": "' + b"x" * 3_000_000 + b'", "response": "b"}\n'
    found = read(write(tmp_path / "a.jsonl", JSONL + huge + JSONL))
    assert len(found) == 11
    assert found[5].problem and "longer than" in found[5].problem.reason and found[5].row.origin.line == 6


def test_a_huge_field_takes_no_other_row_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_LINE", 10_000)
    data = b'prompt,response\na,b\n"' + b"x" * 300_000 + b'",b\nc,d\n'
    found = read(write(tmp_path / "a.csv", data))
    assert [bool(item.problem) for item in found] == [False, True, False]


def test_bombs_are_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "FREE_BYTES", 1_000_000)
    bomb = b'{"text": "' + b"a" * 900 + b'"}\n'
    for name, data in {
        "a.jsonl.gz": gzip.compress(bomb * 50_000),
        "a.jsonl.zst": zstandard.compress(bomb * 50_000),
        "a.zip": _zip("a.jsonl", bomb * 50_000),
    }.items():
        with pytest.raises(DataError, match="bomb"):
            read(write(tmp_path / name, data))


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("empty.jsonl", b"", "empty"),
        ("blank.jsonl", b"\n\n\n", "no rows"),
        ("cut.jsonl.gz", gzip.compress(JSONL * 100)[:-30], "damaged"),
        ("not.parquet", b"PAR1 nonsense", "Parquet"),
        ("not.arrow", b"ARROW1 nonsense", "Arrow"),
        ("not.zip", b"PK\x03\x04 nonsense", "damaged"),
        ("binary", bytes(range(9)) * 100, "not a data file"),
        ("number.json", b"3", "no list"),
        ("twice.json", json.dumps({"a": ROWS, "b": ROWS}).encode(), "data.field"),
        ("all_broken.jsonl", b"{\n{\n", ""),
        ("numbers.jsonl", b"1\n2\n", ""),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value else "",
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    path = write(tmp_path / name, data)
    try:
        found = inspect_data(DataSection(path=str(path)))
    except DataError as error:
        assert words and words in str(error) and name in str(error)
    else:
        assert (
            not words
            and found.ledger.outcomes["dropped"] == found.ledger.read > 0
            and found.ledger.is_consistent
        )


def test_missing_files(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", JSONL)
    with pytest.raises(DataError, match=r"no such file.*Did you mean .*rows\.jsonl"):
        read(tmp_path / "row.jsonl")
    with pytest.raises(DataError, match="no file matches"):
        read(tmp_path / "*.csv")
    with pytest.raises(HubError, match="hub cannot be reached"):
        read("nobody/no-such-data-set")


def test_folders_globs_links_and_notes(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder / "deep").mkdir(parents=True)
    write(folder / "a.jsonl", JSONL)
    write(folder / "deep" / "b.jsonl", JSONL)
    write(folder / "README.md", "# About")
    write(folder / ".hidden.jsonl", JSONL)
    os.symlink(folder, folder / "deep" / "loop")
    os.symlink(folder / "a.jsonl", folder / "again.jsonl")
    os.symlink(folder / "gone", folder / "broken.jsonl")
    assert pairs(folder) == WANTED * 2
    assert pairs(folder / "**" / "*.jsonl")[:5] == WANTED
    notes = read_first_rows(DataSection(path=str(folder))).notes
    assert any("README.md" in note for note in notes) and any("broken link" in note for note in notes)
    write(folder / "test.jsonl", JSONL)
    write(folder / "train.jsonl", JSONL)
    notes = read_first_rows(DataSection(path=str(folder))).notes
    assert any("test.jsonl" in note for note in notes), "test data is not trained on, and that is said"


def test_limit_and_many_small_files(tmp_path: Path) -> None:
    for number in range(300):
        write(tmp_path / f"{number:03}.jsonl", JSONL)
    assert len(read(tmp_path)) == 1500
    reading = DataReading(DataSection(path=str(tmp_path), limit=7))
    assert len(list(reading)) == 7
    assert any("data.limit" in note for note in reading.notes)


def test_control_bytes_and_markup_survive_unharmed(tmp_path: Path) -> None:
    prompt = "a\x00b \x1b[31m [/red] \u202e <|im_end|>"
    (found,) = pairs(write(tmp_path / "a.jsonl", json.dumps({"prompt": prompt, "response": "x"})))
    assert found[0] == prompt
    text = (tmp_path / "a.csv").name
    (row,) = read(write(tmp_path / text, f"prompt,response\n{prompt},x\n"))
    assert row.record is not None


@pytest.mark.parametrize("seed", range(30))
def test_fuzzed_files_end_in_words(tmp_path: Path, seed: int) -> None:
    import random

    random.seed(seed)
    name, data = random.choice(list(KINDS.items()))
    damaged = bytearray(data)
    for _ in range(random.randint(1, 8)):
        damaged[random.randrange(len(damaged))] = random.randrange(256)
    path = write(tmp_path / name, bytes(damaged[: random.randint(len(damaged) // 2, len(damaged))]))
    try:
        found = inspect_data(DataSection(path=str(path)))
    except TunerError as error:
        assert str(error)
    else:
        assert found.ledger.is_consistent


def test_columns_that_only_later_rows_fill_are_used_and_said(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"instruction": f"q{i}", "input": "" if i < 300 else f"context {i}", "output": f"a{i}"}
        for i in range(400)
    ]
    rows[350]["system"] = "Be brief."
    rows[360]["extra"] = "x"
    path = tmp_path / "late.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    reading = DataReading(DataSection(path=str(path)))
    records = [item.record for item in reading]
    assert all(record is not None and record.kind == "chat" for record in records)
    assert records[399].messages[0].content == "q399\ncontext 399"  # type: ignore[union-attr]
    assert [m.role for m in records[350].messages] == ["system", "user", "assistant"]  # type: ignore[union-attr]
    assert reading.detections[0].detection.columns["system"] == "system"
    assert "extra" in reading.detections[0].detection.unused
    said = " ".join(reading.notes)
    assert "late.jsonl:351" in said and "system is the system" in said and "extra is not used" in said


def test_later_columns_change_nothing_that_was_told(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"a": "q", "b": "r"} for _ in range(250)]
    rows[240]["system"] = "Be brief."
    path = tmp_path / "told.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read(path, columns={"prompt": "a", "response": "b"})
    record = found[240].record
    assert record is not None and record.kind == "chat"
    assert [message.role for message in record.messages] == ["user", "assistant"]


def test_first_line_of_a_text_in_another_encoding_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes("größer und schöner\nMüßiggänger\nähnlich wie früher\n".encode("latin-1"))
    records = [item.record for item in read(path)]
    assert [record.text for record in records if record is not None and record.kind == "text"] == [
        "größer und schöner",
        "Müßiggänger",
        "ähnlich wie früher",
    ]


def test_broken_json_over_several_lines_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "pretty.json"
    path.write_text('{"data": [\n {"prompt": "a", "response": "b"},\n {"prompt": "a" "response": "b"}\n]}\n')
    with pytest.raises(DataError, match=r"pretty\.json:3: broken JSON"):
        read(path)


def test_broken_json_names_its_line_after_letters_of_several_bytes(tmp_path: Path) -> None:
    path = tmp_path / "chinese.json"
    row = '{"prompt": "' + "细胞" * 100 + '",\n"response": "很好"}'
    path.write_text(f'[\n{row},\n{row},\n"prompt" "x"\n]\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"chinese\.json:6: broken JSON"):
        read(path)


def test_what_is_no_zip_and_links_to_nowhere_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_text("hello")
    with pytest.raises(DataError, match=r"a\.zip: is not a zip archive"):
        read(tmp_path / "a.zip")
    with pytest.raises(DataError, match=r"a\.zip: is not a zip archive"):
        read(tmp_path)
    (tmp_path / "self").symlink_to("self")
    with pytest.raises(DataError, match="broken symbolic link"):
        read(tmp_path / "self")


def test_bytes_that_are_no_text_are_no_data(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + bytes(range(32, 256)) * 40)
    with pytest.raises(DataError, match="not a data file"):
        resolve_data_paths(DataSection(path=str(path)))
    for encoding in ("utf-8", "utf-16", "utf-16-le", "latin-1"):
        path.write_bytes("Grüße an alle\nund mehr\n".encode(encoding))
        assert resolve_data_paths(DataSection(path=str(path)))[0].files[0].kind == "text"


def test_a_pointer_of_git_lfs_is_not_the_data(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl.gz"
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 875191\n")
    with pytest.raises(DataError, match="Git LFS") as error:
        resolve_data_paths(DataSection(path=str(path)))
    assert "git lfs pull" in (error.value.hint or "")


def test_a_text_file_of_json_is_read_as_such_whatever_format_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text('{"instruction": "hi", "output": "hello"}\n' * 3)
    reads = list(DataReading(DataSection(path=str(path), format="alpaca")))
    assert [read.record is not None for read in reads] == [True] * 3
    assert [read.format for read in DataReading(DataSection(path=str(path), format="text"))] == ["text"] * 3
