"""Which fields and methods apply to a task: one table, held to the schema."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tui_tuner.config.applying import methods_of, particular, readers, reads, unread
from tui_tuner.config.kinds import METHODS, TASKS, TaskKind
from tui_tuner.config.load import build_config
from tui_tuner.config.options import options
from tui_tuner.errors import ConfigError
from tui_tuner.tasks import find_task


def test_the_table_names_fields_and_methods_that_there_are() -> None:
    assert particular() <= set(options())
    for kind in TASKS.values():
        assert set(kind.without) < set(METHODS)
        assert kind.best in {metric.name for metric in find_task(kind.name).metrics}
    assert all(readers(path) for path in particular())


@pytest.mark.parametrize(
    ("path", "tasks"),
    [
        ("data.problem", ["classification"]),
        ("data.stride", ["token_classification", "question_answering"]),
        ("evaluation.null_threshold", ["question_answering"]),
        ("evaluation.max_new_tokens", ["sft", "pretraining"]),
        ("training.loss", ["sft", "pretraining"]),
        ("model.chat_template", ["sft"]),
        ("data.train_on", ["sft"]),
        ("training.neftune_alpha", list(TASKS)),
        ("data.max_length", list(TASKS)),
    ],
)
def test_who_reads_a_field(path: str, tasks: list[str]) -> None:
    assert readers(path) == tasks


def test_a_task_that_nobody_knows_reads_all_and_a_new_one_what_it_writes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert reads("nonsense", "data.problem") and methods_of("nonsense") == list(METHODS)
    monkeypatch.setitem(TASKS, "mine", TaskKind("mine", "Mine", "", writes=False, reads=("data.limit",)))
    assert reads("mine", "data.limit") and not reads("sft", "data.limit")
    assert not reads("mine", "evaluation.prompts")


def test_what_has_no_effect_is_what_differs_from_its_default() -> None:
    assert unread(build_config({"task": "classification"})) == []
    values = {"data": {"train_on": "everything", "problem": "multi"}, "evaluation": {"metric_rows": 4}}
    assert unread(build_config({**values, "task": "classification"})) == [
        "data.train_on",
        "evaluation.metric_rows",
    ]
    assert unread(build_config(values)) == ["data.problem"]


def test_a_method_that_cannot_train_a_task_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kind = TaskKind("mine", "Mine", "", without={"ia3": "its head has no such layers", "vera": "no"})
    monkeypatch.setitem(TASKS, "mine", kind)
    assert methods_of("mine") == [name for name in METHODS if name not in ("ia3", "vera")]
    build_config({"task": "mine", "method": {"kind": "lora"}})
    with pytest.raises(ConfigError) as caught:
        build_config({"task": "mine", "method": {"kind": "ia3"}})
    assert caught.value.field == "method.kind"
    assert caught.value.what.startswith(
        "method.kind: ia3 cannot train task mine: its head has no such layers; use lora, dora, "
    )
    assert "vera" not in caught.value.what


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ({"bad": -1}, "the weight of class bad is -1,"),
        ({"bad": 0}, "the weight of class bad is 0,"),
        ({"good": 1, "bad": math.nan}, "the weight of class bad is nan,"),
        ({"bad": math.inf}, "the weight of class bad is inf,"),
        ({"bad": "much"}, "the weight of class bad is 'much',"),
        ({"bad": True}, "the weight of class bad is True,"),
        ({}, "names no class"),
        ("half", "expected a mapping, none or balanced"),
    ],
)
def test_weights_of_classes_are_numbers_above_zero(weights: Any, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_config({"task": "classification", "training": {"class_weights": weights}})
    assert told in caught.value.what and caught.value.field == "training.class_weights"


@pytest.mark.parametrize(
    ("written", "named"), [({0: 2, 1: 0.5}, {"0": 2.0, "1": 0.5}), ({True: 2}, {"True": 2.0})]
)
def test_classes_that_yaml_takes_for_something_else_are_names(
    written: dict[Any, float], named: dict[str, float]
) -> None:
    config = build_config({"task": "classification", "training": {"class_weights": written}})
    assert config.training.class_weights == named


def test_windows_share_less_than_they_hold() -> None:
    values = {"task": "question_answering", "data": {"max_length": 384, "stride": 384}}
    with pytest.raises(ConfigError, match="cannot share 384"):
        build_config(values)
    build_config({**values, "task": "sft"})  # which has no windows
    build_config({"task": "question_answering", "data": {"max_length": 64}})  # with the default stride
