"""A tag for each word: the cross-entropy of each labelled position, judged by entities over whole rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from tui_tuner.compute.forward import ForwardWay, MicroBatch, Rows, model_inputs
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.labels.problem import SINGLE
from tui_tuner.data.labels.weights import class_weights
from tui_tuner.data.records import IGNORE
from tui_tuner.models.heads import class_names
from tui_tuner.objectives.base import EachExample, EachLoss, Judged, Objective, Setup
from tui_tuner.objectives.classes import send_weights

FOUND = "tags found"
Judge = Callable[[Sequence[Sequence[str]], Sequence[Sequence[str]]], Judged]


class TagObjective(Objective):
    """Sum of the cross-entropies of all labelled words, over their number in the effective batch.

    With weights of classes it is the weighted mean of PyTorch's `CrossEntropyLoss`: each word counts by the
    weight of its tag, above and below the line.

    Args:
        judge: Metrics and tables from the tags of whole rows: those that are right, and those found.

    Attributes:
        names: The tag of each class.
    """

    decides = True

    def __init__(self, config: RunConfig, judge: Judge) -> None:
        super().__init__(config)
        self._judge = judge
        self.names: list[str] = []
        self._weights: np.ndarray | None = None

    def prepare(self, setup: Setup) -> None:
        self.names = class_names(setup.model)
        asked = setup.config.training.class_weights
        if asked != "none":
            labels = [labels_in(setup.rows, row) for row in range(len(setup.rows))]
            self._weights = class_weights(asked, np.concatenate(labels), self.names, SINGLE)
        super().prepare(setup)

    def _logits(self, model: Any, micro: MicroBatch, way: ForwardWay) -> Any:
        """[K, classes] float32: the logits at the positions with a label, in reading order."""
        with way.computing():
            logits = model(**model_inputs(model, micro, way)).logits
        logits = logits[:, -micro.input_ids.shape[1] :]  # behind virtual tokens
        if micro.places is not None:
            return logits.flatten(0, 1)[micro.places].float()
        return logits[micro.keep].float()

    def losses(self, model: Any, micro: MicroBatch, way: ForwardWay) -> Any:
        return self._losses(self._logits(model, micro, way), micro)

    def _losses(self, logits: Any, micro: MicroBatch) -> Any:
        weights = send_weights(self._weights, logits.device)
        return cross_entropy(logits, micro.targets, weight=weights, reduction="none")

    def weight(self, data: Rows, rows: Sequence[int]) -> float:
        if self._weights is None:
            return super().weight(data, rows)
        return float(sum(self._weights[labels_in(data, row)].sum() for row in rows))

    def measure(self, model: Any, micro: MicroBatch) -> dict[str, Any]:
        logits = self._logits(model, micro, self.judged_way)
        losses = self._losses(logits, micro)
        found = logits.argmax(-1).to(torch.int32).cpu()
        return {
            "loss": losses.double().sum(),
            "each": EachLoss(losses),
            FOUND: EachExample(found.split(labels_of(micro))),
        }

    def judge(self, rows: Rows, sums: Mapping[str, Any], weight: float) -> Judged:
        wanted, found = self._whole_rows(rows, sums[FOUND])
        judged = self._judge(wanted, found)
        return Judged({**self.summarise(sums, weight), **judged.metrics}, judged.tables)

    def _whole_rows(self, rows: Rows, found: Sequence[Any]) -> tuple[list[list[str]], list[list[str]]]:
        """The tags of each row that are right, and those that were found, its windows put together."""
        name, row_of = self.names, getattr(rows, "row", lambda index: index)
        wanted: dict[int, list[str]] = {}
        guessed: dict[int, list[str]] = {}
        for index, guess in enumerate(found):
            if guess is None:  # a window without a word of its own
                continue
            row = row_of(index)
            wanted.setdefault(row, []).extend(name[label] for label in labels_in(rows, index))
            guessed.setdefault(row, []).extend(name[label] for label in guess)
        return list(wanted.values()), list(guessed.values())


def labels_in(data: Rows, row: int) -> np.ndarray:
    """The labels of an example, without the positions that have none."""
    labels = data[row].labels
    return labels[labels != IGNORE]


def labels_of(micro: MicroBatch) -> list[int]:
    """How many labels each example of a forward pass has."""
    keep = micro.keep.cpu()
    if micro.position_ids is None:
        return [int(count) for count in keep.sum(1).tolist()]
    parts = keep[0].split(micro.segments)
    return [int(part.sum()) for part in parts[: len(micro.lengths)]]
