"""Continue after memory ran out: report where, halve the micro-batch, keep the effective batch."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import torch

from tui_tuner.compute.forward import MicroSize
from tui_tuner.errors import OutOfMemoryError
from tui_tuner.locales import _
from tui_tuner.models.out_of_memory import free_attempt_memory, is_out_of_memory
from tui_tuner.runs.events import OutOfMemory
from tui_tuner.text import one_line
from tui_tuner.training.watching.reporting import Reporter


class Recovery:
    """Knows which part of a step is running, and how to continue if memory runs out there.

    `enter_place` is called at each part; tests set `probe` to a function that raises.
    """

    def __init__(self, reporter: Reporter, retry: bool, origin: Callable[[int], str]) -> None:
        self._reporter = reporter
        self._retry = retry
        self.origin = origin
        # Whether training draws random numbers; set once the model is known.
        self.random = False
        self.place = ""
        self.rows: list[int] = []
        self.probe: Callable[[str], None] | None = None

    def enter_place(self, place: str, rows: list[int] | None = None) -> None:
        """Note which part of the step begins; `rows` are those of the micro-batch."""
        self.place = place
        if rows is not None:
            self.rows = rows
        if self.probe is not None and place:
            self.probe(place)

    # A handler must call `free` with the error before another attempt: the error's frames hold tensors.
    is_out_of_memory = staticmethod(is_out_of_memory)
    free = staticmethod(free_attempt_memory)

    def halve_micro_batch(self, size: MicroSize, place: str, step: int) -> MicroSize:
        """Return half the micro-batch, and report it in the journal.

        Raises:
            OutOfMemoryError: the micro-batch was one sequence already, or the config says to stop.
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
                hint=_("Shorten the longest sequences, or set training.gradient_checkpointing to true."),
            )
        after = size.halve_size()
        self.announce_smaller(place, step, size, after)
        return after

    def announce_smaller(self, place: str, step: int, before: MicroSize, after: MicroSize) -> None:
        said = {"place": place, "step": step, "tokens": after.tokens}
        # With dropout, the same examples in other passes get other masks, so the loss is not quite the same.
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

    def guard_optimizer(self, optimizer: Any, step: Callable[[], int]) -> None:
        """Let `optimizer.step` be retried once after cached memory was released.

        A retry is exact if nothing was changed yet: optimizers allocate their state before they touch a
        weight. If something was changed, the step cannot be repeated; the run stops and can be resumed.
        """
        inner = optimizer.step

        def guarded(self_: Any, *args: Any, **kwargs: Any) -> Any:
            before = _read_versions(optimizer)
            begun = False
            try:
                self.enter_place("optimizer")
                begun = True
                return inner(*args, **kwargs)
            except Exception as error:
                if not self.is_out_of_memory(error) or not self._retry:
                    raise
                message = str(error)
                self.free(error)
            if begun and _has_changed(optimizer, before):
                raise OutOfMemoryError(
                    _("memory ran out in the middle of optimizer step {step}.", step=step()),
                    hint=_("Resume from the last checkpoint with adamw_8bit or a quantised model."),
                )
            said = _(
                "Memory ran out in the optimizer step, which is tried again. {message}",
                message=one_line(message, 200),
            )
            self._reporter.emit(OutOfMemory(step(), "optimizer", (0, 0), said))
            for group in optimizer.param_groups:
                # One tensor at a time: `foreach` makes temporaries of the model's size.
                if group.get("foreach") is None and not group.get("fused"):
                    group["foreach"] = False
            return inner(*args, **kwargs)

        # A bound method, as schedulers wrap `optimizer.step.__func__`.
        optimizer.step = types.MethodType(guarded, optimizer)


Versions = dict[tuple[int, str], int]


def _read_versions(optimizer: Any) -> Versions:
    """Return the counters that PyTorch raises at each change in place, of weights and their state."""
    found: Versions = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            found[id(parameter), ""] = parameter._version
            for name, value in (optimizer.state.get(parameter) or {}).items():
                if isinstance(value, torch.Tensor):
                    found[id(parameter), str(name)] = value._version
    return found


def _has_changed(optimizer: Any, before: Versions) -> bool:
    """Return whether a weight or its state changed. New state counts only if it was changed after."""
    # The kernels of bitsandbytes write without raising the counters.
    if type(optimizer).__module__.startswith("bitsandbytes"):
        return True
    return any(version != before.get(name, 0) for name, version in _read_versions(optimizer).items())
