"""Tables as spreadsheets, pandas and others write them; no line is lost, and no blank one is a row."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path
from typing import Any

import pytest

from tui_tuner.config.load import apply_config_sets, build_config
from tui_tuner.config.schema import DataSection
from tui_tuner.data.preview import inspect_data
from tui_tuner.data.records import Row
from tui_tuner.data.sources import line_tally, tables
from tui_tuner.data.sources.datafile import DataFile
from tui_tuner.data.sources.files import resolve_data_paths
from tui_tuner.errors import DataError

PIECES = ["'", '"', '""', "\\", '\\"', "\n", "\r\n", ",", ";", "\t", "|", " ", "é", "你好", "😀", "#",
          "a word", "\x0b", "\u2028", "sep=;", "\x00", "0", "1,5", "=A1"]  # fmt: skip


def rows_of(path: Path, **options: Any) -> list[Row]:
    (resolved,) = resolve_data_paths(DataSection(path=str(path), **options))
    return [row for file in resolved.files for row in file.iterate_rows()]


def values(path: Path, data: bytes | str, **options: Any) -> list[dict[str, Any]]:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    rows = rows_of(path, **options)
    assert not [row.problem for row in rows if row.problem]
    return [row.values for row in rows]


def random_table(seed: int) -> list[list[str]]:
    chance = random.Random(seed)

    def cell() -> str:
        return "x" + "".join(chance.choice(PIECES) for _ in range(chance.randrange(8)))

    return [["prompt", "response", "note"], *([cell(), cell(), cell()] for _ in range(60))]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_tables_of_the_csv_module_come_back(tmp_path: Path, seed: int, encoding: str, delimiter: str) -> None:
    table = random_table(seed)
    sink = io.StringIO(newline="")
    quoting = (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)[seed % 2]
    csv.writer(
        sink, delimiter=delimiter, quoting=quoting, lineterminator=("\n", "\r\n")[seed // 2]
    ).writerows(table)
    found = values(tmp_path / "a.csv", sink.getvalue().encode(encoding))
    assert [list(row.values()) for row in found] == table[1:]
    assert list(found[0]) == table[0]


@pytest.mark.parametrize("seed", range(2))
def test_tables_of_pandas_come_back(tmp_path: Path, seed: int) -> None:
    pandas = pytest.importorskip("pandas")
    table = random_table(seed)
    frame = pandas.DataFrame(table[1:], columns=table[0])
    wanted = [dict(zip(table[0], row, strict=True)) for row in table[1:]]
    for name, write in {
        "a.csv": lambda path: frame.to_csv(path, lineterminator="\n"),
        "b.csv": lambda path: frame.to_csv(path, index=False, sep=";", lineterminator="\n"),
        "c.csv": lambda path: frame.to_csv(
            path, index_label="Unnamed: 0", encoding="utf-16", lineterminator="\n"
        ),
        "d.jsonl": lambda path: frame.to_json(path, orient="records", lines=True),
        "e.json": lambda path: frame.to_json(path),
        "f.json": lambda path: frame.to_json(path, orient="split"),
        "g.json": lambda path: frame.to_json(path, orient="index"),
        "h.json": lambda path: frame.to_json(path, orient="table", index=False),
    }.items():
        write(tmp_path / name)
        found = rows_of(tmp_path / name)
        assert [row.values for row in found] == wanted, name
        assert not any(row.problem for row in found)


def test_lines_of_a_spreadsheet_that_are_no_rows(tmp_path: Path) -> None:
    wanted = [{"prompt": "a", "response": "b"}, {"prompt": "c;d", "response": "1,5"}]
    for data in (
        '\r\n\r\nprompt;response\r\na;b\r\n\r\n;\r\n"c;d";1,5\r\n;\r\n',
        'sep=;\r\nprompt;response\r\na;b\r\n"c;d";1,5\r\n',
        '\ufeff"sep=;"\nprompt;response\na;b\n"c;d";1,5',
        'prompt;response;\r\na;b;\r\n"c;d";1,5;\r\n',
        'prompt;response\na;b;;\n"c;d";1,5;\n',
        ';prompt;response\n0;a;b\n1;"c;d";1,5\n',
        'Unnamed: 0;prompt;response\n1;a;b\n2;"c;d";1,5\n',
        "sep=|\nprompt|response\na|b\nc;d|1,5\n",
        'prompt;response\ra;b\r"c;d";1,5\r',
    ):
        assert values(tmp_path / "a.csv", data) == wanted, data
        assert values(tmp_path / "a.csv", data.encode("utf-16")) == wanted, data
    ledger = inspect_data(DataSection(path=str(tmp_path / "a.csv"))).ledger
    assert ledger.read == 2 and ledger.outcomes["dropped"] == 0
    rows = rows_of(tmp_path / "a.csv")
    assert [row.origin.line for row in rows] == [2, 3]


def test_an_unnamed_column_is_one_where_it_is_filled(tmp_path: Path) -> None:
    found = values(tmp_path / "a.csv", "prompt,,response\na,,b\nc,note,d\n")
    assert found == [{"prompt": "a", "response": "b"}, {"prompt": "c", "column 2": "note", "response": "d"}]
    found = values(tmp_path / "a.csv", ",text\n5,a\n7,b\n")
    assert found == [{"column 1": "5", "text": "a"}, {"column 1": "7", "text": "b"}]


def test_names_are_text_whatever_bytes_they_hold(tmp_path: Path) -> None:
    found = values(tmp_path / "a.csv", b"prompt,\xff,response\n" + b"a,b,c\n" * 3 + "é,é,é\n".encode() * 30)
    assert found[0] == {"prompt": "a", "\ufffd": "b", "response": "c"}


def test_a_table_without_a_header_is_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for data in ("great film,1\nbad film,0\n", "What is the time?,Noon\nWho are you?,Me\n", "1,2\n3,4\n"):
        with pytest.raises(
            DataError, match=r"a\.csv:1: the first line looks like a row.*data\.header=absent"
        ):
            values(path, data)
        assert len(values(path, data, header="absent")) == 2
        assert len(values(path, data, header="present")) == 1
    assert values(path, "\n\n5,x\n6,y\n", header="absent") == [
        {"column 1": "5", "column 2": "x"},
        {"column 1": "6", "column 2": "y"},
    ]
    assert len(values(path, "text,2019\na,1\n")) == 1


def test_backslashes_before_quotes(tmp_path: Path) -> None:
    rows = "".join(f'"say \\"{number}, please\\"","C:\\\\new"\n' for number in range(9))
    found = values(tmp_path / "a.csv", "prompt,response\n" + rows)
    assert found[3] == {"prompt": 'say "3, please"', "response": "C:\\new"}
    found = values(tmp_path / "a.csv", 'prompt,response\n"a\\","C:\\new"\n"say ""x""",b\n')
    assert found == [{"prompt": "a\\", "response": "C:\\new"}, {"prompt": 'say "x"', "response": "b"}]


