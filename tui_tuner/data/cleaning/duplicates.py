"""Near duplicates: MinHash signatures in a locality-sensitive index (datasketch)."""

from __future__ import annotations

import re
from typing import Any

_PERMUTATIONS = 64
_SHINGLE = 5


class NearDuplicates:
    """Says of each text whether an earlier one is estimated to be at least `threshold` similar.

    Similarity is Jaccard's over word shingles (characters where a text has few words, as in Chinese). One
    signature takes about 2 kB of memory.
    """

    def __init__(self, threshold: float) -> None:
        from datasketch import MinHashLSH

        self.threshold = threshold
        self._index = MinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS)
        self._count = 0
        self._kept: dict[int, Any] = {}

    def seen(self, text: str) -> bool:
        """True if the text is near an earlier one; if not, it is remembered."""
        from datasketch import MinHash

        parts = shingles(text)
        if not parts:
            return False
        signature = MinHash(num_perm=_PERMUTATIONS, seed=1)
        signature.update_batch([part.encode("utf-8", "replace") for part in parts])
        for key in self._index.query(signature):
            if self._kept[key].jaccard(signature) >= self.threshold:
                return True
        self._index.insert(self._count, signature)
        self._kept[self._count] = signature
        self._count += 1
        return False


def shingles(text: str) -> set[str]:
    """Overlapping runs of words, or of characters."""
    words = re.findall(r"\w+", text.lower())
    if len(words) >= 2 * _SHINGLE and sum(map(len, words)) / len(words) < 12:
        units: list[str] = words
        glue = " "
    else:
        units, glue = [char for char in text.lower() if not char.isspace()], ""
    if not units:
        return set()
    return {glue.join(units[i : i + _SHINGLE]) for i in range(max(1, len(units) - _SHINGLE + 1))}
