"""Clean records, if the config asks for it. Each step that changes or drops a row is counted in the ledger.

Steps that change rows run first (HTML, control characters), then those that drop them, cheapest first;
flagged rows (personal data) are only counted.
"""

from __future__ import annotations

import copy
import hashlib
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_tuner.config.schema import CleaningSection
from tui_tuner.config.yamltext import BadYaml, parse_yaml
from tui_tuner.data.cleaning.duplicates import NearDuplicateFinder
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.markup import UnparsableHtml, convert_html_to_markdown, convert_html_to_text
from tui_tuner.data.records import (
    Chat,
    JudgedChat,
    LabelledText,
    Message,
    Origin,
    Preference,
    Record,
    Text,
    list_record_answers,
    list_record_texts,
)
from tui_tuner.errors import ConfigError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

PHRASES = Path(__file__).with_name("phrases.yaml")
_BEGINNING = 80
_CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufffe]"
)
_EMAIL = re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}\b")
_PHONE = re.compile(
    r"(?<![\w.,-])(?:\+\d{1,3}(?:[ .-]?\(?\d{2,4}\)?){2,4}|\(\d{2,4}\)[ .-]?\d{3,4}[ .-]?\d{3,4}"
    r"|\d{3}[ .-]\d{3,4}[ .-]\d{4}|1[3-9]\d{9})(?![\w-]?\d)"
)
_SCRIPTS = {
    "zh": "CJK", "ja": "HIRAGANA KATAKANA", "ko": "HANGUL", "ru": "CYRILLIC", "ar": "ARABIC", "he": "HEBREW",
    "el": "GREEK", "hi": "DEVANAGARI", "th": "THAI",
}  # fmt: skip


@dataclass
class CleanedRecord:
    """A record after cleaning, and whether that changed it."""

    record: Record
    changed: bool = False


