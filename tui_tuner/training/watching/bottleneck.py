"""What limits the speed of a run's steps on a GPU, told in words, with the settings that help."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tui_tuner.config.advice import advise, fixes_of, setting
from tui_tuner.locales import N_, _
from tui_tuner.runs.events import Bottleneck, advice_of
from tui_tuner.training.watching.busy import Use

LOW, HIGH = 0.6, 0.7  # share of busy time below which it is told, and above which it is over
FEWEST, SECONDS = 5, 3.0  # steps, and seconds of them, that a finding rests on
WARM_UP = 3  # steps that tell nothing: allocator, kernels and page cache are cold
MOVED = 0.1  # share by which the same thing is worth telling again


@dataclass(frozen=True)
class Circumstances:
    """What of a run decides what can be done about its speed.

    Args:
        micro_batch: Sequences of a forward pass.
        compiled: Whether layers are to be compiled; None where nothing can be compiled.
        forced: Checkpointing is on because memory asks for it, and nobody else.
        quantisable: The frozen weights are in 16 bits or more, and could be in 4.
    """

    batch_size: int
    micro_batch: int
    compiled: bool | None = None
    forced: bool = False
    quantisable: bool = False


@dataclass(frozen=True)
class Seen:
    """What was measured over some steps.

    Args:
        twice: Share of the arithmetic that is done a second time, which checkpointing costs.
        passes: The most forward passes that one of them took; 0 where that is not known.
    """

    use: Use
    mfu: float | None = None
    twice: float = 0.0
    passes: int = 0


def find_bottleneck(seen: Seen, about: Circumstances) -> str:
    """`processor` or `data`, whatever the device waits for longer; `memory` where it waits for neither, but
    computes things twice; empty where nothing is known to limit it."""
    use = seen.use
    if use.busy is not None and use.busy < LOW:
        waited = 1 - use.busy
        return "data" if use.seconds and use.data / use.seconds > waited / 2 else "processor"
    if about.forced and seen.twice > 0:
        return "memory"
    return ""


def bottleneck_event(what: str, seen: Seen, about: Circumstances, step: int) -> Bottleneck:
    """What is said about it, with the figures and with what can be done."""
    use = seen.use
    busy = use.busy
    if what == "":
        message = _("The GPU is busy {busy:.0%} of the time again.", busy=busy or 0.0)
        return Bottleneck("", message, "", step, busy, seen.mfu, None)
    if what == "memory":
        waiting: float | None = seen.twice
        message = _(
            "memory: checkpointing on, so {share:.0%} of what the GPU computes is computed a second time.",
            share=seen.twice,
        )
        hint = _memory_hint(about)
    elif what == "data":
        waiting = use.data / use.seconds
        message = _(
            "waiting for data: the GPU is busy {busy:.0%} of the time, and {share:.0%} of it rows are read.",
            busy=busy or 0.0,
            share=waiting,
        )
        hint = _("Keep the prepared rows on a disk of this machine, and leave them in memory if they fit.")
    else:
        waiting = 1 - (busy or 0.0) - (use.data / use.seconds if use.seconds else 0.0)
        message = _(
            "waiting for the processor: the GPU is busy {busy:.0%} of the time. Its steps are small, and "
            "launching them takes longer than computing them.",
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
        advice_of(hint),
        [dict(fix) for fix in fixes_of(hint)],
    )


def _processor_hint(about: Circumstances, passes: int) -> str:
    """Larger passes, or fewer launches; where whole steps are one pass, only larger steps make it larger."""
    if about.micro_batch < about.batch_size and passes != 1:
        larger = setting({"training.micro_batch": min(2 * about.micro_batch, about.batch_size)})
    else:
        larger = setting({"training.batch_size": 2 * about.batch_size})
    if about.compiled is False:
        compiled = setting({"training.compile": True})
        return advise(
            N_(
                "Raise what is computed at once: {larger}; or compile: {compiled}.",
                larger=larger,
                compiled=compiled,
            )
        )
    return advise(N_("Raise what is computed at once: {larger}.", larger=larger))


def _memory_hint(about: Circumstances) -> str:
    """What needs less memory, so that nothing has to be computed twice."""
    if about.micro_batch > 1:
        smaller = setting({"training.micro_batch": max(1, about.micro_batch // 2)})
        return advise(
            N_("With smaller passes it may do without: {smaller}; the result is the same.", smaller=smaller)
        )
    if about.quantisable:
        return advise(
            N_("Weights in 4 bits leave more room: {nf4}.", nf4=setting({"model.quantization": "nf4"}))
        )
    return _("Lower data.max_length if the rows allow it, or take a GPU with more memory.")


@dataclass
class _Sums:
    """What some steps did, and the operations in them: of the model, and of recomputation."""

    use: Use = field(default_factory=Use)
    model: float = 0.0
    again: float = 0.0
    passes: int = 0

    def add(self, use: Use, model: float, again: float, passes: int) -> None:
        self.use, self.model, self.again = self.use.joined(use), self.model + model, self.again + again
        self.passes = max(self.passes, passes)

    def seen(self, peak: float | None) -> Seen:
        work = self.model + self.again
        mfu = self.model / (self.use.seconds * peak) if peak and self.model else None
        return Seen(self.use, mfu, self.again / work if work else 0.0, self.passes)


class BottleneckWatch:
    """Collects what was measured until it is enough to go by, and tells each kind of bottleneck once.

    It is told again where it comes back after another, and the figures are not those that were told.
    """

    def __init__(self, about: Circumstances, tell: Callable[[Bottleneck], None]) -> None:
        self._about, self._tell = about, tell
        self._skipped = 0
        self._known, self._unknown = _Sums(), _Sums()  # steps with and without a share of busy time
        self._now = ""
        self._told: dict[str, float] = {}

    def feed(
        self,
        step: int,
        use: Use,
        model: float = 0.0,
        again: float = 0.0,
        peak: float | None = None,
        passes: int = 0,
    ) -> None:
        """Take in what some steps did.

        Args:
            step: The last of them.
            model: Operations of the model in them; again: of recomputation; peak: the device's, a second.
            passes: The most forward passes that one of them took; 0 where that is not known.
        """
        if self._skipped < WARM_UP:
            self._skipped += use.steps
            return
        sums = self._unknown if use.busy is None else self._known
        sums.add(use, model, again, passes)
        enough = sums is self._known or not self._known.use.steps
        if not enough or sums.use.steps < FEWEST or sums.use.seconds < SECONDS:
            return
        self._known, self._unknown = _Sums(), _Sums()
        self._decide(step, sums.seen(peak))

    def _decide(self, step: int, seen: Seen) -> None:
        what = find_bottleneck(seen, self._about)
        busy = seen.use.busy
        if what in ("", "memory") and self._now in ("processor", "data") and (busy is None or busy < HIGH):
            return  # about as before
        if what == self._now:
            return
        figure = seen.twice if what == "memory" else busy or 0.0
        if what and what in self._told and abs(figure - self._told[what]) < MOVED:
            return
        self._now = what
        if what:
            self._told[what] = figure
        self._tell(bottleneck_event(what, seen, self._about, step))
