"""Measure how well a run uses its device: model FLOPs utilisation and busy time of steps, and their limit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tui_tuner.compute.kernels.available_kernels import find_compiler_problem
from tui_tuner.compute.numeric import find_compute_dtype
from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.sections.training import Checkpointing
from tui_tuner.locales import _
from tui_tuner.models.device import Device
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.flops import Flops, Segment, count_flops, find_peak_flops
from tui_tuner.planning.gpus import make_gpu_card
from tui_tuner.planning.hardware import Gpu
from tui_tuner.planning.heads.outputs import find_trained_head
from tui_tuner.text import one_line
from tui_tuner.training.watching.bottleneck import BottleneckWatch, Circumstances
from tui_tuner.training.watching.device_clock import DeviceClock, make_device_clock

Say = Callable[[Any], None]


@dataclass(frozen=True)
class Work:
    """Operations of a step on this process's device: the model's own, and those of recomputation.

    Args:
        passes: Forward passes of the step; 0 if that is not known.
    """

    model: float
    again: float = 0.0
    passes: int = 0


class StepMeter:
    """Measures the steps on one device; on a CPU it measures nothing.

    Args:
        clock: The device's clock; None if it has none.
        cost: Counts the model's operations, called once, at the first step; None if its shapes are unknown.
        peak: Operations a second that the device reaches at most; None if no data sheet is known.
        degree: The degree of checkpointing: which layers are computed a second time.
        watch: Takes the measurements.
        complain: Takes the reason, once, if nothing can be measured.
    """

    def __init__(
        self,
        clock: DeviceClock | None = None,
        cost: Callable[[], Flops] | None = None,
        peak: float | None = None,
        degree: Checkpointing = False,
        watch: BottleneckWatch | None = None,
        complain: Callable[[str], None] | None = None,
    ) -> None:
        self.clock, self.peak, self.degree = clock, peak, degree
        self._cost, self._watch, self._complain = cost, watch, complain
        self._flops: Flops | None = None

    def mark_ready(self, apart: bool) -> None:
        """Note that the work between two steps is done; `apart`: it was more than reports."""
        if self.clock is not None:
            self.clock.mark_ready(apart)

    def begin_step(self) -> None:
        """Note that a step has its rows."""
        if self.clock is not None:
            self.clock.begin_step()

    def end_step(self) -> None:
        """Note that all of a step is launched."""
        if self.clock is not None:
            self.clock.end_step()

    def count_work(self, parts: Sequence[Any], lengths: Any) -> Work | None:
        """Count the operations of a step; return None if there is no clock to relate them to.

        Args:
            parts: The step's forward passes (`compute.forward.MicroBatch`).
            lengths: Tokens of each row of the data.
        """
        if self.clock is None or self._cost is None:
            return None
        try:
            if self._flops is None:
                self._flops = self._cost()
            found = list(list_step_segments(parts, lengths))
            again = self._flops.count_recomputed(found, self.degree)
            model = self._flops.count_step(found, sum(part.trained_tokens for part in parts))
            return Work(model, again, len(parts))
        # A figure for information must not end a run.
        except Exception as error:
            self._cost = None
            self._report_problem(_("Model FLOPs are not counted: {error}", error=one_line(error, 200)))
            return None

    def read_times(self, step: int, works: Sequence[Work | None]) -> list[tuple[float | None, float | None]]:
        """Return MFU and share of busy time of each step since the last reading, the last of which is `step`.

        Call it just after the losses of these steps were read. `works` holds the work of each.
        """
        nothing: list[tuple[float | None, float | None]] = [(None, None)] * len(works)
        if self.clock is None:
            return nothing
        seconds, use = self.clock.read_times()
        if self.clock.problem:
            self._report_problem(
                _("The GPU's time is not measured: {error}", error=one_line(self.clock.problem, 200))
            )
            self.clock = None
            return nothing
        # Steps before the first reading have no times, and a failed event leaves a step out: then times and
        # works cannot be paired.
        if use is None or len(seconds) != len(works):
            return nothing
        if self._watch is not None:
            model = sum(work.model for work in works if work is not None)
            again = sum(work.again for work in works if work is not None)
            passes = max((work.passes for work in works if work is not None), default=0)
            self._watch.feed_step(step, use, model, again, self.peak, passes)
        found = zip(works, seconds, strict=True)
        return [(self._find_mfu(work, took), use.busy) for work, took in found]

    def stop_meter(self) -> None:
        if self.clock is not None:
            self.clock.stop_clock()

    def _find_mfu(self, work: Work | None, seconds: float | None) -> float | None:
        if work is None or not seconds or self.peak is None:
            return None
        return work.model / (seconds * self.peak)

    def _report_problem(self, message: str) -> None:
        if self._complain is not None:
            self._complain(message)


def list_step_segments(parts: Iterable[Any], lengths: Any) -> Iterator[float | Segment]:
    """List the sequences of forward passes, a shared beginning once and filler not at all."""
    for part in parts:
        if part.layout is not None:
            # Filler is laid behind all other segments.
            known = len(part.layout.segments) - len(part.filler)
            yield from (Segment(one.length, one.prefix) for one in part.layout.segments[:known])
        elif part.decoder_ids is not None:
            # How long each target is would have to be read from the device; their sum is known without
            target = part.trained_tokens / max(1, len(part.rows))
            yield from (Segment(target, source=max(0.0, int(lengths[row]) - target)) for row in part.rows)
        else:
            yield from (int(lengths[row]) for row in part.rows)


def make_step_meter(
    asked: RunConfig,
    config: ResolvedConfig,
    device: Device,
    facts: ModelFacts | None,
    stored: Callable[[], int],
    say: Say,
    complain: Callable[[str], None],
) -> StepMeter:
    """Return the meter of a run's steps.

    Args:
        asked: The config as it was requested, which shows the settings that were left to this program.
        stored: Returns the number of layers whose output was computed before the steps.
        say: Takes a `bottleneck` event.
    """
    clock = make_device_clock(device.torch_name)
    if clock is None:
        return StepMeter()
    card = make_gpu_card(Gpu(device.index, device.name, device.memory, device.memory, device.capability))
    peak = find_peak_flops(card, find_compute_dtype(device, config), config.training.tf32)
    cost = (
        None
        if facts is None
        else lambda: count_flops(facts, config.method, head=find_trained_head(config, facts), stored=stored())
    )
    watch = BottleneckWatch(list_speed_circumstances(asked, config, device), say)
    return StepMeter(clock, cost, peak, config.training.gradient_checkpointing, watch, complain)


def list_speed_circumstances(asked: RunConfig, config: ResolvedConfig, device: Device) -> Circumstances:
    """Return the settings of a run that decide how its speed can be improved."""
    training = config.training
    return Circumstances(
        batch_size=training.batch_size,
        micro_batch=training.micro_batch,
        compiled=None if find_compiler_problem(device) else training.compile,
        forced=bool(training.gradient_checkpointing) and asked.training.gradient_checkpointing == "auto",
        quantisable=config.model.quantization == "none" and config.method.has_trait(Trait.QUANTISABLE),
    )
