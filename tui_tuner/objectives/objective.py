"""The interface of an objective: implement this. Each module in this folder holds one.

An objective lays examples into forward passes, computes their losses and the weight of each example, and
measures held-out rows. The engine above it knows no losses: it handles retry, resume, random states and
accumulation. The loss of an optimizer step is `sum_losses` over all its micro-batches, divided by
`count_weight` of the effective batch, so neither the micro-batch nor the number of devices changes it.

Where labels count differently, that is sum(weight * loss) / sum(weight), on held-out rows too: a row of
weight 2 counts as if it stood twice in its batch, and equal weights change nothing, whatever they are.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_tuner.compute import attention, prefix_cache, shared_check, shared_prefix
from tui_tuner.compute.forward import ForwardWay, MicroBatch, MicroSize, Rows, build_forward_inputs
from tui_tuner.compute.noise import EmbeddingNoise
from tui_tuner.compute.numeric import find_autocast_dtype
from tui_tuner.compute.randomness import Randomness, find_randomness
from tui_tuner.compute.rows.label_weights import list_label_weights
from tui_tuner.compute.rows.row_layout import RowLayout, list_group_sizes
from tui_tuner.compute.rows.row_sizes import fills_rows
from tui_tuner.compute.self_check import GRADIENT_ROWS, Checker
from tui_tuner.config.applying import is_read_by_task
from tui_tuner.config.schema import RunConfig
from tui_tuner.locales import _
from tui_tuner.methods.attached import count_virtual_positions, count_virtual_tokens
from tui_tuner.models.out_of_memory import free_attempt_memory, is_out_of_memory
from tui_tuner.objectives.figures import (
    EvaluationResult,
    ExampleValues,
    ResultTable,
    RowLoss,
    SingleLosses,
)
from tui_tuner.objectives.setup import JournalVoice, Setup, report_filler
from tui_tuner.objectives.way_choosing import LONGEST_CHECKED, WayChooser, choose_checked_rows
from tui_tuner.text import format_bytes, one_line

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


class Objective(ABC):
    """Implement `compute_losses`; the rest has defaults that fit a loss which is a sum over labels.

    Attributes:
        packs: Several examples may be packed into one row of the model.
        decides: An answer is one of a few choices: held-out rows are then judged and shown in `judged_way`.
    """

    packs = True
    decides = False

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.way = ForwardWay(packing=False, compact=False, segments=False)
        self.exact = True
        self.laying = RowLayout()
        self.randomness = Randomness(False, 0)
        self._noise: EmbeddingNoise | None = None
        self._states: prefix_cache.PrefixCache | None = None
        self._checker: Checker | None = None

    # ---- the loss -----------------------------------------------------------------------------------------

    @abstractmethod
    def compute_losses(self, model: Module, micro: MicroBatch, way: ForwardWay) -> Tensor:
        """Return the loss of each target, [n] float32, in the order of the examples, without weights.

        Args:
            way: How to compute; `compute.forward.build_forward_inputs` makes the inputs of the model.
        """

    def compute_plain_losses(self, model: Module, micro: MicroBatch, way: ForwardWay) -> Tensor:
        """Return the losses of a single example, computed plainly: the reference for the fast ways."""
        plain = replace(way, packing=False, compact=False, segments=False, shared=False)
        return self.compute_losses(model, micro, plain)

    def sum_losses(self, model: Module, micro: MicroBatch) -> Tensor:
        """Return the sum of the losses of a micro-batch, a float32 scalar on the device."""
        return micro.weigh_losses(self.compute_losses(model, micro, self.way)).sum()

    def count_weight(self, data: Rows, rows: Sequence[int]) -> float:
        """Return the divisor for the summed loss of these examples: the weights of their labels.

        A micro-batch of weight 0 is not computed.
        """
        return list_label_weights(data, rows).sum().item()  # type: ignore[no-any-return]

    def begin_step(self) -> None:
        """Discard gathered figures, as an optimizer step begins, or begins again after memory ran out."""
        return

    def step_metrics(self) -> Mapping[str, Tensor]:
        """Return figures of the last optimizer step, scalars on the device, gathered in `sum_losses`.

        They are read together with the step's loss, so they need no further synchronisation with the device.
        """
        return {}

    # ---- forward passes -----------------------------------------------------------------------------------

    def read_rows(self, data: Rows, epoch: int | None) -> Rows:
        """Return rows as an epoch reads them; None: as evaluations do. It draws by seed, epoch, row alone."""
        return data

    def group_rows(self, data: Rows, rows: Sequence[int], size: MicroSize) -> list[list[int]]:
        """Group the examples that share a forward pass."""
        return self.laying.group_rows(self.way, data, rows, size)

    def lay_batch(
        self, data: Rows, rows: Sequence[int], training: bool = True, sizes: Sequence[int] = ()
    ) -> MicroBatch:
        """Lay these examples into a forward pass, filled to one of the `sizes` if rows are filled."""
        return self.laying.lay_rows(self.way, data, rows, training, sizes)

    def lay_batches(self, data: Rows, rows: Sequence[int], size: MicroSize) -> list[MicroBatch]:
        """Lay the examples of an optimizer step into forward passes."""
        sizes = self.laying.list_step_sizes(size.tokens) if self.way.filled else ()
        return [self.lay_batch(data, group, sizes=sizes) for group in self.group_rows(data, rows, size)]

    def held_out_layer(
        self, data: Rows, groups: Sequence[Sequence[int]], size: MicroSize
    ) -> Callable[[Sequence[int]], MicroBatch]:
        """Return a function that lays each of these groups into a forward pass of an evaluation."""
        sizes = list_group_sizes(data, groups, size) if self.way.filled else ()
        return lambda rows: self.lay_batch(data, rows, training=False, sizes=sizes)

    @contextlib.contextmanager
    def wrap_pass(self, micro: MicroBatch) -> Iterator[None]:
        """Wrap forward and backward of a training micro-batch."""
        if self._noise is not None:
            self._noise.micro = micro
        with contextlib.nullcontext() if self._states is None else self._states.read_states(micro):
            yield

    def showing_context(self) -> contextlib.AbstractContextManager[Any]:
        """Return the numeric context in which the model shows samples of held-out rows."""
        return (self.judged_way if self.decides else self.way).open_autocast()

    # ---- held-out rows ------------------------------------------------------------------------------------

    @property
    def judged_way(self) -> ForwardWay:
        """Return how held-out rows are computed if an answer is one of a few choices."""
        # On a CPU without autocast, like any program that loads the model: 16 bits swap close scores, and
        # the figures of the run would not be those of its saved model. A GPU needs 16 bits, because its
        # attention for flat rows supports no other type.
        return replace(self.way, autocast=None) if self.way.device == "cpu" else self.way

    def measure_batch(self, model: Module, micro: MicroBatch) -> dict[str, Any]:
        """Return figures of a micro-batch of held-out rows, tensors that add up over micro-batches.

        `SingleLosses` among them give the losses of single rows; `ExampleValues` are kept for each example.
        """
        losses = micro.weigh_losses(self.compute_losses(model, micro, self.way))
        # float64: a float32 sum over a million labels loses the digits in which evaluations differ.
        return {"loss": losses.double().sum(), "each": SingleLosses(losses)}

    def judge_evaluation(self, rows: Rows, sums: Mapping[str, Any], weight: float) -> EvaluationResult:
        """Return the result of an evaluation on these rows; figures that add up need only `summarise_sums`.

        Args:
            sums: As for `summarise_sums`; for each `ExampleValues`, a list with a numpy array for each row.
        """
        return EvaluationResult(self.summarise_sums(sums, weight))

    def summarise_sums(self, sums: Mapping[str, Any], weight: float) -> dict[str, float]:
        """Return the metrics of an evaluation from the summed figures.

        Args:
            sums: On the CPU: a float for each scalar, a nested list for each larger tensor.
            weight: `count_weight` of all rows.
        """
        return {"loss": sums["loss"] / weight}

    # ---- before and after training ------------------------------------------------------------------------

    def prepare_way(self, setup: Setup) -> None:
        """Choose the fastest way that proves exact on rows of the first step, gradients included."""
        self.laying = self.make_layout(setup)
        self.randomness = find_randomness(setup.model)
        if self.randomness.problem:
            setup.voice.report_log(
                _(
                    "Could not determine whether training draws random numbers ({why}), so it is treated "
                    "as if it did.",
                    why=one_line(self.randomness.problem, 200),
                )
            )
        chooser = WayChooser(setup, self.compute_losses, self.compute_plain_losses, self.laying)
        checked = chooser.choose_way(self.wanted_way(setup))
        self._checker = chooser.checker
        self.way, self.exact = checked.way, checked.exact
        # The router's loss would count the filler as tokens.
        if self.way.router and self.way.packing and not self.way.segments:
            self.way = replace(self.way, filled=False)
        if checked.unsure:
            setup.voice.report_log(
                _(
                    "The fast ways to compute the loss were compared with plain ones in 16 bits, not in "
                    "float32 ({why}).",
                    why=one_line(checked.unsure, 200),
                )
            )
        if checked.problem:
            setup.voice.report_warning(
                "self_check",
                _(
                    "The fast way to compute the loss is not used for this model ({problem}), but a plainer "
                    "one: packing {packing}, trained positions only {compact}.",
                    problem=one_line(checked.problem, 200),
                    packing=self.way.packing,
                    compact=self.way.compact,
                ),
                _("The loss is correct, but training is slower."),
            )
        alpha = setup.config.training.neftune_alpha
        if alpha and is_read_by_task(setup.config.task, "training.neftune_alpha"):
            self._noise = EmbeddingNoise(setup.model, alpha)
        self._share_beginnings(setup)
        if self.way.filled and self.way.packing:
            report_filler(setup, *self.laying.expect_filler(setup.tokens))

    def make_layout(self, setup: Setup) -> RowLayout:
        """Return what lays this run's examples into forward passes."""
        return RowLayout(setup.pad, setup.config.data.max_length, setup.usual)

    @property
    def is_random(self) -> bool:
        """Return whether training draws random numbers, so that other micro-batches would draw others."""
        return self.randomness.anything or self._noise is not None

    def wanted_way(self, setup: Setup) -> ForwardWay:
        """Return the fastest way, or that of the run that is resumed, so that its numbers continue."""
        import torch

        config = setup.config
        name = find_autocast_dtype(setup.device, config)
        packing = self.packs and config.data.packing is not False and self._may_pack(setup)
        wanted = ForwardWay(
            packing=packing,
            compact=config.training.loss != "full_logits",
            segments=packing
            and attention.replaces_attention(
                config.model.attention, setup.device, attention.caps_attention_scores(setup.model)
            ),
            autocast=None if name is None else getattr(torch, name),
            device=setup.device.torch_name,
            virtual=count_virtual_positions(setup.model),
            filled=fills_rows(setup.device),
        )
        # Runs of older versions have three values, without `filled`.
        if len(setup.state) in (3, 4):
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
        """Return whether examples may share a row; a warning explains it if packing was requested."""
        virtual = count_virtual_tokens(setup.model)
        if virtual and setup.config.data.packing is True:
            setup.voice.report_warning(
                "padded_rows",
                _(
                    "{virtual} virtual tokens precede each row of a batch, so every sequence gets its own "
                    "row, padded to the longest: with packing, only the first sequence would follow them.",
                    virtual=virtual,
                ),
                _("The loss is correct. Set data.packing to auto or false to silence this warning."),
            )
        return not virtual

    def _share_beginnings(self, setup: Setup) -> None:
        """Compute common prefixes once, if there are enough of them and it is exact."""
        # Sequences that share a prefix would also share its dropout; the router's loss would count it once.
        if not self.way.segments or self.is_random or self.way.router:
            return
        share = shared_prefix.measure_prefix_saving(setup.rows, setup.batches)
        if share < shared_prefix.LEAST_SAVING:
            return
        assert self._checker is not None
        try:
            problem = shared_check.check_shared(self._checker, self.way)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            free_attempt_memory(error)
            problem = _("memory ran out during the check")
        if problem:
            why = one_line(problem, 200)
            setup.voice.report_log(
                _(
                    "Many sequences share a prefix, but it is not computed once for this model ({why}).",
                    why=why,
                )
            )
            return
        setup.voice.report_log(
            _(
                "Many sequences share a prefix: computing it once saves about {share:.0%} of all tokens.",
                share=share,
            )
        )
        self.way = replace(self.way, shared=True)
        self.laying.share_beginnings(share)

    def store_states(self, setup: Setup, folder: Path, check: Callable[[], None]) -> None:
        """Store the inputs of the first trained layer for all epochs, if possible.

        Args:
            folder: The run folder.
            check: Called between rows; raises if the run is to stop.
        """
        # Noise changes the inputs in each epoch, and the router's loss needs all layers.
        if self._noise is not None or self._checker is None or self.way.router:
            return

        def report_progress(done: int, total: int) -> None:
            note = _("hidden states below the first trained layer")
            setup.voice.report_phase("loading", done, total, note, "rows")
            check()

        try:
            self._states, problem = prefix_cache.make_prefix_cache(
                setup.model,
                setup.rows,
                self.way,
                self._checker.device,
                folder,
                choose_checked_rows(setup.batches[0], setup.rows.lengths, LONGEST_CHECKED)[:GRADIENT_ROWS],
                report_progress,
                self.compute_losses,
                self.randomness.quiet,
                float32=not self._checker.unsure,
            )
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            free_attempt_memory(error)
            setup.voice.report_warning(
                "states_not_stored",
                _(
                    "Memory ran out while hidden states below the first trained layer were stored: those "
                    "layers are computed in each epoch."
                ),
                _("The loss is the same, but training is slower."),
            )
            return
        if self._states is not None:
            setup.voice.report_log(
                _(
                    "The {frozen} layers below the first trained one are computed once, not in each epoch: "
                    "their states are in a file of {bytes}, deleted after training.",
                    frozen=self._states.frozen,
                    bytes=format_bytes(self._states.byte_count),
                )
            )
        elif problem:
            why = one_line(problem, 200)
            setup.voice.report_log(
                _("The layers below the first trained one are computed in each epoch: {why}.", why=why)
            )

    def close(self) -> None:
        """Remove the stored states, and the hooks that `store_states` put into the model."""
        if self._states is not None:
            self._states.close()
            self._states = None

    @property
    def stored_layers(self) -> int:
        """Return how many layers, counted from the first, `store_states` has computed in advance."""
        return 0 if self._states is None else self._states.frozen

    def way_state(self) -> list[bool]:
        """Return how this run computes, for resuming: packing, compact, segments, and filled if True."""
        return [self.way.packing, self.way.compact, self.way.segments, *[True] * self.way.filled]


__all__ = [
    "EvaluationResult",
    "ExampleValues",
    "JournalVoice",
    "MicroBatch",
    "Objective",
    "ResultTable",
    "RowLoss",
    "Setup",
    "SingleLosses",
    "build_forward_inputs",
]
