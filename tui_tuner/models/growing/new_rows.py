"""Give a model rows for new tokens: each begins as the mean of the pieces that it replaces."""

from __future__ import annotations

from typing import Any

from tui_tuner.errors import ModelError
from tui_tuner.locales import _
from tui_tuner.models.growing.growth import Growth, find_growth
from tui_tuner.models.growing.tokenizer_kinds import FIELD
from tui_tuner.text import one_line

_KEPT = "new_token_rows"  # an attribute of the model: the ids of its new tokens
_MULTIPLES = (128, 64, 32, 16, 8)  # that embeddings with room to spare are padded to


def count_grown_rows(rows: int, tokens: int, needed: int) -> int:
    """Return how many embeddings a model has after it has grown; as many as before where there is room.

    Args:
        rows: Those that it has. tokens: Those of its tokenizer's tokens. needed: Those that new ones need.
    """
    if needed <= rows:
        return rows
    # Embeddings without a token of their own are there for a round number, which makes products quicker.
    step = next((one for one in _MULTIPLES if rows > tokens and rows % one == 0), 1)
    return -(-needed // step) * step


def grow_loaded_model(model: Any, tokenizer: Any) -> Any:
    """Give a model that was just loaded rows for the new tokens of its tokenizer, and return it."""
    growth = find_growth(tokenizer)
    if growth is not None:
        grow_model(model, growth)
    return model


def grow_model(model: Any, growth: Growth) -> None:
    """Give a model rows for new tokens, in place; all other rows stay as they are, bit for bit.

    A new row of the input embeddings, of separate output embeddings and of their biases is the mean, in
    float32, of the rows of the pieces (Hewitt 2021, "Initializing new word embeddings for pretrained language
    models", takes the mean of all rows; Gee et al. 2022, arXiv 2202.01421, that of the pieces).

    Raises:
        ModelError: the model cannot be resized.
    """
    import torch

    rows = int(model.get_input_embeddings().weight.shape[0])
    wanted = count_grown_rows(rows, growth.first, growth.rows)
    if wanted != rows:
        _resize_embeddings(model, wanted)
    tensors = _list_token_tensors(model, wanted)
    with torch.no_grad():
        for tensor in tensors:
            for token in growth.tokens:
                tensor[token.id] = tensor[list(token.pieces)].float().mean(0).to(tensor.dtype)
    setattr(model, _KEPT, tuple(growth.ids))


def find_new_rows(model: Any) -> tuple[int, ...]:
    """Return the ids of the tokens that a model was given rows for; empty for any other model."""
    found: tuple[int, ...] = getattr(model, _KEPT, ())
    return found


def _resize_embeddings(model: Any, rows: int) -> None:
    try:
        model.resize_token_embeddings(rows, mean_resizing=False)
    # Each architecture has its own reasons, in errors of many types
    except Exception as error:
        raise _refuse(one_line(error, 200)) from error
    if int(model.get_input_embeddings().weight.shape[0]) != rows:
        raise _refuse(_("its embeddings stay as they are"))


def _list_token_tensors(model: Any, rows: int) -> list[Any]:
    """Return the tensors with a row for each token: embeddings, and a separate head with its bias."""
    weight = model.get_input_embeddings().weight
    found = [weight.data]
    head = model.get_output_embeddings()
    if head is None:
        return found
    if head.weight.shape[0] != rows or not head.weight.is_floating_point():
        raise _refuse(_("its head has {rows:,} rows of its own", rows=int(head.weight.shape[0])))
    if head.weight.data_ptr() != weight.data_ptr():
        found.append(head.weight.data)
    bias = getattr(head, "bias", None)
    if bias is not None:
        found.append(bias.data)
    return found


def _refuse(why: str) -> ModelError:
    return ModelError(
        _("this model cannot get rows for new tokens: {why}.", why=why),
        where=FIELD,
        field=FIELD,
        hint=_("Leave model.new_tokens empty, or choose another model."),
    )
