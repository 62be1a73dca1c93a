"""The objectives of classification and regression: cross-entropy, binary cross-entropy, squared error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from tui_tuner.compute.check_rows import shorten_rows
from tui_tuner.compute.encoders import unwrap_model
from tui_tuner.compute.forward import ForwardWay, MicroBatch, Rows, build_forward_inputs, lay_padded_rows
from tui_tuner.compute.numeric import find_autocast_dtype
from tui_tuner.compute.pooled_heads import Pooled, compute_sequence_logits, find_pooled_states
from tui_tuner.compute.transfer import send_tensor
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.labels.problem import MULTI, REGRESSION
from tui_tuner.data.labels.weights import compute_class_weights
from tui_tuner.locales import _
from tui_tuner.models.evaluation_mode import use_evaluation_mode
from tui_tuner.models.head_classes import list_loaded_classes
from tui_tuner.objectives.objective import EvaluationResult, ExampleValues, Objective, Setup, SingleLosses
from tui_tuner.text import join_first_names, one_line

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

# Tokens of the rows that are used to find which state of a text the head reads
_PROBED = 32

Judge = Callable[[np.ndarray, np.ndarray, Sequence[str]], EvaluationResult]


class ClassObjective(Objective):
    """Mean loss of the examples of the effective batch, weighted by class if the config says so.

    With weights, the loss for a single class is the weighted mean of PyTorch's `CrossEntropyLoss`; for
    several classes at once, each class that applies counts by its weight (`pos_weight`).

    Args:
        judge: Computes metrics and tables from logits [rows, classes], targets and class names.
        base: Class names of the base model's own head.
    """

    decides = True

    def __init__(self, config: RunConfig, judge: Judge, base: Sequence[str] = ()) -> None:
        super().__init__(config)
        self._base = list(base)
        self.problem = config.data.problem
        self.names: list[str] = []
        self.pooled: Pooled = "all"
        self._judge = judge
        self._weights: np.ndarray | None = None

    # ---- the loss -----------------------------------------------------------------------------------------

    def compute_losses(self, model: Module, micro: MicroBatch, way: ForwardWay) -> Tensor:
        with way.open_autocast():
            logits = compute_sequence_logits(model, micro, way, self.pooled)
        return self._example_losses(logits.float(), micro)

    def compute_plain_losses(self, model: Module, micro: MicroBatch, way: ForwardWay) -> Tensor:
        """Compute one text without positions or mask, as users call the model."""
        inputs = build_forward_inputs(model, micro, way)
        inputs.pop("attention_mask", None)
        with way.open_autocast():
            logits = model(**inputs).logits
        return self._example_losses(logits.float(), micro)

    def _example_losses(self, logits: Tensor, micro: MicroBatch) -> Tensor:
        """Return the loss of each example, [examples] float32."""
        target = micro.columns["target"]
        if self.problem == REGRESSION:
            return (logits.squeeze(-1) - target.float()).square()
        weights = send_class_weights(self._weights, logits.device)
        if self.problem == MULTI:
            each = binary_cross_entropy_with_logits(
                logits, target.float(), reduction="none", pos_weight=weights
            )
            # The mean over classes, as in transformers, so that learning rates do not depend on their number.
            return each.mean(-1)
        return cross_entropy(logits, target, weight=weights, reduction="none")

    def count_weight(self, data: Rows, rows: Sequence[int]) -> float:
        if self._weights is None or self.problem == MULTI:
            return len(rows)
        return float(self._weights[read_class_targets(data, rows)].sum())

    # ---- held-out rows ------------------------------------------------------------------------------------

    def measure_batch(self, model: Module, micro: MicroBatch) -> dict[str, Any]:
        way = self.judged_way
        with way.open_autocast():
            logits = compute_sequence_logits(model, micro, way, self.pooled)
        logits = logits.float()
        losses = self._example_losses(logits, micro)
        return {
            "loss": losses.double().sum(),
            "each": SingleLosses(losses),
            "logits": ExampleValues(list(logits.double().cpu().unbind(0))),
        }

    def judge_evaluation(self, rows: Rows, sums: Mapping[str, Any], weight: float) -> EvaluationResult:
        found = self._judge(np.stack(sums["logits"]), read_class_targets(rows), self.names)
        return EvaluationResult({**self.summarise_sums(sums, weight), **found.metrics}, found.tables)

    # ---- before training ----------------------------------------------------------------------------------

    def prepare_way(self, setup: Setup) -> None:
        self.names = list_loaded_classes(setup.model)
        asked = setup.config.training.class_weights
        self._weights = compute_class_weights(asked, read_class_targets(setup.rows), self.names, self.problem)
        self._report_targets(setup)
        self.pooled = self._find_pooled(setup)
        super().prepare_way(setup)

    def _report_targets(self, setup: Setup) -> None:
        """Report the classes, what guessing would achieve, and whether the model's head is kept."""
        targets = read_class_targets(setup.rows)
        if self.problem == REGRESSION:
            spread = float(targets.astype(np.float64).var())
            setup.voice.report_log(
                _(
                    "The labels are numbers from {least:g} to {most:g}; always predicting their mean gives "
                    "a loss of {spread:.4g}.",
                    least=float(targets.min()),
                    most=float(targets.max()),
                    spread=spread,
                )
            )
            return
        shown = ", ".join(join_first_names(self.names, 20))
        setup.voice.report_log(_("{count} classes: {names}.", count=len(self.names), names=shown))
        if self.problem != MULTI:
            counts = np.bincount(targets, minlength=len(self.names))
            setup.voice.report_log(
                _(
                    "Always predicting {name} would be right in {share:.1%} of the training rows.",
                    name=one_line(self.names[int(counts.argmax())], 40),
                    share=float(counts.max() / counts.sum()),
                )
            )
        if self._base and [name.casefold() for name in self._base] == [
            name.casefold() for name in self.names
        ]:
            setup.voice.report_log(
                _("The model's own head has these classes: it is trained further and keeps their order.")
            )

    def _may_pack(self, setup: Setup) -> bool:
        known = getattr(unwrap_model(setup.model), "_supports_attention_backend", True)
        if not known:
            setup.voice.report_log(
                _(
                    "This model has its own attention, which reads one text per row: rows are padded, and "
                    "texts of similar length are computed together."
                )
            )
        return bool(known) and super()._may_pack(setup)

    def _find_pooled(self, setup: Setup) -> Pooled:
        """Find which state of a text the model's head reads."""
        batch = setup.batches[0]
        # Rows of different lengths: only padding shows whether a head reads the last state before it.
        order = sorted(batch, key=lambda row: int(setup.rows.lengths[row]))
        short = shorten_rows(setup.rows, [order[0], order[-1]], _PROBED, 0)
        micro = lay_padded_rows(short, [0, 1], setup.pad).to(torch.device(setup.device.torch_name))
        name = find_autocast_dtype(setup.device, setup.config)
        autocast = None if name is None else getattr(torch, name)
        way = ForwardWay(False, False, False, autocast=autocast, device=setup.device.torch_name)
        with use_evaluation_mode(setup.model):
            return find_pooled_states(setup.model, micro, way)

    def _share_beginnings(self, setup: Setup) -> None:
        """Do nothing: the head needs each text's own states, so no prefix is shared."""
        return


def send_class_weights(weights: np.ndarray | None, device: torch.device) -> Tensor | None:
    """Return class weights as float32 on a device; None if all classes count alike."""
    return None if weights is None else send_tensor(torch.from_numpy(weights).float(), device)


def read_class_targets(data: Rows, rows: Sequence[int] | None = None) -> np.ndarray:
    """Return the targets of these examples (all of them if None): see `data.labels.numbering`."""
    columns = getattr(data, "columns", None)
    if columns is not None:
        return np.asarray(columns["target"] if rows is None else columns["target"][list(rows)])
    return np.array([data[row].columns["target"] for row in (range(len(data)) if rows is None else rows)])
