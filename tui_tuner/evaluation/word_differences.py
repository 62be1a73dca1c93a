"""Show two answers next to each other, and mark the words that differ."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import NamedTuple

from tui_tuner.evaluation.repeats import Piece, fold_repeats, split_words_with_blanks
from tui_tuner.text import sanitize

MOST_COMPARED = 800  # words of an answer that are compared
MOST_SHOWN = 200_000  # characters of an expanded answer
SHORT = 600  # characters of a collapsed answer
_GAP = 4  # consecutive line ends that are counted instead of shown


class Word(NamedTuple):
    """A word with the blanks after it, or a sign of the program, such as the number of repetitions."""

    text: str
    own: bool = False


class AnswerWords(NamedTuple):
    """An answer as it is shown, safe for a terminal.

    Args:
        left: Characters of the answer that are not shown.
        folded: Whether repeated text is shown once.
    """

    words: list[Word]
    left: int = 0
    folded: bool = False


def split_answer_words(text: str, whole: bool = False, short: int = SHORT) -> AnswerWords:
    """Split an answer into words, without repetitions and the end of a long one unless `whole`."""
    text = sanitize(text.strip()).replace("\t", "    ")
    if whole:
        return AnswerWords(
            [Word(word) for word in split_words_with_blanks(text[:MOST_SHOWN])],
            max(0, len(text) - MOST_SHOWN),
        )
    words: list[Word] = []
    shown = said = 0  # characters on the screen, and of the answer
    folded = False
    for piece in fold_repeats(text):
        if piece.times > 1 and (not shown or shown + len(piece.text) <= short):
            words += _fold_piece(piece)
            shown, said, folded = shown + len(piece.text), said + piece.length, True
            continue
        for word in split_words_with_blanks(piece.text) if piece.times == 1 else ():
            if shown and shown + len(word) > short:
                return AnswerWords(words, len(text) - said, folded)
            words += _without_gap(word[:short])
            shown, said = shown + len(word[:short]), said + len(word[:short])
        if said < len(text) and shown >= short:
            break
    return AnswerWords(words, len(text) - said, folded)


def _without_gap(word: str) -> list[Word]:
    """Return a word; many empty lines after it become a count."""
    bare = word.rstrip()
    lines = word[len(bare) :].count("\n")
    return [Word(word)] if lines < _GAP else [Word(bare), Word(f"\n↵ ×{lines:,}\n", True)]


def _fold_piece(piece: Piece) -> list[Word]:
    """Return repeated text once, in brackets if it is several words, with the number of repetitions."""
    unit = piece.text.rstrip()
    words = [Word(word) for word in split_words_with_blanks(unit)]
    if len(words) > 1:
        words = [Word("⟨", True), *words, Word("⟩", True)]
    return [*words, Word(f" ×{piece.times:,}", True), Word(piece.text[len(unit) :] or " ", True)]


def find_differing(one: list[Word], other: list[Word]) -> tuple[set[int], set[int]]:
    """Return the places of the words of each answer that the other does not have there."""
    first, second = _compared_places(one), _compared_places(other)
    bare = [one[at].text.strip() for at in first], [other[at].text.strip() for at in second]
    # autojunk would ignore every frequent word of an answer of more than 200 words.
    matcher = SequenceMatcher(None, *bare, autojunk=False)
    apart: tuple[set[int], set[int]] = (set(), set())
    for tag, start, end, begin, close in matcher.get_opcodes():
        if tag != "equal":
            apart[0].update(first[start:end])
            apart[1].update(second[begin:close])
    return apart


def _compared_places(words: list[Word]) -> list[int]:
    """Return the places of the words that are compared."""
    return [at for at, word in enumerate(words) if not word.own and word.text.strip()][:MOST_COMPARED]
