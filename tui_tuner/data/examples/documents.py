"""From a document to examples, every token of which is learnt."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tui_tuner.data.chat.encoder import Encoded
from tui_tuner.data.chat.template import adds_bos
from tui_tuner.data.chat.tokens import BatchTokenizer
from tui_tuner.data.records import IGNORE

# Longer documents are tokenised in parts of this size, cut in front of white space.
TEXT_PART = 500_000


class TextEncoder:
    """Encodes documents: BOS where the tokenizer puts one, EOS behind each document, all of it learnt.

    A document longer than `max_length` becomes several sequences; the first token of each has nothing in
    front of it, so it cannot be predicted and is not trained.
    """

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.tokens = BatchTokenizer(tokenizer)
        self.max_length = max_length
        self._front = [tokenizer.bos_token_id] if adds_bos(tokenizer) else []
        eos = getattr(tokenizer, "eos_token_id", None)
        self._back = [eos] if eos is not None else []

    def encode_all(self, texts: Sequence[str]) -> list[list[Encoded]]:
        """The sequences of each document, in order."""
        return self.pieces(self.tokenised(texts))

    def tokenised(self, texts: Sequence[str]) -> list[Sequence[int]]:
        """The first half of `encode_all`, which may run in another thread: the ids of each document."""
        parts = [_parts(text) for text in texts]
        found = iter(self.tokens.ids([part for own in parts for part in own]))
        return [
            next(found) if len(own) == 1 else [i for _unused in own for i in next(found)] for own in parts
        ]

    def pieces(self, documents: Sequence[Sequence[int]]) -> list[list[Encoded]]:
        """The second half: the sequences of each document."""
        return [self._pieces([*self._front, *ids, *self._back]) for ids in documents]

    def _pieces(self, ids: list[int]) -> list[Encoded]:
        whole = np.asarray(ids, dtype=np.int32)
        found = []
        cuts = [*range(0, len(whole), self.max_length), len(whole)]
        if len(cuts) > 2 and cuts[-1] - cuts[-2] == 1:
            cuts[-2] -= 1  # a last piece of one token would have nothing to learn
        for start, end in itertools.pairwise(cuts):
            own = whole[start:end]
            labels = np.append(own[1:], np.int32(IGNORE))
            stops = [end == len(whole)]
            found.append(Encoded(own, labels, answers=[(1, len(own), 0)], stops=stops))
        return found


def _parts(text: str) -> list[str]:
    """A document in parts of about `TEXT_PART` characters; nearly always the document itself."""
    found = []
    start = 0
    while len(text) - start > TEXT_PART:
        end = start + TEXT_PART
        edge = max(text.rfind(space, start + 1, end) for space in "\n \t")
        end = edge if edge > start else end
        found.append(text[start:end])
        start = end
    return [*found, text[start:]]
