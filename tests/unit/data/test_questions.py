"""Questions as SQuAD publishes them and as hubs have them: what is read, and what is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tui_tuner.config.load import build_config
from tui_tuner.data.formats import find_format
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.read_data import DataReading, ReadRow
from tui_tuner.data.records import Question

CONTEXT = "The cat sat on the mat. The cat slept."


def read(path: Path) -> list[ReadRow]:
    config = build_config({"model": {"name": "demo"}, "data": {"path": str(path)}})
    return list(DataReading(config.data))


def asked(number: int, answers: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"id": f"q{number}", "question": f"Who is {number}?", "answers": answers, **more}


def squad(path: Path, *questions: dict[str, Any]) -> Path:
    data = [{"title": "T", "paragraphs": [{"context": CONTEXT, "qas": list(questions)}]}]
    path.write_text(json.dumps({"version": "v2.0", "data": data}), encoding="utf-8")
    return path


def test_version_2_is_read_with_ids_and_questions_without_an_answer(tmp_path: Path) -> None:
    plausible = [{"text": "mat", "answer_start": 19}]
    path = squad(
        tmp_path / "train-v2.0.json",
        asked(1, [{"text": "mat", "answer_start": 19}], is_impossible=False),
        asked(2, [], is_impossible=True, plausible_answers=plausible),
    )
    one, two = read(path)
    assert one.record == Question("Who is 1?", CONTEXT, [("mat", 19)], "q1")
    assert two.record == Question("Who is 2?", CONTEXT, [], "q2")
    assert str(two.row.origin).endswith("train-v2.0.json row 2 (q2)")
    assert [name for name, _value in two.steps] == [
        "column plausible_answers is not used",
        "column title is not used",
    ]


def test_large_files_are_streamed_with_the_same_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = squad(tmp_path / "dev.json", asked(1, [{"text": "mat", "answer_start": 19}]), asked(2, []))
    whole = read(path)
    monkeypatch.setattr("tui_tuner.data.sources.lines.WHOLE_JSON", 10)
    streamed = read(path)
    assert [(one.record, str(one.row.origin)) for one in streamed] == [
        (one.record, str(one.row.origin)) for one in whole
    ]


@pytest.mark.parametrize(
    ("question", "reason", "detail"),
    [
        (
            asked(3, [{"text": "mat", "answer_start": 20}]),
            "an answer is not at its answer_start",
            "answers: 'mat' at 20; it occurs only at 19",
        ),
        (
            asked(3, [{"text": "cat", "answer_start": 5}]),
            "an answer is not at its answer_start",
            "answers: 'cat' at 5",
        ),
        (asked(3, [{"text": "dog", "answer_start": 4}]), "an answer is not at its answer_start", "'dog'"),
        (asked(3, [{"text": "mat"}]), "", ""),
        (asked(3, [{"text": "cat"}]), "an answer without a start occurs at several places", "'cat'"),
        (asked(3, [{"text": "dog"}]), "an answer is not in the context", "'dog'"),
        (asked(3, [{"text": "mat", "answer_start": "19"}]), "an answer has no text or no start", ""),
        (asked(3, [], is_impossible=False), "is_impossible is false, but there is no answer", ""),
        (
            asked(3, [{"text": "mat", "answer_start": 19}], is_impossible=True),
            "is_impossible is true, but there is an answer",
            "",
        ),
    ],
)
def test_answers_that_do_not_fit_are_counted_with_their_place(
    tmp_path: Path, question: dict[str, Any], reason: str, detail: str
) -> None:
    found = read(squad(tmp_path / "train.json", asked(1, [{"text": "mat", "answer_start": 19}]), question))[1]
    ledger = Ledger()
    record = found.count_start(ledger)
    if not reason:
        assert record is not None and record.answers == [("mat", 19)]  # type: ignore[union-attr]
        assert any("without a start" in step.reason for step in ledger.list_steps())
        return
    assert record is None
    (counted,) = ledger.list_reasons("dropped")
    assert counted.reason == reason and detail in counted.samples[0]["text"]
    assert counted.samples[0]["origin"].endswith("train.json row 2 (q3)")


def test_rows_of_a_hub_are_read_from_lines_and_tables(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {
            "id": "a",
            "question": "On?",
            "context": CONTEXT,
            "answers": {"text": ["mat"], "answer_start": [19]},
        },
        {"id": "b", "question": "Off?", "context": CONTEXT, "answers": {"text": [], "answer_start": []}},
    ]
    lines = tmp_path / "rows.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    for path in (lines, tmp_path / "rows.parquet"):
        records = [one.record for one in read(path)]
        assert records == [
            Question("On?", CONTEXT, [("mat", 19)], "a"),
            Question("Off?", CONTEXT, [], "b"),
        ]


def test_answers_may_be_written_as_json_in_a_table() -> None:
    values = {"question": "On?", "context": CONTEXT, "answers": '{"text": ["mat"], "answer_start": [19]}'}
    record: Any = find_format("qa").convert_row(values, {name: name for name in values})
    assert record.answers == [("mat", 19)] and not record.remarks
