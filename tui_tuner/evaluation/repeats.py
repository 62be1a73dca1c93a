"""Shorten answers that repeat themselves: repeated text is kept once, with its count."""

from __future__ import annotations

import re
from typing import NamedTuple

LONGEST_UNIT = 40  # words of the longest repeated unit that is searched for
LEAST_TIMES, LEAST_SAVED = 4, 12  # fewest repetitions, and fewest characters that folding them saves
MOST_WORDS = 20_000  # words of one text that are searched

# A word with the blanks after it. East Asian characters count one by one, as their words are not separated.
_ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_ALONE}]\s*|[^\W{_ALONE}]+\s*|[^\w\s]\s*|\s+")
_IN_A_WORD = re.compile(r"(\w{1,20}?)\1{3,}")
_LONG_WORD, _LONGEST_WORD = 13, 20_000  # characters


class Piece(NamedTuple):
    """Text, how often it repeats in a row, and the characters of all repetitions."""

    text: str
    times: int
    length: int


def split_words_with_blanks(text: str) -> list[str]:
    """Split a text into words and signs, each with the blanks after it; joined they are the text."""
    return _WORD.findall(text)


def fold_repeats(text: str) -> list[Piece]:
    """Split a text into pieces, of which repeated ones occur once."""
    words = split_words_with_blanks(text)
    bare = [word.strip() for word in words]
    pieces: list[Piece] = []
    plain: list[str] = []
    place = 0
    while place < len(words):
        size, times = _find_repeated(bare, place) if place < MOST_WORDS else (1, 1)
        if times < LEAST_TIMES or _saved_characters(words[place : place + size], times) < LEAST_SAVED:
            inner = _fold_word(words[place])
            if len(inner) == 1 and inner[0].times == 1:
                plain.append(words[place])
            else:
                pieces += [*_join_piece(plain), *inner]
                plain = []
            place += 1
            continue
        end = place + size * times
        blank = words[end - 1][len(words[end - 1].rstrip()) :]
        unit = "".join(words[place : place + size]).rstrip() + blank
        pieces += [*_join_piece(plain), Piece(unit, times, sum(map(len, words[place:end])))]
        plain, place = [], end
    return pieces + _join_piece(plain)


def _saved_characters(unit: list[str], times: int) -> int:
    return sum(map(len, unit)) * (times - 1)


def _join_piece(words: list[str]) -> list[Piece]:
    return [_plain_piece("".join(words))] if words else []


def _plain_piece(text: str) -> Piece:
    return Piece(text, 1, len(text))


def _find_repeated(words: list[str], place: int) -> tuple[int, int]:
    """Return the unit (in words) that repeats from this place and covers most, and its count."""
    best, covered = (1, 1), 0
    first = words[place]
    for size in range(1, min(LONGEST_UNIT, (len(words) - place) // LEAST_TIMES) + 1):
        if words[place + size] != first or not any(words[place : place + size]):
            continue
        unit, end = words[place : place + size], place + size
        while words[end : end + size] == unit:
            end += size
        times = (end - place) // size
        # Strictly more, so that "a a a a" is a unit of one word and not of two.
        if times >= LEAST_TIMES and times * size > covered:
            best, covered = (size, times), times * size
    return best


def _fold_word(word: str) -> list[Piece]:
    """Split a word in which parts repeat."""
    if len(word) < _LONG_WORD:
        return [_plain_piece(word)]
    looked, rest = word[:_LONGEST_WORD], word[_LONGEST_WORD:]
    pieces: list[Piece] = []
    at = 0
    for found in _IN_A_WORD.finditer(looked):
        if _saved_characters([found[1]], len(found[0]) // len(found[1])) < LEAST_SAVED:
            continue
        if found.start() > at:
            pieces.append(_plain_piece(looked[at : found.start()]))
        pieces.append(Piece(found[1], len(found[0]) // len(found[1]), len(found[0])))
        at = found.end()
    if looked[at:] + rest:
        pieces.append(_plain_piece(looked[at:] + rest))
    return pieces or [_plain_piece(word)]


def find_repeated_text(text: str) -> Piece | None:
    """Return what a text repeats, if that is at least half of it."""
    longest = max(fold_repeats(text), key=lambda piece: (piece.times > 1, piece.length), default=None)
    if longest is None or longest.times < LEAST_TIMES or longest.length * 2 < len(text):
        return None
    return longest._replace(text=longest.text.strip())
