"""How large a chunk of the logits is, which memory prediction and training read alike. Imports no torch."""

from __future__ import annotations

CHUNK_BYTES = {"cpu": 32 << 20, "cuda": 256 << 20}  # float32 logits of a chunk
FLOAT32 = 4  # bytes
LEAST_ROWS = 128  # fewer make a thin, slow matrix product


def chunk_rows(vocabulary: int, device: str) -> int:
    """Positions whose logits exist at once where this program computes its loss in chunks.

    Args:
        device: Such as `cpu` or `cuda:1`.
    """
    room = CHUNK_BYTES.get(device.partition(":")[0], CHUNK_BYTES["cuda"])
    return max(LEAST_ROWS, room // (FLOAT32 * vocabulary))
