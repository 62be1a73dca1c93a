"""What a machine is, what a budget buys, how a run is judged and by how many rows, and who hears of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tui_tuner.config.kinds.tasks import TASKS
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import edit_values
from tui_tuner.errors import ConfigError
from tui_tuner.guiding import judging
from tui_tuner.guiding.answer_parsing import parse_judge_answer
from tui_tuner.guiding.machine import (
    describe_machine,
    find_machine,
    list_machines,
    list_message_choices,
    parse_budget,
)
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.gpus import CARDS
from tui_tuner.planning.hardware import Gpu, Hardware


@pytest.mark.parametrize(
    ("asked", "here", "name", "least", "most"),
    [
        ("here", True, "", 0.2, 1e6),
        (None, True, "", 0.2, 1e6),
        ("cpu", True, "this machine's RAM", 0.2, 1e6),
        ("RTX 4090", False, "RTX 4090", 23, 24),
        ("2xH100", False, "H100", 79, 80),
        ("24", False, "24 GiB", 24, 24),
        ("h100", False, "H100", 79, 80),
    ],
)
def test_machines_by_their_names(asked: str | None, here: bool, name: str, least: float, most: float):
    found = find_machine(asked)
    assert found.is_here == here and least <= found.card.usable <= most
    assert not name or found.card.name == name
    assert find_machine(found.asked).card == found.card
    devices = {"cpu": "cpu", "2xH100": 2}.get(asked or "")
    assert found.field_values == ({"hardware.devices": devices} if devices else {})


def test_what_is_here_is_told(monkeypatch: pytest.MonkeyPatch):
    from tui_tuner.guiding import machine

    gpu = Gpu(0, "NVIDIA H100 80GB HBM3", 79.6, 60.0, (9, 0))
    for hardware, said, cpu in (
        (Hardware(cpu="A chip", cores=2, memory_gib=24, available_gib=20), "No GPU", False),
        (
            Hardware(gpus=(gpu,), cpu="A chip", cores=8, memory_gib=64, available_gib=50),
            "60.0 of 79.6 GiB",
            True,
        ),
        (Hardware(gpus=(gpu, gpu), cores=8, memory_gib=64, available_gib=50), "2 GPUs", True),
    ):
        monkeypatch.setattr(machine, "_seen", (math.inf, hardware))
        lines = describe_machine()
        assert said in lines[0] and f"{hardware.available_gib:.1f}" in lines[1] and "disk" in lines[2]
        choices = list_machines()
        assert choices[0].asked == "here" and (choices[1].asked == "cpu") == cpu
        assert {choice.asked for choice in choices} >= set(CARDS)
        assert find_machine("here").card.cpu != cpu
        for choice in choices:
            assert edit_values(RunConfig(), choice.values) and choice.means


@pytest.mark.parametrize(
    ("asked", "price", "seconds", "money"),
    [
        ("2 h", None, 7200, None),
        ("30 min", 2.0, 1800, 1.0),
        ("1 h 30 min", None, 5400, None),
        ("1:30", None, 5400, None),
        ("5", 2.5, 7200, 5.0),
        ("$5", 2.5, 7200, 5.0),
        ("5 euros", 2.5, 7200, 5.0),
        ("5.00 SEK", 2.5, 7200, 5.0),
        (3, None, None, 3.0),
        (None, 1.0, None, None),
        ("  ", None, None, None),
    ],
)
def test_what_a_budget_buys(asked: Any, price: float | None, seconds: float | None, money: float | None):
    found = parse_budget(asked, price)
    assert (found.seconds, found.money, found.price) == (seconds, money, price)
    assert found.is_given == (asked is not None and bool(str(asked).strip())) == bool(found.describe_budget())
    edit_values(RunConfig(), found.field_values)
    assert ("hardware.budget" in found.field_values) == (bool(money) and bool(price))
    assert found.allows_seconds(None) is None and found.allows_seconds(3600) == (
        None if seconds is None else seconds >= 3600
    )


def test_no_budget():
    for wrong in ("soon", "-3", "0", "2 weeks", "nan"):
        with pytest.raises(ConfigError):
            parse_budget(wrong)


def test_the_interval_is_as_wide_as_said():
    """Of many made-up sets of paired differences, 95 in 100 intervals hold the true mean."""
    generator = np.random.default_rng(1)
    for rows in (5, 20, 100):
        drawn = generator.normal(0.3, 2.0, (4000, rows))
        width = [judging.compute_interval_half_width(rows, one) for one in drawn.std(axis=1, ddof=1)]
        inside = np.abs(drawn.mean(axis=1) - 0.3) <= width
        assert abs(inside.mean() - 0.95) < 0.015, rows
    assert judging.compute_interval_half_width(1) == math.inf and judging.compute_interval_half_width(
        400
    ) < judging.compute_interval_half_width(100)


def test_as_many_rows_as_needed_find_a_difference():
    generator = np.random.default_rng(2)
    for difference in (0.3, 0.6):
        rows = judging.count_needed_rows(difference)
        drawn = generator.normal(difference, 1.0, (4000, rows))
        found = drawn.mean(axis=1) > [
            judging.compute_interval_half_width(rows, one) for one in drawn.std(axis=1, ddof=1)
        ]
        assert abs(found.mean() - 0.8) < 0.05, difference
        assert (
            judging.compute_interval_half_width(judging.count_needed_rows(difference, power=0.5))
            <= difference
        )
    with pytest.raises(ValueError, match="above 0"):
        judging.count_needed_rows(0)


@pytest.mark.parametrize("task", sorted(TASKS))
def test_ways_to_judge_are_values_of_a_config(task: str):
    data = DataFacts(950, tokens=190_000, supervised=57_000, validation_rows=50)
    found = judging.list_judge_choices(
        task, data, epochs=3, seconds=600, token_seconds=0.02, prompts=["Who?"]
    )
    assert found[0].answer == "held-out" and "50" in found[0].means
    assert found[0].seconds == pytest.approx(600 * 11 / 3 * 50 / 950 / 3)
    names = [choice.answer for choice in found]
    assert len(names) == len(set(names)) and (TASKS[task].best in names or TASKS[task].best == "loss")
    for choice in found:
        config = edit_values(RunConfig(task=task), choice.values)
        assert choice.words and choice.means, choice.answer
        if choice.answer != "prompts":
            assert parse_judge_answer(choice.answer, task) is not None
        elif TASKS[task].writes:
            assert config.evaluation.prompts == ["Who?"] and choice.seconds == pytest.approx(2 * 60 * 0.02)
    scored = [choice for choice in found if choice.values.get("evaluation.metric_rows")]
    assert bool(scored) == TASKS[task].writes
    assert all(choice.seconds == pytest.approx(2 * 50 * 60 * 0.02) for choice in scored)


def test_without_counts_nothing_is_made_up():
    for choice in judging.list_judge_choices("sft"):
        assert choice.seconds in (None, 0.0) and "Takes" not in choice.costs
    assert judging.estimate_token_seconds(10**9, 0.0) is None
    assert judging.estimate_token_seconds(10**9, 1000.0) == pytest.approx(0.004)


def test_messages_are_values_of_a_config():
    for choice in list_message_choices():
        typed = {"ntfy": "my-runs-7391", "webhook": "https://chat.example/hook/1"}.get(choice.name, "")
        config = edit_values(RunConfig(), choice.fill_values(typed))
        assert bool(config.output.notify) == (choice.name != "none") and choice.needs
    phone = next(choice for choice in list_message_choices() if choice.name == "ntfy")
    assert phone.fill_values("ntfy:abc") == phone.fill_values("abc") == {"output.notify": ["ntfy:abc"]}
    for wrong in ("two words", ""):
        with pytest.raises(ConfigError):
            phone.fill_values(wrong)
