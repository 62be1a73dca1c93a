"""Which task data are for, and what a row teaches, in words."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tui_tuner.cli import main
from tui_tuner.config.load import build_config
from tui_tuner.data.records import IGNORE, Example, LabelledText, Question, Record, TaggedText, Text
from tui_tuner.tasks import find_task
from tui_tuner.tasks.preview.better_tasks import find_better_task, find_other_task

CONTEXT = "Seven wooden boats lay near the harbour of Fairholm, and nobody had painted them for many a year."


def config_of(path: Path, rows: list[dict[str, Any]], task: str, **data: Any) -> Any:
    file = path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return build_config({"task": task, "data": {"path": str(file), **data}})


ROWS: dict[str, list[dict[str, Any]]] = {
    "question_answering": [
        {"question": "How many?", "context": CONTEXT, "answers": {"text": ["Seven"], "answer_start": [0]}}
    ]
    * 4,
    "token_classification": [{"tokens": ["in", "Fairholm"], "ner_tags": ["O", "B-LOC"]}] * 4,
    "classification": [{"text": f"film {n}", "label": ["pos", "neg"][n % 2]} for n in range(30)],
    "pretraining": [{"text": "words and more words"}] * 4,
    "sft": [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}] * 4,
}


@pytest.mark.parametrize("asked", ROWS)
@pytest.mark.parametrize("meant", ROWS)
def test_the_task_of_rows_is_found_whatever_was_asked_for(tmp_path: Path, asked: str, meant: str) -> None:
    config = config_of(tmp_path, ROWS[meant], asked)
    found = find_other_task(config)
    assert find_better_task(config) is None
    if asked == meant or (asked, meant) == ("sft", "pretraining"):  # which learns it, where that is told
        assert found is None or (found.task, asked) == ("pretraining", "sft")
    else:
        assert found is not None and found.task == meant and found.sentence.endswith(f"task {meant}?")
        assert found.hint.fixes == ({"task": meant},)


def test_answers_that_stand_in_their_text_are_told_unless_the_user_said_what_rows_are(tmp_path: Path) -> None:
    words = CONTEXT.split()
    rows = [
        {"question": f"Which {n}?", "context": CONTEXT, "answer": " ".join(words[n : n + 2])}
        for n in range(14)
    ]
    found = find_better_task(config_of(tmp_path, rows, "sft"))
    assert found is not None and found.task == "question_answering"
    said = "These rows are questions with answers inside a text. Use task question_answering?"
    assert found.sentence == said
    columns = {"question": "question", "context": "context", "answers": "answer"}
    assert found.hint.fixes == ({"task": "question_answering", "data.columns": columns},)
    assert "--set task=question_answering" in found.hint
    told = {"prompt": "question", "input": "context", "response": "answer"}
    assert find_better_task(config_of(tmp_path, rows, "sft", columns=told)) is None
    assert find_better_task(config_of(tmp_path, rows, "sft", format="prompt_response")) is None
    free = [{**row, "answer": f"It is {n}, as I said."} for n, row in enumerate(rows)]
    assert find_better_task(config_of(tmp_path, free, "sft")) is None
    assert find_better_task(config_of(tmp_path, rows[:3] + free[3:], "sft")) is None
    assert find_better_task(build_config({"data": {"path": str(tmp_path / "nowhere.jsonl")}})) is None


def test_the_command_line_names_the_task_and_how_to_take_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tmp_path, ROWS["token_classification"], "sft")

    def said(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["tui-tuner", "data", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        return capsys.readouterr().out

    lines = said("inspect", config.data.path)
    assert "words with a tag for each. Use task token_classification?" in lines
    assert "--set task=token_classification" in lines
    assert "--set task" not in said("inspect", config.data.path, "--set", "task=token_classification")
    held = json.loads(said("preview", config.data.path, "--json"))["other_task"]
    assert held == {"task": "token_classification", "fixes": [{"task": "token_classification"}]}


NOTHING = np.full(6, IGNORE, dtype=np.int32)
ANSWERED = np.array([IGNORE, IGNORE, 0, 1, IGNORE, IGNORE], dtype=np.int32)


@pytest.mark.parametrize(
    ("task", "record", "labels", "words"),
    [
        ("classification", LabelledText("a", "good"), NOTHING, "class: good"),
        ("classification", LabelledText("a", 3.0), NOTHING, "class: 3"),
        ("classification", LabelledText("a", ["x", "y"]), NOTHING, "classes: x, y"),
        ("classification", LabelledText("a", []), NOTHING, "no classes"),
        ("classification", LabelledText("a", None), NOTHING, ""),
        ("token_classification", TaggedText(["in", "Rome"], ["O", "B-LOC"]), NOTHING, "tags: Rome B-LOC"),
        ("token_classification", TaggedText(["in"], ["O"]), NOTHING, "no word has a tag other than O"),
        ("token_classification", TaggedText(["in", "it"], [3, 4]), NOTHING, "tags: in 3, it 4"),
        (
            "question_answering",
            Question("Who?", "Ann is", [("Ann", 0)]),
            ANSWERED,
            "question: Who?; answer: “Ann”, from character 0",
        ),
        (
            "question_answering",
            Question("Who?", "Ann is", [("Ann", 0)]),
            NOTHING,
            "question: Who?; the answer “Ann”, from character 0, is not in this window",
        ),
        (
            "question_answering",
            Question("Who?", "Ann is"),
            NOTHING,
            "question: Who?; its text contains no answer",
        ),
        ("pretraining", Text("words"), NOTHING, ""),
    ],
)
def test_a_row_is_told_in_words(task: str, record: Record, labels: np.ndarray, words: str) -> None:
    columns = {"start": int(np.argmax(labels != IGNORE)), "null": 0}
    assert find_task(task).describe_example(record, Example(np.arange(6), labels, columns)) == words
