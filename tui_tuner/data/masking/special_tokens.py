"""The special tokens of a tokenizer: those around a text, the mask token, and all that stand for no text."""

from __future__ import annotations

from typing import Any

import numpy as np

_PROBE = "a"


class SpecialTokens:
    """What masked language modelling asks a tokenizer for.

    Attributes:
        ids: int32: all special tokens, rising.
        mask: The id of the mask token; None if there is none.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        added = getattr(tokenizer, "added_tokens_decoder", {})
        special = {int(key) for key, token in added.items() if token.special}
        self.ids = np.array(sorted(special | set(tokenizer.all_special_ids)), dtype=np.int32)
        self.mask: int | None = tokenizer.mask_token_id

    def find_around(self) -> tuple[list[int], list[int]]:
        """Return the ids that the tokenizer puts before a text, and after it."""
        bare = list(self.tokenizer(_PROBE, add_special_tokens=False)["input_ids"])
        whole = list(self.tokenizer(_PROBE)["input_ids"])
        for start in range(len(whole) - len(bare) + 1):
            if whole[start : start + len(bare)] == bare:
                return whole[:start], whole[start + len(bare) :]
        return [], []

    def list_words(self, vocabulary: int | None = None) -> np.ndarray:
        """List the ids that stand for text, int32, rising; those below `vocabulary`, if it is given."""
        known = np.array(sorted(set(self.tokenizer.get_vocab().values())), dtype=np.int32)
        return np.setdiff1d(known if vocabulary is None else known[known < vocabulary], self.ids)
