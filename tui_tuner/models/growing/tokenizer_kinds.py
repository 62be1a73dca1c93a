"""The tokenizers whose own vocabulary can grow: byte-pair merges, unigram scores, word pieces.

A new token becomes a part of the vocabulary, not an added token: those are cut out of a text before the
tokenizer looks at it, also from inside longer words, and with their spaces. Each kind is a description of
`tokenizer.json` (https://github.com/huggingface/tokenizers), which is changed in place.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar

from tui_tuner.errors import ModelError
from tui_tuner.locales import _
from tui_tuner.text import one_line

FIELD = "model.new_tokens"
SPACE = "\u2581"  # sentencepiece's sign for a space
_GAIN = 1e-3  # by which a new piece is more likely than the pieces it replaces, for each that it saves
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
# Words, punctuation and spaces apart, as byte-level tokenizers cut them
_UNITS = re.compile(rf"{SPACE}?[^\W_]+|{SPACE}?[^\w{SPACE}]+|{SPACE}?_+|{SPACE}+")


def _make_byte_letters() -> dict[str, int]:
    """Return the letters that byte-level tokenizers write bytes with (GPT-2's `bytes_to_unicode`)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    letters = {chr(byte): byte for byte in plain}
    return letters | {chr(256 + place): byte for place, byte in enumerate(others)}


BYTE_LETTERS = _make_byte_letters()


class GrowingTokenizer:
    """A tokenizer whose vocabulary grows: how it cuts words, and what a new piece is in its file.

    Args:
        parts: The values of its `tokenizer.json`, which are changed.
        backend: The same as an object of the library tokenizers, which stays as it is.

    Attributes:
        steps: A piece is reached by way of two others, which have to be in the vocabulary too.
    """

    steps: ClassVar[bool] = False

    def __init__(self, parts: dict[str, Any], backend: Any) -> None:
        self.parts, self.backend = parts, backend
        self.model: dict[str, Any] = parts["model"]
        self.known: dict[str, int] = backend.get_vocab(with_added_tokens=True)
        self.first = max(self.known.values(), default=-1) + 1
        self.added: dict[str, tuple[str, ...]] = {}  # new pieces, with what each is made of
        self._unknown = str(self.model.get("unk_token") or "")

    # ---- words --------------------------------------------------------------------------------------------

    @cached_property
    def is_byte_level(self) -> bool:
        """Return whether its pieces are written in letters that stand for bytes."""
        return "ByteLevel" in repr(self.parts.get("pre_tokenizer"))

    def cut_words(self, text: str) -> list[str]:
        """Cut a text into the words that it looks at one by one, as it writes them."""
        if self.backend.normalizer is not None:
            text = self.backend.normalizer.normalize_str(text)
        words = [text]
        if self.backend.pre_tokenizer is not None:
            words = [word for word, _place in self.backend.pre_tokenizer.pre_tokenize_str(text)]
        if self.is_byte_level or not self.keeps_spaces:
            return words
        return [unit for word in words for unit in _UNITS.findall(word)]

    @cached_property
    def keeps_spaces(self) -> bool:
        """Return whether a space is written at the beginning of the word after it."""
        return True

    def split_word(self, word: str) -> list[str]:
        """Return the old pieces of a word; characters that the vocabulary lacks stand for themselves."""
        found = [token.value for token in self.backend.model.tokenize(word)]
        if all(piece in self.known and not self._stands_in(piece) for piece in found):
            return found
        pieces: list[str] = []
        run = ""
        for letter in word:
            if self._lacks(letter):
                pieces += [token.value for token in self.backend.model.tokenize(run)] if run else []
                pieces.append(letter)
                run = ""
            else:
                run += letter
        return pieces + ([token.value for token in self.backend.model.tokenize(run)] if run else [])

    def _lacks(self, letter: str) -> bool:
        found = self.backend.model.tokenize(letter)
        return len(found) != 1 or self._stands_in(found[0].value)

    def _stands_in(self, piece: str) -> bool:
        """Return whether a token stands for a character that the vocabulary lacks."""
        return piece == self._unknown or _BYTE.fullmatch(piece) is not None

    def join_pieces(self, one: str, other: str) -> str:
        """Return the piece that two neighbours become."""
        return one + other

    def spell_piece(self, piece: str) -> str:
        """Return the text of a piece; half a character is U+FFFD."""
        if self.is_byte_level and all(letter in BYTE_LETTERS for letter in piece):
            return bytes(BYTE_LETTERS[letter] for letter in piece).decode("utf-8", "replace")
        return piece.replace(SPACE, " ")

    def list_forms(self, word: str) -> list[str]:
        """List how a word is written first in a text and after a space; empty for several words."""
        plain, spaced = self._cut_whole(word), self._cut_whole(f" {word}")
        if len(plain) != 1:
            return []
        forms = [plain[0]]
        if len(spaced) == 1:
            forms.append(spaced[0].replace(SPACE + SPACE, SPACE))
        # A tokenizer that puts a space before each text never shows the word without one, as after a bracket.
        sign = "Ġ" if self.is_byte_level else SPACE
        forms += [form.removeprefix(sign) for form in list(forms)]
        if _runs_on(word[0]):
            forms = [form for form in forms if not form.startswith(sign)]
        return [form for form in dict.fromkeys(forms) if form]

    def _cut_whole(self, text: str) -> list[str]:
        """Cut a text as the tokenizer does, without cutting its words into units."""
        if self.backend.normalizer is not None:
            text = self.backend.normalizer.normalize_str(text)
        if self.backend.pre_tokenizer is None:
            return [text]
        return [word for word, _place in self.backend.pre_tokenizer.pre_tokenize_str(text)]

    # ---- what is added ------------------------------------------------------------------------------------

    def has_piece(self, piece: str) -> bool:
        return piece in self.known or piece in self.added

    def add_piece(self, piece: str, made_of: Sequence[str]) -> None:
        """Add a piece that stands for others, in order; one that the vocabulary lacks is made of itself."""
        self.added[piece] = tuple(made_of)

    def apply_added(self, pieces: list[str]) -> list[str]:
        """Return what the grown vocabulary makes of a word, from its pieces in the old one."""
        raise NotImplementedError

    def write_added(self) -> dict[str, int]:
        """Write all new pieces into `parts`, and return their ids."""
        self._fill_gaps()
        ids = {piece: self.first + place for place, piece in enumerate(self.added)}
        self._write_pieces(ids)
        return ids

    def _write_pieces(self, ids: dict[str, int]) -> None:
        raise NotImplementedError

    def _fill_gaps(self) -> None:
        """Give added tokens a place among the others: ids of the vocabulary have to follow one another."""
        raise NotImplementedError


class MergingTokenizer(GrowingTokenizer):
    """Byte-pair encoding: a new piece is a merge of two others, applied after all old ones.

    So a text is first cut as before, and new merges join what is there: no old word is torn. This is the
    training of the tokenizer going on (Purason et al. 2025, arXiv 2512.03989, "continued BPE training").
    """

    steps = True

    def __init__(self, parts: dict[str, Any], backend: Any) -> None:
        super().__init__(parts, backend)
        if self.model.get("continuing_subword_prefix") or self.model.get("end_of_word_suffix"):
            raise refuse_growth(_("its words have signs at their ends"))
        self._ranks: dict[tuple[str, str], int] = {}

    def add_piece(self, piece: str, made_of: Sequence[str]) -> None:
        super().add_piece(piece, made_of)
        if len(made_of) == 2:
            self._ranks[(made_of[0], made_of[1])] = len(self._ranks)

    def apply_added(self, pieces: list[str]) -> list[str]:
        pieces = list(pieces)
        while len(pieces) > 1:
            pairs = list(pairwise(pieces))
            best = min((self._ranks.get(pair, len(self._ranks)), place) for place, pair in enumerate(pairs))
            if best[0] == len(self._ranks):
                break
            place = best[1]
            pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]
        return pieces

    def _write_pieces(self, ids: dict[str, int]) -> None:
        self.model["vocab"].update(ids)
        as_text = bool(self.model["merges"]) and isinstance(self.model["merges"][0], str)
        for one, other in self._ranks:
            self.model["merges"].append(f"{one} {other}" if as_text else [one, other])

    def _fill_gaps(self) -> None:
        _fill_mapping(self.model["vocab"], self.known)


