"""The processes (ranks) that train one run together, and how they exchange decisions and sums.

One process is the usual case: nothing is imported then, and every call returns at once. Several are
started by torchrun, and each must make the same calls in the same order.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tui_tuner.errors import UsageError
from tui_tuner.locales import _
from tui_tuner.text import one_line

# Ranks wait for the main one while a run is paused or its disk is full, which may take days. torchrun notices
# a process that dies, so this limit need not.
PATIENCE = timedelta(days=30)


@dataclass(frozen=True)
class Ranks:
    """The place of this process among those of its run.

    Args:
        world: Number of processes.
        rank: Number of this one, from 0.
        local_rank: Its number on its machine, and so that of its device.
    """

    world: int = 1
    rank: int = 0
    local_rank: int = 0

    @classmethod
    def from_environment(cls) -> Ranks:
        """Read WORLD_SIZE, RANK and LOCAL_RANK as torchrun sets them; without them, a single process.

        Raises:
            UsageError: they are not numbers, or contradict each other.
        """
        world, rank, local = (
            _read_number("WORLD_SIZE", 1),
            _read_number("RANK", 0),
            _read_number("LOCAL_RANK", 0),
        )
        if world == 1:
            return cls()
        if world < 1 or not 0 <= rank < world or not 0 <= local < world:
            raise UsageError(
                _(
                    "rank {rank} (on its machine {local}) of {world} processes is impossible.",
                    rank=rank,
                    local=local,
                    world=world,
                ),
                where="WORLD_SIZE, RANK, LOCAL_RANK",
                hint=_("Unset these environment variables, unless torchrun has set them."),
            )
        return cls(world, rank, local)

    @property
    def is_main(self) -> bool:
        """Return whether this process handles the run's journal, commands and files."""
        return self.rank == 0

    def any_rank(self, flag: bool) -> bool:
        """Return whether the flag is set in at least one rank."""
        if self.world == 1:
            return flag
        import torch

        # On the CPU: flags are exchanged often, and must not wait for what the GPU still computes.
        found = torch.tensor([int(flag)], dtype=torch.int32)
        self.join_group().all_reduce(found, group=_control_group())
        return bool(found.item())

    def broadcast_object(self, obj: Any) -> Any:
        """Return the main rank's object in all ranks, pickled; the others' arguments are ignored."""
        if self.world == 1:
            return obj
        box = [obj if self.is_main else None]
        self.join_group().broadcast_object_list(box, src=0, group=_control_group())
        return box[0]

    def wait_for_all(self) -> None:
        """Wait until all ranks have made this call."""
        self.any_rank(False)

    def sum_tensor(self, tensor: Any) -> Any:
        """Sum a tensor over all ranks, in place, and return it."""
        if self.world > 1:
            self.join_group().all_reduce(tensor)
        return tensor

    def join_group(self) -> Any:
        """Return `torch.distributed` with all ranks connected: gloo for the CPU, NCCL for GPUs."""
        import torch
        import torch.distributed as distributed

        if not distributed.is_initialized():
            backend = "gloo"
            if torch.cuda.is_available() and distributed.is_nccl_available():
                # NCCL uses the current device: without this, all ranks of a machine would take its first GPU.
                torch.cuda.set_device(self.local_rank)
                backend = "cpu:gloo,cuda:nccl"
            distributed.init_process_group(backend, rank=self.rank, world_size=self.world)
        return distributed


@functools.cache
def _control_group() -> Any:
    """Return the group for flags and decisions: on the CPU, with a time limit that a pause does not reach."""
    import torch.distributed as distributed

    return distributed.new_group(backend="gloo", timeout=PATIENCE)


def _read_number(name: str, usual: int) -> int:
    text = os.environ.get(name)
    if text is None:
        return usual
    try:
        # An empty value fails here too, rather than later in a library.
        return int(text)
    except ValueError:
        raise UsageError(
            _("{text!r} is not a number.", text=one_line(text)),
            where=name,
            hint=_("Unset this environment variable."),
        ) from None
