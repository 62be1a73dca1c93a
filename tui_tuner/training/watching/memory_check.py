"""Compare measured with predicted memory, once, after the first steps of a run on a GPU."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace

from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.models.facts import load_facts
from tui_tuner.planning import calibration, hardware
from tui_tuner.planning.calibration import MeasuredPeaks
from tui_tuner.planning.estimate import Estimate, make_estimate, make_memory_setup
from tui_tuner.planning.gpus import make_gpu_card
from tui_tuner.planning.memory.ledger import make_ledger
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.stack import find_installed_stack
from tui_tuner.runs.events import Log, Memory
from tui_tuner.training.watching.nvml import find_nvml_handle, is_device_unshared
from tui_tuner.training.watching.passes import Pass
from tui_tuner.training.watching.reporting import Reporter

AFTER = 3  # steps; the optimizer's states exist from the first one on
GIB = 2**30


class MemoryCheck:
    """Emits a `memory` event with both figures after a few steps, and records them for this machine.

    Args:
        config: The resolved config.
        device: Such as `cuda:0`.
        fullest: Returns the fullest forward passes so far. Memory is predicted for these, and the largest
            prediction counts: the comparison is about the formulas, not about the data.
        measure: Returns the peaks since training began; tests pass a function in place of the GPU.
    """

    def __init__(
        self,
        config: RunConfig,
        device: str,
        reporter: Reporter,
        fullest: Callable[[], Sequence[Pass]],
        measure: Callable[[str], tuple[MeasuredPeaks, bool]] | None = None,
    ) -> None:
        self.config, self.device, self.reporter = config, device, reporter
        self._fullest = fullest
        self._measure = measure or measure_memory
        self._left = AFTER

    def begin_watch(self) -> None:
        if self.device != "cpu":
            import torch

            # The peak of loading the model is not that of training.
            torch.cuda.reset_peak_memory_stats(self.device)

    def note_step(self, step: int) -> None:
        self._left -= 1
        if self._left:
            return
        try:
            self._report_memory()
        # A figure for information must not end a run.
        except Exception as error:
            message = _("Memory could not be compared with the prediction: {error}", error=error)
            self.reporter.emit(Log(message))

    def _report_memory(self) -> None:
        gpu, predicted = self._predict_memory()
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
                difference=calibration.compare_peaks(predicted, found),
                verified=predicted.verified,
                predicted_cache=round(predicted.allocator_cache * GIB),
                cache=round(found.allocator_cache * GIB),
                predicted_context=round(predicted.process_context * GIB),
                context=round(found.process_context * GIB) if alone else None,
            )
        )
        if alone:
            calibration.record_peaks(gpu, predicted, found)

    def _predict_memory(self) -> tuple[str, Estimate | None]:
        """Return the GPU's name and the prediction for it, None if shapes or GPU are unknown."""
        gpus = hardware.detect_hardware().usable_gpus
        number = int(self.device.partition(":")[2] or 0)
        card = make_gpu_card(gpus[number]) if number < len(gpus) else None
        if card is None and self.device != "cpu":
            return "", None
        with contextlib.suppress(TunerError):
            # Without the network: the model is loaded, so its config is on this machine.
            facts = load_facts(self.config.model, network=False)
            planned = make_memory_setup(
                ResolvedConfig.from_config(self.config), facts, find_installed_stack(), card
            )
            known = calibration.calibrate_card(card) if card else None
            setups = [make_pass_setup(planned, one) for one in self._fullest() if one.token_count] or [
                planned
            ]
            found = [make_estimate(make_ledger(setup), setup, known) for setup in setups]
            return card.name if card else "", max(found, key=lambda one: one.allocated)
        return "", None


def make_pass_setup(planned: Setup, seen: Pass) -> Setup:
    """Make the setup of a pass that was run; a plan assumes the fullest possible one instead."""
    return replace(
        planned,
        batch=seen.sequences,
        length=seen.length,
        supervised=min(1.0, seen.targets / seen.token_count),
        states=seen.states,
        accumulate=seen.accumulating,
    )


def measure_memory(device: str) -> tuple[MeasuredPeaks, bool]:
    """Return the peaks of torch's allocator and the driver's total, and whether that total is all ours."""
    import torch

    free, total = torch.cuda.mem_get_info(device)
    found = MeasuredPeaks(
        torch.cuda.max_memory_allocated(device) / GIB,
        torch.cuda.max_memory_reserved(device) / GIB,
        (total - free) / GIB,
        torch.cuda.memory_reserved(device) / GIB,
    )
    return found, _is_alone(device)


def _is_alone(device: str) -> bool:
    """Return whether no other process computes on the device; False if NVML cannot tell."""
    try:
        return is_device_unshared(find_nvml_handle(device))
    except Exception:
        return False
