"""How well a run uses its device: model FLOP utilisation and busy time of each step, and what limits them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tui_tuner.compute.kernels.available import compiler_problem
from tui_tuner.compute.numeric import compute_name
from tui_tuner.config.kinds import QUANTISABLE
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.sections.training import Checkpointing
from tui_tuner.locales import _
from tui_tuner.models.device import Device
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.flops import Flops, Segment, flops_of, peak_of
from tui_tuner.planning.gpus import card_of
from tui_tuner.planning.hardware import Gpu
from tui_tuner.planning.heads.outputs import head_of
from tui_tuner.text import one_line
from tui_tuner.training.watching.bottleneck import BottleneckWatch, Circumstances
from tui_tuner.training.watching.device_clock import DeviceClock, device_clock

Say = Callable[[Any], None]


@dataclass(frozen=True)
class Work:
    """Operations of a step on this process's device: the model's own, and those of recomputation.

    Args:
        passes: Forward passes that it took; 0 where that is not known.
    """

    model: float
    again: float = 0.0
    passes: int = 0


class StepMeter:
    """Measures the steps on one device; on a processor it measures nothing.

    Args:
        clock: Of the device; None where there is none to read.
        cost: What the model costs, asked once and at the first step; None where its shapes are not known.
        peak: The most operations a second of the device; None where no data sheet tells.
        degree: Of checkpointing: which layers are computed a second time.
        watch: Is fed with what was measured.
        complain: Is told, once, why nothing is measured.
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

    def ready(self, apart: bool) -> None:
        """What lies between two steps is done; `apart`: it was more than reports."""
        if self.clock is not None:
            self.clock.ready(apart)

    def begin(self) -> None:
        """A step's rows are there."""
        if self.clock is not None:
            self.clock.begin()

    def end(self) -> None:
        """A step is launched."""
        if self.clock is not None:
            self.clock.end()

    def work(self, parts: Sequence[Any], lengths: Any) -> Work | None:
        """The operations of a step; None where nobody would ask for them.

        Args:
            parts: Its forward passes (`compute.forward.MicroBatch`).
            lengths: Tokens of each row of the data.
        """
        if self.clock is None or self._cost is None:
            return None
        try:
            if self._flops is None:
                self._flops = self._cost()
            found = list(segments_of(parts, lengths))
            again = self._flops.recomputed(found, self.degree)
            model = self._flops.step(found, sum(part.trained_tokens for part in parts))
            return Work(model, again, len(parts))
        except Exception as error:  # a figure for the curious must not end a run
            self._cost = None
            self._say(_("Model FLOPs are not counted: {error}", error=one_line(error, 200)))
            return None

    def read(self, step: int, works: Sequence[Work | None]) -> list[tuple[float | None, float | None]]:
        """MFU and share of busy time of the steps since the last reading, whose work this is, up to `step`.

        Call it just after their losses were read.
        """
        nothing: list[tuple[float | None, float | None]] = [(None, None)] * len(works)
        if self.clock is None:
            return nothing
        seconds, use = self.clock.read()
        if self.clock.problem:
            self._say(_("The GPU's time is not measured: {error}", error=one_line(self.clock.problem, 200)))
            self.clock = None
            return nothing
        if use is None or len(seconds) != len(works):
            return nothing
        if self._watch is not None:
            model = sum(work.model for work in works if work is not None)
            again = sum(work.again for work in works if work is not None)
            passes = max((work.passes for work in works if work is not None), default=0)
            self._watch.feed(step, use, model, again, self.peak, passes)
        found = zip(works, seconds, strict=True)
        return [(self._mfu(work, took), use.busy) for work, took in found]

    def stop(self) -> None:
        """Nothing is measured after this."""
        if self.clock is not None:
            self.clock.stop()

    def _mfu(self, work: Work | None, seconds: float | None) -> float | None:
        if work is None or not seconds or self.peak is None:
            return None
        return work.model / (seconds * self.peak)

    def _say(self, message: str) -> None:
        if self._complain is not None:
            self._complain(message)


def segments_of(parts: Iterable[Any], lengths: Any) -> Iterator[float | Segment]:
    """The sequences of forward passes, a shared beginning once; what fills rows up is none."""
    for part in parts:
        if part.layout is not None:
            known = len(part.layout.segments) - len(part.filler)
            yield from (Segment(one.length, one.prefix) for one in part.layout.segments[:known])
        else:
            yield from (int(lengths[row]) for row in part.rows)


def step_meter(
    asked: RunConfig,
    config: ResolvedConfig,
    device: Device,
    facts: ModelFacts | None,
    stored: Callable[[], int],
    say: Say,
    complain: Callable[[str], None],
) -> StepMeter:
    """What measures the steps of a run.

    Args:
        asked: The config as it was asked for, which tells what was left to memory.
        stored: Gives the layers whose output was computed before the steps.
        say: Is given a `bottleneck` event.
    """
    clock = device_clock(device.place)
    if clock is None:
        return StepMeter()
    card = card_of(Gpu(device.index, device.name, device.memory, device.memory, device.capability))
    peak = peak_of(card, compute_name(device, config), config.training.tf32)
    cost = (
        None
        if facts is None
        else lambda: flops_of(facts, config.method, head=head_of(config, facts), stored=stored())
    )
    watch = BottleneckWatch(circumstances_of(asked, config, device), say)
    return StepMeter(clock, cost, peak, config.training.gradient_checkpointing, watch, complain)


def circumstances_of(asked: RunConfig, config: ResolvedConfig, device: Device) -> Circumstances:
    """What of a run decides what can be done about its speed."""
    training = config.training
    return Circumstances(
        batch_size=training.batch_size,
        micro_batch=training.micro_batch,
        compiled=None if compiler_problem(device) else training.compile,
        forced=bool(training.gradient_checkpointing) and asked.training.gradient_checkpointing == "auto",
        quantisable=config.model.quantization == "none" and config.method.kind in QUANTISABLE,
    )
