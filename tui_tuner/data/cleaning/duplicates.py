"""Find near duplicates with MinHash signatures in a locality-sensitive index (datasketch)."""

from __future__ import annotations

import re
from typing import Any

_PERMUTATIONS = 64
_SHINGLE = 5


class NearDuplicateFinder:
    """Finds texts that are similar to an earlier one, by an estimate of at least `threshold`.

    Similarity is Jaccard's over word shingles (of characters if a text has few words, as in Chinese). Each
    signature takes about 2 kB of memory.
    """

    def __init__(self, threshold: float) -> None:
        from datasketch import MinHashLSH

        self.threshold = threshold
        self._index = MinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS)
        self._count = 0
        self._kept: dict[int, Any] = {}

    def is_near_duplicate(self, text: str) -> bool:
        """Return whether the text is similar to an earlier one; if not, remember it."""
        from datasketch import MinHash

        parts = split_shingles(text)
        if not parts:
            return False
        # A fixed seed: the same data must give the same rows in every run.
        signature = MinHash(num_perm=_PERMUTATIONS, seed=1)
        signature.update_batch([part.encode("utf-8", "replace") for part in parts])
        for key in self._index.query(signature):
            # The index finds candidates only, among them some below the threshold.
            if self._kept[key].jaccard(signature) >= self.threshold:
                return True
        self._index.insert(self._count, signature)
        self._kept[self._count] = signature
        self._count += 1
        return False


def split_shingles(text: str) -> set[str]:
    """Split a text into overlapping runs of words, or of characters."""
    words = re.findall(r"\w+", text.lower())
    # Few words, or very long ones: the language does not separate words with blanks.
    if len(words) >= 2 * _SHINGLE and sum(map(len, words)) / len(words) < 12:
        units: list[str] = words
        glue = " "
    else:
        units, glue = [char for char in text.lower() if not char.isspace()], ""
    if not units:
        return set()
    return {glue.join(units[i : i + _SHINGLE]) for i in range(max(1, len(units) - _SHINGLE + 1))}
