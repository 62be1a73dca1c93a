"""Tokens that the user lists, or names a file of: checked, and put into a tokenizer."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tui_tuner.config.paths import explain_missing_path
from tui_tuner.config.sections.new_tokens import FILE, MOST_TOKENS, find_token_problem
from tui_tuner.errors import ConfigError
from tui_tuner.locales import _, _n
from tui_tuner.models.growing.tokenizer_kinds import FIELD, GrowingTokenizer
from tui_tuner.text import one_line

MOST_BYTES = 64 * 1024**2  # of a file of words
_SHOWN = 5


@dataclass
class Listing:
    """What became of listed tokens: how many there were, those that exist, and those that are several words.

    Args:
        phrases: They cannot be pieces of the vocabulary, and become added tokens.
        blank: Empty lines of a file. twice: Lines that stood in it before.
    """

    words: list[str]
    existing: list[str] = field(default_factory=list)
    phrases: list[str] = field(default_factory=list)
    blank: int = 0
    twice: int = 0

    def describe_leavings(self) -> list[str]:
        """Say what was left out of the list, a sentence each."""
        said = []
        if self.existing:
            said.append(
                _n(
                    "{count:,} listed word is one token already and is not added: {words}.",
                    "{count:,} listed words are one token each already and are not added: {words}.",
                    len(self.existing),
                    count=len(self.existing),
                    words=name_some(self.existing),
                )
            )
        if self.twice:
            said.append(
                _n(
                    "{count:,} line of the file repeats an earlier one.",
                    "{count:,} lines of the file repeat earlier ones.",
                    self.twice,
                    count=self.twice,
                )
            )
        if self.phrases:
            said.append(
                _n(
                    "{count:,} listed text is cut up before the tokenizer looks for words, and is added as "
                    "it "
                    "stands: {words}.",
                    "{count:,} listed texts are cut up before the tokenizer looks for words, and are added "
                    "as they "
                    "stand: {words}.",
                    len(self.phrases),
                    count=len(self.phrases),
                    words=name_some(self.phrases),
                )
            )
        return said


def name_some(words: list[str]) -> str:
    """Name the first few of some words."""
    return ", ".join(
        [*(one_line(word, 40) for word in words[:_SHOWN]), *(["…"] if len(words) > _SHOWN else [])]
    )


def read_listing(value: Any) -> Listing:
    """Return the words of `model.new_tokens` where it is a list or names a file.

    Raises:
        ConfigError: the file cannot be read, or one of its lines cannot be a token; with file and line.
    """
    if isinstance(value, list):
        return Listing(list(value))
    return read_word_file(Path(str(value[FILE])).expanduser(), str(value[FILE]))


def read_word_file(path: Path, name: str) -> Listing:
    """Read a file with one token a line; spaces around it do not count, and empty lines are passed over.

    Raises:
        ConfigError: it cannot be read, or one of its lines cannot be a token; with file and line.
    """
    shown = one_line(name)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise _refuse(_("is larger than 64 MiB, so it is not a list of words."), shown)
        if not path.is_file():
            raise _refuse(_("is not a file."), shown)
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise _refuse(_("no such file."), shown, explain_missing_path(name)) from None
    except UnicodeDecodeError as error:
        broken = error.object.count(b"\n", 0, error.start) + 1
        raise _refuse(_("is not UTF-8 text."), f"{shown}:{broken}", _("Save it as UTF-8.")) from None
    except OSError as error:
        raise _refuse(_("cannot be read: {problem}.", problem=error.strerror), shown) from None
    found, seen = Listing([]), set()
    for number, line in enumerate(text.split("\n"), 1):
        token = line.strip(" \t\r\u3000")
        if not token:
            found.blank += 1
            continue
        problem = find_token_problem(token)
        if problem:
            raise _refuse(
                _("{token} cannot be a token: {problem}.", token=one_line(repr(token), 60), problem=problem),
                f"{shown}:{number}",
                _("The file has one word a line; change that line or take it out."),
            )
        if token in seen:
            found.twice += 1
            continue
        seen.add(token)
        found.words.append(token)
    if not found.words:
        raise _refuse(_("holds no words."), shown, _("Write one word a line."))
    if len(found.words) > MOST_TOKENS:
        raise _refuse(
            _("holds {count:,} words; {most:,} are the most.", count=len(found.words), most=MOST_TOKENS),
            shown,
        )
    return found


def add_listed(growing: GrowingTokenizer, listing: Listing) -> None:
    """Add the pieces that make each listed word one token, at the beginning of a text and after a space.

    A word that byte-pair encoding reaches by way of other pieces gets those as well.

    Raises:
        ConfigError: all of them are tokens already.
    """
    for word in listing.words:
        forms = growing.list_forms(word)
        if not forms:
            (listing.existing if word in growing.known else listing.phrases).append(word)
            continue
        wanted = [form for form in forms if not growing.has_piece(form)]
        if not wanted:
            listing.existing.append(word)
        for form in wanted:
            _add_form(growing, form)
    if not growing.added and not listing.phrases:
        raise ConfigError(
            _n(
                "the word is a token of this model already: {words}.",
                "all {count:,} words are tokens of this model already: {words}.",
                len(listing.existing),
                count=len(listing.existing),
                words=name_some(listing.existing),
            ),
            where=FIELD,
            field=FIELD,
            hint=_("Leave model.new_tokens empty, or list words that it lacks."),
        )


def _add_form(growing: GrowingTokenizer, form: str) -> None:
    for letter in dict.fromkeys(growing.split_word(form)):
        if not growing.has_piece(letter) and len(letter) == 1 and growing.steps and letter != form:
            growing.add_piece(letter, [letter])
    pieces = growing.apply_added(growing.split_word(form))
    if not growing.steps:
        growing.add_piece(form, [part for piece in pieces for part in growing.added.get(piece, (piece,))])
        return
    if len(pieces) == 1:
        growing.add_piece(form, [form])
    while len(pieces) > 1:
        # A step that leads to no new piece first: it is free
        growing.add_piece(pieces[0] + pieces[1], pieces[:2])
        pieces = growing.apply_added(pieces)


def _refuse(what: str, where: str, hint: str = "") -> ConfigError:
    return ConfigError(what, where=where, field=FIELD, hint=hint)
