"""What an objective is: implement this. One module in this folder holds one.

An objective lays examples into forward passes, says what their losses are and how much each example weighs,
and measures held-out rows. The engine above it knows nothing of any loss: it keeps retry, resume, random
states and accumulation. The loss of an optimizer step is the sum of what `loss` returns over all its micro-
batches, divided by `weight` of the whole effective batch, so neither the micro-batch nor the number of
devices changes it.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from tui_tuner.compute import prefix_cache, shared_check, shared_prefix
from tui_tuner.compute.forward import (
    ForwardWay,
    MicroBatch,
    MicroSize,
    Rows,
    lay_flat,
    lay_padded,
    model_inputs,
    pack,
    pad_groups,
)
from tui_tuner.compute.noise import EmbeddingNoise
from tui_tuner.compute.numeric import autocast_name
from tui_tuner.compute.self_check import Checked, Checker, self_check
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.locales import _
from tui_tuner.methods.prompts import virtual_positions, virtual_tokens
from tui_tuner.models.device import Device
from tui_tuner.text import human_bytes, one_line

CHECKED_ROWS = 4
LONGEST_CHECKED = 1024  # tokens
LONGEST_WITH_WINDOW = 4096  # so that a window of usual size is left behind


class Voice(Protocol):
    """What an objective may say into the journal (`training.watching.reporting.Reporter`)."""

    def warn(self, code: str, message: str, hint: str = "") -> None: ...
    def log(self, message: str) -> None: ...
    def phase(self, name: str, done: int = 0, total: int = 0, note: str = "") -> None: ...


@dataclass
class Setup:
    """What an objective is prepared with: one model and the rows it will be trained on.

    Args:
        batches: Row numbers of the first optimizer steps.
        tokens: The most tokens that a micro-batch may have.
        pad: The token id of padding.
        state: What `state` returned in the run that is resumed; empty for a new one.
        free: Gives memory back after it ran out.
    """

    model: Any
    rows: Rows
    batches: Sequence[Sequence[int]]
    config: ResolvedConfig
    device: Device
    pad: int
    tokens: int
    voice: Voice
    state: Sequence[bool] = ()
    free: Callable[[], None] = field(default=lambda: None)


class Objective(ABC):
    """Implement `losses`; the rest has defaults that fit a loss which is a sum over labels.

    Attributes:
        packs: Whether examples may lie side by side in one row of the model.
    """

    packs = True

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.way = ForwardWay(packing=False, compact=False, segments=False)
        self.exact = True
        self.pad = 0
        self._noise: EmbeddingNoise | None = None
        self._states: prefix_cache.PrefixCache | None = None
        self._checker: Checker | None = None

    # ---- the loss -----------------------------------------------------------------------------------------

    @abstractmethod
    def losses(self, model: Any, micro: MicroBatch, way: ForwardWay) -> Any:
        """The loss of each thing learnt, [n] float32, in the order of the examples.

        Args:
            way: How to compute; `compute.forward.model_inputs` says what the model is given.
        """

    def plain_losses(self, model: Any, micro: MicroBatch, way: ForwardWay) -> Any:
        """The same for a single example, in the most plain way: what the fast ways are held against."""
        plain = replace(way, packing=False, compact=False, segments=False, shared=False)
        return self.losses(model, micro, plain)

    def loss(self, model: Any, micro: MicroBatch) -> Any:
        """Sum of the losses of a micro-batch, a float32 scalar on the device."""
        return self.losses(model, micro, self.way).sum()

    def weight(self, data: Rows, rows: Sequence[int]) -> float:
        """What the summed loss of these examples is divided by: their number of labels.

        A micro-batch of weight 0 is not computed.
        """
        return int(data.trained_tokens[list(rows)].sum())

    def begin_step(self) -> None:
        """An optimizer step begins, or begins again after memory ran out in it: forget what was gathered."""
        return

    def metrics(self) -> Mapping[str, Any]:
        """Figures of the optimizer step just computed, scalars on the device, gathered in `loss`.

        They are read together with the step's loss, so they cost no question to the device of their own.
        """
        return {}

    # ---- forward passes -----------------------------------------------------------------------------------

    def groups(self, data: Rows, rows: Sequence[int], size: MicroSize) -> list[list[int]]:
        """Which examples share a forward pass."""
        return (pack if self.way.packing else pad_groups)(rows, data.lengths, size)

    def lay(self, data: Rows, rows: Sequence[int], training: bool = True) -> MicroBatch:
        """A forward pass of these examples."""
        if not self.way.packing:
            return lay_padded(data, rows, self.pad)
        return shared_prefix.lay_shared(data, rows) if training and self.way.shared else lay_flat(data, rows)

    def batches(self, data: Rows, rows: Sequence[int], size: MicroSize) -> list[MicroBatch]:
        """The forward passes of an optimizer step."""
        return [self.lay(data, group) for group in self.groups(data, rows, size)]

    @contextlib.contextmanager
    def around(self, micro: MicroBatch) -> Iterator[None]:
        """Wraps forward and backward of a training micro-batch."""
        if self._noise is not None:
            self._noise.micro = micro
        with contextlib.nullcontext() if self._states is None else self._states.reading(micro):
            yield

    def computing(self) -> contextlib.AbstractContextManager[Any]:
        """The numeric context of any forward pass of this run's model."""
        return self.way.computing()

    # ---- held-out rows ------------------------------------------------------------------------------------

    def measure(self, model: Any, micro: MicroBatch) -> dict[str, Any]:
        """Figures of a micro-batch of held-out rows, tensors that add up over micro-batches."""
        return {"loss": self.losses(model, micro, self.way).double().sum()}

    def summarise(self, sums: Mapping[str, Any], weight: float) -> dict[str, float]:
        """The metrics of an evaluation from what was added up.

        Args:
            sums: On the CPU: a float for each scalar, a nested list for each larger tensor.
            weight: `weight` of all rows.
        """
        return {"loss": sums["loss"] / weight}

    # ---- before and after training ------------------------------------------------------------------------

    def prepare(self, setup: Setup) -> None:
        """Settle on the fastest way that proves exact on rows of the first step, gradients included."""
        model, config = setup.model, setup.config
        self.pad = setup.pad
        longest = LONGEST_WITH_WINDOW if has_window(model) else LONGEST_CHECKED
        rows = checked_rows(setup.batches[0], setup.rows.lengths, longest)
        checked = self._check(setup, rows, self._wanted(setup))
        self.way, self.exact = checked.way, checked.exact
        if checked.unsure:
            setup.voice.log(
                _(
                    "The fast ways to compute the loss were held against plain ones in 16 bits, not in "
                    "float32 ({why}).",
                    why=one_line(checked.unsure, 200),
                )
            )
        if checked.problem:
            setup.voice.warn(
                "self_check",
                _(
                    "The fast way to compute the loss is not exact for this model ({problem}); a plainer "
                    "one is used: packing {packing}, trained positions only {compact}.",
                    problem=one_line(checked.problem, 200),
                    packing=self.way.packing,
                    compact=self.way.compact,
                ),
                _("The loss is right, and training is slower."),
            )
        if config.training.neftune_alpha:
            self._noise = EmbeddingNoise(model, config.training.neftune_alpha)
        self._share_beginnings(setup)

    def _check(self, setup: Setup, rows: list[int], wanted: ForwardWay) -> Checked:
        """`self_check`; where it runs out of memory, with fewer and shorter rows, and last in 16 bits."""
        import torch

        everything, float32 = rows, True
        while True:
            self._checker = Checker(
                setup.model,
                setup.rows,
                rows,
                torch.device(setup.device.place),
                setup.pad,
                self.losses,
                self.plain_losses,
                float32=float32,
            )
            try:
                return self_check(self._checker, wanted)
            except torch.OutOfMemoryError:
                if len(rows) <= 1 and not float32:
                    raise
            setup.free()
            if len(rows) <= 2 and float32:  # one row alone could show nothing of rows side by side
                rows, float32 = everything, False
                continue
            setup.voice.log(
                _(
                    "Memory ran out while the fast ways were tried on {rows} rows; they are tried on "
                    "shorter ones.",
                    rows=len(rows),
                )
            )
            rows = rows[:-1]

    def _wanted(self, setup: Setup) -> ForwardWay:
        """The fastest way, or that of the run that is resumed, so that it continues with the same numbers."""
        import torch

        config = setup.config
        name = autocast_name(setup.device, config)
        packing = self.packs and config.data.packing is not False and self._may_pack(setup)
        wanted = ForwardWay(
            packing=packing,
            compact=config.training.loss != "full_logits",
            segments=packing and config.model.attention in ("auto", "sdpa"),
            autocast=None if name is None else getattr(torch, name),
            device=setup.device.place,
            virtual=virtual_positions(setup.model),
        )
        if len(setup.state) == 3:
            packing, compact, segments = setup.state
            wanted = replace(wanted, packing=packing, compact=compact, segments=segments)
        return wanted

    def _may_pack(self, setup: Setup) -> bool:
        """Whether examples may lie in one row; if not though it was asked for, the journal says why."""
        virtual = virtual_tokens(setup.model)
        if virtual and setup.config.data.packing is True:
            setup.voice.warn(
                "padded_rows",
                _(
                    "{virtual} virtual tokens stand before each row of a batch, so every sequence gets a "
                    "row of its own, padded to the longest: side by side, only the first would have them "
                    "before it.",
                    virtual=virtual,
                ),
                _("The loss is right. Set data.packing to auto or false to silence this."),
            )
        return not virtual

    def _share_beginnings(self, setup: Setup) -> None:
        """Compute common beginnings once, where there are some and it is exact."""
        if not self.way.segments or self._noise is not None or shared_prefix.draws_noise(setup.model):
            return
        share = shared_prefix.saving(setup.rows, setup.batches)
        if share < shared_prefix.LEAST_SAVING:
            return
        assert self._checker is not None
        problem = shared_check.check_shared(self._checker, self.way)
        if problem:
            why = one_line(problem, 200)
            setup.voice.log(
                _(
                    "Many sequences share a prefix, but computing it once is not exact for this model "
                    "({why}).",
                    why=why,
                )
            )
            return
        setup.voice.log(
            _(
                "Many sequences share a prefix: computing it once saves about {share:.0%} of all tokens.",
                share=share,
            )
        )
        self.way = replace(self.way, shared=True)

    def store_states(self, setup: Setup, folder: Path, check: Callable[[], None]) -> None:
        """Store what enters the first trained layer for all epochs, where that can be done.

        Args:
            folder: The run's.
            check: Called between rows; raises where the run shall stop.
        """
        if self._noise is not None or self._checker is None:
            return

        def progress(done: int, total: int) -> None:
            setup.voice.phase("loading", done, total, note=_("hidden states below the first trained layer"))
            check()

        checker = self._checker
        self._states, problem = prefix_cache.make(
            checker.model,
            checker.data,
            self.way,
            checker.device,
            folder,
            checker.rows,
            progress,
            self.losses,
            float32=not checker.unsure,
        )
        if self._states is not None:
            setup.voice.log(
                _(
                    "The {frozen} layers below the first trained one are computed once, not in each epoch: "
                    "their states are in a file of {bytes}, deleted after training.",
                    frozen=self._states.frozen,
                    bytes=human_bytes(self._states.bytes),
                )
            )
        elif problem:
            why = one_line(problem, 200)
            setup.voice.log(
                _("The layers below the first trained one are computed in each epoch: {why}.", why=why)
            )

    def close(self) -> None:
        """Take out what `store_states` put into the model."""
        if self._states is not None:
            self._states.close()
            self._states = None

    def state(self) -> list[bool]:
        """How this run computes, for the run that resumes it: packing, compact, segments."""
        return [self.way.packing, self.way.compact, self.way.segments]


def checked_rows(batch: Sequence[int], lengths: Any, longest: int) -> list[int]:
    """A few short examples of a batch, and its longest one of at most `longest` tokens, shortest first."""
    rows = sorted(batch, key=lambda row: (int(lengths[row]), row))
    short, rest = rows[: CHECKED_ROWS - 1], rows[CHECKED_ROWS - 1 :]
    long = [row for row in rest if lengths[row] <= longest]
    return short + long[-1:]


def has_window(model: Any) -> bool:
    """Whether a model's attention may look back over a part of a sequence only."""
    settings = model.config.get_text_config().to_dict()
    settings.pop("chunk_size_feed_forward", None)
    return any(value for name, value in settings.items() if "window" in name or "chunk" in name)


__all__ = ["MicroBatch", "Objective", "Setup", "Voice", "model_inputs"]
