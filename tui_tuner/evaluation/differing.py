"""Two answers beside each other: which words of the one are not in the other."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import NamedTuple

from tui_tuner.evaluation.repeats import Piece, fold_repeats, words_of
from tui_tuner.text import sanitize

MOST_COMPARED = 800  # words of an answer that are compared
MOST_SHOWN = 200_000  # characters of an answer that was opened
SHORT = 600  # of one that was not
_GAP = 4  # line ends that are counted rather than shown


class Word(NamedTuple):
    """A word with the blanks behind it; or a sign of the program's own, such as how often it repeats."""

    text: str
    own: bool = False


class Telling(NamedTuple):
    """An answer as it is shown, safe for a terminal.

    Args:
        left: Characters of the answer that are not shown.
        folded: Whether something stands once that was said several times.
    """

    words: list[Word]
    left: int = 0
    folded: bool = False


def tell(text: str, whole: bool = False, short: int = SHORT) -> Telling:
    """An answer in words, without what it repeats and without the end of a long one, unless `whole`."""
    text = sanitize(text.strip()).replace("\t", "    ")
    if whole:
        return Telling([Word(word) for word in words_of(text[:MOST_SHOWN])], max(0, len(text) - MOST_SHOWN))
    words: list[Word] = []
    shown = said = 0  # characters on the screen, and of the answer
    folded = False
    for piece in fold_repeats(text):
        if piece.times > 1 and (not shown or shown + len(piece.text) <= short):
            words += _folded(piece)
            shown, said, folded = shown + len(piece.text), said + piece.length, True
            continue
        for word in words_of(piece.text) if piece.times == 1 else ():
            if shown and shown + len(word) > short:
                return Telling(words, len(text) - said, folded)
            words += _without_gap(word[:short])
            shown, said = shown + len(word[:short]), said + len(word[:short])
        if said < len(text) and shown >= short:
            break
    return Telling(words, len(text) - said, folded)


def _without_gap(word: str) -> list[Word]:
    """A word; where many empty lines follow it, how many."""
    bare = word.rstrip()
    lines = word[len(bare) :].count("\n")
    return [Word(word)] if lines < _GAP else [Word(bare), Word(f"\n↵ ×{lines:,}\n", True)]


def _folded(piece: Piece) -> list[Word]:
    """What repeats, once, in brackets where it is several words; and how often."""
    unit = piece.text.rstrip()
    words = [Word(word) for word in words_of(unit)]
    if len(words) > 1:
        words = [Word("⟨", True), *words, Word("⟩", True)]
    return [*words, Word(f" ×{piece.times:,}", True), Word(piece.text[len(unit) :] or " ", True)]


def differing(one: list[Word], other: list[Word]) -> tuple[set[int], set[int]]:
    """The places of the words of each that the other does not have there."""
    first, second = _places(one), _places(other)
    bare = [one[at].text.strip() for at in first], [other[at].text.strip() for at in second]
    matcher = SequenceMatcher(None, *bare, autojunk=False)
    apart: tuple[set[int], set[int]] = (set(), set())
    for tag, start, end, begin, close in matcher.get_opcodes():
        if tag != "equal":
            apart[0].update(first[start:end])
            apart[1].update(second[begin:close])
    return apart


def _places(words: list[Word]) -> list[int]:
    """Where the words are that are compared."""
    return [at for at, word in enumerate(words) if not word.own and word.text.strip()][:MOST_COMPARED]
