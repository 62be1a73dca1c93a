"""A config with other values, and one in which `auto` was settled: both validated, both new objects."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tui_tuner.config.load import dump_config
from tui_tuner.config.options import get_config_value, list_options
from tui_tuner.config.resolved import SETTLED, ResolvedConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import edit_values
from tui_tuner.errors import ConfigError
from tui_tuner.planning import resolve as resolving
from tui_tuner.planning.hardware import Hardware
from tui_tuner.planning.resolve import resolve_config

CPU = Hardware(cpu="a processor", cores=4, memory_gib=16, available_gib=12)


def test_other_values_make_another_config() -> None:
    before = RunConfig()
    after = edit_values(
        before, {"training.max_steps": 5, "data.cleaning.html": "text", "task": "pretraining"}
    )
    assert (after.training.max_steps, after.data.cleaning.html, after.task) == (5, "text", "pretraining")
    assert before == RunConfig()
    # `demo` stands for the rows of a task, so it is asked for again
    same = {"training.max_steps": None, "data.cleaning.html": "keep", "task": "sft", "data.path": "demo"}
    assert edit_values(after, same) == before


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"training.max_steps": 0}, "training.max_steps"),
        ({"training.max_step": 5}, r"Did you mean training\.max_steps"),
        ({"trainig.max_steps": 5}, r"Did you mean training\.max_steps"),
        ({"data.cleaning.html": "pdf"}, "data.cleaning.html"),
        ({"training.batch_size": 2, "training.micro_batch": 4}, "training.micro_batch: 4 is more than"),
    ],
)
def test_other_values_are_validated(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        edit_values(RunConfig(), values)


def test_what_is_resolved_is_what_cannot_be_auto_afterwards() -> None:
    assert {path for path, _ in resolving._RULES} == set(SETTLED)
    assert {path for path, option in list_options().items() if option.has_auto} - set(SETTLED) == {
        "data.format",
        "data.problem",
        "data.workers",
        "evaluation.metrics",
        "evaluation.null_threshold",
        "training.loss",
    }


def test_a_resolved_config_has_values_where_auto_was() -> None:
    found = resolve_config(RunConfig(), hardware=CPU).config
    assert isinstance(found, ResolvedConfig) and ResolvedConfig.from_config(found) is found
    assert all(get_config_value(found, path) != "auto" for path in SETTLED)
    # pydantic turns a whole number into a float only where the field says float alone
    asked = RunConfig.model_validate({"training": {"learning_rate": 1}})
    assert isinstance(resolve_config(asked, hardware=CPU).config.training.learning_rate, float)
    again = ResolvedConfig.model_validate(yaml.safe_load(dump_config(found)))
    assert again == found


def test_what_is_still_auto_is_named() -> None:
    found = resolve_config(RunConfig(), hardware=CPU).config
    undone = RunConfig.model_validate(found.model_dump() | {"hardware": {"devices": "auto"}})
    with pytest.raises(ConfigError, match=r"hardware\.devices is still auto"):
        ResolvedConfig.from_config(undone)
    with pytest.raises(ConfigError, match=r"training\.autocast"):
        edit_values(found, {"training.autocast": "auto"})


def test_limits_hold_in_a_resolved_config_too() -> None:
    found = resolve_config(RunConfig(), hardware=CPU).config
    with pytest.raises(ConfigError, match="of at least 1"):
        edit_values(found, {"training.micro_batch": 0})
