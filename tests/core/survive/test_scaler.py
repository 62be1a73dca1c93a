"""A loss scaler begins too high and finds its scale by steps that overflow: that is no failure of the run.

There is none on a processor; runs are given one here, with the float16 autocast that belongs to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from tests.conftest import MakeConfig, Trained
from tui_tuner.objectives import objective
from tui_tuner.training.step import engine, optimizers

Train = Callable[..., Trained]
FIRST_SCALE = 2.0**24  # 256 times what it usually begins with: some steps overflow


@pytest.fixture
def scaler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run of the test computes in float16, with a loss scaler."""
    monkeypatch.setattr(objective, "find_autocast_dtype", lambda device, config: "float16")
    monkeypatch.setattr(
        engine, "create_scaler", lambda device, config: torch.amp.GradScaler("cpu", init_scale=FIRST_SCALE)
    )


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(("clip", "policy"), [(1.0, "stop"), (0.0, "stop"), (0.0, "skip")])
def test_steps_that_overflow_are_skipped_and_the_run_trains(
    make_config: MakeConfig,
    train: Train,
    monkeypatch: pytest.MonkeyPatch,
    scaler: None,
    fused: bool,
    clip: float,
    policy: str,
) -> None:
    monkeypatch.setattr(optimizers, "is_optimizer_fused", lambda device: fused)
    config = make_config(
        training__max_steps=16,
        training__max_grad_norm=clip,
        training__on_bad_numbers=policy,
        training__report_every=0.0001,
        evaluation__every=100,
        output__save_every=100,
    )
    run = train(config)
    assert run.outcome.status == "completed", run.outcome
    norms = [fields["grad_norm"] for fields in run.sink.of("step")]
    skipped = [not math.isfinite(norm) for norm in norms]
    assert skipped[0] and skipped.count(True) < 10, norms
    assert all(map(math.isfinite, run.steps().values()))
    # of the gradients, not of the scaled ones
    assert max(norm for norm in norms if math.isfinite(norm)) < 100, norms
    assert "bad_numbers" not in run.codes()
    assert sum("was skipped" in fields["message"] for fields in run.sink.of("log")) == 1
