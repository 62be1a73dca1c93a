"""Measured memory beside the predicted one: once, when the first steps of a run on a GPU are done."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from transformers import TrainerCallback

from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.models.facts import load_facts
from tui_tuner.planning import calibration, hardware
from tui_tuner.planning.calibration import Measured
from tui_tuner.planning.estimate import Estimate, from_ledger, setup_for
from tui_tuner.planning.gpus import card_of
from tui_tuner.planning.memory.ledger import ledger
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.stack import installed
from tui_tuner.runs.events import Log, Memory
from tui_tuner.training.watching.nvml import find_handle, is_alone
from tui_tuner.training.watching.passes import Pass
from tui_tuner.training.watching.reporting import Reporter

AFTER = 3  # steps: the optimizer's states are there from the first on
GIB = 2**30


class MemoryCheck(TrainerCallback):
    """Emits `memory` with both figures after a few steps, and keeps them for this machine.

    Args:
        config: The resolved config.
        device: Such as `cuda:0`.
        fullest: Gives the fullest forward passes so far. Memory is predicted for these, the largest of which
            counts: what is compared is the formulas, not the data.
        measure: Gives the peaks since training began; stands in for the GPU in tests.
    """

    def __init__(
        self,
        config: RunConfig,
        device: str,
        reporter: Reporter,
        fullest: Callable[[], Sequence[Pass]],
        measure: Callable[[str], tuple[Measured, bool]] | None = None,
    ) -> None:
        self.config, self.device, self.reporter = config, device, reporter
        self._fullest = fullest
        self._measure = measure or measured
        self._left = AFTER

    def on_train_begin(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        if self.device != "cpu":
            import torch

            torch.cuda.reset_peak_memory_stats(self.device)  # loading has a peak of its own

    def on_step_end(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        self._left -= 1
        if self._left:
            return
        try:
            self._say()
        except Exception as error:  # a figure for the curious must not end a run
            message = _("Memory could not be compared with the prediction: {error}", error=error)
            self.reporter.emit(Log(message))

    def _say(self) -> None:
        gpu, predicted = self._predicted()
        if predicted is None:
            return
        found, alone = self._measure(self.device)
        self.reporter.emit(
            Memory(
                predicted_allocated=round(predicted.allocated * GIB),
                predicted_reserved=round(predicted.reserved * GIB),
                allocated=round(found.allocated * GIB),
                reserved=round(found.reserved * GIB),
                predicted_device=round(predicted.device * GIB),
                device=round(found.device * GIB) if alone else None,
                difference=calibration.difference(predicted, found),
                verified=predicted.verified,
                predicted_cache=round(predicted.cache * GIB),
                cache=round(found.cache * GIB),
                predicted_context=round(predicted.context * GIB),
                context=round(found.context * GIB) if alone else None,
            )
        )
        if alone:
            calibration.record(gpu, predicted, found)

    def _predicted(self) -> tuple[str, Estimate | None]:
        """The GPU's name, and what was to be expected on it; None where shapes or GPU are unknown."""
        gpus = hardware.detect().usable_gpus
        number = int(self.device.partition(":")[2] or 0)
        card = card_of(gpus[number]) if number < len(gpus) else None
        if card is None and self.device != "cpu":
            return "", None
        with contextlib.suppress(TunerError):
            facts = load_facts(self.config.model, network=False)
            planned = setup_for(ResolvedConfig.of(self.config), facts, installed(), card)
            known = calibration.calibrated(card) if card else None
            setups = [setup_of(planned, one) for one in self._fullest() if one.tokens] or [planned]
            found = [from_ledger(ledger(setup), setup, known) for setup in setups]
            return card.name if card else "", max(found, key=lambda one: one.allocated)
        return "", None


def setup_of(planned: Setup, seen: Pass) -> Setup:
    """What memory depends on in a pass that was made, where a plan takes the fullest there can be."""
    return replace(
        planned,
        batch=seen.sequences,
        length=seen.length,
        supervised=min(1.0, seen.targets / seen.tokens),
        states=seen.states,
        accumulate=seen.accumulating,
    )


def measured(device: str) -> tuple[Measured, bool]:
    """Peaks of torch's allocator, what the driver counts on the device, and whether all of that is ours."""
    import torch

    free, total = torch.cuda.mem_get_info(device)
    found = Measured(
        torch.cuda.max_memory_allocated(device) / GIB,
        torch.cuda.max_memory_reserved(device) / GIB,
        (total - free) / GIB,
        torch.cuda.memory_reserved(device) / GIB,
    )
    return found, _alone(device)


def _alone(device: str) -> bool:
    """Whether no other process computes on the device, by NVML; False where it cannot say."""
    try:
        return is_alone(find_handle(device))
    except Exception:
        return False
