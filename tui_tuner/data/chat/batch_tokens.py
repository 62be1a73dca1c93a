"""Turn texts into token ids in batches, and find the tokens of a range of characters.

The batch call of the tokenizers library works outside Python's lock and on every core, if the environment
allows it; its result is asked only for the few places that a loss mask needs, not for that of every token.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

_SWITCH = "TOKENIZERS_PARALLELISM"
# Words, white space, accents, a line break: shows whether a tokenizer class does more than its backend.
_PROBE = "  The café at\nno. 12, '你好'?  "


class PlacedTokens(Protocol):
    """The tokens of one text. `ids` is int32."""

    ids: np.ndarray

    def find_tokens_between(self, start: int, end: int) -> tuple[int, int] | None:
        """Return the tokens [first, last + 1) that contain any of the characters [start, end), or None.

        White space that no token covers belongs to the token after it.
        """
        ...


class BatchTokenizer:
    """Turns texts into ids with one tokenizer, without added special tokens, padding or truncation."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.exact_offsets = bool(getattr(tokenizer, "is_fast", False))
        self._backend = _find_backend(tokenizer) if self.exact_offsets else None

    @property
    def in_threads(self) -> bool:
        """Return whether a batch is tokenised outside Python's lock, so that a thread saves time."""
        return self._backend is not None

    def tokenize_ids(self, texts: Sequence[str]) -> list[Sequence[int]]:
        """Return the ids of each text."""
        if self._backend is None:
            return list(self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]) if texts else []
        found = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in found]

    def encode_batch(self, texts: Sequence[str], edges: Sequence[Sequence[int]]) -> list[Any]:
        """Encode each text for `place_tokens`; the encodings stay outside of Python.

        `edges` are the characters of each text at which ranges will begin or end.
        """
        if self._backend is not None:
            return list(self._backend.encode_batch(list(texts), add_special_tokens=False))
        if not self.exact_offsets:
            return [self._encode_in_pieces(text, own) for text, own in zip(texts, edges, strict=True)]
        batch = self.tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True)
        pairs = zip(batch["input_ids"], batch["offset_mapping"], strict=True)
        return [_ListedTokens(ids, offsets) for ids, offsets in pairs]

    def place_tokens(self, encoded: Any) -> PlacedTokens:
        """Return the tokens of one text, from its part of `encoded`."""
        return encoded if isinstance(encoded, _ListedTokens) else _EncodingTokens(encoded)

    def _encode_in_pieces(self, text: str, edges: Sequence[int]) -> _ListedTokens:
        """Tokenise a text piece by piece between the edges, for tokenizers without offsets."""
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        for left, right in itertools.pairwise(sorted({0, len(text), *edges})):
            piece = self.tokenizer(text[left:right], add_special_tokens=False)["input_ids"]
            ids += piece
            offsets += [(left, right)] * len(piece)
        return _ListedTokens(ids, offsets)


class _ListedTokens:
    """Tokens with the range of characters of each."""

    def __init__(self, ids: Sequence[int], offsets: Sequence[tuple[int, int]]) -> None:
        self.ids = np.asarray(ids, dtype=np.int32)
        pairs = np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
        self._starts, self._ends = pairs[:, 0], pairs[:, 1]
        if len(pairs) > 1:
            starts = self._starts.copy()
            # Trimmed white space is given to the token after it: it starts where the one before ends.
            starts[1:] = np.minimum(starts[1:], np.maximum.accumulate(self._ends)[:-1])
            self._starts = starts

    def find_tokens_between(self, start: int, end: int) -> tuple[int, int] | None:
        inside = (self._starts < end) & (self._ends > start)
        inside |= (self._starts == self._ends) & (self._starts >= start) & (self._starts < end)
        places = np.flatnonzero(inside)
        return (int(places[0]), int(places[-1]) + 1) if len(places) else None


class _EncodingTokens:
    """Tokens in an `Encoding` of the tokenizers library, which is read only around the edges of a range."""

    def __init__(self, encoding: Any) -> None:
        self.ids = np.array(encoding.ids, dtype=np.int32)
        self._encoding = encoding

    def find_tokens_between(self, start: int, end: int) -> tuple[int, int] | None:
        encoding = self._encoding
        first = encoding.char_to_token(start) if start < end else None
        last = encoding.char_to_token(end - 1) if start < end else None
        # The edge is in white space that was trimmed, or next to a token without characters.
        if first is None or last is None:
            return self._find_in_offsets(start, end)
        count = len(self.ids)
        # Several tokens may share one character, of which `char_to_token` returns only one.
        while first:
            begins, ends = encoding.token_to_chars(first - 1)
            if begins == ends:
                return self._find_in_offsets(start, end)
            if ends <= start:
                break
            first -= 1
        while last + 1 < count:
            begins, ends = encoding.token_to_chars(last + 1)
            if begins == ends:
                return self._find_in_offsets(start, end)
            if begins >= end:
                break
            last += 1
        return first, last + 1

    def _find_in_offsets(self, start: int, end: int) -> tuple[int, int] | None:
        return _ListedTokens(self._encoding.ids, self._encoding.offsets).find_tokens_between(start, end)


def _find_backend(tokenizer: Any) -> Any:
    """Return the backend of the tokenizers library; None if the class around it does more than that."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    # This call also switches off cutting and padding that the tokenizer's file asks for.
    ids = tokenizer(_PROBE, add_special_tokens=False)["input_ids"]
    if backend.truncation is not None or backend.padding is not None:
        return None
    return backend if ids == backend.encode(_PROBE, add_special_tokens=False).ids else None


@contextlib.contextmanager
def tokenise_on_all_cores(wanted: bool = True) -> Iterator[None]:
    """Tokenise batches on every core inside of it; if not `wanted`, as the environment says."""
    before = os.environ.get(_SWITCH)
    if not wanted:
        yield
        return
    os.environ[_SWITCH] = "true"
    try:
        yield
    finally:
        # Switched off at the end: a process that is forked later would wait for threads that it does not
        # have.
        os.environ[_SWITCH] = "false" if before is None else before


__all__ = ["BatchTokenizer", "PlacedTokens", "tokenise_on_all_cores"]
