"""JSON as programs write it: NaN, lists as rows, objects one after the other, SQuAD with holes in it."""

from __future__ import annotations

import io
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from tui_tuner.config.schema import DataSection
from tui_tuner.data.records import Row
from tui_tuner.data.sources import jsonvalues, lines
from tui_tuner.data.sources.files import resolve_data_paths
from tui_tuner.errors import DataError

PIECES = [
    '"',
    "\\",
    "NaN",
    "Infinity",
    "-Infinity",
    ": NaN,",
    '": NaN',
    "é",
    "\n",
    "[",
    "}",
    "a",
    "\\\\",
    "\\n",
    "-",
]


def rows_of(path: Path, **options: Any) -> list[Row]:
    (resolved,) = resolve_data_paths(DataSection(path=str(path), **options))
    return [row for file in resolved.files for row in file.iterate_rows()]


def values(path: Path, data: str) -> list[dict[str, Any]]:
    path.write_text(data)
    rows = rows_of(path)
    assert not [row.problem for row in rows if row.problem]
    return [row.values for row in rows]


def random_rows(seed: int, count: int = 60) -> list[dict[str, Any]]:
    chance = random.Random(seed)

    def text() -> str:
        return "".join(chance.choice(PIECES) for _ in range(chance.randrange(12)))

    numbers = (1.5, math.nan, math.inf, -math.inf, None)
    return [
        {"text": text(), "score": chance.choice(numbers), "more": [text(), {text(): math.nan}]}
        for _ in range(count)
    ]


def nulled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: nulled(item) for key, item in value.items()}
    if isinstance(value, list):
        return [nulled(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@pytest.mark.parametrize("seed", range(6))
def test_numbers_that_are_none_are_null(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = random_rows(seed)
    wanted = [nulled(row) for row in rows]
    assert values(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows)) == wanted
    assert values(tmp_path / "a.json", json.dumps(rows, indent=seed or None, ensure_ascii=False)) == wanted
    assert values(tmp_path / "b.json", json.dumps({"about": "x", "rows": rows})) == wanted
    assert values(tmp_path / "c.json", "\n".join(json.dumps(row, indent=1) for row in rows)) == wanted
    monkeypatch.setattr(lines, "WHOLE_JSON", 10)
    assert values(tmp_path / "a.json", json.dumps(rows)) == wanted
    monkeypatch.setattr(jsonvalues, "HEAD", 37)
    assert values(tmp_path / "a.json", json.dumps(rows, ensure_ascii=seed > 2)) == wanted


def test_what_is_broken_besides_stays_broken(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": NaN, "b": }\n{"a": NaNo}\n{"a": NaN}\n{"a": "NaN}\n')
    assert [row.problem for row in rows_of(path)] == ["broken JSON", "broken JSON", "", "broken JSON"]
    (tmp_path / "a.json").write_text('[{"a": NaN},\n{"a": NaN "b"}]')
    with pytest.raises(DataError, match=r"a\.json:2: broken JSON"):
        rows_of(tmp_path / "a.json")


TURNS = [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Good day."}]


def test_lists_are_rows(tmp_path: Path) -> None:
    one = json.dumps(TURNS)
    for name, data in {
        "a.jsonl": f"{one}\n{one}\n",
        "b.jsonl": f"\n{one}\n\n{one}",
        "a.json": f"[{one},\n {one}]",
        "b.json": f"{one}\n{one}\n",
        "c.json": json.dumps({"chats": [TURNS, TURNS]}),
    }.items():
        assert values(tmp_path / name, data) == [{"messages": TURNS}] * 2, name
    assert values(tmp_path / "one.jsonl", one) == [{"messages": TURNS}]
    rows = [{"prompt": "a", "response": "b"}]
    assert values(tmp_path / "list.jsonl", json.dumps(rows)) == rows
    assert values(tmp_path / "texts.jsonl", '["a", "b"]\n["c"]\n') == [{"list": ["a", "b"]}, {"list": ["c"]}]


def test_squad_with_other_things_inside(tmp_path: Path) -> None:
    good = {"context": "c", "qas": [{"question": "q", "answers": []}, 5]}
    path = tmp_path / "a.json"
    for paragraphs in (3, None, "x", {}):
        data = [
            {"title": "t", "paragraphs": [good, 7, {"context": "c", "qas": 3}]},
            {"paragraphs": paragraphs},
            None,
        ]
        path.write_text(json.dumps({"data": data}))
        found = rows_of(path)
        assert [bool(row.problem) for row in found] == [False, True, True, True, True, True]
        assert found[0].values["question"] == "q"


def test_the_filter_of_large_files_changes_nothing_else() -> None:
    for seed in range(20):
        text = json.dumps(random_rows(seed, 5)).encode()
        expected = json.loads(text, parse_constant=lambda _name: None)
        for size in (1, 7, 64, 5000):
            source = io.BytesIO(text)
            filtered = jsonvalues.NullingReader(source)
            data = b"".join(iter(lambda: filtered.read(size), b""))  # noqa: B023
            assert json.loads(data) == expected
