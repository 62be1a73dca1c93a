"""Read the files next to a model's weights: its card (README.md), and whether it has a chat template."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_tuner.text import one_line

_MOST_BYTES = 16 << 20  # of a tokenizer's settings
_MOST_CARD = 1 << 20
_HEAD = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_CODE = re.compile(r"[a-z]{2,3}(?:[-_][A-Za-z]{2,8})?")
_SAME = {
    "eng": "en",
    "deu": "de",
    "ger": "de",
    "fra": "fr",
    "fre": "fr",
    "spa": "es",
    "ita": "it",
    "por": "pt",
}
_SAME |= {
    "rus": "ru",
    "zho": "zh",
    "chi": "zh",
    "jpn": "ja",
    "kor": "ko",
    "ara": "ar",
    "nld": "nl",
    "pol": "pl",
}


@dataclass(frozen=True)
class CardWords:
    """Facts from a card, empty where it has none. `based_on` has the ids or folders it was made from."""

    licence: str = ""
    languages: tuple[str, ...] = ()
    based_on: tuple[str, ...] = ()


def read_card(folder: Path) -> CardWords:
    """Read the head of README.md in a model's folder; no value in it is trusted to have its type."""
    path = folder / "README.md"
    try:
        if not path.is_file() or path.stat().st_size > _MOST_CARD:
            return CardWords()
        # Cards are written by hand: one wrong byte must not hide the licence.
        head = _HEAD.match(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return CardWords()
    return parse_card_words(_parse_values(head.group(1))) if head else CardWords()


def _parse_values(text: str) -> Any:
    from tui_tuner.config.yamltext import BadYaml, parse_yaml

    try:
        return parse_yaml(text)[0]
    except (BadYaml, ValueError):
        return None


def parse_card_words(values: Any) -> CardWords:
    """Return licence and languages from a card's values, in any of the forms that cards use."""
    if not hasattr(values, "get"):
        return CardWords()
    licence = values.get("license")
    # The hub's own convention: a licence that it does not list is "other" with a name of its own.
    if licence == "other" and isinstance(values.get("license_name"), str):
        licence = values.get("license_name")
    based = values.get("base_model")
    return CardWords(
        one_line(licence, 60) if isinstance(licence, str) else "",
        find_language_codes(values.get("language")),
        tuple(one_line(name, 200) for name in _list_texts(based)),
    )


def find_language_codes(told: Any) -> tuple[str, ...]:
    """Return ISO 639-1 codes, where a language has one, in the order given; other words are left out."""
    found: dict[str, None] = {}
    for word in _list_texts(told):
        code = word.strip().lower().replace("_", "-")
        if _CODE.fullmatch(code):
            short = code.partition("-")[0]
            found[_SAME.get(short, short)] = None
    return tuple(found)


def _list_texts(told: Any) -> list[str]:
    if isinstance(told, str):
        return [told]
    return [one for one in told if isinstance(one, str)] if isinstance(told, (list, tuple)) else []


def has_chat_template(folder: Path, names: Iterable[str] | None = None) -> bool | None:
    """Return whether the tokenizer in a folder has a chat template; None if there is no tokenizer.

    Args:
        names: Names of the files in the folder, if they are known already.
    """
    if names is None:
        try:
            names = {entry.name for entry in os.scandir(folder)}
        except OSError:
            return None
    there = set(names)
    # Newer releases write the template into its own file, older ones into the tokenizer's settings.
    if any(name.startswith("chat_template.") for name in there):
        return True
    if "tokenizer_config.json" not in there:
        return None
    with suppress(OSError, ValueError, RecursionError):
        path = folder / "tokenizer_config.json"
        if path.is_file() and path.stat().st_size <= _MOST_BYTES:
            values = json.loads(path.read_text(encoding="utf-8"))
            return bool(isinstance(values, dict) and values.get("chat_template"))
    return None
