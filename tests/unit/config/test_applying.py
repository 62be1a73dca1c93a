"""Which fields and methods apply to a task: one table, held to the schema."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tui_tuner.config.applying import (
    BESIDE,
    describe_unread_fields,
    has_effect,
    is_read_by_task,
    list_dependent_fields,
    list_particular_fields,
    list_reading_tasks,
    list_task_methods,
    list_unread_fields,
    make_field_getter,
)
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.config.kinds.tasks import TASKS, TaskKind
from tui_tuner.config.load import build_config
from tui_tuner.config.options import list_options
from tui_tuner.config.values import edit_values
from tui_tuner.data.preview import inspect_data
from tui_tuner.errors import ConfigError
from tui_tuner.planning.traps.advice import list_trap_findings
from tui_tuner.tasks import find_task


def test_the_table_names_fields_and_methods_that_there_are() -> None:
    assert list_particular_fields() <= set(list_options())
    for kind in TASKS.values():
        assert set(kind.without) < set(METHODS)
        assert kind.best in {metric.name for metric in find_task(kind.name).metrics}
    assert all(list_reading_tasks(path) for path in list_particular_fields())


@pytest.mark.parametrize(
    ("path", "tasks"),
    [
        ("data.problem", ["classification"]),
        ("data.stride", ["token_classification", "question_answering"]),
        ("evaluation.null_threshold", ["question_answering"]),
        ("evaluation.max_new_tokens", ["sft", "pretraining", "seq2seq"]),
        ("training.loss", ["sft", "pretraining", "seq2seq"]),
        ("model.chat_template", ["sft"]),
        ("data.train_on", ["sft"]),
        ("data.media", ["sft", "classification", "question_answering", "seq2seq"]),
        ("training.neftune_alpha", [name for name in TASKS if name != "seq2seq"]),
        ("data.max_length", [name for name in TASKS if name != "seq2seq"]),
        ("data.max_source", ["seq2seq"]),
    ],
)
def test_who_reads_a_field(path: str, tasks: list[str]) -> None:
    assert list_reading_tasks(path) == tasks


def test_a_task_that_nobody_knows_reads_all_and_a_new_one_what_it_writes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert is_read_by_task("nonsense", "data.problem") and list_task_methods("nonsense") == list(METHODS)
    monkeypatch.setitem(TASKS, "mine", TaskKind("mine", "Mine", "", writes=False, reads=("data.limit",)))
    assert is_read_by_task("mine", "data.limit") and not is_read_by_task("sft", "data.limit")
    assert not is_read_by_task("mine", "evaluation.prompts")


def test_what_has_no_effect_is_what_differs_from_its_default() -> None:
    assert list_unread_fields(build_config({"task": "classification"})) == []
    values = {"data": {"train_on": "everything", "problem": "multi"}, "evaluation": {"metric_rows": 4}}
    assert list_unread_fields(build_config({**values, "task": "classification"})) == [
        "data.train_on",
        "evaluation.metric_rows",
    ]
    own = {
        "task": "classification",
        "evaluation": {"prompts": ["fine"]},
    }  # read by tasks that do not write, too
    assert list_unread_fields(build_config(own)) == []
    assert list_unread_fields(build_config(values)) == ["data.problem"]


@pytest.mark.parametrize(
    ("values", "fields", "words"),
    [
        (
            {"method": {"kind": "ia3", "rank": 4, "alpha": 1.0}},
            ["method.rank", "method.alpha"],
            "IA3 does not",
        ),
        ({"method": {"kind": "p_tuning", "targets": ["q_proj"]}}, ["method.targets"], "P-tuning does not"),
        ({"method": {"kind": "prompt_tuning", "layers": 2}}, ["method.layers"], "Prompt tuning does not"),
        ({"method": {"kind": "ia3", "train_embeddings": True}}, ["method.train_embeddings"], "IA3 does not"),
        ({"method": {"kind": "lora", "encoder_size": 8}}, ["method.encoder_size"], "LoRA does not"),
        ({"method": {"kind": "full", "initial_text": "Hello"}}, ["method.initial_text"], "Full fine-tuning"),
        (
            {"method": {"kind": "prefix_tuning", "encoder_size": 8, "initial_text": "Hello"}},
            ["method.initial_text"],
            "cannot be initialised from words",
        ),
        ({"model": {"double_quant": False}}, ["model.double_quant"], "It applies to model.quantization nf4."),
        ({"model": {"revision": "main"}}, ["model.revision"], "part of this package"),
        ({"data": {"pick": "random"}}, ["data.pick"], "data.limit, which is empty"),
        ({"training": {"max_steps": 4, "epochs": 9}}, ["training.epochs"], "training.max_steps sets"),
        ({"training": {"optimizer": "sgd", "adam_beta1": 0.8}}, ["training.adam_beta1"], "AdamW"),
        ({"hardware": {"devices": "cpu"}, "training": {"tf32": True}}, ["training.tf32"], "is cpu"),
        (
            {"data": {"validation": None}, "evaluation": {"samples": 9}},
            ["evaluation.samples"],
            "held-out rows",
        ),
        ({"evaluation": {"metrics": ["rouge_l"]}}, ["evaluation.metrics"], "metric_rows is 0"),
    ],
)
def test_what_does_not_go_with_other_fields_is_said_and_not_refused(
    values: dict[str, Any], fields: list[str], words: str
) -> None:
    config = build_config(values)
    assert list_unread_fields(config) == fields
    (said,) = describe_unread_fields(config)
    assert said.fields == tuple(fields) and words in f"{said.said} {said.reason}"
    assert [advice.text for advice in list_trap_findings(config) if advice.text == said.said] == [said.said]
    fixed = edit_values(config, {path: list_options()[path].default for path in fields})
    assert describe_unread_fields(fixed) == []


def test_every_rule_speaks_of_fields_that_there_are_and_can_come_out_either_way() -> None:
    assert set(BESIDE) <= list_dependent_fields() <= set(list_options())
    every = {path: [option.default, *option.choices, 8, 0, True] for path, option in list_options().items()}
    every |= {"model.name": ["demo", "a/b"], "method.encoder_size": [None, 8], "data.limit": [None, 9]}
    every |= {"method.kind": list(METHODS), "model.tokenizer": [None, "train"]}
    for path, beside in BESIDE.items():
        asked: set[str] = set()

        def look(name: str, asked: set[str] = asked) -> Any:
            asked.add(name)
            return list_options()[name].default

        outcomes = {beside.holds(look)}
        for name in tuple(asked):
            for value in every[name]:
                outcomes.add(beside.holds(lambda one, n=name, v=value: v if one == n else look(one)))
        assert path not in asked or path == "evaluation.metrics"
        if path not in ("method.initial_text", "model.revision", "evaluation.metrics"):
            assert outcomes == {True, False}, path


def test_what_would_be_refused_stays_in_sight_until_it_is_mended() -> None:
    full = {"method": {"kind": "full"}}
    assert not has_effect("model.quantization", make_field_getter(full))
    assert has_effect("model.quantization", make_field_getter({**full, "model": {"quantization": "nf4"}}))
    prefix = {"method": {"kind": "prefix_tuning"}, "training": {"gradient_checkpointing": False}}
    assert not has_effect("training.gradient_checkpointing", make_field_getter(prefix))
    prefix["training"]["gradient_checkpointing"] = "offload"
    assert has_effect("training.gradient_checkpointing", make_field_getter(prefix))


def test_a_method_that_cannot_train_a_task_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kind = TaskKind("mine", "Mine", "", without={"ia3": "its head has no such layers", "vera": "no"})
    monkeypatch.setitem(TASKS, "mine", kind)
    assert list_task_methods("mine") == [name for name in METHODS if name not in ("ia3", "vera")]
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


@pytest.mark.parametrize(
    ("task", "row"),
    [
        ("classification", {"text": "a fine day", "label": "good", "image": "day.png"}),
        (
            "question_answering",
            {
                "question": "What is blue?",
                "context": "The sky is blue.",
                "answers": {"text": ["The sky"], "answer_start": [0]},
                "image": "sky.png",
            },
        ),
    ],
)
def test_tasks_whose_rows_may_need_a_picture_read_what_becomes_of_those(
    task: str, row: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))

    def kept(media: str) -> int:
        config = build_config({"task": task, "data": {"path": str(path), "media": media}})
        assert list_unread_fields(config) == []
        return inspect_data(config.data).ledger.outcomes["kept"]

    assert (kept("drop"), kept("ignore")) == (0, 1)
