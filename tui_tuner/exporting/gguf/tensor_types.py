"""The number formats of a GGUF file: which word means which, what each tensor gets, and how it is packed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tui_tuner.errors import ModelError
from tui_tuner.locales import _
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from torch import Tensor

_PIECE = 1 << 22  # numbers that are packed at a time, as float32
_LARGEST_F16 = 65504.0


@dataclass(frozen=True)
class FileType:
    """A word for `--quantize`.

    Args:
        word: The word, the name that llama.cpp's tools have for it in small letters.
        bits: Bits of a weight, with its share of the scales.
        direct: Whether the package `gguf` packs it; the others need llama.cpp's `llama-quantize`.
    """

    word: str
    bits: float
    direct: bool = True

    @property
    def bound(self) -> str:
        """Return the key of the bounds of parity (`parity.compare.BOUNDS`)."""
        return {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}.get(self.word, self.word)


FILE_TYPES = {
    one.word: one
    for one in (
        FileType("f32", 32),
        FileType("f16", 16),
        FileType("bf16", 16),
        FileType("q8_0", 8.5),
        FileType("q5_1", 6),
        FileType("q5_0", 5.5),
        FileType("q4_1", 5),
        FileType("q4_0", 4.5),
        FileType("q6_k", 6.56, direct=False),
        FileType("q5_k_m", 5.69, direct=False),
        FileType("q4_k_m", 4.89, direct=False),
        FileType("q3_k_m", 4.0, direct=False),
    )
}
_COARSE = ("q5_1", "q5_0", "q4_1", "q4_0")
_EXACT_ENDS = ("_norm.weight", "ffn_gate_inp.weight", "position_embd.weight", "rope_freqs.weight")
_VOCABULARY = ("token_embd.weight", "output.weight")


def choose_tensor_type(name: str, shape: Sequence[int], word: str) -> Any:
    """Return the number format of one tensor (`gguf.GGMLQuantizationType`).

    What is small and sensitive stays float32, as llama.cpp expects. Rows that do not divide into blocks stay
    float16. Tables of the vocabulary are packed no coarser than q8_0, which costs little and is most of the
    accuracy.
    """
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    if len(shape) < 2 or not name.endswith(".weight") or name.endswith(_EXACT_ENDS):
        return GGMLQuantizationType.F32
    if word in _COARSE and name in _VOCABULARY:
        word = "q8_0"
    kind = GGMLQuantizationType[word.upper()]
    return GGMLQuantizationType.F16 if shape[-1] % GGML_QUANT_SIZES[kind][0] else kind


def count_tensor_bytes(shape: Sequence[int], kind: Any) -> int:
    """Return how many bytes a tensor of this shape [rows, row length] has in a number format."""
    from math import prod

    from gguf import GGML_QUANT_SIZES

    block, size = GGML_QUANT_SIZES[kind]
    return prod(shape) // block * size


def pack_tensor(tensor: Tensor, kind: Any, name: str) -> Any:
    """Return a tensor packed, as a flat array of bytes.

    Raises:
        ModelError: a number does not fit in float16.
    """
    import numpy as np
    from gguf import GGMLQuantizationType, quants

    rows = tensor.reshape(-1, tensor.shape[-1]) if tensor.ndim > 1 else tensor.reshape(1, -1)
    packed = np.empty(count_tensor_bytes(tensor.shape, kind), dtype=np.uint8)
    step, place = max(1, _PIECE // max(1, rows.shape[-1])), 0
    for start in range(0, len(rows), step):
        piece = rows[start : start + step].float().contiguous().numpy()
        if kind == GGMLQuantizationType.F16 and np.abs(piece).max(initial=0) > _LARGEST_F16:
            raise ModelError(
                _("{name} has weights too large for f16.", name=one_line(name)),
                where="--quantize",
                hint=_("Use --quantize bf16."),
            )
        part = quants.quantize(piece, kind).view(np.uint8).reshape(-1)
        packed[place : place + part.size] = part
        place += part.size
    return packed


def find_file_type(word: str) -> Any:
    """Return the number by which a file says how most of its tensors are packed (`gguf.LlamaFileType`)."""
    from gguf import LlamaFileType

    return LlamaFileType["ALL_F32" if word == "f32" else f"MOSTLY_{word.upper()}"]
