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
from typing import Any

from tui_tuner.compute import attention, prefix_cache, shared_check, shared_prefix
from tui_tuner.compute.forward import (
    ForwardWay,
    MicroBatch,
    MicroSize,
    Rows,
    model_inputs,
)
from tui_tuner.compute.noise import EmbeddingNoise
from tui_tuner.compute.numeric import autocast_name
from tui_tuner.compute.randomness import Randomness, find_randomness
from tui_tuner.compute.rows.laying import Laying, sizes_of_groups
from tui_tuner.compute.rows.sizes import fills_rows
from tui_tuner.compute.self_check import GRADIENT_ROWS, Checker
from tui_tuner.config.schema import RunConfig
from tui_tuner.locales import _
from tui_tuner.methods.prompts import virtual_positions, virtual_tokens
from tui_tuner.models.out_of_memory import free_memory_of, is_out_of_memory
from tui_tuner.objectives.choosing import LONGEST_CHECKED, Chooser, checked_rows
from tui_tuner.objectives.setup import Setup, Voice
from tui_tuner.text import human_bytes, one_line


@dataclass(frozen=True)
class EachExample:
    """Values of a micro-batch that are kept for each example, and not added up.

    Args:
        values: One tensor for each example, in the order of the micro-batch; of any shapes.
    """

    values: Sequence[Any]


@dataclass(frozen=True)
class EachLoss:
    """The losses that a forward pass of held-out rows sums, one by one, so that rows can be told apart.

    Args:
        losses: [K] of each label in reading order, or [examples]; on the device.
    """

    losses: Any


@dataclass(frozen=True)
class RowLoss:
    """What a held-out row came to: the mean loss of its labels, and how many it has."""

    loss: float
    labels: int


@dataclass(frozen=True)
class Table:
    """A table beside the metrics: what the event `EvaluationTable` says."""

    name: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float | None]]


@dataclass(frozen=True)
class Judged:
    """What an evaluation says.

    Args:
        tables: Beside the metrics, for a screen.
        files: Texts by the name of the file in the run's folder that gets them, such as predictions.
        rows: The losses of held-out rows, the same ones in the same order each time; empty where an objective
            has none for a row.
    """

    metrics: dict[str, float]
    tables: Sequence[Table] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    rows: Sequence[RowLoss] = ()


