"""Seed, save and restore the random states of every library that a step may draw from."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tui_tuner.training.ranks import Ranks

if TYPE_CHECKING:
    from torch import Tensor

# The names in a pickled numpy array, allowed when a checkpoint is loaded: they only build arrays of numbers.
_ARRAYS = [np.empty(0).__reduce__()[0], np.ndarray, np.dtype, type(np.dtype(np.uint32))]


def seed_everything(seed: int) -> None:
    """Seed python, numpy, and torch on all devices."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    # `torch.manual_seed` leaves out devices that are seen later.
    torch.cuda.manual_seed_all(seed)


@dataclass
class RngState:
    """The random state before an attempt, on the processor and on one device."""

    python: Any
    numpy: Any
    cpu: Tensor
    cuda: Tensor | None
    device: torch.device

    @classmethod
    def read_now(cls, device: torch.device) -> RngState:
        return cls(
            random.getstate(),
            np.random.get_state(),
            torch.random.get_rng_state(),
            torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
            device,
        )

    def restore_state(self) -> None:
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.random.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda, self.device)


def save_random_states(folder: Path, ranks: Ranks) -> None:
    """Write this process's random states into a checkpoint."""
    states: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "cpu": torch.random.get_rng_state(),
    }
    # As the Trainer of version 0.1 wrote them: one process its own device, several processes all devices.
    if torch.cuda.is_available():
        get = torch.cuda.get_rng_state if ranks.world == 1 else torch.cuda.get_rng_state_all
        states["cuda"] = get()
    torch.save(states, folder / _file_of(ranks))


def load_random_states(folder: Path, ranks: Ranks) -> None:
    """Restore the random states that a checkpoint holds for this process; without them, change nothing."""
    path = folder / _file_of(ranks)
    # Missing if the checkpoint was written by another number of processes.
    if not path.is_file():
        return
    with torch.serialization.safe_globals(_ARRAYS):
        states = torch.load(path, weights_only=True)
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.random.set_rng_state(states["cpu"])
    cuda = states.get("cuda")
    if cuda is None or not torch.cuda.is_available():
        return
    if isinstance(cuda, list):
        for index, state in enumerate(cuda[: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(state, index)
    else:
        torch.cuda.set_rng_state(cuda)


def _file_of(ranks: Ranks) -> str:
    return "rng_state.pth" if ranks.world == 1 else f"rng_state_{ranks.rank}.pth"
