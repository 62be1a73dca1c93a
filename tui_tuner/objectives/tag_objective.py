"""The objective of tagging: the cross-entropy of each labelled position, judged by entities of whole rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from tui_tuner.compute.forward import ForwardWay, MicroBatch, Rows, build_forward_inputs
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.labels.problem import SINGLE
from tui_tuner.data.labels.weights import compute_class_weights
from tui_tuner.data.records import IGNORE
from tui_tuner.models.head_classes import list_loaded_classes
from tui_tuner.objectives.class_objective import send_class_weights
from tui_tuner.objectives.objective import EvaluationResult, ExampleValues, Objective, Setup, SingleLosses

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

FOUND = "tags found"
Judge = Callable[[Sequence[Sequence[str]], Sequence[Sequence[str]]], EvaluationResult]


class TagObjective(Objective):
    """Sum of the cross-entropies of all labelled words, over their number in the effective batch.

    With class weights it is the weighted mean of PyTorch's `CrossEntropyLoss`: each word counts by the weight
    of its tag, in the numerator and the denominator.

    Args:
        judge: Computes metrics and tables from the correct and the predicted tags of whole rows.

    Attributes:
        names: The tag of each class.
    """

    decides = True

    def __init__(self, config: RunConfig, judge: Judge) -> None:
        super().__init__(config)
        self._judge = judge
        self.names: list[str] = []
        self._weights: np.ndarray | None = None

    def prepare_way(self, setup: Setup) -> None:
        self.names = list_loaded_classes(setup.model)
        asked = setup.config.training.class_weights
        if asked != "none":
            labels = [read_tag_labels(setup.rows, row) for row in range(len(setup.rows))]
            self._weights = compute_class_weights(asked, np.concatenate(labels), self.names, SINGLE)
        super().prepare_way(setup)

    def _label_logits(self, model: Module, micro: MicroBatch, way: ForwardWay) -> Tensor:
        """Return [K, classes] float32: the logits at labelled positions, in reading order."""
        with way.open_autocast():
            logits = model(**build_forward_inputs(model, micro, way)).logits
        # Virtual tokens come before the text and have no labels.
        logits = logits[:, -micro.input_ids.shape[1] :]
        if micro.places is not None:
            return logits.flatten(0, 1)[micro.places].float()
        return logits[micro.keep].float()

    def compute_losses(self, model: Module, micro: MicroBatch, way: ForwardWay) -> Tensor:
        return self._label_losses(self._label_logits(model, micro, way), micro)

    def _label_losses(self, logits: Tensor, micro: MicroBatch) -> Tensor:
        weights = send_class_weights(self._weights, logits.device)
        return cross_entropy(logits, micro.targets, weight=weights, reduction="none")

    def count_weight(self, data: Rows, rows: Sequence[int]) -> float:
        if self._weights is None:
            return super().count_weight(data, rows)
        return float(sum(self._weights[read_tag_labels(data, row)].sum() for row in rows))

    def measure_batch(self, model: Module, micro: MicroBatch) -> dict[str, Any]:
        logits = self._label_logits(model, micro, self.judged_way)
        losses = self._label_losses(logits, micro)
        found = logits.argmax(-1).to(torch.int32).cpu()
        return {
            "loss": losses.double().sum(),
            "each": SingleLosses(losses),
            FOUND: ExampleValues(found.split(count_tag_labels(micro))),
        }

    def judge_evaluation(self, rows: Rows, sums: Mapping[str, Any], weight: float) -> EvaluationResult:
        wanted, found = self._whole_rows(rows, sums[FOUND])
        judged = self._judge(wanted, found)
        return EvaluationResult({**self.summarise_sums(sums, weight), **judged.metrics}, judged.tables)

    def _whole_rows(self, rows: Rows, found: Sequence[Any]) -> tuple[list[list[str]], list[list[str]]]:
        """Return the correct and the predicted tags of each row, with its windows joined."""
        name, row_of = self.names, getattr(rows, "row_of_example", lambda index: index)
        wanted: dict[int, list[str]] = {}
        guessed: dict[int, list[str]] = {}
        for index, guess in enumerate(found):
            # All words of a window may be labelled in other windows, which leaves it without labels.
            if guess is None:
                continue
            row = row_of(index)
            wanted.setdefault(row, []).extend(name[label] for label in read_tag_labels(rows, index))
            guessed.setdefault(row, []).extend(name[label] for label in guess)
        return list(wanted.values()), list(guessed.values())


def read_tag_labels(data: Rows, row: int) -> np.ndarray:
    """Return the labels of an example, without the positions that have none."""
    labels = data[row].labels
    return labels[labels != IGNORE]


def count_tag_labels(micro: MicroBatch) -> list[int]:
    """Count the labels of each example of a forward pass."""
    keep = micro.keep.cpu()
    if micro.position_ids is None:
        return [int(count) for count in keep.sum(1).tolist()]
    # Segments include a last one for the filler, which has no labels and is dropped.
    parts = keep[0].split(micro.segment_lengths)
    return [int(part.sum()) for part in parts[: len(micro.lengths)]]