def test_a_quote_without_an_end_takes_no_line_along_unsaid(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with pytest.raises(
        DataError, match=r"a\.csv:3: a quote in this line is not closed: it takes 2 lines along"
    ):
        values(path, 'prompt,response\na,b\n"c,d\ne,f\ng,h\n')
    path.write_text('prompt,response\na,b\n"c,d')
    assert [row.problem for row in rows_of(path)] == ["", "a quote that is not closed"]


def test_lines_have_to_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    for module in ("tables", "lines", "conll"):
        monkeypatch.setattr(
            f"tui_tuner.data.sources.{module}.check_line_tally",
            lambda name, one, two: seen.append((one, two)),
        )
    values(tmp_path / "a.csv", 'prompt,response\n\na,"b\r\nc"\n,\n"d\n\n",e')
    assert seen == [(8, 8), (7, 7)]
    seen.clear()
    for name, data in {
        "a.jsonl": '{"text": "a"}\n\n{"text": "b"}\n',
        "a.txt": "a\n \nb",
        "a.conll": "# x\n\n# y\na O\n# z\nb O\n\n\n1 2",
    }.items():
        values(tmp_path / name, data)
    assert seen == [(3, 3), (3, 3), (9, 9)]
    with pytest.raises(DataError, match="x: rows and blank lines make 3 lines, but the file holds 4"):
        line_tally.check_line_tally("x", 3, 4)


def test_a_line_that_the_reader_loses_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tables._LineSource.__iter__

    def losing(self: Any) -> Any:
        for number, line in enumerate(whole(self)):
            if number != 3:
                yield line

    monkeypatch.setattr(tables._LineSource, "__iter__", losing)
    with pytest.raises(DataError, match="rows and blank lines make 4 lines, but the file holds 5"):
        values(tmp_path / "a.csv", "prompt,response\na,b\nc,d\ne,f\ng,h\n")


def test_the_answer_about_a_header_can_be_given_on_the_command_line() -> None:
    for value in ("present", "absent"):
        given: dict[str, Any] = {}
        apply_config_sets(given, [f"data.header={value}"])
        assert build_config(given).data.header == value


def rows_in(path: Path) -> list[Row]:
    return list(DataFile(str(path), "csv").iterate_rows())


def test_quotes_between_tabs_may_be_characters_like_others(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    said = ['"Hello, he said', "fine", '"', '"quoted"', 'she: "no"', '"oh', 'and" so']
    path.write_text("text\tlabel\n" + "".join(f"{one}\t{i}\n" for i, one in enumerate(said)))
    assert [row.values["text"] for row in rows_in(path)] == said


def test_quotes_between_tabs_that_do_quote_still_do(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('text\tnote\n"two\nlines"\t"a ""b"""\nplain\t"last\ncell"\nend\tx\n')
    rows = [row.values for row in rows_in(path)]
    assert rows == [
        {"text": "two\nlines", "note": 'a "b"'},
        {"text": "plain", "note": "last\ncell"},
        {"text": "end", "note": "x"},
    ]


def test_a_first_line_with_a_date_is_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("en,English,2008-04-30 00:00:00\nfr,French,2008-04-30 00:00:00\n")
    with pytest.raises(DataError, match="looks like a row"):
        rows_in(path)


def test_quotes_that_quote_nothing_take_no_line_along_however_late_they_come(tmp_path: Path) -> None:
    before = ["text\tlabel", *(f"a plain line of text\t{number}" for number in range(60_000))]
    after = ['"Gee, said she\tham', "no\tham", '"Win\tspam', '"all" is one\tham', "end\tham"]
    path = tmp_path / "a.tsv"
    path.write_text("\n".join(before + after) + "\n")
    rows = rows_in(path)
    assert [row.values["text"] for row in rows[60_000:]] == [line.partition("\t")[0] for line in after]
    assert rows[-1].origin.line == len(before + after) == len(rows) + 1


def test_a_quoted_table_of_tabs_stays_one_field(tmp_path: Path) -> None:
    cell = "a\tb\nc\td"
    sink = io.StringIO(newline="")
    csv.writer(sink, delimiter="\t").writerows([["text", "label"], [cell, "x"], ["one", "y"]])
    assert values(tmp_path / "a.tsv", sink.getvalue())[0] == {"text": cell, "label": "x"}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_comments_before_the_names_are_no_rows(tmp_path: Path, end: str) -> None:
    text = "# Made by hand, in May, 2014\n#\n# COLUMN a: what\ntext,label\n#one,1\ntwo,2\n".replace("\n", end)
    path = tmp_path / "a.csv"
    assert values(path, text) == [{"text": "#one", "label": "1"}, {"text": "two", "label": "2"}]
    assert [row.origin.line for row in rows_of(path)] == [5, 6]


def test_names_that_begin_with_a_hash_are_names(tmp_path: Path) -> None:
    assert values(tmp_path / "a.csv", "#text,label\na,1\nb,2\n")[0] == {"#text": "a", "label": "1"}