class Cleaner:
    """Applies the steps of a `CleaningSection`, row by row; remembers rows only as hashes.

    Raises:
        ConfigError: the phrase file is missing or damaged, or a language is unknown.
    """

    def __init__(self, section: CleaningSection) -> None:
        self.section = section
        self.anywhere, self.beginning = _load_phrases(section.phrases) if section.refusals else ([], [])
        self._seen: set[bytes] = set()
        self._near = NearDuplicateFinder(section.near_duplicates) if section.near_duplicates else None
        self._languages = {code.lower() for code in section.languages or ()}
        unknown = self._languages - set(_SCRIPTS) - set(STOP_WORDS)
        if unknown:
            raise ConfigError(
                _(
                    "languages that cannot be detected: {languages}.",
                    languages=", ".join(map(one_line, sorted(unknown))),
                ),
                where="data.cleaning.languages",
                hint=_("Supported are {languages}.", languages=", ".join(sorted({*_SCRIPTS, *STOP_WORDS}))),
            )
        # Nothing to do is the usual case, and is decided once and not for every row.
        self._idle = section == CleaningSection(max_characters=None)

    def clean_record(self, record: Record, origin: Origin, ledger: Ledger) -> CleanedRecord | None:
        """Clean a record; None if a step dropped it, which is then in the ledger."""
        if self._idle:
            return CleanedRecord(record)
        try:
            record, changed = self._change_record(record, origin, ledger)
        except UnparsableHtml as problem:
            detail = f"{problem}: {' | '.join(list_record_texts(record))}"
            ledger.count_row("dropped", origin, N_("HTML that cannot be parsed"), detail)
            return None
        # At most one: the first reason is the one that counts.
        for outcome, reason in self._find_drop_reason(record):
            ledger.count_row(outcome, origin, reason, " | ".join(list_record_texts(record)))
            return None
        if self._languages and not detect_language(" ".join(list_record_texts(record))):
            ledger.count_step(N_("language not detected: kept"), origin, list_record_texts(record)[0])
        if self.section.personal_data:
            _flag_personal_data(record, origin, ledger)
        return CleanedRecord(record, changed)

    def _change_record(self, record: Record, origin: Origin, ledger: Ledger) -> tuple[Record, bool]:
        changed = False
        steps: list[tuple[str, Callable[[str], str]]] = []
        if self.section.html == "text":
            steps.append((N_("HTML to text"), convert_html_to_text))
        elif self.section.html == "markdown":
            steps.append((N_("HTML to Markdown"), convert_html_to_markdown))
        if self.section.control_characters:
            # After HTML, whose entities may contain control characters.
            steps.append((N_("control characters removed"), lambda text: _CONTROL.sub("", text)))
        for name, step in steps:
            found = _map_texts(record, step)
            if found is not None:
                ledger.count_step(name, origin, " | ".join(list_record_texts(record)))
                record, changed = found, True
        return record, changed

    def _find_drop_reason(self, record: Record) -> list[tuple[str, str]]:
        """Return at most one outcome with its reason; empty to keep the row."""
        section = self.section
        least, most = section.min_characters, section.max_characters
        texts = list_record_texts(record)
        size = sum(map(len, texts))
        answers = list_record_answers(record)
        if not any(text.strip() for text in texts):
            return [("dropped", N_("empty after cleaning"))]
        if least is not None and size < least:
            return [("dropped", N_("shorter than {least} characters", least=least))]
        if most is not None and size > most:
            return [("dropped", N_("longer than {most} characters", most=most))]
        # A turn that calls a tool says nothing, and that is not an empty answer.
        spoken = [m for m in getattr(record, "messages", []) if m.role == "assistant" and not m.tool_calls]
        if any(not (m.reasoning or m.content or "").strip() for m in spoken):
            return [("dropped", N_("an answer is empty"))]
        if section.min_answer and any(len((m.content or "").strip()) < section.min_answer for m in spoken):
            return [("dropped", N_("an answer shorter than {least} characters", least=section.min_answer))]
        if section.refusals and any(self.is_refusal(answer) for answer in answers):
            return [("dropped", N_("refusal or model boilerplate"))]
        if self._languages:
            language = detect_language(" ".join(texts))
            if language and language not in self._languages:
                return [("dropped", N_("language {language}", language=language))]
        return self._find_duplicate(texts)

    def _find_duplicate(self, texts: list[str]) -> list[tuple[str, str]]:
        if self.section.exact_duplicates:
            # Only 16 bytes of each row stay in memory; two texts with one digest are not to be expected.
            key = hashlib.blake2b("\0".join(texts).encode("utf-8", "replace"), digest_size=16).digest()
            if key in self._seen:
                return [("deduplicated", N_("exact duplicate of an earlier row"))]
            self._seen.add(key)
        if self._near is not None and self._near.is_near_duplicate("\n".join(texts)):
            alike = self._near.threshold
            why = N_("near duplicate of an earlier row (at least {threshold:g})", threshold=alike)
            return [("deduplicated", why)]
        return []

    def is_refusal(self, answer: str) -> bool:
        """Return whether an answer is a refusal, or says that a language model wrote it."""
        # Phrases are compared without case, kind of apostrophe and white space.
        plain = " ".join(answer.lower().replace("’", "'").split())
        return any(phrase in plain for phrase in self.anywhere) or any(
            # "Sorry" at the start is a refusal; later in an answer it is only a word.
            phrase in plain[:_BEGINNING]
            for phrase in self.beginning
        )


def _load_phrases(path: str | None) -> tuple[list[str], list[str]]:
    """Load the built-in phrases and those of the user's file."""
    anywhere: list[str] = []
    beginning: list[str] = []
    for file in [PHRASES, *([Path(path).expanduser()] if path else [])]:
        where, field = one_line(file), "data.cleaning.phrases"
        try:
            # Reading a device or a pipe may never end.
            if file.exists() and not file.is_file():
                raise ConfigError(_("is not a regular file."), where=where, field=field)
            if file.stat().st_size > 4 * 1024 * 1024:
                raise ConfigError(
                    _("is larger than 4 MiB, too large for a phrase list."), where=where, field=field
                )
            lists: Any = parse_yaml(file.read_text(encoding="utf-8-sig"))[0]
        except (OSError, UnicodeDecodeError, BadYaml) as error:
            raise ConfigError(
                _("is not a readable phrase list: {error}.", error=one_line(error, 120)),
                where=where,
                field=field,
            ) from None
        if isinstance(lists, list):
            lists = {"anywhere": lists}
        if not isinstance(lists, dict) or set(lists) - {"anywhere", "beginning"}:
            raise ConfigError(
                _("a phrase list must be a list, or have the keys anywhere and beginning."),
                where=where,
                field=field,
            )
        for name, into in (("anywhere", anywhere), ("beginning", beginning)):
            into += [
                " ".join(str(p).lower().replace("’", "'").split()) for p in lists.get(name) or [] if str(p)
            ]
    return anywhere, beginning


