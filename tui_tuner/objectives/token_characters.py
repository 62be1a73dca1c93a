"""Characters that tokens stand for: with them a loss compares across vocabularies."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tui_tuner.models.growing.growth import find_growth
from tui_tuner.models.growing.tokenizer_kinds import BYTE_LETTERS

_CONTINUES = range(0x80, 0xC0)  # bytes that go on with a character in UTF-8


def count_token_characters(tokenizer: Any, rows: int) -> np.ndarray:
    """Count the characters of each token, float64 [rows]: their sum over a text is the length of the text.

    A byte-level token with a part of a character counts one for each that begins in it. Special tokens
    count none.
    """
    found = np.zeros(rows)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    bytes_level = "ByteLevel" in repr(getattr(backend, "pre_tokenizer", None))
    special = set(tokenizer.all_special_ids)
    for piece, number in tokenizer.get_vocab().items():
        if number in special or number >= rows:
            continue
        if bytes_level and all(letter in BYTE_LETTERS for letter in piece):
            found[number] = sum(BYTE_LETTERS[letter] not in _CONTINUES for letter in piece)
        else:
            found[number] = len(piece.removeprefix("##"))
    return found


def has_new_tokens(tokenizer: Any) -> bool:
    """Return whether a run's tokenizer has tokens that its model did not have."""
    return find_growth(tokenizer) is not None


def compute_bits(loss: float, characters: float) -> float:
    """Return the bits per character of a loss that is summed over a text; NaN without characters."""
    return loss / math.log(2) / characters if characters else math.nan
