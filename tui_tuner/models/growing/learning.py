"""Learn new pieces for a tokenizer from counted words: the pairs that save most tokens, one after another."""

from __future__ import annotations

import heapq
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise

from tui_tuner.models.growing.tokenizer_kinds import GrowingTokenizer

LEAST_SEEN = 5  # times that a new token must stand in the training rows: what was seen less is hardly learnt
LONGEST = 40  # characters of a learned token
_MORE = 4  # tries for each wanted token, where those that are only steps to others can be left out
Pair = tuple[str, ...]  # two neighbours; or one character that the vocabulary lacks


def learn_pieces(growing: GrowingTokenizer, words: Mapping[str, int], wanted: int) -> None:
    """Add at most `wanted` pieces to a tokenizer: those that save most tokens in the words.

    Each step joins the most frequent pair of neighbours, as the training of byte-pair encoding does (Sennrich
    et al. 2016, arXiv 1508.07909), beginning with the pieces that the tokenizer makes now. Nothing is random:
    equally frequent pairs follow in the order of their text. New pieces are words and parts of words: digits,
    punctuation and spaces are left as they are.

    Args:
        words: How often each word occurs, as `GrowingTokenizer.cut_words` gives them.
    """
    merger = _Merger(growing, words)
    if growing.steps:
        for pair, piece in merger.take_pieces(wanted):
            growing.add_piece(piece, pair)
        return
    # No step needs another here, so those that hardly stand alone in the end are not added.
    made: dict[str, Pair] = {}
    for pair, piece in merger.take_pieces(wanted * _MORE):
        made[piece] = pair
        if merger.count_frequent(made) >= wanted:
            break
    worth = {piece: merger.uses[piece] * len(_spread(piece, made)) for piece in made}
    frequent = [piece for piece in made if merger.uses[piece] >= LEAST_SEEN]
    kept = set(sorted(frequent, key=lambda piece: (-worth[piece], piece))[:wanted])
    for piece in made:
        if piece in kept:
            growing.add_piece(piece, _spread(piece, made))


def _spread(piece: str, made: Mapping[str, Pair]) -> list[str]:
    """Return the old pieces that a new one stands for."""
    if piece not in made or made[piece] == (piece,):
        return [piece]
    return [part for one in made[piece] for part in _spread(one, made)]


class _Merger:
    """Words as lists of pieces, and the pairs of neighbours in them with their counts."""

    def __init__(self, growing: GrowingTokenizer, words: Mapping[str, int]) -> None:
        self.growing = growing
        self.words: list[list[str]] = []
        self.counts: list[int] = []
        self.uses: Counter[str] = Counter()
        self._pairs: Counter[Pair] = Counter()
        self._where: defaultdict[Pair, set[int]] = defaultdict(set)
        self._waiting: defaultdict[str, list[Pair]] = defaultdict(list)
        self._letters: set[str] = set()
        for word in sorted(words):
            self._add_word(growing.split_word(word), words[word])
        self._heap = [(-count, pair) for pair, count in self._pairs.items()]
        heapq.heapify(self._heap)

    def _add_word(self, pieces: list[str], count: int) -> None:
        place = len(self.words)
        self.words.append(pieces)
        self.counts.append(count)
        for piece in pieces:
            self.uses[piece] += count
            if piece not in self.growing.known:
                self._letters.add(piece)
                self._pairs[(piece,)] += count
        for pair in pairwise(pieces):
            self._pairs[pair] += count
            self._where[pair].add(place)

    def take_pieces(self, most: int) -> Iterator[tuple[Pair, str]]:
        """Yield the next piece with what it is made of, until there are `most` or none is frequent enough."""
        found = 0
        while self._heap and found < most:
            negative, pair = heapq.heappop(self._heap)
            count = self._pairs.get(pair, 0)
            if count < LEAST_SEEN:
                continue
            if count != -negative:
                heapq.heappush(self._heap, (-count, pair))  # it has changed since
                continue
            missing = [one for one in pair if one in self._letters] if len(pair) > 1 else []
            if missing:
                self._waiting[missing[0]].append(pair)
                continue
            piece = pair[0] if len(pair) == 1 else self.growing.join_pieces(*pair)
            if self.growing.has_piece(piece) or not _is_word(self.growing.spell_piece(piece)):
                continue
            found += 1
            if len(pair) == 1:
                self._letters.discard(piece)
                for waiting in self._waiting.pop(piece, ()):
                    heapq.heappush(self._heap, (-self._pairs[waiting], waiting))
            else:
                self._merge(pair, piece)
            yield pair, piece

    def count_frequent(self, pieces: Mapping[str, Pair]) -> int:
        """Count the new pieces that stand alone often enough."""
        return sum(self.uses[piece] >= LEAST_SEEN for piece in pieces)

    def _merge(self, pair: Pair, piece: str) -> None:
        """Replace a pair by its piece in all words."""
        changed: set[Pair] = set()
        for place in sorted(self._where.pop(pair)):
            old, count = self.words[place], self.counts[place]
            new = _replace_pair(old, pair, piece)
            for before in pairwise(old):
                self._pairs[before] -= count
                self._where[before].discard(place)
            for after in pairwise(new):
                self._pairs[after] += count
                self._where[after].add(place)
                if piece in after:
                    changed.add(after)
            joined = (len(old) - len(new)) * count
            self.uses[piece] += joined
            self.uses[pair[0]] -= joined
            self.uses[pair[1]] -= joined
            self.words[place] = new
        self._pairs.pop(pair, None)
        for one in changed:
            heapq.heappush(self._heap, (-self._pairs[one], one))


def _replace_pair(pieces: list[str], pair: Pair, piece: str) -> list[str]:
    found, place = [], 0
    while place < len(pieces):
        if pieces[place] == pair[0] and place + 1 < len(pieces) and pieces[place + 1] == pair[1]:
            found.append(piece)
            place += 2
        else:
            found.append(pieces[place])
            place += 1
    return found


def _is_word(text: str) -> bool:
    """Return whether a piece is a word or a part of one, with or without the space before it."""
    bare = text.removeprefix(" ")
    # Half a character, U+FFFD, is a step to a whole one.
    letters = all(one == "\ufffd" or unicodedata.category(one)[0] in "LM" for one in bare)
    return bool(bare) and letters and len(bare) <= LONGEST
