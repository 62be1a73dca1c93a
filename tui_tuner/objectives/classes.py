"""The class of a text, several classes, or a number: cross-entropy, binary cross-entropy, squared error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from tui_tuner.compute.check_rows import shorten
from tui_tuner.compute.encoders import plain_model
from tui_tuner.compute.forward import ForwardWay, MicroBatch, Rows, lay_padded, model_inputs
from tui_tuner.compute.numeric import autocast_name
from tui_tuner.compute.pooled import Pooled, find_pooled, sequence_logits
from tui_tuner.compute.transfer import send
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.labels.problem import MULTI, REGRESSION
from tui_tuner.data.labels.weights import class_weights
from tui_tuner.locales import _
from tui_tuner.models.evaluating import evaluating
from tui_tuner.models.heads import class_names
from tui_tuner.objectives.base import EachExample, EachLoss, Judged, Objective, Setup
from tui_tuner.text import one_line, some_of

_PROBED = 32  # tokens of the rows that tell which state of a text the head reads

Judge = Callable[[np.ndarray, np.ndarray, Sequence[str]], Judged]


class ClassObjective(Objective):
    """Mean loss of the examples of the effective batch; weighed by class where the config says so.

    With weights, the loss of one class of several is the weighted mean, as of PyTorch's `CrossEntropyLoss`;
    of several classes at once, a class that applies counts by its weight (`pos_weight`).

    Args:
        judge: Metrics and tables from logits [rows, classes], targets and the names of the classes.
        base: Names of the classes of the base model's own head.
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

    def losses(self, model: Any, micro: MicroBatch, way: ForwardWay) -> Any:
        with way.computing():
            logits = sequence_logits(model, micro, way, self.pooled)
        return self._losses(logits.float(), micro)

    def plain_losses(self, model: Any, micro: MicroBatch, way: ForwardWay) -> Any:
        """One text without positions or mask, as any user would call the model."""
        inputs = model_inputs(model, micro, way)
        inputs.pop("attention_mask", None)
        with way.computing():
            logits = model(**inputs).logits
        return self._losses(logits.float(), micro)

    def _losses(self, logits: Any, micro: MicroBatch) -> Any:
        """The loss of each example, [examples] float32."""
        target = micro.columns["target"]
        if self.problem == REGRESSION:
            return (logits.squeeze(-1) - target.float()).square()
        weights = send_weights(self._weights, logits.device)
        if self.problem == MULTI:
            each = binary_cross_entropy_with_logits(
                logits, target.float(), reduction="none", pos_weight=weights
            )
            return each.mean(-1)
        return cross_entropy(logits, target, weight=weights, reduction="none")

    def weight(self, data: Rows, rows: Sequence[int]) -> float:
        if self._weights is None or self.problem == MULTI:
            return len(rows)
        return float(self._weights[targets_of(data, rows)].sum())

    # ---- held-out rows ------------------------------------------------------------------------------------

    def measure(self, model: Any, micro: MicroBatch) -> dict[str, Any]:
        way = self.judged_way
        with way.computing():
            logits = sequence_logits(model, micro, way, self.pooled)
        logits = logits.float()
        losses = self._losses(logits, micro)
        return {
            "loss": losses.double().sum(),
            "each": EachLoss(losses),
            "logits": EachExample(list(logits.double().cpu().unbind(0))),
        }

    def judge(self, rows: Rows, sums: Mapping[str, Any], weight: float) -> Judged:
        found = self._judge(np.stack(sums["logits"]), targets_of(rows), self.names)
        return Judged({**self.summarise(sums, weight), **found.metrics}, found.tables)

    # ---- before training ----------------------------------------------------------------------------------

    def prepare(self, setup: Setup) -> None:
        self.names = class_names(setup.model)
        asked = setup.config.training.class_weights
        self._weights = class_weights(asked, targets_of(setup.rows), self.names, self.problem)
        self._say_what_is_learnt(setup)
        self.pooled = self._find_pooled(setup)
        super().prepare(setup)

    def _say_what_is_learnt(self, setup: Setup) -> None:
        """The classes, what guessing would give, and whether the model's own head is trained on."""
        targets = targets_of(setup.rows)
        if self.problem == REGRESSION:
            spread = float(targets.astype(np.float64).var())
            setup.voice.log(
                _(
                    "The labels are numbers from {least:g} to {most:g}; always saying their mean gives a "
                    "loss of {spread:.4g}.",
                    least=float(targets.min()),
                    most=float(targets.max()),
                    spread=spread,
                )
            )
            return
        shown = ", ".join(some_of(self.names, 20))
        setup.voice.log(_("{count} classes: {names}.", count=len(self.names), names=shown))
        if self.problem != MULTI:
            counts = np.bincount(targets, minlength=len(self.names))
            setup.voice.log(
                _(
                    "Always saying {name} would be right in {share:.1%} of the training rows.",
                    name=one_line(self.names[int(counts.argmax())], 40),
                    share=float(counts.max() / counts.sum()),
                )
            )
        if self._base and [name.casefold() for name in self._base] == [
            name.casefold() for name in self.names
        ]:
            setup.voice.log(
                _("The model's own head tells these classes apart: it is trained on, and keeps their order.")
            )

    def _may_pack(self, setup: Setup) -> bool:
        known = getattr(plain_model(setup.model), "_supports_attention_backend", True)
        if not known:
            setup.voice.log(
                _(
                    "The attention of this model is its own and reads one text a row: rows are padded, and "
                    "texts of similar length go together."
                )
            )
        return bool(known) and super()._may_pack(setup)

    def _find_pooled(self, setup: Setup) -> Pooled:
        """Which state of a text the model's head reads."""
        batch = setup.batches[0]
        order = sorted(batch, key=lambda row: int(setup.rows.lengths[row]))
        short = shorten(setup.rows, [order[0], order[-1]], _PROBED, 0)
        micro = lay_padded(short, [0, 1], setup.pad).to(torch.device(setup.device.place))
        name = autocast_name(setup.device, setup.config)
        autocast = None if name is None else getattr(torch, name)
        way = ForwardWay(False, False, False, autocast=autocast, device=setup.device.place)
        with evaluating(setup.model):
            return find_pooled(setup.model, micro, way)

    def _share_beginnings(self, setup: Setup) -> None:
        """The head needs each text's own states, so none are shared."""
        return


def send_weights(weights: np.ndarray | None, device: Any) -> Any:
    """Weights of classes as float32 on a device; None where all count alike."""
    return None if weights is None else send(torch.from_numpy(weights).float(), device)


def targets_of(data: Rows, rows: Sequence[int] | None = None) -> np.ndarray:
    """What these examples (all of them if None) are to be taken for: see `data.labels.numbering`."""
    columns = getattr(data, "columns", None)
    if columns is not None:
        return np.asarray(columns["target"] if rows is None else columns["target"][list(rows)])
    return np.array([data[row].columns["target"] for row in (range(len(data)) if rows is None else rows)])
