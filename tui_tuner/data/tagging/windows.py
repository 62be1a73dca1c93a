"""The tokens of texts that come in words, and windows of whole words where there are too many of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np


@dataclass
class WordTokens:
    """The tokens of a text that comes in words.

    Args:
        ids: Of all words, one after another, without tokens around them.
        counts: How many tokens each word became; 0 for one of which the tokenizer makes nothing.
    """

    ids: list[int]
    counts: list[int]


class WordTokenizer:
    """Any tokenizer's way from words to tokens."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._kept: dict[str, list[int]] = {}  # of tokenizers that cannot say which word a token is from
        self.before: list[int] = []
        self.after: list[int] = []
        self._types: tuple[list[int], list[int]] = ([], [])
        self._look_around()

    def _look_around(self) -> None:
        """Find the tokens that the tokenizer puts before and after a text, and their types."""
        plain = self.encoded([["a"]])[0].ids
        encoded = self.tokenizer(["a"], is_split_into_words=True)
        whole, types = list(encoded["input_ids"]), list(encoded.get("token_type_ids") or ())
        for start in range(len(whole) - len(plain) + 1):
            if plain and whole[start : start + len(plain)] == plain:
                end = start + len(plain)
                self.before, self.after = whole[:start], whole[end:]
                self._types = types[:start], types[end:]
                return

    def types_of(self, length: int) -> list[int] | None:
        """Types of the tokens of a window, where those around a text have their own (XLNet, Funnel)."""
        first, last = self._types
        if not (any(first) or any(last)):
            return None
        return [*first, *[0] * (length - len(first) - len(last)), *last]

    @property
    def in_threads(self) -> bool:
        """Whether the work is done outside Python's lock."""
        return bool(getattr(self.tokenizer, "is_fast", False))

    def encoded(self, texts: Sequence[Sequence[str]]) -> list[WordTokens]:
        """The tokens of each text."""
        if not self.in_threads:
            return [self._word_by_word(words) for words in texts]
        if not texts:
            return []
        batch = self.tokenizer(
            [list(words) for words in texts], is_split_into_words=True, add_special_tokens=False
        )
        found = []
        for place, (words, ids) in enumerate(zip(texts, batch["input_ids"], strict=True)):
            owners = batch.word_ids(place)
            counts = np.bincount([word for word in owners if word is not None], minlength=len(words))
            found.append(WordTokens(list(ids), counts.tolist()))
        return found

    def _word_by_word(self, words: Sequence[str]) -> WordTokens:
        pieces = [self._word(word) for word in words]
        return WordTokens([token for piece in pieces for token in piece], [len(piece) for piece in pieces])

    def _word(self, word: str) -> list[int]:
        found = self._kept.get(word)
        if found is None:
            ids = self.tokenizer([word], is_split_into_words=True, add_special_tokens=False)["input_ids"]
            found = list(ids) if word else []
            if len(self._kept) < 500_000:
                self._kept[word] = found
        return found


@dataclass
class Window:
    """A part of a text that the model reads at once.

    Args:
        ids: int32, with the tokens around it.
        words: The words that are labelled here, from 0, and `places`, where the first token of each stands.
    """

    ids: np.ndarray
    words: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)


def windows_of(words: WordTokenizer, tokens: WordTokens, max_length: int, stride: int) -> list[Window]:
    """A text in windows of at most `max_length` tokens, whole words in each.

    Each word that has a token is labelled in one window: that in which it stands furthest from an edge at
    which the text goes on. Of a word longer than a window the beginning is kept.

    Args:
        stride: Tokens that neighbours share, half a window at most.
    """
    room = room_of(words, max_length)
    if len(tokens.ids) <= room:
        return [_whole(words, tokens)]
    ends = [0, *accumulate(min(count, room) for count in tokens.counts)]  # cut to what fits
    starts = [0, *accumulate(tokens.counts)]
    edges = _edges(ends, room, min(stride, room // 2))
    found = []
    for first, last in edges:
        ids = [
            token
            for word in range(first, last)
            for token in tokens.ids[starts[word] : starts[word] + ends[word + 1] - ends[word]]
        ]
        found.append(Window(np.array([*words.before, *ids, *words.after], dtype=np.int32)))
    at = 0
    for word in range(len(tokens.counts)):
        if ends[word + 1] == ends[word]:
            continue
        at = _window_of(word, edges, ends, at)
        found[at].words.append(word)
        found[at].places.append(len(words.before) + ends[word] - ends[edges[at][0]])
    return found


def _whole(words: WordTokenizer, tokens: WordTokens) -> Window:
    """A text that is short enough."""
    counts = np.array(tokens.counts)
    labelled = np.flatnonzero(counts)
    places = len(words.before) + np.cumsum(counts) - counts
    ids = np.array([*words.before, *tokens.ids, *words.after], dtype=np.int32)
    return Window(ids, labelled.tolist(), places[labelled].tolist())


def room_of(words: WordTokenizer, max_length: int) -> int:
    """Tokens of words that a window has room for."""
    return max(1, max_length - len(words.before) - len(words.after))


def _edges(ends: Sequence[int], room: int, shared: int) -> list[tuple[int, int]]:
    """The first word of each window, and the word behind its last.

    Args:
        ends: Tokens before each word, and of all words.
    """
    count, first, last = len(ends) - 1, 0, 0
    found: list[tuple[int, int]] = []
    while True:
        while last < count and ends[last + 1] - ends[first] <= room:
            last += 1
        found.append((first, last))
        if last == count:
            return found
        begin = last
        while begin > first + 1 and ends[last] - ends[begin - 1] <= shared:
            begin -= 1
        while ends[last + 1] - ends[begin] > room:  # what is shared must leave room for the next word
            begin += 1
        first = begin


def _window_of(word: int, edges: Sequence[tuple[int, int]], ends: Sequence[int], at: int) -> int:
    """The window in which a word stands furthest from an edge at which the text goes on; the first of equals.

    Args:
        at: The window of the word before it: no word's is before that.
    """
    best, margin = at, -1.0
    while at < len(edges) and edges[at][0] <= word:
        first, last = edges[at]
        if word < last:
            left = float("inf") if first == 0 else ends[word] - ends[first]
            right = float("inf") if last == len(ends) - 1 else ends[last] - ends[word + 1]
            if min(left, right) > margin:
                best, margin = at, min(left, right)
        at += 1
    return best


def beginning_of(tokens: WordTokens, window: Window, words: WordTokenizer) -> WordTokens:
    """The words of a text that its first window holds."""
    room = len(window.ids) - len(words.before) - len(words.after)
    counts: list[int] = []
    for count in tokens.counts:
        if sum(counts) + count > room and counts:
            break
        counts.append(count)
    return WordTokens(tokens.ids[: sum(counts)], counts)
