"""Number the words of a text, so that all tokens of a word share a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

# Short words, punctuation, a word of several pieces: shows whether a tokenizer tells words apart by itself
_PROBE = "one two, antidisestablishmentarianism three"


class WordTokenizer:
    """Tokenises texts, with the number of the word that each token is part of.

    Words are those of the tokenizer: what its pre-tokenizer splits, mostly at white space and punctuation.
    Where it splits nothing, as in some unigram models, words are split at white space.

    Attributes:
        knows_words: Whether this tokenizer tells words apart: those of the tokenizers library do.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.knows_words = bool(getattr(tokenizer, "is_fast", False))
        self._by_space = False
        if self.knows_words:
            _ids, numbers = self.tokenise_texts([_PROBE])[0]
            self._by_space = len(set(numbers.tolist())) < len(_PROBE.split())

    def tokenise_texts(self, texts: Sequence[str]) -> list[tuple[Sequence[int], np.ndarray]]:
        """Return (ids, numbers) of each text, without special tokens; numbers rise from 0."""
        if not texts:
            return []
        encodings = self.tokenizer(list(texts), add_special_tokens=False).encodings
        return [
            (encoding.ids, np.cumsum(self._find_starts(encoding, text), dtype=np.int32) - 1)
            for encoding, text in zip(encodings, texts, strict=True)
        ]

    def _find_starts(self, encoding: Any, text: str) -> list[bool]:
        """Return whether a word starts at each token."""
        if self._by_space:
            return _find_spaces(encoding.offsets, text)
        words = encoding.word_ids
        # A token that was added to a tokenizer is part of no word.
        return [word is None or not place or word != words[place - 1] for place, word in enumerate(words)]


def _find_spaces(offsets: Sequence[tuple[int, int]], text: str) -> list[bool]:
    """Return whether each token is the first one, or has white space before it or at its beginning."""
    found, before = [], 0
    for place, (start, end) in enumerate(offsets):
        # Some tokenizers count the space before a word as a part of its first token, some do not.
        found.append(not place or any(one.isspace() for one in text[before : max(start + 1, before)]))
        before = end
    return found
