"""Translate sentences to the user's language with gettext; English if there is no catalogue.

Every sentence that a person reads goes through here, whole and with named places:

    _("{rows} rows have {tokens:,} tokens.", rows=len(rows), tokens=tokens)
    _n("{count} row", "{count} rows", count, count=count)

A sentence is translated first and filled in afterwards with `str.format`. With values, literal braces are
doubled; without any, the sentence is used unchanged and braces are not doubled. A sentence that is declared
before the language is known, or that is stored and compared, is marked with `N_` and translated where it is
shown.

A translation is a compiled catalogue `<language>/LC_MESSAGES/tui_tuner.mo` in this folder. It is
loaded at the first sentence, so that importing this module costs nothing.
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

# What a recipe from a file may use of `str.format`: no attributes, and no width that fills the memory
_HARMLESS = r"(?s:[^{}]|\{\{|\}\}|\{\w+(?:![rs])?(?::[,.\d]{0,4}[a-z%]?)?\})*"

_catalogue: NullTranslations | None = None


class Sentence(str):
    """An English sentence, filled in, that remembers its pattern; other code can treat it as plain text."""

    pattern: str
    values: dict[str, Any]

    def __new__(cls, pattern: str, values: Mapping[str, Any]) -> Sentence:
        self = super().__new__(cls, pattern.format(**values))
        self.pattern, self.values = pattern, dict(values)
        return self

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the way back from a worker process."""
        return (Sentence, (self.pattern, self.values))


def recipe_of(text: str) -> dict[str, Any]:
    """Return the JSON values from which `recall_sentence` rebuilds a sentence; empty for plain text."""
    return {"pattern": text.pattern, "values": text.values} if isinstance(text, Sentence) else {}


def recall_sentence(text: object, made: object) -> str:
    """Rebuild a stored sentence, in English and ready for `_`; plain text if its recipe is damaged."""
    if isinstance(made, Mapping) and re.fullmatch(_HARMLESS, str(made.get("pattern"))):
        with contextlib.suppress(LookupError, ValueError, TypeError):
            return Sentence(made["pattern"], made["values"])
    return str(text or "")


def N_(sentence: str, /, **values: Any) -> str:
    """Mark a sentence for translation and return it in English; `_` translates it where it is shown."""
    return Sentence(sentence, values) if values else sentence


def _(sentence: str, /, **values: Any) -> str:
    """Translate a sentence, also one marked by `N_`, and fill its places with `values`."""
    if isinstance(sentence, Sentence):
        values = sentence.values
        sentence = sentence.pattern
    if not sentence:
        # For gettext the empty sentence is the header of the catalogue.
        return sentence
    return _fill_places(_load_catalogue().gettext(sentence), sentence, values)


def _n(singular: str, plural: str, count: int, /, **values: Any) -> str:
    """Return the form that the language has for `count` things; `count` is not automatically a value."""
    english = singular if count == 1 else plural
    try:
        said = _load_catalogue().ngettext(singular, plural, count)
    # The plural formula of a catalogue is evaluated, and may be wrong, such as n/0.
    except Exception:
        said = english
    return _fill_places(said, english, values)


def use_language(*languages: str, folder: str | os.PathLike[str] = FOLDER) -> None:
    """Use these languages from now on, best first; without any, those of the environment.

    Args:
        languages: Language codes such as `de` or `zh_CN`.
        folder: The folder of the catalogues.
    """
    global _catalogue
    _catalogue = _find_catalogue(languages, folder)


def _load_catalogue() -> NullTranslations:
    global _catalogue
    if _catalogue is None:
        _catalogue = _find_catalogue((), FOLDER)
    return _catalogue


def _find_catalogue(languages: tuple[str, ...], folder: str | os.PathLike[str]) -> NullTranslations:
    """Load the catalogue, by the environment (LANGUAGE, LC_ALL, LC_MESSAGES, LANG) if none is named."""
    import gettext

    try:
        return gettext.translation(DOMAIN, folder, languages or None, fallback=True)
    # A damaged catalogue must not keep the program from running, whatever gettext raises.
    except Exception:
        return gettext.NullTranslations()


def _fill_places(said: str, english: str, values: Mapping[str, Any]) -> str:
    if not values:
        return said
    if said is not english:
        # A translation with misspelled places falls back to English.
        with contextlib.suppress(LookupError, ValueError, AttributeError, TypeError):
            return said.format(**values)
    return english.format(**values)


__all__ = ["DOMAIN", "FOLDER", "N_", "Sentence", "_", "_n", "recall_sentence", "recipe_of", "use_language"]
