"""Words in the user's language: gettext, and English where there is no catalogue.

Every sentence that a person reads goes through here, whole and with named places:

    _("{rows} rows have {tokens:,} tokens.", rows=len(rows), tokens=tokens)
    _n("{count} row", "{count} rows", count, count=count)

Translated first, filled in afterwards with `str.format`. With values, literal braces are doubled; without
any, the sentence is taken as it stands and braces are not doubled. A sentence that is declared where no
language is known yet, or that is stored and compared, is marked with `N_` and translated where it is shown.

A translation is a compiled catalogue `<language>/LC_MESSAGES/tui_tuner.mo` in this folder. It is looked for
at the first sentence, so that importing this module costs nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gettext import NullTranslations

DOMAIN = "tui_tuner"
FOLDER = os.path.dirname(__file__)

# What a recipe from a file may ask of `str.format`: no attributes, no width that fills the memory
_HARMLESS = r"(?s:[^{}]|\{\{|\}\}|\{\w+(?:![rs])?(?::[,.\d]{0,4}[a-z%]?)?\})*"

_catalogue: NullTranslations | None = None


class Sentence(str):
    """An English sentence, filled in, that remembers how: it is a plain text to whoever stores it."""

    pattern: str
    values: dict[str, Any]

    def __new__(cls, pattern: str, values: Mapping[str, Any]) -> Sentence:
        self = super().__new__(cls, pattern.format(**values))
        self.pattern, self.values = pattern, dict(values)
        return self

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the way back from a worker process."""
        return (Sentence, (self.pattern, self.values))


def recipe(text: str) -> dict[str, Any]:
    """What `recall` makes a sentence of again, for JSON; empty for a plain text."""
    return {"pattern": text.pattern, "values": text.values} if isinstance(text, Sentence) else {}


def recall(text: object, made: object) -> str:
    """A stored sentence, in English and ready for `_`; where its recipe is damaged, a plain text."""
    if isinstance(made, Mapping) and re.fullmatch(_HARMLESS, str(made.get("pattern"))):
        with contextlib.suppress(LookupError, ValueError, TypeError):
            return Sentence(made["pattern"], made["values"])
    return str(text or "")


def N_(sentence: str, /, **values: Any) -> str:
    """Mark a sentence for translation and give it back in English; `_` translates it where it is shown."""
    return Sentence(sentence, values) if values else sentence


def _(sentence: str, /, **values: Any) -> str:
    """A sentence in the user's language, its places filled with `values`; also what `N_` has marked."""
    if isinstance(sentence, Sentence):
        values = sentence.values
        sentence = sentence.pattern
    if not sentence:
        return sentence  # to gettext the empty sentence is the catalogue's own header
    return _filled(_words().gettext(sentence), sentence, values)


def _n(singular: str, plural: str, count: int, /, **values: Any) -> str:
    """The form that the language has for `count` things; `count` is not a value of its own accord."""
    english = singular if count == 1 else plural
    try:
        said = _words().ngettext(singular, plural, count)
    except Exception:  # a catalogue's own formula for plurals may be wrong, such as n/0
        said = english
    return _filled(said, english, values)


def use_language(*languages: str, folder: str | os.PathLike[str] = FOLDER) -> None:
    """Speak these languages from now on, best first; without any, that of the environment.

    Args:
        languages: Such as `de` or `zh_CN`.
        folder: Where the catalogues are.
    """
    global _catalogue
    _catalogue = _found(languages, folder)


def _words() -> NullTranslations:
    global _catalogue
    if _catalogue is None:
        _catalogue = _found((), FOLDER)
    return _catalogue


def _found(languages: tuple[str, ...], folder: str | os.PathLike[str]) -> NullTranslations:
    """The catalogue; as the environment asks (LANGUAGE, LC_ALL, LC_MESSAGES, LANG) if none is named."""
    import gettext

    try:
        return gettext.translation(DOMAIN, folder, languages or None, fallback=True)
    except Exception:  # however a catalogue is damaged: nobody is kept from working for want of its words
        return gettext.NullTranslations()


def _filled(said: str, english: str, values: Mapping[str, Any]) -> str:
    if not values:
        return said
    if said is not english:
        with contextlib.suppress(LookupError, ValueError, AttributeError, TypeError):  # misspelt places
            return said.format(**values)
    return english.format(**values)


__all__ = ["DOMAIN", "FOLDER", "N_", "Sentence", "_", "_n", "recall", "recipe", "use_language"]