def _map_texts(record: Record, change: Callable[[str], str]) -> Record | None:
    """Return the record with every text changed; None if no text changed."""
    # Tags and answers in contexts are not here: they point at positions, which a change would move.
    if isinstance(record, Text | LabelledText):
        new: Any = copy.copy(record)
        new.text = change(record.text)
        if isinstance(record, LabelledText) and record.pair is not None:
            new.pair = change(record.pair)
        return new if new != record else None
    if isinstance(record, Chat | JudgedChat | Preference):
        new = copy.copy(record)
        new.messages = _map_turns(record.messages, change)
        if isinstance(record, Preference):
            new.chosen = _map_turns(record.chosen, change)
            new.rejected = _map_turns(record.rejected, change)
        return new if new != record else None
    return None


def _map_turns(messages: list[Message], change: Callable[[str], str]) -> list[Message]:
    found = []
    for message in messages:
        new = copy.copy(message)
        if message.content:
            new.content = change(message.content)
        if message.reasoning:
            new.reasoning = change(message.reasoning)
        found.append(new)
    return found


def _flag_personal_data(record: Record, origin: Origin, ledger: Ledger) -> None:
    text = "\n".join(list_record_texts(record))
    flags = ((N_("flagged: e-mail address"), _EMAIL), (N_("flagged: phone number"), _PHONE))
    for name, pattern in flags:
        found = pattern.search(text)
        if found:
            ledger.count_step(name, origin, found.group())


STOP_WORDS = {
    "en": "the and of to in is that it for was with as on are this you not be have at i by or an from what "
    "how can will my your am they he she we his her has",
    "de": "der die und das ist nicht ein eine mit den von zu auf für sich des dem im auch wird",
    "fr": "le la les et des est que une dans pour pas qui sur du au avec ce il nous vous",
    "es": "el la los que de en y es una por con para del se las su no como más pero",
    "it": "il di che la e è un una per non con del della sono gli le si da anche più",
    "pt": "o de que e do da em um para não uma os se na por mais dos como também muito são",
    "nl": "de het een van en is dat niet te zijn op voor met die aan er maar om ook ik",
}
_STOP_SETS = {code: set(words.split()) for code, words in STOP_WORDS.items()}


def detect_language(text: str) -> str:
    """Detect the language by script, and Latin script by its commonest words; an ISO code, or empty."""
    letters = [char for char in text[:4000] if char.isalpha()]
    if not letters:
        return ""
    counts: dict[str, int] = {}
    for char in letters[:1000]:
        script = unicodedata.name(char, "?").split()[0]
        counts[script] = counts.get(script, 0) + 1
    size = min(len(letters), 1000)
    for code in ("ja", "ko", "zh", "ru", "ar", "he", "el", "hi", "th"):
        share = sum(counts.get(script, 0) for script in _SCRIPTS[code].split()) / size
        # Japanese mixes kana with Chinese characters; other scripts mix with Latin names and numbers.
        if share > (0.05 if code == "ja" else 0.3):
            return code
    words = re.findall(r"[^\W\d_]+", text[:4000].lower())
    scores = {code: sum(word in known for word in words) for code, known in _STOP_SETS.items()}
    best, second, *_unused = sorted(scores, key=lambda code: -scores[code])
    # Enough common words, and clearly more than those of the next language: many are shared.
    sure = scores[best] >= max(2, len(words) // 25) and scores[best] > 1.3 * scores[second]
    return best if sure else ""
