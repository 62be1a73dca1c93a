"""Paths as they are pasted, and files that are something else than their name says."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tui_tuner.config.schema import DataSection
from tui_tuner.data.records import Row
from tui_tuner.data.sources.files import resolve_data_paths
from tui_tuner.data.sources.paths import find_meant_path
from tui_tuner.errors import DataError

ROW = '{"prompt": "a", "response": "b"}\n'


def rows_of(path: Path | str, **options: str) -> list[Row]:
    (resolved,) = resolve_data_paths(DataSection.model_validate({"path": str(path), **options}))
    return [row for file in resolved.files for row in file.iterate_rows()]


def test_pasted_paths_lead_to_what_they_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my data"
    folder.mkdir()
    path = folder / "rows (1) é.jsonl"
    path.write_text(ROW)
    monkeypatch.setenv("HOME", str(tmp_path))
    shell = str(path).replace(" ", "\\ ").replace("(", "\\(").replace(")", "\\)")
    for pasted in (
        f"'{path}'", f'"{path}"', f"  {path} \n", shell, f" {shell} ", path.as_uri(), f"file://{path}",
        f"file://localhost{path}".replace(" ", "%20"), f"'{path.as_uri()}'", "~/my data/rows (1) é.jsonl",
        "~/my\\ data/rows\\ \\(1\\)\\ é.jsonl", "'~/my data/*.jsonl'", f"“{path}”",
    ):  # fmt: skip
        assert [row.values["prompt"] for row in rows_of(pasted)] == ["a"], pasted


def test_a_path_that_is_there_is_taken_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("'a.jsonl'", "b\\ c.jsonl", " d.jsonl"):
        (tmp_path / name).write_text(ROW)
        (tmp_path / name.strip("' ").replace("\\", "")).write_text("")
        assert find_meant_path(name) == name
        assert len(rows_of(name)) == 1
    for name in ("'gone.jsonl'", "gone\\ too.jsonl", "file:///gone", "a\x00b", "''", "owner/name"):
        assert find_meant_path(name) == name


def test_text_files_that_hold_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(ROW * 3)
    assert [row.values for row in rows_of(path)] == [{"prompt": "a", "response": "b"}] * 3
    assert rows_of(path, format="text")[0].values == {"text": ROW.strip()}
    path.write_text("{not JSON}\n" + ROW)
    assert rows_of(path)[0].values == {"text": "{not JSON}"}
    path.write_text("hello\tbonjour\n" * 6)
    with pytest.raises(DataError, match=r"a\.txt: every line has columns.*\.tsv.*data\.format=text"):
        rows_of(path)
    assert rows_of(path, format="text")[0].values == {"text": "hello\tbonjour"}
    (tmp_path / "b.csv.txt").write_text("prompt,response\na,b\n")
    assert rows_of(tmp_path / "b.csv.txt")[0].values == {"prompt": "a", "response": "b"}


def test_html_that_the_parser_gives_up_on_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<p>" + "<!--" * 1000)
    assert [row.problem for row in rows_of(tmp_path / "a.html")] == ["HTML that cannot be parsed"]


def test_a_workbook_is_named_as_one(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(DataError, match=r"Excel workbook.*as CSV"):
        rows_of(tmp_path / "a.xlsx")
