"""Evaluations, event by event: the best so far, tables, and the lines of a run without a screen."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.ui import judged_runs
from tui_tuner.errors import DataError, UsageError
from tui_tuner.evaluation.evaluation_follower import EvaluationFollower
from tui_tuner.evaluation.evaluation_tables import (
    find_most_confused_classes,
    format_table_lines,
    read_evaluation_table,
)
from tui_tuner.evaluation.text_input import LARGEST, read_text_input
from tui_tuner.headless import LinePrinter
from tui_tuner.runs.events import Evaluation, EvaluationTable, Event, Resolved, RolledBack, RunStarted
from tui_tuner.runs.journal import JournalReader
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.runs.view import RunView, fold_view_events


def lines_of(folder: RunFolder) -> str:
    lines: list[str] = []
    LinePrinter(lines.append).feed_events(JournalReader(folder.events_path).read_events())
    return "\n".join(lines)


def test_lines_show_the_metric_that_decides_and_what_was_found(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    said = lines_of(judged_runs.answered(store))
    assert "at step 0: f1 5.00, loss 1.9500, exact match 4.50\n" in said
    assert "at step 20: f1 88.52, loss 1.1148, exact match 79.67; the best f1 so far\n" in said
    assert "after     ✓ Denver Broncos 91.3%" in said and "champion [Denver Broncos] defeated" in said
    assert "before    ✗ Carolina 3.1% · (no answer) 2.0%" in said and "expected  (no answer)" in said
    assert "exact match: 4.50 before, 81.90 after" in said and "  HasAns  91.00" in said
    said = lines_of(judged_runs.classified(store))
    assert "f1 macro 79.00; the best accuracy so far is 0.8300, at step 20" in said
    assert "held-out rows at step 20" in said
    row = next(line for line in said.splitlines() if line.startswith("  Business") and "41" in line)
    assert row.split() == ["Business", "5", "0", "41", "4"]
    assert "after     ✗ [Ann Smith]PER met [Bo]LOC✗PER in [Paris]LOC✗" in lines_of(judged_runs.tagged(store))


@pytest.mark.parametrize("name", ["f1", "loss"])
def test_the_best_is_the_same_whether_events_come_one_by_one_or_folded(name: str) -> None:
    """With going back, numbers that are none, and evaluations before the first step."""
    draw = random.Random(7)
    for _unused in range(60):
        events = [Event(RunStarted({"task": "question_answering"})), Event(Resolved("evaluation.best", name))]
        judging, step, kept = EvaluationFollower(), 0, []
        for _one in range(draw.randint(1, 30)):
            if step and draw.random() < 0.15:
                step = draw.randint(0, step)
                events.append(Event(RolledBack(step)))
                kept = [point for point in kept if point[0] <= step]
            value = draw.choice([draw.random(), float("nan"), float("inf"), 0.5])
            events += [Event(Evaluation(step, "validation", {name: value}))]
            events += [Event(EvaluationTable(step, "confusion", ["a"], ["a"], [[step]]))]
            kept.append((step, value))
            step += 1
        for event in events:
            judging.take_event(event.body)
        finite = [(step, value) for step, value in kept if step and abs(value) < 1e9]
        values = [value for _step, value in finite]
        best = (min if name == "loss" else max)(values, default=None)
        wanted = next((step for step, value in finite if value == best), None)
        view = fold_view_events(RunView(), events)
        assert judging.best_step == view.best_step() == wanted
        for tables in (judging.tables, view.tables):
            steps = {table.step for table in tables}
            assert kept[0][0] in steps and kept[-1][0] in steps and len(steps) <= 3


def test_many_evaluations_are_no_burden() -> None:
    judging = EvaluationFollower()
    judging.take_event(RunStarted({"task": "classification"}))
    for step in range(5000):
        judging.take_event(Evaluation(step, "validation", {"accuracy": step / 5000}))
        judging.take_event(EvaluationTable(step, "confusion", ["a"] * 50, ["a"] * 50, [[1] * 50] * 50))
    assert judging.best_step == 4999 and len(judging.tables) <= 3


def test_confused_pairs_are_those_with_the_most_rows() -> None:
    names = [f"c{number}" for number in range(12)]
    draw = random.Random(1)
    values = [[draw.randint(0, 30) for _column in names] for _row in names]
    table = EvaluationTable(3, "confusion", names, names, values)
    wanted = sorted(
        (-values[row][column], row, column) for row in range(12) for column in range(12) if row != column
    )
    found = find_most_confused_classes(read_evaluation_table(table), 5)
    assert [-pair.times for pair in found] == [count for count, _row, _column in wanted[:5]]
    for pair in found:
        row = values[names.index(pair.true)]
        assert pair.times == row[names.index(pair.predicted)]
        assert pair.share == pytest.approx(pair.times / sum(row))
    assert len(format_table_lines(table)) == 13 and "mistaken for" in format_table_lines(table)[1]


def test_counts_are_whole_numbers_and_shares_are_not() -> None:
    table = EvaluationTable(1, "classes", ["PER", "LOC"], ["f1", "support"], [[1.0, 1.0], [0.5, 0.0]])
    lines = format_table_lines(table)
    assert [line.split() for line in lines[2:]] == [["PER", "100.00", "1"], ["LOC", "50.00", "0"]]


def test_a_text_is_read_or_refused_in_words(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"\xef\xbb\xbfone\r\ntwo \xe2\x82\xac")
    assert read_text_input(str(file)) == "one\ntwo €"
    bad: list[tuple[bytes, str]] = [
        (b"", "empty"), (b" \n\t", "empty"), (b"caf\xe9", "not valid UTF-8, from byte 3"),
        (b"a\0b", "null bytes"), ("größe".encode("utf-16"), "null bytes"),
        (b"a" * (LARGEST + 1), "larger than"),
    ]  # fmt: skip
    for blob, words in bad:
        file.write_bytes(blob)
        with pytest.raises(DataError, match=words):
            read_text_input(str(file))
    for name in (str(tmp_path), str(tmp_path / "none"), "a\0b", "/dev/null"):
        with pytest.raises(UsageError):
            read_text_input(name)
