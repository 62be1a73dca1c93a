"""Tokenise texts that come as words, and cut long ones into windows of whole words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np


@dataclass
class WordTokens:
    """The tokens of a text that comes as words.

    Args:
        ids: Those of all words, one after another, without tokens around them.
        counts: The number of tokens of each word; 0 if the tokenizer gives none for it.
    """

    ids: list[int]
    counts: list[int]


class WordTokenizer:
    """Turns words into tokens with any tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._kept: dict[str, list[int]] = {}  # for tokenizers that cannot give the word of a token
        self.before: list[int] = []
        self.after: list[int] = []
        self._types: tuple[list[int], list[int]] = ([], [])
        self._look_around()

    def _look_around(self) -> None:
        """Find the tokens that the tokenizer puts before and after a text, and their types."""
        # Tried and not read from a template: tokenizers add these tokens in many ways.
        plain = self.tokenise_words([["a"]])[0].ids
        encoded = self.tokenizer(["a"], is_split_into_words=True)
        whole, types = list(encoded["input_ids"]), list(encoded.get("token_type_ids") or ())
        for start in range(len(whole) - len(plain) + 1):
            if plain and whole[start : start + len(plain)] == plain:
                end = start + len(plain)
                self.before, self.after = whole[:start], whole[end:]
                self._types = types[:start], types[end:]
                return

    def window_types(self, length: int) -> list[int] | None:
        """Return the token types of a window, if the tokens around a text have their own (XLNet, Funnel)."""
        first, last = self._types
        if not (any(first) or any(last)):
            return None
        return [*first, *[0] * (length - len(first) - len(last)), *last]

    @property
    def in_threads(self) -> bool:
        """Return whether the work is done outside Python's lock."""
        return bool(getattr(self.tokenizer, "is_fast", False))

    def tokenise_words(self, texts: Sequence[Sequence[str]]) -> list[WordTokens]:
        """Tokenise each text."""
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
        pieces = [self._tokenise_word(word) for word in words]
        return WordTokens([token for piece in pieces for token in piece], [len(piece) for piece in pieces])

    def _tokenise_word(self, word: str) -> list[int]:
        found = self._kept.get(word)
        if found is None:
            ids = self.tokenizer([word], is_split_into_words=True, add_special_tokens=False)["input_ids"]
            found = list(ids) if word else []
            # Words repeat, but the number of different ones has no limit.
            if len(self._kept) < 500_000:
                self._kept[word] = found
        return found


@dataclass
class WordWindow:
    """A part of a text that the model reads at once.

    Args:
        ids: int32, with the tokens around it.
        words: The words that are labelled here, from 0; `places` are the positions of their first tokens.
    """

    ids: np.ndarray
    words: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)


def cut_windows(words: WordTokenizer, tokens: WordTokens, max_length: int, stride: int) -> list[WordWindow]:
    """Cut a text into windows of at most `max_length` tokens, with whole words.

    Each word that has a token is labelled in one window: the one in which it is furthest from an edge where
    the text continues. Of a word longer than a window the beginning is kept.

    Args:
        stride: Tokens that neighbours share, at most half a window.
    """
    room = count_window_room(words, max_length)
    if len(tokens.ids) <= room:
        return [_make_whole_window(words, tokens)]
    ends = [0, *accumulate(min(count, room) for count in tokens.counts)]  # cut to what fits
    # Two counts: of all tokens, and of those that are kept of words longer than a window.
    starts = [0, *accumulate(tokens.counts)]
    # With more than half shared, windows would hardly advance.
    edges = _find_edges(ends, room, min(stride, room // 2))
    found = []
    for first, last in edges:
        ids = [
            token
            for word in range(first, last)
            for token in tokens.ids[starts[word] : starts[word] + ends[word + 1] - ends[word]]
        ]
        found.append(WordWindow(np.array([*words.before, *ids, *words.after], dtype=np.int32)))
    at = 0
    for word in range(len(tokens.counts)):
        # A word without tokens has no position to label.
        if ends[word + 1] == ends[word]:
            continue
        at = _choose_window(word, edges, ends, at)
        found[at].words.append(word)
        found[at].places.append(len(words.before) + ends[word] - ends[edges[at][0]])
    return found


def _make_whole_window(words: WordTokenizer, tokens: WordTokens) -> WordWindow:
    """Make one window of a text that is short enough."""
    counts = np.array(tokens.counts)
    labelled = np.flatnonzero(counts)
    places = len(words.before) + np.cumsum(counts) - counts
    ids = np.array([*words.before, *tokens.ids, *words.after], dtype=np.int32)
    return WordWindow(ids, labelled.tolist(), places[labelled].tolist())


def count_window_room(words: WordTokenizer, max_length: int) -> int:
    """Return how many tokens of words fit into a window."""
    return max(1, max_length - len(words.before) - len(words.after))


def _find_edges(ends: Sequence[int], room: int, shared: int) -> list[tuple[int, int]]:
    """Find the first word of each window, and the word after its last one.

    Args:
        ends: The tokens before each word, and last those of all words.
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
        # The shared words must leave room for the next word, or the loop would never advance.
        while ends[last + 1] - ends[begin] > room:
            begin += 1
        first = begin


def _choose_window(word: int, edges: Sequence[tuple[int, int]], ends: Sequence[int], at: int) -> int:
    """Find the window in which a word is furthest from an edge where the text continues; the first of equals.

    Args:
        at: The window of the previous word; that of this word is never before it.
    """
    best, margin = at, -1.0
    while at < len(edges) and edges[at][0] <= word:
        first, last = edges[at]
        if word < last:
            # The ends of the text are not cut, so a word near them has all of its context.
            left = float("inf") if first == 0 else ends[word] - ends[first]
            right = float("inf") if last == len(ends) - 1 else ends[last] - ends[word + 1]
            if min(left, right) > margin:
                best, margin = at, min(left, right)
        at += 1
    return best


def keep_first_window(tokens: WordTokens, window: WordWindow, words: WordTokenizer) -> WordTokens:
    """Return the words of a text that are in its first window."""
    room = len(window.ids) - len(words.before) - len(words.after)
    counts: list[int] = []
    for count in tokens.counts:
        if sum(counts) + count > room and counts:
            break
        counts.append(count)
    return WordTokens(tokens.ids[: sum(counts)], counts)
