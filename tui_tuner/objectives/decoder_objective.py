"""The objective of models with an encoder and a decoder: the cross-entropy of each token of the target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.nn.functional import cross_entropy

from tui_tuner.compute.forward import ForwardWay, MicroBatch
from tui_tuner.compute.rows.decoder_layout import DecoderLayout, find_shift
from tui_tuner.compute.rows.decoder_rows import compute_decoder_logits
from tui_tuner.compute.rows.row_layout import RowLayout
from tui_tuner.config.schema import RunConfig
from tui_tuner.objectives.objective import Objective, Setup, SingleLosses
from tui_tuner.objectives.row_losses import compute_perplexity

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


class DecoderObjective(Objective):
    """Sum of the cross-entropies of all tokens of the targets, over their number in the effective batch.

    With label smoothing of ε each is (1 - ε) times the loss of its token plus ε times the mean over the
    vocabulary (arXiv 1512.00567), as transformers' Trainer computes it. Held-out rows have the same loss, so
    that both curves compare; their perplexity is that of the tokens alone.
    """

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        self.smoothing = config.training.label_smoothing

    def compute_losses(self, model: Module, micro: MicroBatch, way: ForwardWay) -> Tensor:
        return self._smooth_losses(self._compute_logits(model, micro, way), micro)

    def compute_plain_losses(self, model: Module, micro: MicroBatch, way: ForwardWay) -> Tensor:
        """Compute one example without a mask or a choice of logits, as users call the model."""
        with way.open_autocast():
            logits = model(input_ids=micro.input_ids, decoder_input_ids=micro.decoder_ids).logits
        logits = logits[:, -micro.keep.shape[1] :][micro.keep]
        return self._smooth_losses(logits.float(), micro)

    def _compute_logits(self, model: Module, micro: MicroBatch, way: ForwardWay) -> Tensor:
        with way.open_autocast():
            logits = compute_decoder_logits(model, micro, way)
        return logits.float()

    def _smooth_losses(self, logits: Tensor, micro: MicroBatch) -> Tensor:
        return cross_entropy(logits, micro.targets, reduction="none", label_smoothing=self.smoothing)

    # ---- held-out rows ------------------------------------------------------------------------------------

    def measure_batch(self, model: Module, micro: MicroBatch) -> dict[str, Any]:
        logits = self._compute_logits(model, micro, self.way)
        losses = self._smooth_losses(logits, micro)
        plain = cross_entropy(logits, micro.targets, reduction="none") if self.smoothing else losses
        right = micro.weigh_losses(logits.argmax(-1) == micro.targets)
        losses, plain = micro.weigh_losses(losses), micro.weigh_losses(plain)
        return {
            "loss": losses.double().sum(),
            "plain": plain.double().sum(),
            "right": right.double().sum(),
            "each": SingleLosses(losses),
        }

    def summarise_sums(self, sums: Mapping[str, Any], weight: float) -> dict[str, float]:
        return {
            "loss": sums["loss"] / weight,
            "perplexity": compute_perplexity(sums["plain"] / weight),
            "accuracy": sums["right"] / weight,
        }

    # ---- before training ----------------------------------------------------------------------------------

    def make_layout(self, setup: Setup) -> RowLayout:
        data, rows = setup.config.data, setup.rows
        # A row is never longer than one that holds the longest source and target, for which there is memory.
        targets = rows.trained_tokens
        room = (int((rows.lengths - targets).max()), int(targets.max()))
        return DecoderLayout(setup.pad, (data.max_source, data.max_target), find_shift(setup.model), room)

    def wanted_way(self, setup: Setup) -> ForwardWay:
        # Prompts of peft come before the source, and never change which logits belong to the target.
        wanted = super().wanted_way(setup)
        return replace(wanted, virtual=0, segments=False, filled=wanted.filled and not wanted.packing)

    def store_states(self, setup: Setup, folder: Path, check: Callable[[], None]) -> None:
        """Do nothing: a decoder reads the encoder's last states, so no layer below them can be skipped."""

    def _share_beginnings(self, setup: Setup) -> None:
        """Do nothing: sources are read in both directions, so equal beginnings have other states."""