class Objective(ABC):
    """Implement `losses`; the rest has defaults that fit a loss which is a sum over labels.

    Attributes:
        packs: Whether examples may lie side by side in one row of the model.
        decides: Whether an answer is one of a few choices: held-out rows are then judged and shown in
            `judged_way`.
    """

    packs = True
    decides = False

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.way = ForwardWay(packing=False, compact=False, segments=False)
        self.exact = True
        self.laying = Laying()
        self.randomness = Randomness(False, 0)
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
        return self.laying.groups(self.way, data, rows, size)

    def lay(
        self, data: Rows, rows: Sequence[int], training: bool = True, sizes: Sequence[int] = ()
    ) -> MicroBatch:
        """A forward pass of these examples, in a row of one of these lengths where rows are filled up."""
        return self.laying.lay(self.way, data, rows, training, sizes)

    def batches(self, data: Rows, rows: Sequence[int], size: MicroSize) -> list[MicroBatch]:
        """The forward passes of an optimizer step."""
        sizes = self.laying.sizes_of_steps(size.tokens) if self.way.filled else ()
        return [self.lay(data, group, sizes=sizes) for group in self.groups(data, rows, size)]

    def held_out(
        self, data: Rows, groups: Sequence[Sequence[int]], size: MicroSize
    ) -> Callable[[Sequence[int]], MicroBatch]:
        """Lays each of these groups into a forward pass of an evaluation."""
        sizes = sizes_of_groups(data, groups, size) if self.way.filled else ()
        return lambda rows: self.lay(data, rows, training=False, sizes=sizes)

    @contextlib.contextmanager
    def around(self, micro: MicroBatch) -> Iterator[None]:
        """Wraps forward and backward of a training micro-batch."""
        if self._noise is not None:
            self._noise.micro = micro
        with contextlib.nullcontext() if self._states is None else self._states.reading(micro):
            yield

    def showing(self) -> contextlib.AbstractContextManager[Any]:
        """The numeric context in which the model shows what it makes of held-out rows."""
        return (self.judged_way if self.decides else self.way).computing()

    # ---- held-out rows ------------------------------------------------------------------------------------

    @property
    def judged_way(self) -> ForwardWay:
        """How held-out rows are computed where an answer is one of a few choices.

        On a processor without autocast, as whoever loads the model computes them: 16 bits change scores that
        are close, and then the figures of a run are not those that its saved model gives. A GPU's attention
        in flat rows knows 16 bits alone.
        """
        return replace(self.way, autocast=None) if self.way.device == "cpu" else self.way

    def measure(self, model: Any, micro: MicroBatch) -> dict[str, Any]:
        """Figures of a micro-batch of held-out rows, tensors that add up over micro-batches.

        Beside them an `EachLoss`, from which the rows' own losses come, and what is kept for each example.
        """
        losses = self.losses(model, micro, self.way)
        return {"loss": losses.double().sum(), "each": EachLoss(losses)}

    def judge(self, rows: Rows, sums: Mapping[str, Any], weight: float) -> Judged:
        """What an evaluation on these held-out rows says; `summarise` is enough for what adds up.

        Args:
            sums: As for `summarise`; for each `EachExample`, a list with a numpy array for each row.
        """
        return Judged(self.summarise(sums, weight))

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
        self.laying = Laying(setup.pad, setup.config.data.max_length, setup.usual)
        self.randomness = find_randomness(setup.model)
        if self.randomness.problem:
            setup.voice.log(
                _(
                    "Whether training draws random numbers could not be found out ({why}), so it counts as "
                    "if it did.",
                    why=one_line(self.randomness.problem, 200),
                )
            )
        chooser = Chooser(setup, self.losses, self.plain_losses)
        checked = chooser.choose(self.wanted_way(setup))
        self._checker = chooser.checker
        self.way, self.exact = checked.way, checked.exact
        if self.way.router and self.way.packing and not self.way.segments:
            self.way = replace(self.way, filled=False)  # the router's loss would count the filler
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
                    "The fast way to compute the loss is not taken for this model ({problem}), but a plainer "
                    "one: packing {packing}, trained positions only {compact}.",
                    problem=one_line(checked.problem, 200),
                    packing=self.way.packing,
                    compact=self.way.compact,
                ),
                _("The loss is right, and training is slower."),
            )
        if setup.config.training.neftune_alpha:
            self._noise = EmbeddingNoise(setup.model, setup.config.training.neftune_alpha)
        self._share_beginnings(setup)
        self._tell_of_filler(setup)

    @property
    def random(self) -> bool:
        """Whether training draws random numbers, so that a batch in other parts draws others."""
        return self.randomness.anything or self._noise is not None

    def wanted_way(self, setup: Setup) -> ForwardWay:
        """The fastest way, or that of the run that is resumed, so that it continues with the same numbers."""
        import torch

        config = setup.config
        name = autocast_name(setup.device, config)
        packing = self.packs and config.data.packing is not False and self._may_pack(setup)
        wanted = ForwardWay(
            packing=packing,
            compact=config.training.loss != "full_logits",
            segments=packing
            and attention.replaces(config.model.attention, setup.device, attention.caps_scores(setup.model)),
            autocast=None if name is None else getattr(torch, name),
            device=setup.device.place,
            virtual=virtual_positions(setup.model),
            filled=fills_rows(setup.device),
        )
        if len(setup.state) in (3, 4):  # without the fourth, rows were not filled up
            packing, compact, segments, filled = (*setup.state, False)[:4]
            wanted = replace(
                wanted,
                packing=packing,
                compact=compact,
                segments=segments,
                filled=wanted.filled and filled,
            )
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
        if not self.way.segments or self.random or self.way.router:
            return
        share = shared_prefix.saving(setup.rows, setup.batches)
        if share < shared_prefix.LEAST_SAVING:
            return
        assert self._checker is not None
        try:
            problem = shared_check.check_shared(self._checker, self.way)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            free_memory_of(error)
            problem = _("memory ran out while it was tried")
        if problem:
            why = one_line(problem, 200)
            setup.voice.log(
                _(
                    "Many sequences share a prefix, but it is not computed once for this model ({why}).",
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
        self.laying.share(share)

    def _tell_of_filler(self, setup: Setup) -> None:
        """Say what rows of few lengths cost, where they are flat."""
        if not (self.way.filled and self.way.packing):
            return
        sizes, share = self.laying.expected(setup.tokens)
        if share is None:
            return
        setup.voice.log(
            _(
                "Rows have one of {count} lengths, so that the GPU sees few shapes: about {share:.1%} of "
                "what is computed is filler, which no figure counts.",
                count=len(sizes),
                share=share,
            )
        )

    def store_states(self, setup: Setup, folder: Path, check: Callable[[], None]) -> None:
        """Store what enters the first trained layer for all epochs, where that can be done.

        Args:
            folder: The run's.
            check: Called between rows; raises where the run shall stop.
        """
        if self._noise is not None or self._checker is None or self.way.router:
            return  # the router's loss needs all layers

        def progress(done: int, total: int) -> None:
            note = _("hidden states below the first trained layer")
            setup.voice.phase("loading", done, total, note, "rows")
            check()

        try:
            self._states, problem = prefix_cache.make(
                setup.model,
                setup.rows,
                self.way,
                self._checker.device,
                folder,
                checked_rows(setup.batches[0], setup.rows.lengths, LONGEST_CHECKED)[:GRADIENT_ROWS],
                progress,
                self.losses,
                self.randomness.quiet,
                float32=not self._checker.unsure,
            )
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            free_memory_of(error)
            setup.voice.warn(
                "states_not_stored",
                _(
                    "Memory ran out while hidden states below the first trained layer were stored: those "
                    "layers are computed in each epoch."
                ),
                _("The loss is the same, and training is slower."),
            )
            return
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

    @property
    def stored_layers(self) -> int:
        """How many layers, from below, `store_states` has computed before the steps."""
        return 0 if self._states is None else self._states.frozen

    def state(self) -> list[bool]:
        """How this run computes, for the run that resumes it: packing, compact, segments; filled if it is."""
        return [self.way.packing, self.way.compact, self.way.segments, *[True] * self.way.filled]


__all__ = ["MicroBatch", "Objective", "Setup", "Voice", "model_inputs"]
