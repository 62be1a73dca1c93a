"""Forward passes of models with an encoder and a decoder, whose rows may hold several examples.

Rows of several examples have masks of four dimensions, which transformers uses as they are: a position
attends to those of its own example only, in the encoder, in the decoder and from one to the other. T5 reads
distances between positions, which are the same in such a row; other models get the positions within each
example.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tui_tuner.compute.encoders import unwrap_model
from tui_tuner.compute.forward import ForwardWay, MicroBatch, build_forward_inputs, keep_positions

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_POSITIONS = "embed_positions"  # BART and its relatives


def compute_decoder_logits(model: torch.nn.Module, micro: MicroBatch, way: ForwardWay) -> Tensor:
    """Return the logits of a decoder at the positions with a label, [K, vocabulary]."""
    with _place_examples(model, micro):
        inputs = _build_inputs(model, micro, way) | {"use_cache": False}
        if way.compact:
            with keep_positions(model, micro.keep):
                return model(**inputs).logits
        # Virtual tokens of peft may come before those that the decoder reads.
        return model(**inputs).logits[:, -micro.keep.shape[1] :][micro.keep]


def _build_inputs(model: torch.nn.Module, micro: MicroBatch, way: ForwardWay) -> dict[str, Any]:
    source, decoder = micro.source_parts, micro.decoder_parts
    if source is None or decoder is None:
        return build_forward_inputs(model, micro, way)
    plain = unwrap_model(model)
    dtype = plain.get_input_embeddings().weight.dtype
    inside = decoder[:, None, :, None] == decoder[:, None, None, :]
    # The masks of the encoder and of the decoder's view of it differ, and a model takes one for both.
    states = plain.get_encoder()(
        input_ids=micro.input_ids,
        attention_mask=_add_up(source[:, None, :, None] == source[:, None, None, :], dtype),
    )
    return {
        "encoder_outputs": states,
        "attention_mask": _add_up(decoder[:, None, :, None] == source[:, None, None, :], dtype),
        "decoder_input_ids": micro.decoder_ids,
        "decoder_attention_mask": _add_up(inside.tril(), dtype),
    }


def _add_up(attended: Tensor, dtype: torch.dtype) -> Tensor:
    """Turn a mask into numbers that are added to scores: 0 where a position is attended to."""
    import torch

    hidden = torch.zeros(attended.shape, dtype=dtype, device=attended.device)
    return hidden.masked_fill_(~attended, torch.finfo(dtype).min)


@contextlib.contextmanager
def _place_examples(model: torch.nn.Module, micro: MicroBatch) -> Iterator[None]:
    """Give each position of a row of several examples the embedding of its place within its example."""
    hooks = []
    if micro.source_parts is not None and micro.decoder_parts is not None:
        plain = unwrap_model(model)
        for stack, parts in (
            (plain.get_encoder(), micro.source_parts),
            (plain.get_decoder(), micro.decoder_parts),
        ):
            tables = [part for name, part in stack.named_modules() if name.rpartition(".")[2] == _POSITIONS]
            places = _count_places(parts) if tables else None
            hooks += [table.register_forward_hook(_make_picker(places)) for table in tables]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _count_places(parts: Tensor) -> Tensor:
    """Count positions from 0 within each example of each row, [B, T]."""
    import torch

    places = torch.arange(parts.shape[1], device=parts.device).expand_as(parts)
    begins = torch.ones_like(parts, dtype=torch.bool)
    begins[:, 1:] = parts[:, 1:] != parts[:, :-1]
    return places - torch.where(begins, places, 0).cummax(dim=1).values


def _make_picker(places: Any) -> Any:
    def pick_places(_module: Any, _inputs: Any, found: Tensor) -> Tensor:
        # Tables give [T, D], [1, T, D] or [B, T, D].
        table = found if found.dim() == 3 else found[None]
        table = table.expand(places.shape[0], -1, -1)
        return table.gather(1, places[..., None].expand(-1, -1, table.shape[-1]))

    return pick_places
