"""The difference of two tensors, coded so that adding it gives the result bit for bit.

The difference is rounded to the type of the result. `base + difference`, added in float32 and rounded, is the
result wherever the difference is smaller than about half of it: then what was rounded away of the difference
is less than half of the result's last digit. Where it is not, the few other numbers are stored beside it, or,
where they are many, which bits of the sum differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

FLOATS = ("F32", "F16", "BF16")
PLACES, VALUES, BITS = ".places", ".values", ".bits"  # ends of the names of corrections
_FEW = 1 / 16  # of all numbers: as many corrections take less room as single ones


class CodedTensor(NamedTuple):
    """A difference (its end is empty) and its corrections, by the ends of their names."""

    parts: dict[str, Tensor]


def code_difference(base: Tensor, result: Tensor) -> CodedTensor:
    """Return what has to be added to `base` to get `result`, of the same shape."""

    difference = (result.float() - base.float()).to(result.dtype)
    sum_ = add_difference(base, difference, result.dtype)
    wrong = (_read_bits(sum_) != _read_bits(result)).reshape(-1)
    count = int(wrong.sum())
    if not count:
        return CodedTensor({"": difference})
    if count > _FEW * wrong.numel():
        return CodedTensor({"": difference, BITS: _read_bits(sum_) ^ _read_bits(result)})
    places = wrong.nonzero().reshape(-1)
    return CodedTensor({"": difference, PLACES: places, VALUES: result.reshape(-1)[places]})


def decode_difference(base: Tensor, parts: dict[str, Tensor]) -> Tensor:
    """Return the result of a base tensor and what `code_difference` returned."""
    difference = parts[""]
    found = add_difference(base, difference, difference.dtype)
    if BITS in parts:
        return (_read_bits(found) ^ parts[BITS]).view(difference.dtype)
    if PLACES in parts:
        found = found.contiguous()
        found.view(-1)[parts[PLACES]] = parts[VALUES]
    return found


def add_difference(base: Tensor, difference: Tensor, dtype: object) -> Tensor:
    """Return the rounded sum, as plain addition of the two tensors gives it."""
    return (base.float() + difference.float()).to(dtype)  # type: ignore[call-overload,no-any-return]


def fit_rows(base: Tensor, rows: int) -> Tensor:
    """Return a matrix with zeros for rows that it does not have, such as those of new tokens."""
    import torch

    more = rows - base.shape[0]
    if more <= 0:
        return base[:rows]
    return torch.cat([base, torch.zeros((more, *base.shape[1:]), dtype=base.dtype)])


def _read_bits(tensor: Tensor) -> Tensor:
    import torch

    kinds = {4: torch.int32, 2: torch.int16}
    return tensor.contiguous().view(kinds[tensor.element_size()])
