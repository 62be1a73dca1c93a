"""Turn a document into examples in which every token is trained."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tui_tuner.data.chat.batch_tokens import BatchTokenizer
from tui_tuner.data.chat.chat_encoder import EncodedExample
from tui_tuner.data.chat.template import adds_bos
from tui_tuner.data.records import IGNORE

# Longer documents are tokenised in parts of this size, cut before white space.
TEXT_PART = 500_000


class TextEncoder:
    """Encodes documents: BOS if the tokenizer puts one, EOS after each document; every token is trained.

    A document longer than `max_length` becomes several sequences; the first token of each has nothing before
    it, so it cannot be predicted and is not trained.
    """

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.tokens = BatchTokenizer(tokenizer)
        self.max_length = max_length
        self._front = [tokenizer.bos_token_id] if adds_bos(tokenizer) else []
        eos = getattr(tokenizer, "eos_token_id", None)
        self._back = [eos] if eos is not None else []

    def encode_all(self, texts: Sequence[str]) -> list[list[EncodedExample]]:
        """Encode documents; returns the sequences of each, in order."""
        return self.cut_documents(self.tokenise_texts(texts))

    def tokenise_texts(self, texts: Sequence[str]) -> list[Sequence[int]]:
        """Tokenise each document: the first half of `encode_all`, which may run in another thread."""
        parts = [split_text(text) for text in texts]
        found = iter(self.tokens.tokenize_ids([part for own in parts for part in own]))
        return [
            next(found) if len(own) == 1 else [i for _unused in own for i in next(found)] for own in parts
        ]

    def cut_documents(self, documents: Sequence[Sequence[int]]) -> list[list[EncodedExample]]:
        """Cut the ids of each document into sequences: the second half of `encode_all`."""
        return [self._cut_document([*self._front, *ids, *self._back]) for ids in documents]

    def _cut_document(self, ids: list[int]) -> list[EncodedExample]:
        whole = np.asarray(ids, dtype=np.int32)
        found = []
        cuts = [*range(0, len(whole), self.max_length), len(whole)]
        if len(cuts) > 2 and cuts[-1] - cuts[-2] == 1:
            # A last piece of one token would have nothing to predict.
            cuts[-2] -= 1
        for start, end in itertools.pairwise(cuts):
            own = whole[start:end]
            labels = np.append(own[1:], np.int32(IGNORE))
            stops = [end == len(whole)]
            found.append(EncodedExample(own, labels, answers=[(1, len(own), 0)], stops=stops))
        return found


def split_text(text: str) -> list[str]:
    """Split a document into parts of about `TEXT_PART` characters; nearly always there is only one."""
    found = []
    start = 0
    while len(text) - start > TEXT_PART:
        end = start + TEXT_PART
        edge = max(text.rfind(space, start + 1, end) for space in "\n \t")
        end = edge if edge > start else end
        found.append(text[start:end])
        start = end
    return [*found, text[start:]]
