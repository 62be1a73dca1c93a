"""Logits of where answers begin and end, by example: their losses, and the best of them."""

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
from tui_tuner.methods.prompts import virtual_tokens


def span_logits(model: Any, micro: MicroBatch, way: ForwardWay, inputs: Mapping[str, Any]) -> tuple[Any, Any]:
    """Logits of beginnings and ends, each [examples, longest] float32; -inf behind the end of an example."""
    with way.computing():
        found = _reading(model)(**inputs)
    return tuple(  # type: ignore[return-value]
        _by_example(logits[:, way.virtual :].float(), micro)
        for logits in (found.start_logits, found.end_logits)
    )


def _reading(model: Any) -> Any:
    """The model that is called: an adapter's wrapper in peft drops token types and positions for this task.

    The adapter is in the layers of what it wraps, so nothing else is left out. Virtual tokens come from the
    wrapper, which is called then.
    """
    return model.get_base_model() if hasattr(model, "peft_config") and not virtual_tokens(model) else model


def _by_example(logits: Any, micro: MicroBatch) -> Any:
    if micro.position_ids is None:
        return logits.masked_fill(micro.attention_mask == 0, -torch.inf)
    parts = logits[0, : micro.tokens].split(micro.lengths)
    return pad_sequence(parts, batch_first=True, padding_value=-torch.inf)


def span_losses(starts: Any, ends: Any, micro: MicroBatch) -> Any:
    """The loss of each example, [examples] float32."""
    lengths = send_numbers(micro.lengths, starts.device)

    def loss(logits: Any, column: str) -> Any:
        places = micro.columns[column].long()
        # only examples that were cut short for a check lack the place
        places = torch.where(places < lengths, places, IGNORE)
        return cross_entropy(logits, places, ignore_index=IGNORE, reduction="none")

    return (loss(starts, "start") + loss(ends, "end")) / 2


def best_edges(starts: Any, ends: Any, null: Any) -> list[Any]:
    """For each example [4, k + 1] float64 on the CPU: positions and logits of the best beginnings and ends.

    The last column is the null position's: its two logits added up stand in the second row.
    """
    most = min(N_BEST, starts.shape[1])
    begin, end = starts.topk(most), ends.topk(most)
    at = null[:, None]
    score = starts.gather(1, at) + ends.gather(1, at)  # in float32, as elsewhere
    best = torch.stack(
        [begin.indices.double(), begin.values.double(), end.indices.double(), end.values.double()], dim=1
    )
    last = torch.stack([at.double(), score.double(), at.double(), score.double()], dim=1)
    return list(torch.cat([best, last], dim=2).cpu())
