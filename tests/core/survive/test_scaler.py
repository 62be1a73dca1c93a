"""A loss scaler begins too high and finds its scale by steps that overflow: that is no failure of the run.

There is none on a processor; accelerate is given one here, with the float16 autocast that belongs to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.conftest import MakeConfig, Trained
from tui_tuner.compute import numeric
from tui_tuner.training.step.engine import Engine

Train = Callable[..., Trained]
FIRST_SCALE = 2.0**24  # 256 times what it usually begins with: some steps overflow


@pytest.fixture
def scaler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run of the test has a loss scaler."""
    make = Engine.create_accelerator_and_postprocess

    def with_scaler(engine: Any) -> None:
        make(engine)
        engine.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=FIRST_SCALE)
        engine.accelerator.native_amp = True
        engine.accelerator.state._mixed_precision = "fp16"

    monkeypatch.setattr(Engine, "create_accelerator_and_postprocess", with_scaler)


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
    monkeypatch.setitem(numeric.OPTIMIZERS, "adamw", (f"adamw_torch{'_fused' * fused}", ""))
    config = make_config(
        training__max_steps=16,
        training__max_grad_norm=clip,
        training__on_bad_numbers=policy,
        training__report_every=0.0001,
        training__autocast=False,  # accelerate's own, in float16, is around the whole model
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
