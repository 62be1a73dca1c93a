"""Learn where an answer begins and ends: the mean of two cross-entropies over the tokens of a window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tui_tuner.compute.forward import ForwardWay, MicroBatch, Rows, model_inputs
from tui_tuner.config.schema import RunConfig
from tui_tuner.objectives.base import EachExample, EachLoss, Judged, Objective, Setup
from tui_tuner.tasks.answering.judging import judge_answers, write_predictions
from tui_tuner.tasks.answering.logits import best_edges, span_logits, span_losses
from tui_tuner.tasks.answering.reading import Reader
from tui_tuner.tasks.answering.threshold import keep_threshold


class SpanObjective(Objective):
    """(cross-entropy of the beginning + that of the end) / 2 for each window, over the number of windows.

    Both are over the tokens of the window itself, wherever it lies: what stands beside it in a flat row, or
    behind it as padding, is no choice. That is the loss of transformers' heads for a window without padding.
    """

    decides = True

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        self._model: Any = None
        self._reader: Reader | None = None

    def prepare(self, setup: Setup) -> None:
        self._model = setup.model
        self._reader = Reader(self.config, setup.tokenizer)
        super().prepare(setup)

    def _share_beginnings(self, setup: Setup) -> None:
        """Windows are compared token by token, so each is laid out whole."""

    # ---- the loss -----------------------------------------------------------------------------------------

    def losses(self, model: Any, micro: MicroBatch, way: ForwardWay) -> Any:
        return span_losses(*span_logits(model, micro, way, model_inputs(model, micro, way)), micro)

    def plain_losses(self, model: Any, micro: MicroBatch, way: ForwardWay) -> Any:
        """One window without positions or mask, as any user would call the model."""
        inputs = model_inputs(model, micro, way)
        inputs = {name: inputs[name] for name in ("input_ids", "token_type_ids") if name in inputs}
        return span_losses(*span_logits(model, micro, way, inputs), micro)

    def weight(self, data: Rows, rows: Sequence[int]) -> float:
        return len(rows)

    # ---- held-out questions -------------------------------------------------------------------------------

    def measure(self, model: Any, micro: MicroBatch) -> dict[str, Any]:
        way = self.judged_way
        starts, ends = span_logits(model, micro, way, model_inputs(model, micro, way))
        losses = span_losses(starts, ends, micro)
        null = micro.columns["null"].long()
        return {
            "loss": losses.double().sum(),
            "each": EachLoss(losses),
            "spans": EachExample(best_edges(starts, ends, null)),
        }

    def judge(self, rows: Rows, sums: Mapping[str, Any], weight: float) -> Judged:
        """Exact match and F1 over all questions; the model's config keeps the threshold."""
        assert self._reader is not None
        answered = self._reader.collect(rows, sums["spans"])  # type: ignore[arg-type]
        judged, threshold = judge_answers(list(answered.values()), self.config.evaluation.null_threshold)
        keep_threshold(self._model, threshold)
        metrics = {"loss": sums["loss"] / weight, **judged.metrics}
        return Judged(metrics, judged.tables, write_predictions(answered, threshold))
