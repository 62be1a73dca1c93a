"""Which column is what, in files with answers and without, of every format that is read."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import write_jsonl
from tui_tuner.errors import DataError, UsageError
from tui_tuner.inference.origin import Origin
from tui_tuner.inference.predicting.job import Job
from tui_tuner.inference.predicting.look import preview_prediction_job

TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "1"},
    {"role": "user", "content": "Two?"},
    {"role": "assistant", "content": "2"},
]
ASKED = "system: Be brief.\n\nuser: One?\n\nassistant: 1\n\nuser: Two?"


def job(path: Path, task: str = "sft", **more: Any) -> Job:
    return Job(Origin("model", "m", "/nowhere", task=task), str(path), str(path) + ".out", **more)


def first(path: Path, task: str = "sft", **more: Any) -> str:
    """What would be asked of the first row."""
    found = preview_prediction_job(job(path, task, **more))
    assert not found["problem"], found
    return str(found["rows"][0]["asked"] or found["rows"][0]["problem"])


@pytest.mark.parametrize(
    ("row", "asked"),
    [
        ({"messages": TURNS}, ASKED),
        ({"messages": TURNS[:-1]}, ASKED),
        ({"messages": json.dumps(TURNS)}, ASKED),
        ({"conversations": [{"from": "human", "value": "Two?"}, {"from": "gpt", "value": "2"}]}, "Two?"),
        ({"prompt": TURNS[:-1], "chosen": TURNS[-1:], "rejected": TURNS[-1:]}, ASKED),
        ({"chosen": TURNS, "rejected": TURNS}, ASKED),
        ({"instruction": "Add", "input": "1 + 1", "output": "2"}, "Add\n1 + 1"),
        ({"question": "Two?", "answer": "2"}, "Two?"),
        ({"question": "Two?", "id": 4}, "Two?"),
        ({"text": "Once upon"}, "Once upon"),
        ({"weird name": "Once upon", "id": 7}, "Once upon"),
        ({"prompt": "Two?", "system": "Be brief."}, "system: Be brief.\n\nuser: Two?"),
        ({"prompt": "Two?", "history": [["One?", "1"]]}, "user: One?\n\nassistant: 1\n\nuser: Two?"),
    ],
)
def test_a_model_that_writes_is_asked_up_to_its_answer(
    tmp_path: Path, row: dict[str, Any], asked: str
) -> None:
    assert first(write_jsonl(tmp_path / "rows.jsonl", [row])) == asked


def test_rows_that_have_no_system_prompt_get_the_one_that_is_told(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [{"messages": TURNS[1:2]}, {"messages": TURNS}])
    rows = preview_prediction_job(job(path, system="Rhyme."))["rows"]
    assert [row["asked"] for row in rows] == ["system: Rhyme.\n\nuser: One?", ASKED]


@pytest.mark.parametrize(
    ("task", "row", "asked"),
    [
        ("classification", {"text": "Fine", "label": "good"}, "Fine"),
        ("classification", {"review": "Fine", "sentiment": "good"}, "Fine"),
        ("classification", {"premise": "A", "hypothesis": "B"}, "A\n\nB"),
        ("classification", {"body of it": "Fine", "label": "good"}, "Fine"),
        ("token_classification", {"tokens": ["Mia", "left"], "ner_tags": ["B-PER", "O"]}, "Mia left"),
        ("token_classification", {"words": '["Mia", "left"]'}, "Mia left"),
        ("token_classification", {"text": "Mia left"}, "Mia left"),
        ("question_answering", {"question": "Who?", "context": "Mia left."}, "Who?\n\nMia left."),
        ("question_answering", {"query": "Who?", "passage": "Mia left.", "id": "x"}, "Who?\n\nMia left."),
    ],
)
def test_what_heads_read(tmp_path: Path, task: str, row: dict[str, Any], asked: str) -> None:
    assert first(write_jsonl(tmp_path / "rows.jsonl", [row]), task) == asked


def test_formats_of_files(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    (tmp_path / "a.csv").write_text('id,review\n1,"Fine, I say"\n')
    (tmp_path / "b.txt").write_text("Fine, I say\n")
    pq.write_table(pa.table({"id": [1], "review": ["Fine, I say"]}), tmp_path / "c.parquet")
    (tmp_path / "d.json").write_text(json.dumps({"data": [{"review": "Fine, I say"}]}))
    base = sqlite3.connect(":memory:")
    base.execute("create table t (id integer, review text)")
    base.execute("insert into t values (1, 'Fine, I say')")
    (tmp_path / "e.sql").write_text("\n".join(base.iterdump()))
    (tmp_path / "f.conll").write_text("Fine O\n, O\n\nI O\n")
    for name in ("a.csv", "b.txt", "c.parquet", "d.json", "e.sql"):
        assert first(tmp_path / name, "classification") == "Fine, I say", name
    assert first(tmp_path / "f.conll", "token_classification") == "Fine ,"


def test_the_user_says_which_column_it_is(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [{"one": "A", "two": "B", "three": "C"}])
    found = preview_prediction_job(job(path, "classification"))
    assert "several columns could be the text: one, two, three" in found["problem"]
    assert "--column text=one" in found["hint"]
    assert found["columns"] == ["one", "two", "three"] and found["choices"] == ["text", "pair"]
    assert first(path, "classification", columns={"text": "two"}) == "B"
    assert first(path, "classification", columns={"text": "two", "pair": "three"}) == "B\n\nC"
    assert first(path, columns={"instruction": "three"}) == "C"
    found = preview_prediction_job(job(path, "question_answering"))
    assert "one (text), two (text), three (text)" in found["problem"]
    assert "--column question=one --column context=two" in found["hint"]
    with pytest.raises(UsageError, match="text, pair"):
        first_error(job(path, "classification", columns={"answer": "one"}))
    with pytest.raises(UsageError, match=r"no column 'four'.*one \(text\)"):
        first_error(job(path, "classification", columns={"text": "four"}))


def first_error(asked: Job) -> None:
    from tui_tuner.inference.predicting.source import InputFiles

    InputFiles(asked, None).find_first_roles()


def test_a_prompt_of_ones_own_needs_no_roles(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [{"one": "A", "two": {"x": 1}}])
    prompt = "Is {one} like {two}? {labels}"
    assert first(path, prompt=prompt, labels=("yes", "no")) == 'Is A like {"x":1}? yes, no'
    carp = first(path, prompt="carp", labels=("yes", "no"), columns={"text": "one"})
    assert "CLUES:" in carp and "yes, no" in carp and carp.endswith("Text:\nA")
    with pytest.raises(DataError):
        first_error(job(write_jsonl(tmp_path / "n.jsonl", [{"n": 1}]), labels=("a", "b")))


def test_a_column_of_the_same_name_is_refused(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [{"text": "A", "prediction": 1}])
    with pytest.raises(UsageError, match="--field"):
        first_error(job(path))
    first_error(job(path, field="said"))


@pytest.mark.parametrize(
    "more",
    [
        {"labels": ("good", "Good ")},
        {"labels": ("good",)},
        {"prompt": "carp"},
        {"retries": 2},
        {"temperature": -1.0},
        {"max_new_tokens": 0},
        {"format": "nonsense"},
        {"json_keys": ("a", "a")},
        {"json_keys": ("a",), "labels": ("x", "y")},
    ],
)
def test_options_that_cannot_be(tmp_path: Path, more: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        job(tmp_path, **more).check_options()


def test_a_head_is_asked_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not write text"):
        job(tmp_path, "classification", labels=("a", "b")).check_options()