class UnigramTokenizer(GrowingTokenizer):
    """Unigram: a new piece is as likely as the pieces that it replaces together, and hardly more.

    So it takes their place wherever they stood side by side, and no other way of cutting a word becomes
    better than it was.
    """

    def __init__(self, parts: dict[str, Any], backend: Any) -> None:
        super().__init__(parts, backend)
        number = self.model.get("unk_id")
        self._unknown = self.model["vocab"][number][0] if number is not None else ""
        self.scores: dict[str, float] = {piece: float(score) for piece, score in self.model["vocab"]}
        self._least = min(self.scores.values(), default=0.0)

    def _lacks(self, letter: str) -> bool:
        # An unknown letter comes back as itself, with the id of the unknown token
        return letter not in self.scores and super()._lacks(letter)

    def _stands_in(self, piece: str) -> bool:
        return piece not in self.scores or super()._stands_in(piece)

    def add_piece(self, piece: str, made_of: Sequence[str]) -> None:
        super().add_piece(piece, made_of)
        if len(made_of) == 1 or not all(one in self.scores for one in made_of):
            self.scores[piece] = self._least
        else:
            self.scores[piece] = sum(self.scores[one] for one in made_of) + _GAIN * (len(made_of) - 1)

    def apply_added(self, pieces: list[str]) -> list[str]:
        return _join_longest(pieces, self.added)

    def _write_pieces(self, ids: dict[str, int]) -> None:
        self.model["vocab"] += [[piece, self.scores[piece]] for piece in ids]

    def _fill_gaps(self) -> None:
        vocab = self.model["vocab"]
        names = {number: name for name, number in self.known.items()}
        while len(vocab) < self.first:
            # The place of a piece is its id. A text never holds these: added tokens are cut out before.
            vocab.append([names.get(len(vocab), f"<unused_{len(vocab)}>"), self._least])


