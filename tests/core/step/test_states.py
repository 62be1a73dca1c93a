"""What a checkpoint holds of the step: as older versions wrote it and read it, and nothing that runs code."""

from __future__ import annotations

import json
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import TrainerState

from tests.core.test_older_runs import FIXTURE
from tui_tuner.training.ranks import Ranks
from tui_tuner.training.step.random_states import (
    RngState,
    load_random_states,
    save_random_states,
    seed_everything,
)
from tui_tuner.training.step.states import (
    Position,
    States,
    load_step_position,
    load_trained_parameters,
    save_step_position,
    save_trained_parameters,
)

OLD = sorted(FIXTURE.glob("*/checkpoints/step-*"))


def draws() -> list[Any]:
    return [random.random(), np.random.rand(), torch.rand(3).tolist()]


def states(scaler: Any = None) -> States:
    weight = torch.nn.Parameter(torch.arange(4.0))
    optimizer = torch.optim.AdamW([weight], lr=0.1)
    return States(
        optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1)), scaler
    )


def test_states_come_back(tmp_path: Path) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    one = states(scaler)
    for _ in range(3):
        scaler.scale((one.optimizer.param_groups[0]["params"][0] ** 2).sum()).backward()
        scaler.step(one.optimizer)
        scaler.update()
        one.scheduler.step()
    one.save_states(tmp_path)
    other = states(torch.amp.GradScaler("cpu"))
    other.load_states(tmp_path, "cpu")
    assert other.scheduler.state_dict() == one.scheduler.state_dict()
    torch.testing.assert_close(other.optimizer.state_dict(), one.optimizer.state_dict(), rtol=0, atol=0)
    assert other.scaler is not None and other.scaler.state_dict() == scaler.state_dict()
    plain = states()
    plain.load_states(tmp_path, "cpu")  # a run may go on without a scaler
    (tmp_path / "scaler.pt").unlink()
    other.load_states(tmp_path, "cpu")  # and one that had none with it


def test_trained_weights_come_back_under_their_names(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    save_trained_parameters(model, tmp_path)
    other = torch.nn.Linear(3, 2)
    other.bias.requires_grad_(False)
    load_trained_parameters(other, tmp_path)
    assert torch.equal(model.weight, other.weight) and not torch.equal(model.bias, other.bias)
    with pytest.raises(ValueError, match="other weights"):
        load_trained_parameters(torch.nn.Linear(3, 2), tmp_path)


def test_random_states_come_back(tmp_path: Path) -> None:
    seed_everything(5)
    first = draws()
    seed_everything(5)
    assert draws() == first
    kept = RngState.read_now(torch.device("cpu"))
    save_random_states(tmp_path, Ranks())
    expected = draws()
    kept.restore_state()
    assert draws() == expected
    load_random_states(tmp_path, Ranks())
    assert draws() == expected
    load_random_states(tmp_path, Ranks(2, 1, 1))  # none was saved for it: nothing changes
    assert draws() != expected


def test_seeds_are_those_of_transformers() -> None:
    from transformers import set_seed

    set_seed(11)
    expected = draws()
    seed_everything(11)
    assert draws() == expected


@pytest.mark.parametrize("checkpoint", OLD, ids=lambda path: path.parts[-3])
def test_random_states_and_position_of_version_01(checkpoint: Path) -> None:
    random.seed(1)
    load_random_states(checkpoint, Ranks())
    known = draws()
    random.seed(2)
    load_random_states(checkpoint, Ranks())
    assert draws() == known
    step = int(checkpoint.name.partition("-")[2])
    found = load_step_position(checkpoint)
    assert found.step == step and found.epoch > 0


def test_version_01_reads_our_position(tmp_path: Path) -> None:
    save_step_position(Position(7, 1.4), tmp_path, 40, 5)
    assert load_step_position(tmp_path) == Position(7, 1.4)
    read = TrainerState.load_from_json(str(tmp_path / "trainer_state.json"))
    assert (read.global_step, read.epoch, read.max_steps, read.num_train_epochs) == (7, 1.4, 40, 8)
    assert read.train_batch_size  # Trainer divides it
    old = json.loads((OLD[0] / "trainer_state.json").read_text())
    assert set(json.loads((tmp_path / "trainer_state.json").read_text())) <= set(old)


class Harmful:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit",)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state.pth"])
def test_a_file_that_would_run_code_is_refused(tmp_path: Path, name: str) -> None:
    one = states(torch.amp.GradScaler("cpu"))
    one.save_states(tmp_path)
    save_random_states(tmp_path, Ranks())
    torch.save({"python": Harmful()}, tmp_path / name)
    with pytest.raises(pickle.UnpicklingError):
        load_random_states(tmp_path, Ranks())
        one.load_states(tmp_path, "cpu")
