"""Going on after memory ran out: say where, halve the micro-batch, keep the effective batch."""

from __future__ import annotations

import random
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tui_tuner.compute.forward import MicroSize
from tui_tuner.errors import OutOfMemoryError
from tui_tuner.locales import _
from tui_tuner.models.out_of_memory import free_memory_of, is_out_of_memory
from tui_tuner.runs.events import OutOfMemory
from tui_tuner.text import one_line
from tui_tuner.training.watching.reporting import Reporter


@dataclass
class RngState:
    """The random state of every library a step may draw from."""

    python: Any
    numpy: Any
    cpu: Any
    cuda: Any
    device: Any

    @classmethod
    def now(cls, device: Any) -> RngState:
        on_gpu = getattr(device, "type", device) == "cuda"
        return cls(
            random.getstate(),
            np.random.get_state(),
            torch.random.get_rng_state(),
            torch.cuda.get_rng_state(device) if on_gpu else None,
            device,
        )

    def restore(self) -> None:
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.random.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda, self.device)


class Recovery:
    """Knows where the step is, and what to do when memory runs out there.

    `enter` is called at each place; tests replace `probe` to let it raise.
    """

    def __init__(self, reporter: Reporter, retry: bool, origin: Callable[[int], str]) -> None:
        self._reporter = reporter
        self._retry = retry
        self.origin = origin
        self.random = False  # whether training draws numbers: the model is not known yet
        self.place = ""
        self.rows: list[int] = []
        self.probe: Callable[[str], None] | None = None

    def enter(self, place: str, rows: list[int] | None = None) -> None:
        """Say which part of the step begins; rows are those of the micro-batch."""
        self.place = place
        if rows is not None:
            self.rows = rows
        if self.probe is not None and place:
            self.probe(place)

    # Where memory runs out, whoever catches the error calls `free` with it before trying anything again
    is_out_of_memory = staticmethod(is_out_of_memory)
    free = staticmethod(free_memory_of)

    def smaller(self, size: MicroSize, place: str, step: int) -> MicroSize:
        """Half the micro-batch, announced in the journal.

        Raises:
            OutOfMemoryError: the micro-batch was one sequence already, or the config says stop.
        """
        if not self._retry:
            raise OutOfMemoryError(
                _("memory ran out in the {place} pass of step {step}.", place=place, step=step),
                hint=_("Lower training.micro_batch, or set training.on_out_of_memory to retry."),
            )
        if len(self.rows) <= 1:
            which = self.origin(self.rows[0]) if self.rows else _("one sequence")
            raise OutOfMemoryError(
                _(
                    "memory ran out in the {place} pass of step {step} with a single sequence.",
                    place=place,
                    step=step,
                ),
                where=which,
                hint=_("Lower data.max_length, or set training.gradient_checkpointing to true."),
            )
        after = size.halved()
        self.announce(place, step, size, after)
        return after

    def announce(self, place: str, step: int, before: MicroSize, after: MicroSize) -> None:
        said = {"place": place, "step": step, "tokens": after.tokens}
        if self.random and place != "evaluation":
            message = _(
                "Memory ran out in {place} at step {step}. The micro-batch is now at most {tokens} tokens; "
                "the effective batch stays the same, and dropout draws other random numbers for it.",
                **said,
            )
        else:
            message = _(
                "Memory ran out in {place} at step {step}. The micro-batch is now at most {tokens} tokens; "
                "the effective batch and the loss stay the same.",
                **said,
            )
        sizes = (before.sequences, after.sequences)
        self._reporter.emit(OutOfMemory(step, place, sizes, message))

    def guard(self, optimizer: Any, step: Callable[[], int]) -> None:
        """Let `optimizer.step` be tried once more with cached memory given back.

        That is exact where nothing was changed yet: optimizers allocate their state before they touch a
        weight. Where something was changed, the step cannot be repeated, and the run stops resumably.
        """
        inner = optimizer.step

        def guarded(self_: Any, *args: Any, **kwargs: Any) -> Any:
            before = _versions(optimizer)
            begun = False
            try:
                self.enter("optimizer")
                begun = True
                return inner(*args, **kwargs)
            except Exception as error:
                if not self.is_out_of_memory(error) or not self._retry:
                    raise
                message = str(error)
                self.free(error)
            if begun and _touched(optimizer, before):
                raise OutOfMemoryError(
                    _("memory ran out in the middle of optimizer step {step}.", step=step()),
                    hint=_("Resume from the last checkpoint with adamw_8bit or a quantised model."),
                )
            said = _(
                "Memory ran out in the optimizer; it is tried again. {message}",
                message=one_line(message, 200),
            )
            self._reporter.emit(OutOfMemory(step(), "optimizer", (0, 0), said))
            for group in optimizer.param_groups:
                if group.get("foreach") is None and not group.get("fused"):
                    group["foreach"] = False  # one tensor at a time: no temporaries of the model's size
            return inner(*args, **kwargs)

        optimizer.step = types.MethodType(guarded, optimizer)


Versions = dict[tuple[int, str], int]


def _versions(optimizer: Any) -> Versions:
    """Counters that PyTorch raises whenever a tensor is changed in place, of weights and their state."""
    found: Versions = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            found[id(parameter), ""] = parameter._version
            for name, value in (optimizer.state.get(parameter) or {}).items():
                if isinstance(value, torch.Tensor):
                    found[id(parameter), str(name)] = value._version
    return found


def _touched(optimizer: Any, before: Versions) -> bool:
    """Whether a weight or its state changed; state made since, and not changed after, does not count."""
    if type(optimizer).__module__.startswith("bitsandbytes"):
        return True  # its kernels write without raising the counters
    return any(version != before.get(name, 0) for name, version in _versions(optimizer).items())
