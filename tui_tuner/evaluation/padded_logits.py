"""Compute the logits of many sequences together, with padding if that does not change them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tui_tuner.compute.check_rows import CheckRows
from tui_tuner.compute.forward import ForwardWay, build_forward_inputs, lay_padded_rows
from tui_tuner.methods.attached import count_virtual_positions
from tui_tuner.models.evaluation_mode import use_evaluation_mode

# Largest difference of logits between a sequence alone and one with padding, as a share of the largest logit
_TOLERANCE = {"float32": 1e-4, "float64": 1e-6}
_COARSE = 0.05  # for 16-bit numbers
_CHECKED = "_tui_tuner_padding_is_exact"


def compute_padded_logits(model: Any, rows: CheckRows, pad: int, batch_size: int) -> list[np.ndarray]:
    """Return the logits of each sequence, float64: [classes], or [tokens, classes] if each token has a
    class.

    Some heads read the last position even if it is padding: if padding changes a model's logits, only
    sequences of equal length are computed together.

    Args:
        pad: The id that fills shorter sequences.
    """
    import torch

    found: list[Any] = [None] * len(rows)
    way = ForwardWay(packing=False, compact=False, segments=False, virtual=count_virtual_positions(model))
    order = sorted(range(len(rows)), key=lambda place: -int(rows.lengths[place]))
    with torch.no_grad(), use_evaluation_mode(model):
        for group in _group_rows(model, rows, order, batch_size, way, pad):
            for place, logits in zip(group, _compute_logits(model, rows, group, way, pad), strict=True):
                found[place] = logits
    return found


def _group_rows(
    model: Any, rows: CheckRows, order: list[int], batch_size: int, way: ForwardWay, pad: int
) -> Iterator[list[int]]:
    at = 0
    while at < len(order):
        group = order[at : at + batch_size]
        first, last = group[0], group[-1]
        if rows.lengths[first] != rows.lengths[last] and not _is_exact(model, rows, (first, last), way, pad):
            group = [place for place in group if rows.lengths[place] == rows.lengths[first]]
        yield group
        at += len(group)


def _is_exact(model: Any, rows: CheckRows, pair: Sequence[int], way: ForwardWay, pad: int) -> bool:
    """Return whether padding leaves the logits of a short sequence unchanged; tried once for each model."""
    # Past the module's own attribute access, which would look for parameters and submodules.
    known = model.__dict__.get(_CHECKED)
    if known is None:
        beside = _compute_logits(model, rows, pair, way, pad)[1]
        alone = _compute_logits(model, rows, pair[1:], way, pad)[0]
        dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
        most = _TOLERANCE.get(dtype, _COARSE) * max(1.0, float(np.abs(alone).max(initial=0.0)))
        known = bool(np.abs(beside - alone).max(initial=0.0) <= most)
        model.__dict__[_CHECKED] = known
    return bool(known)


def _compute_logits(
    model: Any, rows: CheckRows, group: Sequence[int], way: ForwardWay, pad: int
) -> list[np.ndarray]:
    micro = lay_padded_rows(rows, list(group), pad).to(next(model.parameters()).device)
    logits = model(**build_forward_inputs(model, micro, way)).logits
    if logits.ndim == 3:
        logits = logits[:, way.virtual :]
    values = logits.double().cpu().numpy()
    return [one[:length] if one.ndim == 2 else one for one, length in zip(values, micro.lengths, strict=True)]
