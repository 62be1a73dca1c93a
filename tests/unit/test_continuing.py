"""What becomes of each field of a config that was edited while its run was not on."""

from __future__ import annotations

from typing import Any

import pytest

from tui_tuner.config.continuing import RULES, Edit, list_config_edits
from tui_tuner.config.load import build_config
from tui_tuner.config.options import get_config_value, list_options
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import edit_values

# One edit of each field that is neither taken nor refused by its name alone.
BEFORE: dict[str, Any] = {
    "training": {
        "learning_rate": 0.01,
        "optimizer": "adamw",
        "micro_batch": 4,
        "gradient_checkpointing": False,
        "autocast": False,
    },
    "model": {"dtype": "float32", "attention": "sdpa"},
    "evaluation": {"every": 5},
    "output": {"save_every": 5},
    "hardware": {"devices": "cpu", "price_per_hour": 1.0},
    "data": {"packing": True, "path": "a.jsonl"},
}


def before(**more: Any) -> RunConfig:
    return edit_values(build_config(BEFORE), {name.replace("__", "."): value for name, value in more.items()})


def judged(config: RunConfig, asked: RunConfig | None = None, **now: Any) -> dict[str, str]:
    changed = edit_values(config, {name.replace("__", "."): value for name, value in now.items()})
    return {edit.field: edit.verdict for edit in list_config_edits(config, asked, changed)}


def test_the_table_knows_each_field_of_the_schema_and_no_other() -> None:
    assert set(RULES) == set(list_options())


@pytest.mark.parametrize("path", [path for path, rule in RULES.items() if not callable(rule)])
def test_fields_are_judged_by_the_table_alone(path: str) -> None:
    config = before()
    old = get_config_value(config, path)
    new = another(path, old)
    changed = config.model_copy(deep=True)
    parent: Any = changed
    *parts, last = path.split(".")
    for part in parts:
        parent = getattr(parent, part)
    setattr(parent, last, new)
    (edit,) = list_config_edits(config, None, changed)
    rule = RULES[path]
    assert not callable(rule)
    assert (edit.field, edit.before, edit.now, edit.verdict) == (path, old, new, rule[0])
    assert path in edit.describe_edit() and rule[1] in edit.describe_edit()


def another(path: str, value: Any) -> Any:
    option = list_options()[path]
    words = [word for word in option.choices if word not in (value, "auto")]
    if words:
        return words[0]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value * 2 + 1
    return {"str": "x", "list": ["x"], "dict": {"x": "y"}}.get(option.kinds[0].__name__, 7)


@pytest.mark.parametrize(
    ("now", "verdict"),
    [
        ({"method__rank": 8}, "refused"),
        ({"method__virtual_tokens": 8}, "no effect"),
        ({"training__micro_batch": 2}, "taken"),
        ({"training__micro_batch": 8}, "no effect"),
        ({"training__epochs": 9.0}, "refused"),
        ({"data__path": "moved/a.jsonl"}, "taken"),
        ({"data__validation": 0.5}, "refused"),
        ({"model__vocabulary": 99}, "no effect"),
    ],
)
def test_some_fields_are_judged_by_their_values(now: dict[str, Any], verdict: str) -> None:
    assert list(judged(before(), **now).values()) == [verdict]


def test_a_run_gets_longer_where_its_rates_stay_what_they_were() -> None:
    steady = before(training__schedule="constant", training__warmup=0.0)
    assert judged(steady, training__epochs=9.0) == {"training.epochs": "taken"}
    assert judged(steady, training__max_steps=9) == {"training.max_steps": "taken"}
    rising = before(training__schedule="constant", training__warmup=0.1, training__max_steps=100)
    assert judged(rising, training__max_steps=200) == {"training.max_steps": "refused"}
    assert judged(rising, training__max_steps=102) == {"training.max_steps": "taken"}
    assert judged(rising, training__epochs=9.0) == {"training.epochs": "no effect"}
    falling = before(training__schedule="cosine", training__warmup=0.0)
    assert judged(falling, training__max_steps=9) == {"training.max_steps": "refused"}


def test_auto_stays_what_it_became() -> None:
    config = before()
    auto = edit_values(config, {"training.learning_rate": "auto", "training.optimizer": "auto"})
    assert list_config_edits(config, auto, auto) == [] == list_config_edits(config, None, auto)
    # what was set and is left open now keeps its value, and that is said
    assert judged(config, config, training__learning_rate="auto") == {"training.learning_rate": "no effect"}
    # what was open and is now set to what it became changes nothing, and to another value all
    assert [edit.verdict for edit in list_config_edits(config, auto, config)] == ["no effect", "no effect"]
    other = edit_values(config, {"training.learning_rate": 0.5, "training.optimizer": "auto"})
    assert [(edit.field, edit.before, edit.verdict) for edit in list_config_edits(config, auto, other)] == [
        ("training.learning_rate", 0.01, "refused")
    ]


def test_an_edit_says_both_values_as_yaml() -> None:
    edit = Edit("method.targets", "all-linear", ["q_proj", "v_proj"], "refused", "a reason")
    assert (
        edit.describe_edit() == "method.targets was all-linear and cannot become [q_proj, v_proj]: a reason."
    )
    edit = Edit("training.max_steps", None, 5, "taken", "a reason")
    assert edit.describe_edit() == "training.max_steps was null and is 5 from here on: a reason."


@pytest.mark.parametrize(("kind", "verdict"), [("lora", "refused"), ("full", "taken")])
def test_smaller_parts_of_a_batch_are_refused_where_dropout_draws_for_each(kind: str, verdict: str) -> None:
    config = before(method__kind=kind, method__dropout=0.1)
    assert judged(config, training__micro_batch=2) == {"training.micro_batch": verdict}
