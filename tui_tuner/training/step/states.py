"""Save and load the training state in a checkpoint: weights, optimizer, schedule, scaler, step number.

File names and contents are those of version 0.1, which transformers' Trainer wrote: either version resumes a
checkpoint of the other, bit for bit. Nothing is unpickled that could run code.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch.amp import GradScaler
    from torch.nn import Module
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LambdaLR

TRAINED = "trained.safetensors"
OPTIMIZER, SCHEDULER, SCALER = "optimizer.pt", "scheduler.pt", "scaler.pt"
STEP = "trainer_state.json"


@dataclass(frozen=True)
class Position:
    """The progress of a run.

    Args:
        step: Optimizer steps taken.
        epoch: Passes over the rows, as a fraction.
    """

    step: int = 0
    epoch: float = 0.0


@dataclass(frozen=True)
class States:
    """The objects that carry state from one optimizer step to the next, besides weights and random states."""

    optimizer: Optimizer
    scheduler: LambdaLR
    scaler: GradScaler | None

    def save_states(self, folder: Path) -> None:
        torch.save(self.optimizer.state_dict(), folder / OPTIMIZER)
        torch.save(self.scheduler.state_dict(), folder / SCHEDULER)
        if self.scaler is not None:
            torch.save(self.scaler.state_dict(), folder / SCALER)

    def load_states(self, folder: Path, place: str) -> None:
        """Load the states that `save_states` wrote.

        Args:
            place: The device that torch loads the optimizer's tensors to, before it copies them to the
                devices of their weights.
        """
        self.optimizer.load_state_dict(_load_file(folder / OPTIMIZER, place))
        self.scheduler.load_state_dict(_load_file(folder / SCHEDULER))
        # A run may start without a scaler and be resumed on a device that needs one.
        if self.scaler is not None and (folder / SCALER).is_file():
            self.scaler.load_state_dict(_load_file(folder / SCALER))


def _load_file(path: Path, place: str = "cpu") -> Any:
    return torch.load(path, map_location=place, weights_only=True)


def save_step_position(position: Position, folder: Path, total: int, steps_per_epoch: int) -> None:
    """Write the step number, with the other values that version 0.1 expects in the file."""
    values = {
        "epoch": position.epoch,
        "global_step": position.step,
        "max_steps": total,
        "num_train_epochs": math.ceil(total / steps_per_epoch),
        # Means nothing, but the Trainer of version 0.1 fails without a number.
        "train_batch_size": 8,
    }
    (folder / STEP).write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_step_position(folder: Path) -> Position:
    values = json.loads((folder / STEP).read_text(encoding="utf-8"))
    return Position(int(values["global_step"]), float(values["epoch"] or 0.0))


def save_trained_parameters(model: Module, folder: Path) -> None:
    """Write the trained parameters, under their own names, to `trained.safetensors`."""
    from safetensors.torch import save_file

    # safetensors refuses tensors that are not contiguous.
    tensors = {
        name: parameter.detach().cpu().contiguous()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    save_file(tensors, folder / TRAINED)


def load_trained_parameters(model: Module, folder: Path) -> None:
    """Load `trained.safetensors` into the model, in place.

    Raises:
        ValueError: the names are not those of the model's trained parameters.
    """
    from safetensors import safe_open

    wanted = {name: p for name, p in model.named_parameters() if p.requires_grad}
    with safe_open(folder / TRAINED, framework="pt") as file, torch.no_grad():
        if set(file.keys()) != set(wanted):
            raise ValueError("the checkpoint holds other weights than this run trains")
        for name, parameter in wanted.items():
            parameter.copy_(file.get_tensor(name))
