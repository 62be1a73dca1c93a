"""How many rows are needed by whose rule, and files of example rows that can be trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tui_tuner.config.kinds.tasks import TASKS, TaskKind
from tui_tuner.config.load import build_config
from tui_tuner.errors import UsageError
from tui_tuner.guiding.amounts import NEEDS, describe_example_need, find_example_need, judge_example_count
from tui_tuner.guiding.data_look import look_at_data
from tui_tuner.guiding.example_rows import EXAMPLES, find_example_rows, format_example, write_example
from tui_tuner.planning.row_counting import count_rows_exactly
from tui_tuner.tasks import find_task


@pytest.mark.parametrize("task", TASKS)
def test_each_task_has_numbers_and_who_says_so(task: str) -> None:
    need = find_example_need(task)
    assert task in NEEDS and need.begins < need.clear < need.good
    said = describe_example_need(task)
    assert f"{need.begins:,}" in said and f"{need.good:,}" in said and need.source in said


def test_the_word_for_a_number_changes_where_the_rule_says() -> None:
    need = find_example_need("sft")
    assert [judge_example_count(need, count) for count in (9, 10, 49, 50, 999, 1000)] == [
        *("too_few", "few", "few", "some", "some", "good")
    ]


@pytest.mark.parametrize(("task", "goal"), [*((task, "") for task in TASKS), ("sft", "rewrite")])
def test_an_example_file_is_read_and_comes_through_the_tokenizer(
    task: str, goal: str, tmp_path: Path
) -> None:
    path = write_example(task, tmp_path, goal)
    rows = find_example_rows(task, goal)
    look = look_at_data(str(path))
    # rows that several tasks read are taken to be for the first of them
    first = {"masked_lm": "pretraining", "seq2seq": "sft"}.get(task, task)
    assert (look.task, look.usable, look.read) == (first, len(rows), len(rows))
    assert 3 <= len(rows) <= 6 and look.can_train
    kind = TASKS[task]
    model = kind.tiny if kind.tiny else "demo"
    config = build_config({"task": task, "model": {"name": model}, "data": {"path": str(path)}})
    counted = count_rows_exactly(config, find_task(task)).facts
    assert counted is not None and counted.rows and counted.validation_rows
    assert counted.supervised or kind.decides == "text"


def test_what_lies_there_is_never_overwritten(tmp_path: Path) -> None:
    first = write_example("sft", tmp_path)
    first.write_text("mine")
    second, third = write_example("sft", tmp_path), write_example("sft", str(tmp_path))
    assert first.read_text() == "mine" and len({first, second, third}) == 3
    assert second.read_text() == third.read_text() == format_example("sft")


def test_no_such_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        write_example("sft", tmp_path / "gone")


def test_a_task_that_is_added_gets_the_rows_of_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "sentiment", TaskKind("sentiment", "Sentiment", "Learn it.", decides="text"))
    monkeypatch.setattr("tui_tuner.tasks.import_module", lambda _name: _Module)
    find_task.cache_clear()
    try:
        assert find_example_rows("sentiment") == EXAMPLES["labelled"]
        assert find_example_need("sentiment") == NEEDS["classification"]
        _Task.records = ()
        assert find_example_rows("sentiment") == () and format_example("sentiment") == "Learn it."
        with pytest.raises(UsageError, match="no example rows"):
            write_example("sentiment")
    finally:
        find_task.cache_clear()


class _Task:
    from tui_tuner.data.records import LabelledText

    records: tuple[type, ...] = (LabelledText,)


class _Module:
    TASK = _Task
