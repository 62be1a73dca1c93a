"""What a method begins with where that depends on the run's rows: passes of its first steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from tui_tuner.compute.forward import MicroBatch
from tui_tuner.methods.method import FirstPass

if TYPE_CHECKING:
    from tui_tuner.training.step.engine import Engine

STEPS = 16  # whose rows are looked at


def begin_method(engine: Engine) -> None:
    """Give what is trained its first values, where the method takes them from rows.

    Random states are afterwards what they were, so that a run does not depend on how its weights began.

    Raises:
        ConfigError: the rows do not suffice.
    """
    if not engine.method.reads_rows(engine.config.method):
        return
    plan, objective, data = engine.plan, engine.objective, engine.read_epoch(0)
    passes = [
        _make_pass(engine, part.to(engine.device))
        for step in range(min(STEPS, plan.steps_per_epoch))
        for part in objective.lay_batches(data, plan.find_share(plan.find_batch(0, step)), engine.size)
    ]
    devices = [engine.device] if engine.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        engine.method.begin_with_rows(engine.model, passes)


def _make_pass(engine: Engine, micro: MicroBatch) -> FirstPass:
    def run() -> Any:
        with torch.no_grad():
            return engine.objective.sum_losses(engine.model, micro)

    ids = micro.input_ids
    mask = micro.attention_mask
    read = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.to(torch.bool)
    read = read.reshape(-1).clone()
    filler = sum(count for _row, count in micro.filler)
    if filler:  # it ends a flat row
        read[-filler:] = False
    return FirstPass(run, read, micro.keep.reshape(-1))
