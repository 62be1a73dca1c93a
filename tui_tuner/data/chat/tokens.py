"""Texts to token ids by the tokenizer's own batch call, and which tokens a range of characters became.

The batch call of the tokenizers library works outside Python's lock and on every core, if the environment
lets it; what comes back is asked for the few places that a loss mask needs, not for the place of every token.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

_SWITCH = "TOKENIZERS_PARALLELISM"
# Words, white space, accents, a line break: a tokenizer class that does more than its backend differs here.
_PROBE = "  The café at\nno. 12, '你好'?  "


class Placed(Protocol):
    """The tokens of one text. `ids` is int32."""

    ids: np.ndarray

    def between(self, start: int, end: int) -> tuple[int, int] | None:
        """Tokens [first, last + 1) that any of the characters [start, end) went into; None if there are none.

        White space that no token claims belongs to the token after it.
        """
        ...


class BatchTokenizer:
    """One tokenizer's way from texts to ids, without special tokens of its own, padding or cutting."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.exact_offsets = bool(getattr(tokenizer, "is_fast", False))
        self._backend = _backend(tokenizer) if self.exact_offsets else None

    @property
    def in_threads(self) -> bool:
        """Whether a batch is tokenised outside Python's lock, so that a thread gains time."""
        return self._backend is not None

    def ids(self, texts: Sequence[str]) -> list[Sequence[int]]:
        """Ids of each text."""
        if self._backend is None:
            return list(self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]) if texts else []
        found = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in found]

    def encoded(self, texts: Sequence[str], edges: Sequence[Sequence[int]]) -> list[Any]:
        """What `placed` makes tokens of: for each text its encoding, still outside Python.

        `edges` are the characters that ranges of each text will begin or end with.
        """
        if self._backend is not None:
            return list(self._backend.encode_batch(list(texts), add_special_tokens=False))
        if not self.exact_offsets:
            return [self._in_pieces(text, own) for text, own in zip(texts, edges, strict=True)]
        batch = self.tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True)
        pairs = zip(batch["input_ids"], batch["offset_mapping"], strict=True)
        return [_Listed(ids, offsets) for ids, offsets in pairs]

    def placed(self, encoded: Any) -> Placed:
        """The tokens of one text, from its part of `encoded`."""
        return encoded if isinstance(encoded, _Listed) else _Asked(encoded)

    def _in_pieces(self, text: str, edges: Sequence[int]) -> _Listed:
        """For tokenizers that cannot say where a token stands: the text is tokenised between the edges."""
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        for left, right in itertools.pairwise(sorted({0, len(text), *edges})):
            piece = self.tokenizer(text[left:right], add_special_tokens=False)["input_ids"]
            ids += piece
            offsets += [(left, right)] * len(piece)
        return _Listed(ids, offsets)


class _Listed:
    """Tokens with the characters of each."""

    def __init__(self, ids: Sequence[int], offsets: Sequence[tuple[int, int]]) -> None:
        self.ids = np.asarray(ids, dtype=np.int32)
        pairs = np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
        self._starts, self._ends = pairs[:, 0], pairs[:, 1]
        if len(pairs) > 1:
            starts = self._starts.copy()
            starts[1:] = np.minimum(starts[1:], np.maximum.accumulate(self._ends)[:-1])
            self._starts = starts

    def between(self, start: int, end: int) -> tuple[int, int] | None:
        inside = (self._starts < end) & (self._ends > start)
        inside |= (self._starts == self._ends) & (self._starts >= start) & (self._starts < end)
        places = np.flatnonzero(inside)
        return (int(places[0]), int(places[-1]) + 1) if len(places) else None


class _Asked:
    """Tokens in an `Encoding` of the tokenizers library, asked only around the edges of a range."""

    def __init__(self, encoding: Any) -> None:
        self.ids = np.array(encoding.ids, dtype=np.int32)
        self._encoding = encoding

    def between(self, start: int, end: int) -> tuple[int, int] | None:
        encoding = self._encoding
        first = encoding.char_to_token(start) if start < end else None
        last = encoding.char_to_token(end - 1) if start < end else None
        # An edge in white space that was trimmed off, or beside a token of no characters: look at all tokens.
        if first is None or last is None:
            return self._computed(start, end)
        count = len(self.ids)
        while first:
            begins, ends = encoding.token_to_chars(first - 1)
            if begins == ends:
                return self._computed(start, end)
            if ends <= start:
                break
            first -= 1
        while last + 1 < count:
            begins, ends = encoding.token_to_chars(last + 1)
            if begins == ends:
                return self._computed(start, end)
            if begins >= end:
                break
            last += 1
        return first, last + 1

    def _computed(self, start: int, end: int) -> tuple[int, int] | None:
        return _Listed(self._encoding.ids, self._encoding.offsets).between(start, end)


def _backend(tokenizer: Any) -> Any:
    """The tokenizer of the tokenizers library that does the work; None if the class around it does more."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    # This call also switches off cutting and padding that the tokenizer's file asks for.
    ids = tokenizer(_PROBE, add_special_tokens=False)["input_ids"]
    if backend.truncation is not None or backend.padding is not None:
        return None
    return backend if ids == backend.encode(_PROBE, add_special_tokens=False).ids else None


@contextlib.contextmanager
def all_cores(wanted: bool = True) -> Iterator[None]:
    """Within it, batches are tokenised on every core; or, if not wanted, as the environment says.

    Switched off again at the end: a process forked after that must not wait for threads it does not have.
    """
    before = os.environ.get(_SWITCH)
    if not wanted:
        yield
        return
    os.environ[_SWITCH] = "true"
    try:
        yield
    finally:
        os.environ[_SWITCH] = "false" if before is None else before


__all__ = ["BatchTokenizer", "Placed", "all_cores"]