class WordPieceTokenizer(GrowingTokenizer):
    """WordPiece: the longest piece that a word begins with, then the longest that goes on from there."""

    def __init__(self, parts: dict[str, Any], backend: Any) -> None:
        super().__init__(parts, backend)
        self._prefix = str(self.model.get("continuing_subword_prefix") or "")
        self._check_letters()

    def _check_letters(self) -> None:
        """Raise `ModelError` where a word that begins with a new piece could become unknown as a whole."""
        vocab, prefix = self.model["vocab"], self._prefix
        added = {str(token["content"]) for token in self.parts.get("added_tokens") or ()}
        inner: set[str] = set()
        for piece in vocab:
            if piece not in added:
                inner.update(piece.removeprefix(prefix) if piece.startswith(prefix) else piece[1:])
        missing = sorted(letter for letter in inner if f"{prefix}{letter}" not in vocab)
        if missing:
            raise refuse_growth(
                _(
                    "it has no piece for a single {letter} inside a word, so that new tokens could make "
                    "words unknown",
                    letter=one_line(missing[0]),
                )
            )

    @cached_property
    def keeps_spaces(self) -> bool:
        return False

    def split_word(self, word: str) -> list[str]:
        found = [token.value for token in self.backend.model.tokenize(word)]
        # A word with one unknown letter is unknown as a whole.
        return [word] if found == [self._unknown] else found

    def join_pieces(self, one: str, other: str) -> str:
        return one + other.removeprefix(self._prefix)

    def spell_piece(self, piece: str) -> str:
        return piece.removeprefix(self._prefix)

    def list_forms(self, word: str) -> list[str]:
        found = self._cut_whole(word)
        return found if len(found) == 1 else []

    def apply_added(self, pieces: list[str]) -> list[str]:
        word = pieces[0] + "".join(piece.removeprefix(self._prefix) for piece in pieces[1:])
        found, start = [], 0
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = (self._prefix if start else "") + word[start:end]
                if self.has_piece(piece):
                    found.append(piece)
                    start = end
                    break
            else:
                return pieces
        return found

    def _write_pieces(self, ids: dict[str, int]) -> None:
        self.model["vocab"].update(ids)

    def _fill_gaps(self) -> None:
        _fill_mapping(self.model["vocab"], self.known)


KINDS: dict[str, type[GrowingTokenizer]] = {
    "BPE": MergingTokenizer,
    "Unigram": UnigramTokenizer,
    "WordPiece": WordPieceTokenizer,
}


def open_growing(tokenizer: Any) -> GrowingTokenizer:
    """Return a tokenizer of transformers, or of tokenizers, as one that can grow.

    Raises:
        ModelError: it cannot grow; the error names `model.new_tokens`.
    """
    import orjson

    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(backend, "to_str"):
        raise refuse_growth(_("it is not one of the library tokenizers (it has no tokenizer.json)"))
    parts = orjson.loads(backend.to_str())
    name = str(parts["model"].get("type"))
    if name not in KINDS:
        raise refuse_growth(
            _("its kind is {name}, and only {kinds} can grow", name=name, kinds=", ".join(KINDS))
        )
    return KINDS[name](parts, backend)


def refuse_growth(why: str) -> ModelError:
    """Make the error for a tokenizer that cannot grow."""
    return ModelError(
        _("the vocabulary of this tokenizer cannot grow: {why}.", why=why),
        where=FIELD,
        field=FIELD,
        hint=_("Leave model.new_tokens empty, or choose a model with another tokenizer."),
    )


def _fill_mapping(vocab: dict[str, int], known: dict[str, int]) -> None:
    taken = set(vocab.values())
    vocab.update({name: number for name, number in known.items() if number not in taken})


def _join_longest(pieces: list[str], added: dict[str, tuple[str, ...]]) -> list[str]:
    """Join neighbours that are a new piece together, from the left, the longest first."""
    found, start = [], 0
    while start < len(pieces):
        for end in range(len(pieces), start + 1, -1):
            whole = "".join(pieces[start:end])
            if whole in added:
                found.append(whole)
                start = end
                break
        else:
            found.append(pieces[start])
            start += 1
    return found


def _runs_on(letter: str) -> bool:
    """Return whether a script writes no spaces between words: Chinese, Japanese, Thai and its neighbours."""
    name = unicodedata.name(letter, "")
    return name.startswith(("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR"))
