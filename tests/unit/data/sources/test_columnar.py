"""Parquet and Arrow: what a row had, and not what the format filled in; every row, whatever stands in it."""

from __future__ import annotations

import decimal
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet
import pytest

from tui_tuner.config.schema import DataSection
from tui_tuner.data.sources import line_tally
from tui_tuner.data.sources.columnar import read_arrow, read_parquet
from tui_tuner.data.sources.files import resolve_data_paths
from tui_tuner.errors import DataError


def rows_of(path: Path) -> list[dict[str, Any]]:
    (resolved,) = resolve_data_paths(DataSection(path=str(path)))
    rows = [row for file in resolved.files for row in file.iterate_rows()]
    assert not any(row.problem for row in rows)
    return [row.values for row in rows]


def written(table: pa.Table, folder: Path) -> list[Path]:
    """The table as Parquet, as Feather and as an Arrow stream."""
    pyarrow.parquet.write_table(table, folder / "a.parquet")
    pyarrow.feather.write_feather(table, folder / "a.feather")
    with pyarrow.ipc.new_stream(folder / "a.arrow", table.schema) as sink:
        sink.write_table(table)
    return [folder / name for name in ("a.parquet", "a.feather", "a.arrow")]


def test_keys_that_arrow_filled_with_null_are_not_in_the_row(tmp_path: Path) -> None:
    given = [
        {"name": "tide", "arguments": {"port": "Tarn"}},
        {"name": "fare", "arguments": {"from": "Ost", "seats": 2, "via": [{"at": "A"}, {"by": "B"}]}},
    ]
    table = pa.table({"calls": pa.array([given, None]), "text": pa.array(["a", None])})
    for path in written(table, tmp_path):
        assert rows_of(path) == [{"calls": given, "text": "a"}, {"calls": None, "text": None}]


def test_a_null_that_a_file_says_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"call": {"port": null}, "text": "a"}\n')
    assert rows_of(path) == [{"call": {"port": None}, "text": "a"}]
    kind = pa.map_(pa.string(), pa.int64())
    table = pa.table({"arguments": pa.array([[("a", 1), ("b", None)], []], kind)})
    for path in written(table, tmp_path):
        assert rows_of(path) == [{"arguments": {"a": 1, "b": None}}, {"arguments": {}}]


def test_values_are_plain(tmp_path: Path) -> None:
    table = pa.table(
        {
            "price": pa.array([decimal.Decimal("1.50"), decimal.Decimal("2.00")]),
            "score": pa.array([float("nan"), 0.5]),
            "raw": pa.array([b"text", "h\u00e9".encode()]),
            "image": pa.array([b"\x89PNG\r\n\x1a\n\x00", b"\x00"]),
            "label": pa.array(["a", "b"]).dictionary_encode(),
        }
    )
    for path in written(table, tmp_path):
        assert rows_of(path) == [
            {"price": 1.5, "score": None, "raw": "text", "label": "a"},
            {"price": 2, "score": 0.5, "raw": "h\u00e9", "label": "b"},
        ]


@pytest.mark.parametrize("kind", [pa.timestamp("us"), pa.duration("s")], ids=str)
def test_moments_that_python_cannot_name_take_no_row_along(tmp_path: Path, kind: pa.DataType) -> None:
    far = pa.array([10**18, 0, None], pa.int64()).cast(kind)
    nested = pa.StructArray.from_arrays([far, pa.array(["x", "y", "z"])], ["at", "by"])
    for path in written(pa.table({"text": ["a", "b", "c"], "at": far, "in": nested}), tmp_path):
        found = rows_of(path)
        assert [row["text"] for row in found] == ["a", "b", "c"]
        assert found[0]["at"] == "1000000000000000000" and found[0]["in"]["by"] == "x"
        assert found[2] == {"text": "c", "at": None, "in": {"by": "z"}}


def test_rows_have_to_be_as_many_as_the_file_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet, feather, _stream = written(pa.table({"text": ["a"] * 1000}), tmp_path)
    assert len(rows_of(parquet)) == len(rows_of(feather)) == 1000
    with pytest.raises(DataError, match=r"x: 999 rows were read, but the file holds 1,000"):
        line_tally.check_row_tally("x", 999, 1000)
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(
        "tui_tuner.data.sources.columnar.check_row_tally",
        lambda name, read, there: seen.append((read, there)),
    )
    for rows in (read_parquet(parquet, "p"), read_arrow(feather, "f")):
        assert sum(1 for _row in rows) == 1000
    assert seen == [(1000, 1000)] * 2


@pytest.mark.parametrize("kind", [pyarrow.ipc.new_file, pyarrow.ipc.new_stream])
def test_a_damaged_offset_of_arrow_ends_in_words_and_not_the_process(tmp_path: Path, kind: Any) -> None:
    table = pa.table({"text": ["the first row", "the second row", "the third row"]})
    path = tmp_path / "a.arrow"
    with kind(path, table.schema) as sink:
        sink.write_table(table)
    offsets = b"".join(number.to_bytes(4, "little") for number in (0, 13, 27, 40))
    whole = path.read_bytes()
    assert whole.count(offsets) == 1
    far = offsets[:4] + (0x40000000).to_bytes(4, "little") + offsets[8:]
    path.write_bytes(whole.replace(offsets, far))
    code = (
        "import sys, pathlib\n"
        "from tui_tuner.data.sources.columnar import read_arrow\n"
        "from tui_tuner.errors import DataError\n"
        "try:\n    list(read_arrow(pathlib.Path(sys.argv[1]), 'a.arrow'))\n"
        "except DataError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "a.arrow" in done.stdout and "not a readable Arrow" in done.stdout


@pytest.mark.parametrize("kept", ["List", "Sequence", "plain"])
def test_classes_have_the_names_that_the_file_keeps_beside_its_columns(tmp_path: Path, kept: str) -> None:
    """As the `datasets` library writes them: numbers in the columns, names in the schema's metadata."""
    tags = {"names": ["O", "B-PER", "I-PER"], "_type": "ClassLabel"}
    features = {
        "tokens": {"feature": {"dtype": "string", "_type": "Value"}, "_type": kept},
        "ner_tags": [tags] if kept == "plain" else {"feature": tags, "_type": kept},
        "label": {"names": ["bad", "good"], "_type": "ClassLabel"},
        "number": {"dtype": "int64", "_type": "Value"},
    }
    columns = {
        "tokens": [["Ann", "said"], ["x"]],
        "ner_tags": [[1, 0], [7]],
        "label": [1, -1],
        "number": [1, 2],
    }
    table = pa.table(columns)
    for metadata, wanted in (
        (json.dumps({"info": {"features": features}}), [["B-PER", "O"], [7], "good", None]),
        ("not JSON", [[1, 0], [7], 1, -1]),
        (
            json.dumps({"info": {"features": {"ner_tags": {"names": "O", "_type": "ClassLabel"}}}}),
            [[1, 0], [7], 1, -1],
        ),
    ):
        for path in written(table.replace_schema_metadata({"huggingface": metadata}), tmp_path):
            first, second = rows_of(path)
            assert [first["ner_tags"], second["ner_tags"], first["label"], second["label"]] == wanted
            assert first["number"] == 1 and first["tokens"] == ["Ann", "said"]
