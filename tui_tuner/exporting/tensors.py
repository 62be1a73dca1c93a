"""Tensors of a model that are read one at a time, and the order and types in which they are written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

# Bytes of one number, by the names of types in safetensors headers
WIDTHS = {
    **{"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1},
    **{"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1, "U16": 2, "U32": 4, "U64": 8},
}


@dataclass(frozen=True)
class TensorForm:
    """What a tensor is before it is read.

    Args:
        dtype: Its type as in a safetensors header: `F32`, `BF16`, ...
        shape: Its sizes.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.numbers * WIDTHS[self.dtype]


class TensorReader(Protocol):
    """The tensors of a model by their names in its files. None is in memory before it is read."""

    @property
    def forms(self) -> Mapping[str, TensorForm]:
        """Return names and forms in the order in which reading them costs least."""

    def read_tensor(self, name: str) -> Tensor:
        """Read or compute one tensor, on the processor; the caller may keep it, the reader does not."""


def count_bytes(reader: TensorReader) -> int:
    """Return the bytes of all tensors."""
    return sum(form.bytes for form in reader.forms.values())


def name_safetensors_type(dtype: object) -> str:
    """Return the name of a torch dtype in safetensors headers."""
    import torch

    return {
        torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
        torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
        torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8",
        torch.bool: "BOOL", torch.uint16: "U16", torch.uint32: "U32", torch.uint64: "U64",
    }[dtype]  # type: ignore[index]  # fmt: skip


def find_torch_type(name: str) -> object:
    """Return the torch dtype that a safetensors header names."""
    import torch

    return {
        "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
        "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
        "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
        "BOOL": torch.bool, "U16": torch.uint16, "U32": torch.uint32, "U64": torch.uint64,
    }[name]  # fmt: skip
