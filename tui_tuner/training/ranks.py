"""The processes that train one run together: who this one is among them, and what they tell each other.

One process is the ordinary case: nothing is imported then, and every call returns at once. Several are
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

# Ranks wait for the main one while a run is paused or its disk is full, and that may take days. A process
# that dies is noticed by torchrun, not by this limit.
PATIENCE = timedelta(days=30)


@dataclass(frozen=True)
class Ranks:
    """This process among those of its run.

    Args:
        world: How many there are.
        rank: Which one this is, from 0.
        local_rank: Which one this is on its machine, and so its device.
    """

    world: int = 1
    rank: int = 0
    local_rank: int = 0

    @classmethod
    def from_environment(cls) -> Ranks:
        """As torchrun has set WORLD_SIZE, RANK and LOCAL_RANK; a single process without them.

        Raises:
            UsageError: they hold no numbers, or numbers that cannot be.
        """
        world, rank, local = _number("WORLD_SIZE", 1), _number("RANK", 0), _number("LOCAL_RANK", 0)
        if world == 1:
            return cls()
        if world < 1 or not 0 <= rank < world or not 0 <= local < world:
            raise UsageError(
                _(
                    "rank {rank} (on its machine {local}) of {world} processes cannot be.",
                    rank=rank,
                    local=local,
                    world=world,
                ),
                where="WORLD_SIZE, RANK, LOCAL_RANK",
                hint=_("Unset these environment variables, unless torchrun has set them."),
            )
        return cls(world, rank, local)

    @property
    def main(self) -> bool:
        """Whether this process speaks for the run: journal, commands, files."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in one of them, at least."""
        if self.world == 1:
            return flag
        import torch

        # On the CPU: a flag is asked for often, and must not wait for what the GPU still computes.
        found = torch.tensor([int(flag)], dtype=torch.int32)
        self._joined().all_reduce(found, group=_control_group())
        return bool(found.item())

    def broadcast(self, obj: Any) -> Any:
        """The main one's object, in all; the others' arguments are not looked at. Pickled."""
        if self.world == 1:
            return obj
        box = [obj if self.main else None]
        self._joined().broadcast_object_list(box, src=0, group=_control_group())
        return box[0]

    def barrier(self) -> None:
        """Until all have come here."""
        self.any(False)

    def sum(self, tensor: Any) -> Any:
        """The sum over all, written into the tensor, which is returned."""
        if self.world > 1:
            self._joined().all_reduce(tensor)
        return tensor

    def _joined(self) -> Any:
        """`torch.distributed`, where all have met: gloo for what is on the CPU, NCCL for what is on a GPU."""
        import torch
        import torch.distributed as distributed

        if not distributed.is_initialized():
            backend = "gloo"
            if torch.cuda.is_available() and distributed.is_nccl_available():
                torch.cuda.set_device(self.local_rank)
                backend = "cpu:gloo,cuda:nccl"
            distributed.init_process_group(backend, rank=self.rank, world_size=self.world)
        return distributed


@functools.cache
def _control_group() -> Any:
    """The group for flags and decisions: on the CPU, and as patient as a paused run."""
    import torch.distributed as distributed

    return distributed.new_group(backend="gloo", timeout=PATIENCE)


def _number(name: str, usual: int) -> int:
    text = os.environ.get(name)
    if text is None:
        return usual
    try:
        return int(text)  # an empty one too is refused here, and not by a library later
    except ValueError:
        raise UsageError(
            _("{text!r} is no number.", text=one_line(text)),
            where=name,
            hint=_("Unset this environment variable."),
        ) from None
