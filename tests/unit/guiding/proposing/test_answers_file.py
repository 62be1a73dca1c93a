"""Answers from YAML: what is left out, and every mistake with its file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from tui_tuner.errors import ConfigError
from tui_tuner.guiding.answer_parsing import parse_judge_answer, parse_limit_answer, parse_machine_answer
from tui_tuner.guiding.answers_file import read_answers_file, read_guide_answers
from tui_tuner.guiding.guide_answers import Answers


def write(folder: Path, text: str) -> Path:
    path = folder / "answers.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_all_six_answers(tmp_path: Path) -> None:
    text = "task: label texts\ndata: rows.csv\nmodel: demo\nmachine: 24\nbudget: 2 h\njudge: [Who are you?]\n"
    assert read_guide_answers(write(tmp_path, text)) == Answers(
        "label texts", "rows.csv", "demo", "24", "2 h", ("Who are you?",)
    )


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}\n", "task:\ndata: ''\nbudget: null\n"])
def test_everything_may_be_left_out(tmp_path: Path, text: str) -> None:
    assert read_guide_answers(write(tmp_path, text)) == Answers()


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("data: a\ntsk: label\n", 2, "Did you mean task?"),
        ("\ntask: labl\n", 2, "Did you mean label?"),
        ("task: [a]\n", 1, "expected a text, got ['a']"),
        ("data: {a: 1}\n", 1, "expected a text"),
        ("machine: RTX 409\n", 1, "RTX 4090"),
        ("machine: 2xH100\n", 1, "several"),
        ("budget: much\n", 1, "30 min"),
        ("budget: -5\n", 1, "30 min"),
        ("budget: true\n", 1, "expected a text or a number"),
        ("task: label\njudge: rouge_l\n", 2, "f1_macro"),
        ("judge: {a: 1}\n", 1, "a list of prompts"),
        ("judge: [1, 2]\n", 1, "a list of prompts"),
        ("data: a\ntask: b: c\n", 2, "YAML"),
        ("task: a\ntask: b\n", 2, "duplicate key task. It is also on line 1"),
        ("- a\n", None, "Known are task, data"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, text: str, line: int | None, words: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as told:
        read_guide_answers(path)
    place = f"{path}:{line}: " if line else f"{path}: "
    assert str(told.value).startswith(place)
    assert words in str(told.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_guide_answers(tmp_path / "none.yaml")


def test_places_are_kept_for_what_is_found_later(tmp_path: Path) -> None:
    found = read_answers_file(write(tmp_path, "data: a\njudge: blue\n"))
    with pytest.raises(ConfigError) as told:
        parse_judge_answer(found.answers.judge, "classification")
    assert found.add_place(told.value).where.endswith("answers.yaml:2")


def test_machines_and_their_price() -> None:
    assert parse_machine_answer(None)[0].is_here and parse_machine_answer("this machine")[0].is_here
    assert parse_machine_answer("cpu")[0].field_values == {"hardware.devices": "cpu"}
    named, price = parse_machine_answer("RTX 4090 at $0.40/h")
    assert (named.card.name, price, named.is_here) == ("RTX 4090", 0.4, False)
    assert parse_machine_answer("24 GB")[0].card.usable == 24


@pytest.mark.parametrize(
    ("text", "seconds", "money"),
    [(5, None, 5), ("$5", None, 5), ("5.5", None, 5.5), ("2 h", 7200, None), ("30 min", 1800, None)],
)
def test_budgets(text: str | float, seconds: float | None, money: float | None) -> None:
    found = parse_limit_answer(text)
    assert (found.seconds, found.money) == (seconds, money)


def test_judges() -> None:
    assert (
        parse_judge_answer(None, "sft")
        == parse_judge_answer("held-out", "sft")
        == parse_judge_answer("held out", "classification")
    )
    assert parse_judge_answer("F1 macro", "classification").best == "f1_macro"
    assert parse_judge_answer("rouge-l", "sft").scored == "rougeL"
    assert parse_judge_answer("ROUGE-1", "sft").scored == "rouge1"
    assert parse_judge_answer(["Who?"], "sft").prompts == ("Who?",)
