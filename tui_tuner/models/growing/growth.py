"""The new tokens of a grown tokenizer: how it is written, and the record of what each token is made of."""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tui_tuner.errors import ConfigError, ModelError
from tui_tuner.locales import _
from tui_tuner.models.growing.tokenizer_kinds import FIELD, GrowingTokenizer, refuse_growth
from tui_tuner.text import one_line

RECORD = "new_tokens.json"  # next to a grown tokenizer whose model has yet to grow
_PLAIN = "tokenizer.json"
# Other forms of a vocabulary, which would not know the new tokens
_OTHERS = (
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
    "tokenizer.model",
    "sentencepiece.bpe.model",
)
_CONTEXTS = ("{word}", "a {word} b", "x{word}y", "({word}).", "{word} {word}", "{word}'s")


@dataclass(frozen=True)
class NewToken:
    """A new token.

    Args:
        text: What it stands for, with the space before it.
        pieces: Ids of the old tokens that it replaces: its embedding begins as their mean.
    """

    id: int
    text: str
    pieces: tuple[int, ...]


@dataclass(frozen=True)
class Growth:
    """The new tokens of a tokenizer, which a model has to have rows for."""

    tokens: tuple[NewToken, ...]

    @property
    def first(self) -> int:
        return min(token.id for token in self.tokens)

    @property
    def rows(self) -> int:
        """Return how many embeddings a model needs at least."""
        return max(token.id for token in self.tokens) + 1

    @property
    def ids(self) -> list[int]:
        return [token.id for token in self.tokens]

    def format_record(self) -> str:
        """Return the JSON text of the record's file."""
        rows = [{"id": one.id, "text": one.text, "pieces": list(one.pieces)} for one in self.tokens]
        return json.dumps({"version": 1, "tokens": rows}, ensure_ascii=False, indent=0) + "\n"


def read_growth(folder: Path | str) -> Growth | None:
    """Read the record in the folder of a tokenizer; None if it has not grown.

    Raises:
        ModelError: it is damaged.
    """
    path = Path(folder) / RECORD
    if not path.is_file():
        return None
    try:
        found = orjson.loads(path.read_bytes())["tokens"]
        tokens = tuple(
            NewToken(int(one["id"]), str(one["text"]), tuple(map(int, one["pieces"]))) for one in found
        )
        if not tokens or not all(token.pieces and token.id >= 0 for token in tokens):
            raise ValueError("empty")
        return Growth(tokens)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            _("is damaged: {problem}.", problem=one_line(error, 120)),
            where=one_line(path),
            hint=_("Put the file back: it says what the new tokens of this tokenizer begin as."),
        ) from None


def find_growth(tokenizer: Any) -> Growth | None:
    """Return the new tokens of a loaded tokenizer that its base model has yet to get; None without any."""
    folder = str(getattr(tokenizer, "name_or_path", "") or "")
    return read_growth(folder) if folder and Path(folder).is_dir() else None


def write_grown_tokenizer(
    tokenizer: Any, growing: GrowingTokenizer, phrases: Sequence[str], folder: Path
) -> Any:
    """Write a tokenizer with its new tokens, and their record, into a folder; return it as loaded from there.

    Args:
        growing: The tokenizer with the pieces that are added.
        phrases: Texts that become added tokens, for they are no single word.

    Raises:
        ConfigError: such a text cannot be added without changing others.
        ModelError: the tokenizer's class does not keep the new tokens.
    """
    from transformers import AutoTokenizer

    ids = growing.write_added()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(str(folder))
    (folder / _PLAIN).write_bytes(orjson.dumps(growing.parts))
    for name in _OTHERS:
        (folder / name).unlink(missing_ok=True)
    grown = AutoTokenizer.from_pretrained(str(folder))
    _check_kept(grown, ids)
    if phrases:
        _add_phrases(tokenizer, grown, phrases)
        grown.save_pretrained(str(folder))
        for name in _OTHERS:
            (folder / name).unlink(missing_ok=True)
    growth = Growth(tuple(_list_tokens(tokenizer, grown, growing, ids, phrases)))
    (folder / RECORD).write_text(growth.format_record(), encoding="utf-8")
    return grown


def _check_kept(grown: Any, ids: dict[str, int]) -> None:
    """Raise `ModelError` where a tokenizer, loaded again, does not know its new tokens by their numbers."""
    known = grown.get_vocab()
    if any(known.get(piece) != number for piece, number in ids.items()):
        raise refuse_growth(
            _(
                "its class {name} makes its vocabulary anew when it is loaded",
                name=one_line(type(grown).__name__),
            )
        )


def _list_tokens(
    old: Any, grown: Any, growing: GrowingTokenizer, ids: dict[str, int], phrases: Sequence[str]
) -> Iterator[NewToken]:
    unknown = old.unk_token_id
    for piece, number in ids.items():
        pieces = [token.id for token in growing.backend.model.tokenize(piece)] or [unknown]
        yield NewToken(number, growing.spell_piece(piece), tuple(0 if one is None else one for one in pieces))
    for text in phrases:
        yield NewToken(
            int(grown.convert_tokens_to_ids(text)),
            text,
            tuple(old(text, add_special_tokens=False)["input_ids"]),
        )


def _add_phrases(old: Any, grown: Any, phrases: Sequence[str]) -> None:
    """Add texts of several words to a tokenizer, as they stand.

    Raises:
        ConfigError: one would change other texts.
    """
    from tokenizers import AddedToken

    grown.add_tokens(
        [
            AddedToken(text, single_word=_is_wordlike(text), lstrip=False, rstrip=False, normalized=False)
            for text in phrases
        ]
    )
    for text in phrases:
        for context in _CONTEXTS:
            whole = context.format(word=text)
            if decode_whole(grown, whole) != decode_whole(old, whole):
                raise ConfigError(
                    _(
                        "{text} is no single word to this tokenizer, and as an added token it would change "
                        "texts: {whole} would come back as {changed}.",
                        text=one_line(repr(text), 60),
                        whole=one_line(repr(whole), 80),
                        changed=one_line(repr(decode_whole(grown, whole)), 80),
                    ),
                    where=FIELD,
                    field=FIELD,
                    hint=_("Take it out of the list."),
                )


def decode_whole(tokenizer: Any, text: str) -> str:
    """Encode a text, and return what its tokens say."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _is_wordlike(text: str) -> bool:
    """Return whether a text is to be found between words only, never inside of one."""
    edges = (text[0], text[-1])
    wide = any(unicodedata.east_asian_width(letter) in "WF" for letter in edges)
    return any(letter.isalnum() for letter in edges) and not wide


def copy_record(source: Path, target: Path) -> None:
    """Copy the record of a grown tokenizer next to an adapter, whose base model has to grow."""
    if (source / RECORD).is_file():
        shutil.copyfile(source / RECORD, target / RECORD)
