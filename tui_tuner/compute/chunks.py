"""Sizes of the chunks of logits, for training and for the memory estimate alike. Imports no torch."""

from __future__ import annotations

CHUNK_BYTES = {"cpu": 32 << 20, "cuda": 256 << 20}  # float32 logits of a chunk
FLOAT32 = 4  # bytes
LEAST_ROWS = 128  # fewer would make a thin, slow matrix product


def count_chunk_rows(vocabulary: int, device: str) -> int:
    """Return how many positions have their logits in memory at once when the loss is computed in chunks.

    Args:
        device: Such as `cpu` or `cuda:1`.
    """
    room = CHUNK_BYTES.get(device.partition(":")[0], CHUNK_BYTES["cuda"])
    return max(LEAST_ROWS, room // (FLOAT32 * vocabulary))
