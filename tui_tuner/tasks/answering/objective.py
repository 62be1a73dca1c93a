"""The objective of finding answers: the mean of two cross-entropies over the tokens of a window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tui_tuner.compute.forward import ForwardWay, MicroBatch, Rows, build_forward_inputs
from tui_tuner.config.schema import RunConfig
from tui_tuner.objectives.objective import EvaluationResult, ExampleValues, Objective, Setup, SingleLosses
from tui_tuner.tasks.answering.answer_judging import judge_answers, write_squad_predictions
from tui_tuner.tasks.answering.answer_reading import AnswerReader
from tui_tuner.tasks.answering.logits import compute_span_logits, compute_span_losses, find_best_edges
from tui_tuner.tasks.answering.threshold import keep_threshold


class SpanObjective(Objective):
    """(cross-entropy of the beginning + that of the end) / 2 for each window, over the number of windows.

    Both run over the tokens of the window itself: neighbours in a flat row and padding are not candidates.
    This is the loss of transformers' heads for a window without padding.
    """

    decides = True

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        self._model: Any = None
        self._reader: AnswerReader | None = None

    def prepare_way(self, setup: Setup) -> None:
        # Evaluations store the threshold in the model's config, which checkpoints save.
        self._model = setup.model
        self._reader = AnswerReader(self.config, setup.tokenizer)
        super().prepare_way(setup)

    def _share_beginnings(self, setup: Setup) -> None:
        """Do nothing: a window's tokens compete with each other, so each window is laid out whole."""

    # ---- the loss -----------------------------------------------------------------------------------------

    def compute_losses(self, model: Any, micro: MicroBatch, way: ForwardWay) -> Any:
        return compute_span_losses(
            *compute_span_logits(model, micro, way, build_forward_inputs(model, micro, way)), micro
        )

    def compute_plain_losses(self, model: Any, micro: MicroBatch, way: ForwardWay) -> Any:
        """Compute the losses of one window without positions or mask, as users call the model."""
        inputs = build_forward_inputs(model, micro, way)
        inputs = {name: inputs[name] for name in ("input_ids", "token_type_ids") if name in inputs}
        return compute_span_losses(*compute_span_logits(model, micro, way, inputs), micro)

    def count_weight(self, data: Rows, rows: Sequence[int]) -> float:
        return len(rows)

    # ---- held-out questions -------------------------------------------------------------------------------

    def measure_batch(self, model: Any, micro: MicroBatch) -> dict[str, Any]:
        way = self.judged_way
        starts, ends = compute_span_logits(model, micro, way, build_forward_inputs(model, micro, way))
        losses = compute_span_losses(starts, ends, micro)
        null = micro.columns["null"].long()
        return {
            "loss": losses.double().sum(),
            "each": SingleLosses(losses),
            "spans": ExampleValues(find_best_edges(starts, ends, null)),
        }

    def judge_evaluation(self, rows: Rows, sums: Mapping[str, Any], weight: float) -> EvaluationResult:
        """Compute exact match and F1 over all questions, and store the threshold in the model's config."""
        assert self._reader is not None
        answered = self._reader.collect_answers(rows, sums["spans"])  # type: ignore[arg-type]
        judged, threshold = judge_answers(list(answered.values()), self.config.evaluation.null_threshold)
        keep_threshold(self._model, threshold)
        metrics = {"loss": sums["loss"] / weight, **judged.metrics}
        return EvaluationResult(metrics, judged.tables, write_squad_predictions(answered, threshold))
