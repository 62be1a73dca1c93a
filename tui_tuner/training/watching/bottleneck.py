"""Find what limits the speed of a run's steps on a GPU, and the settings that help."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tui_tuner.config.advice import build_hint, list_hint_fixes, write_setting
from tui_tuner.locales import N_, _
from tui_tuner.runs.events import Bottleneck, find_screen_hint
from tui_tuner.training.watching.device_use import DeviceUse

# A bottleneck is reported below LOW and over above HIGH (shares of busy time). With a single limit, a run
# near it would alternate between the two.
LOW, HIGH = 0.6, 0.7
FEWEST, SECONDS = 5, 3.0  # steps and seconds that a finding needs
WARM_UP = 3  # steps that are not counted: allocator, kernels and page cache are still cold
MOVED = 0.1  # change of the share that makes the same bottleneck worth reporting again


@dataclass(frozen=True)
class Circumstances:
    """The settings of a run that decide how its speed can be improved.

    Args:
        micro_batch: Sequences of a forward pass.
        compiled: Whether layers are to be compiled; None if nothing can be compiled.
        forced: Checkpointing was not requested and is on only because memory requires it.
        quantisable: The frozen weights have 16 bits or more, and could have 4.
    """

    batch_size: int
    micro_batch: int
    compiled: bool | None = None
    forced: bool = False
    quantisable: bool = False


@dataclass(frozen=True)
class UseSummary:
    """Measurements over some steps.

    Args:
        twice: Share of the arithmetic that checkpointing does a second time.
        passes: The most forward passes that one of the steps took; 0 if that is not known.
    """

    use: DeviceUse
    mfu: float | None = None
    twice: float = 0.0
    passes: int = 0


def find_bottleneck(seen: UseSummary, about: Circumstances) -> str:
    """Return the bottleneck: `processor`, `data`, `memory`, or an empty string if none is known.

    It is `processor` or `data` if the device waits, whichever it waits for longer, and `memory` if it does
    not wait but computes things twice.
    """
    use = seen.use
    if use.busy is not None and use.busy < LOW:
        waited = 1 - use.busy
        return "data" if use.seconds and use.data / use.seconds > waited / 2 else "processor"
    if about.forced and seen.twice > 0:
        return "memory"
    return ""


def make_bottleneck_event(what: str, seen: UseSummary, about: Circumstances, step: int) -> Bottleneck:
    """Return the event that reports the bottleneck, with figures and a hint."""
    use = seen.use
    busy = use.busy
    if what == "":
        message = _("The GPU is busy {busy:.0%} of the time again.", busy=busy or 0.0)
        return Bottleneck("", message, "", step, busy, seen.mfu, None)
    if what == "memory":
        waiting: float | None = seen.twice
        message = _(
            "memory: checkpointing is on, so {share:.0%} of the GPU's work is recomputation.",
            share=seen.twice,
        )
        hint = _memory_hint(about)
    elif what == "data":
        waiting = use.data / use.seconds
        message = _(
            "waiting for data: the GPU is busy {busy:.0%} of the time, and waits for rows {share:.0%} of it.",
            busy=busy or 0.0,
            share=waiting,
        )
        hint = _("Keep the prepared rows on a local disk, and in memory if they fit.")
    else:
        waiting = 1 - (busy or 0.0) - (use.data / use.seconds if use.seconds else 0.0)
        message = _(
            "waiting for the processor: the GPU is busy {busy:.0%} of the time. Its kernels are small, and "
            "launching them takes longer than running them.",
            busy=busy or 0.0,
        )
        hint = _processor_hint(about, seen.passes)
    return Bottleneck(
        what,
        message,
        hint,
        step,
        busy,
        seen.mfu,
        waiting,
        find_screen_hint(hint),
        [dict(fix) for fix in list_hint_fixes(hint)],
    )


def _processor_hint(about: Circumstances, passes: int) -> str:
    """Suggest larger passes or fewer launches."""
    # If a whole step is one pass, only a larger step makes that pass larger.
    if about.micro_batch < about.batch_size and passes != 1:
        larger = write_setting({"training.micro_batch": min(2 * about.micro_batch, about.batch_size)})
    else:
        larger = write_setting({"training.batch_size": 2 * about.batch_size})
    if about.compiled is False:
        compiled = write_setting({"training.compile": True})
        return build_hint(
            N_(
                "Compute more at once: {larger}; or compile: {compiled}.",
                larger=larger,
                compiled=compiled,
            )
        )
    return build_hint(N_("Compute more at once: {larger}.", larger=larger))


def _memory_hint(about: Circumstances) -> str:
    """Suggest settings that need less memory, so that nothing must be computed twice."""
    if about.micro_batch > 1:
        smaller = write_setting({"training.micro_batch": max(1, about.micro_batch // 2)})
        return build_hint(
            N_(
                "Smaller passes may not need checkpointing: {smaller}; the result is the same.",
                smaller=smaller,
            )
        )
    if about.quantisable:
        return build_hint(
            N_("4-bit weights leave more memory: {nf4}.", nf4=write_setting({"model.quantization": "nf4"}))
        )
    return _("Lower data.max_length if the rows allow it, or use a GPU with more memory.")


@dataclass
class _UseSums:
    """Sums over some steps: device time, and operations of the model and of recomputation."""

    use: DeviceUse = field(default_factory=DeviceUse)
    model: float = 0.0
    again: float = 0.0
    passes: int = 0

    def add_step(self, use: DeviceUse, model: float, again: float, passes: int) -> None:
        self.use, self.model, self.again = self.use.join_uses(use), self.model + model, self.again + again
        self.passes = max(self.passes, passes)

    def summarise_use(self, peak: float | None) -> UseSummary:
        work = self.model + self.again
        # Recomputation is no useful work, so it does not count as utilisation.
        mfu = self.model / (self.use.seconds * peak) if peak and self.model else None
        return UseSummary(self.use, mfu, self.again / work if work else 0.0, self.passes)


class BottleneckWatch:
    """Collects measurements until there are enough, and reports each kind of bottleneck once.

    A bottleneck that comes back after another is reported again if its figures have changed.
    """

    def __init__(self, about: Circumstances, tell: Callable[[Bottleneck], None]) -> None:
        self._about, self._tell = about, tell
        self._skipped = 0
        # Steps with and without a share of busy time: one unknown share makes the share of a sum unknown.
        self._known, self._unknown = _UseSums(), _UseSums()
        self._now = ""
        self._told: dict[str, float] = {}

    def feed_step(
        self,
        step: int,
        use: DeviceUse,
        model: float = 0.0,
        again: float = 0.0,
        peak: float | None = None,
        passes: int = 0,
    ) -> None:
        """Take in the measurements of some steps.

        Args:
            step: The last of the steps.
            model: Operations of the model in them; again: of recomputation; peak: the device's, a second.
            passes: The most forward passes that one of them took; 0 if that is not known.
        """
        if self._skipped < WARM_UP:
            self._skipped += use.steps
            return
        sums = self._unknown if use.busy is None else self._known
        sums.add_step(use, model, again, passes)
        # Steps without a known share decide only if there are no others.
        enough = sums is self._known or not self._known.use.steps
        if not enough or sums.use.steps < FEWEST or sums.use.seconds < SECONDS:
            return
        self._known, self._unknown = _UseSums(), _UseSums()
        self._decide_cause(step, sums.summarise_use(peak))

    def _decide_cause(self, step: int, seen: UseSummary) -> None:
        what = find_bottleneck(seen, self._about)
        busy = seen.use.busy
        if what in ("", "memory") and self._now in ("processor", "data") and (busy is None or busy < HIGH):
            return  # between the two limits: about as before
        if what == self._now:
            return
        figure = seen.twice if what == "memory" else busy or 0.0
        if what and what in self._told and abs(figure - self._told[what]) < MOVED:
            return
        self._now = what
        if what:
            self._told[what] = figure
        self._tell(make_bottleneck_event(what, seen, self._about, step))
