"""Learning rates: each schedule gives the floats that transformers' one gives, and its states."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from transformers import get_scheduler

from tests.conftest import MakeConfig
from tests.core.step.settled import make_settled
from tui_tuner.config.sections.training import TrainingSection
from tui_tuner.training.step.schedules import SCHEDULES, create_scheduler, find_rate_share, scale_rate

PEAK = 0.003


def optimizer() -> torch.optim.Optimizer:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(2))]}, {"params": []}]
    return torch.optim.SGD(groups, lr=PEAK)


def peer(name: str, warmup: int, total: int) -> Any:
    """transformers' scheduler of the name in a config."""
    extras = {"num_decay_steps": max(1, round(0.1 * total))} if name == "warmup_stable_decay" else {}
    return get_scheduler(
        "constant_with_warmup" if name == "constant" else name,
        optimizer(),
        num_warmup_steps=warmup,
        num_training_steps=total,
        scheduler_specific_kwargs=extras,
    )


def rates(scheduler: Any, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("share", [0.0, 0.03, 0.5, 1.0])
@pytest.mark.parametrize("total", [1, 7, 100, 333])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_rates_are_those_of_transformers(
    make_config: MakeConfig, name: str, total: int, share: float
) -> None:
    config = make_settled(
        make_config, training__schedule=name, training__warmup=share, training__learning_rate=PEAK
    )
    ours = create_scheduler(optimizer(), config, total)
    theirs = peer(name, round(share * total), total)
    assert ours.state_dict() == theirs.state_dict()
    assert rates(ours, total + 3) == rates(theirs, total + 3)
    assert ours.state_dict() == theirs.state_dict()


def test_every_schedule_of_a_config_is_there() -> None:
    assert set(SCHEDULES) == set(get_args(TrainingSection.model_fields["schedule"].annotation))


@pytest.mark.parametrize(
    ("name", "shares"),
    [
        ("constant", [0.0, 0.5, 1.0, 1.0, 1.0]),
        ("linear", [0.0, 0.5, 1.0, 0.5, 0.0]),
        ("cosine", [0.0, 0.5, 1.0, 0.5, 0.0]),
        ("inverse_sqrt", [0.0, 0.5, 1.0, 0.5**0.5, 1 / 3]),
        ("warmup_stable_decay", [0.0, 0.5, 1.0, 1.0, 0.0]),
    ],
)
def test_shares_of_the_peak(name: str, shares: list[float]) -> None:
    """At the beginning, in the warm-up of 10 steps, at its end, later, and after 90 steps."""
    steps, total = ([0, 5, 10, 20, 90] if name == "inverse_sqrt" else [0, 5, 10, 50, 90]), 90
    found = [find_rate_share(step, schedule=name, warmup=10, total=total) for step in steps]
    assert found == pytest.approx(shares)


def test_a_scaled_rate_stays_scaled(make_config: MakeConfig) -> None:
    config = make_settled(make_config, training__schedule="cosine", training__learning_rate=PEAK)
    whole = rates(create_scheduler(optimizer(), config, 20), 20)
    scheduler = create_scheduler(optimizer(), config, 20)
    begun = rates(scheduler, 8)
    scale_rate(scheduler, scheduler.optimizer, 0.5)
    assert begun == whole[:8]
    assert rates(scheduler, 12) == pytest.approx([rate / 2 for rate in whole[8:]])
