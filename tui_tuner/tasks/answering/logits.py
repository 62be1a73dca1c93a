"""Compute logits for the beginnings and ends of answers, their losses, and the best candidates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from tui_tuner.compute.forward import ForwardWay, MicroBatch
from tui_tuner.compute.transfer import send_numbers
from tui_tuner.data.records import IGNORE
from tui_tuner.evaluation.answer_spans import N_BEST
from tui_tuner.methods.attached import find_model_method


def compute_span_logits(
    model: Any, micro: MicroBatch, way: ForwardWay, inputs: Mapping[str, Any]
) -> tuple[Any, Any]:
    """Return logits of beginnings and ends, each [examples, longest] float32; -inf after an example's end."""
    with way.open_autocast():
        # peft's wrapper for this task drops token types and positions, so the model inside it is called.
        found = find_model_method(model).unwrap_model(model)(**inputs)
    return tuple(  # type: ignore[return-value]
        _split_examples(logits[:, way.virtual :].float(), micro)
        for logits in (found.start_logits, found.end_logits)
    )


def _split_examples(logits: Any, micro: MicroBatch) -> Any:
    # Without position ids, each example is a padded row; otherwise all are in one flat row.
    if micro.position_ids is None:
        return logits.masked_fill(micro.attention_mask == 0, -torch.inf)
    parts = logits[0, : micro.example_tokens].split(micro.lengths)
    return pad_sequence(parts, batch_first=True, padding_value=-torch.inf)


def compute_span_losses(starts: Any, ends: Any, micro: MicroBatch) -> Any:
    """Return the loss of each example, [examples] float32."""
    lengths = send_numbers(micro.lengths, starts.device)

    def edge_loss(logits: Any, column: str) -> Any:
        places = micro.columns[column].long()
        # Only examples that were shortened for a check lack the position.
        places = torch.where(places < lengths, places, IGNORE)
        return cross_entropy(logits, places, ignore_index=IGNORE, reduction="none")

    return (edge_loss(starts, "start") + edge_loss(ends, "end")) / 2


def find_best_edges(starts: Any, ends: Any, null: Any) -> list[Any]:
    """Return [4, k + 1] float64 on the CPU for each example: positions and logits of the best edges.

    Rows are begin positions, begin logits, end positions, end logits. The last column is that of the null
    position, with the sum of its two logits.
    """
    # Only the best edges leave the device: those of all tokens of all windows would fill the memory.
    most = min(N_BEST, starts.shape[1])
    begin, end = starts.topk(most), ends.topk(most)
    at = null[:, None]
    # Added in float32 like the scores of answers, with which it is compared.
    score = starts.gather(1, at) + ends.gather(1, at)
    best = torch.stack(
        [begin.indices.double(), begin.values.double(), end.indices.double(), end.values.double()], dim=1
    )
    last = torch.stack([at.double(), score.double(), at.double(), score.double()], dim=1)
    return list(torch.cat([best, last], dim=2).cpu())
