"""Answers that say the same over and over: what repeats stands once, with how often."""

from __future__ import annotations

import re
from typing import NamedTuple

LONGEST_UNIT = 40  # words of what is looked for
LEAST_TIMES, LEAST_SAVED = 4, 12  # how often it has to stand there, and the characters that this saves
MOST_WORDS = 20_000  # of one text that are looked at

# A word with what follows it: signs of East Asian writing stand alone, for nothing parts their words
_ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_ALONE}]\s*|[^\W{_ALONE}]+\s*|[^\w\s]\s*|\s+")
_IN_A_WORD = re.compile(r"(\w{1,20}?)\1{3,}")
_LONG_WORD, _LONGEST_WORD = 13, 20_000  # characters


class Piece(NamedTuple):
    """Words, how often they stand there one time after the other, and the characters that these are."""

    text: str
    times: int
    length: int


def words_of(text: str) -> list[str]:
    """Words and signs of a text, each with the blanks behind it; joined they are the text."""
    return _WORD.findall(text)


def fold_repeats(text: str) -> list[Piece]:
    """A text in pieces, of which those that repeat stand there once."""
    words = words_of(text)
    bare = [word.strip() for word in words]
    pieces: list[Piece] = []
    plain: list[str] = []
    place = 0
    while place < len(words):
        size, times = _repeated(bare, place) if place < MOST_WORDS else (1, 1)
        if times < LEAST_TIMES or _saved(words[place : place + size], times) < LEAST_SAVED:
            inner = _inside(words[place])
            if len(inner) == 1 and inner[0].times == 1:
                plain.append(words[place])
            else:
                pieces += [*_joined(plain), *inner]
                plain = []
            place += 1
            continue
        end = place + size * times
        blank = words[end - 1][len(words[end - 1].rstrip()) :]
        unit = "".join(words[place : place + size]).rstrip() + blank
        pieces += [*_joined(plain), Piece(unit, times, sum(map(len, words[place:end])))]
        plain, place = [], end
    return pieces + _joined(plain)


def _saved(unit: list[str], times: int) -> int:
    return sum(map(len, unit)) * (times - 1)


def _joined(words: list[str]) -> list[Piece]:
    return [_plain("".join(words))] if words else []


def _plain(text: str) -> Piece:
    return Piece(text, 1, len(text))


def _repeated(words: list[str], place: int) -> tuple[int, int]:
    """The unit (in words) that repeats from this place and covers most, and how often; a short one wins."""
    best, covered = (1, 1), 0
    first = words[place]
    for size in range(1, min(LONGEST_UNIT, (len(words) - place) // LEAST_TIMES) + 1):
        if words[place + size] != first or not any(words[place : place + size]):
            continue
        unit, end = words[place : place + size], place + size
        while words[end : end + size] == unit:
            end += size
        times = (end - place) // size
        if times >= LEAST_TIMES and times * size > covered:
            best, covered = (size, times), times * size
    return best


def _inside(word: str) -> list[Piece]:
    """A word in pieces, where parts of it repeat."""
    if len(word) < _LONG_WORD:
        return [_plain(word)]
    looked, rest = word[:_LONGEST_WORD], word[_LONGEST_WORD:]
    pieces: list[Piece] = []
    at = 0
    for found in _IN_A_WORD.finditer(looked):
        if _saved([found[1]], len(found[0]) // len(found[1])) < LEAST_SAVED:
            continue
        if found.start() > at:
            pieces.append(_plain(looked[at : found.start()]))
        pieces.append(Piece(found[1], len(found[0]) // len(found[1]), len(found[0])))
        at = found.end()
    if looked[at:] + rest:
        pieces.append(_plain(looked[at:] + rest))
    return pieces or [_plain(word)]


def most_repeated(text: str) -> Piece | None:
    """What a text repeats, where that is at least half of it."""
    longest = max(fold_repeats(text), key=lambda piece: (piece.times > 1, piece.length), default=None)
    if longest is None or longest.times < LEAST_TIMES or longest.length * 2 < len(text):
        return None
    return longest._replace(text=longest.text.strip())
