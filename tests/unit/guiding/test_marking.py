"""Files of rows made by hand, without a screen: which one is begun or gone on with, and words of a text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tui_tuner.config.kinds.tasks import TASKS
from tui_tuner.errors import DiskFullError, UsageError
from tui_tuner.guiding.annotate import describe_annotation_progress, open_annotation
from tui_tuner.guiding.example_rows import can_annotate, write_example
from tui_tuner.guiding.marking import make_tagged_row, read_marks, split_words_to_mark


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Ada's 2 cats, here.", ["Ada", "'", "s", "2", "cats", ",", "here", "."]),
        ("北京 very", ["北", "京", "very"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("naïve e\u0301te\u0301", ["naïve", "e\u0301te\u0301"]),
        ("  \n ", []),
        ("👩‍🔧!", ["👩‍", "🔧", "!"]),
    ],
)
def test_words_of_any_writing(text: str, words: list[str]) -> None:
    assert [text[begin:end] for begin, end in split_words_to_mark(text)] == words


def test_tags_stand_for_marks_and_back() -> None:
    marks = [(0, 1, "PER"), (2, 2, "PER"), (4, 4, "LOC")]
    row = make_tagged_row(["a", "b", "c", "d", "e"], marks)
    assert row["ner_tags"] == ["B-PER", "I-PER", "B-PER", "O", "B-LOC"]
    assert read_marks(row) == marks


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "my-answers.jsonl"
    other.write_text('{"a": 1}\n')
    found = open_annotation(None, "sft", tmp_path)
    found.append_row({"prompt": "p", "response": "r"})
    assert other.read_text() == '{"a": 1}\n' and found.path.name == "my-answers-2.jsonl"
    assert open_annotation(None, "sft", tmp_path).rows == found.rows


def test_lines_that_are_no_rows_stay_and_a_last_line_without_end_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "a", "response": "b"}\nnot json\n{"prompt": "c", "response": "d"}')
    found = open_annotation(str(path), "sft")
    assert len(found.rows) == 2 and not found.notes
    found.append_row({"prompt": "e", "response": "f"})
    assert path.read_text().splitlines()[1] == "not json" and len(path.read_text().splitlines()) == 4
    assert found.undo_last() == {"prompt": "e", "response": "f"} and found.undo_last() == {
        "prompt": "c",
        "response": "d",
    }
    assert path.read_text() == '{"prompt": "a", "response": "b"}\nnot json\n'


def test_a_file_that_another_program_has_changed_is_not_cut(tmp_path: Path) -> None:
    found = open_annotation(None, "sft", tmp_path)
    found.append_row({"prompt": "a", "response": "b"})
    with open(found.path, "a") as file:
        file.write('{"prompt": "c", "response": "d"}\n')
    with pytest.raises(UsageError, match="another program"):
        found.undo_last()
    assert len(found.path.read_text().splitlines()) == 2


@pytest.mark.parametrize("kind", ["lines.txt", "parts.txt", "a.csv", "text.csv", "a.jsonl", "half.csv"])
def test_texts_without_marks_are_taken_from_files_of_every_kind(kind: str, tmp_path: Path) -> None:
    texts = ["It broke, again.", "Lovely boots!", "It never came."]
    path = tmp_path / kind
    if path.suffix == ".txt":
        path.write_text(("\n" if kind == "lines.txt" else "\n\n").join(texts) + "\n")
    elif kind == "half.csv":
        labels = ("bad", "", "")
        lines = [f'"{one}",{label}\n' for one, label in zip(texts, labels, strict=True)]
        path.write_text("text,label\n" + "".join(lines))
    elif path.suffix == ".csv":
        name = "text" if kind == "text.csv" else "what_they_wrote"
        path.write_text(f"id,{name}\n" + "".join(f'{n},"{one}"\n' for n, one in enumerate(texts)))
    else:
        path.write_text("".join(json.dumps({"text": one}) + "\n" for one in texts))
    found = open_annotation(str(path), "classification")
    labelled = [{"text": texts[0], "label": "bad"}] if kind == "half.csv" else []
    assert found.rows == labelled and found.texts == texts[len(labelled) :]
    found.append_row({"text": texts[1], "label": "good"})
    again = open_annotation(str(path), "classification")
    assert texts[1] not in again.texts and texts[2] in again.texts


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_a_full_disk_leaves_the_rows_before(tmp_path: Path) -> None:
    found = open_annotation(None, "sft", tmp_path)
    found.append_row({"prompt": "a", "response": "b"})
    kept, found.path = found.path, Path("/dev/full")
    with pytest.raises(DiskFullError, match="cannot be written"):
        found.append_row({"prompt": "c", "response": "d"})
    assert len(found.rows) == 1 and len(kept.read_text().splitlines()) == 1


@pytest.mark.parametrize("task", [task for task in TASKS if can_annotate(task)])
def test_an_example_file_is_gone_on_with(task: str, tmp_path: Path) -> None:
    example = write_example(task, tmp_path)
    found = open_annotation(str(example), task)
    assert found.rows and not found.texts
    assert [json.loads(line) for line in found.path.read_text().splitlines()] == found.rows
    again = open_annotation(str(example), task)
    assert again.rows == found.rows
    assert describe_annotation_progress(found).startswith(f"{len(found.rows)} rows")


def test_tasks_that_need_no_marks_cannot_be_written() -> None:
    with pytest.raises(UsageError, match="cannot be written here"):
        open_annotation(None, "pretraining")
