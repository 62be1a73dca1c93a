"""What is counted of rows while they are read once: lengths, repeats, labels, and signs of damage."""

from __future__ import annotations

import hashlib
import random
import re
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.config.schema import CleaningSection, RunConfig
from tui_tuner.data.cleaning.cleaner import Cleaner, language_of
from tui_tuner.data.labels.names import class_name, labels_of
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.reading import Read
from tui_tuner.data.records import Labelled, Question, Record, Tagged, Text, answers_of, texts_of
from tui_tuner.planning.heads.outputs import OutputCounter

SAMPLED = 500  # rows whose tokens and language are looked at
MOST_NAMED = 1_000  # labels that are counted by name
MOST_HELD = 2_000_000  # rows that are compared: 16 bytes and more each
_TRIED = 4_000  # characters of a row whose spelling and markup are looked at

# Tags and entities that web pages leave in texts. Not those that people write about, such as <script>, and
# none inside code.
_HTML = re.compile(
    r"</?(?:p|br|div|span|b|i|u|em|strong|li|ul|ol|td|tr|table|font|a)(?:\s[^<>]{0,300})?\s*/?>"
    r"|&(?:nbsp|amp|lt|gt|quot|apos|#\d{2,5}|#x[0-9a-f]{2,5});",
    re.I,
)
_CODE = re.compile(r"```|<!doctype|<html|</(?:script|style|body)>", re.I)
# UTF-8 that was read as Windows-1252: a first byte as a letter, and what follows it as signs
_MISREAD = re.compile(
    "[\u00c2\u00c3][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u2122]"
    "|\u00e2(?:\u20ac|\u0080)[\u0080-\u00bf\u0152\u0153\u0161\u017e\u02c6\u02dc\u2013-\u2122]"
    "|\u00ef\u00bb\u00bf"
)
_LOST = "\ufffd"
_ENDS = frozenset(".!?\"')]}`。！？」』”’…:;|>*_~-")


@dataclass(frozen=True)
class Spread:
    """How long rows are: all in the same unit."""

    count: int
    total: int
    median: int
    most_are_below: int  # 95 of 100 are no longer
    longest: int

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0

    @classmethod
    def of(cls, lengths: Any) -> Spread | None:
        """None without any."""
        found = sorted(lengths)
        if not found:
            return None
        last = len(found) - 1
        return cls(len(found), sum(found), found[last // 2], found[min(last, -(-19 * last // 20))], found[-1])


@dataclass
class Tally:
    """Counts of the rows that a task can use."""

    config: RunConfig
    rows: int = 0
    characters: array[int] = field(default_factory=lambda: array("Q"))
    answers: array[int] = field(default_factory=lambda: array("Q"))
    labels: Counter[str] = field(default_factory=Counter)
    tags: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    contradictions: int = 0
    refusals: int = 0
    html: int = 0
    misread: int = 0
    lost: int = 0
    unanswered: int = 0
    emails: int = 0
    phones: int = 0
    hollow: int = 0  # whose answer, or text, is blank
    examples: dict[str, str] = field(default_factory=dict)  # a place for each kind of finding
    sample: list[Read] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)  # of the rows of the sample, where a tokenizer is here

    def __post_init__(self) -> None:
        self._seen: set[bytes] = set()
        self._said: dict[bytes, bytes] = {}  # what an earlier row says of the same text
        self._open_ended: Counter[int] = Counter()  # lengths of answers that end within a sentence
        self._cleaner = Cleaner(CleaningSection(refusals=True))
        self._flags = Cleaner(CleaningSection(personal_data=True))
        self._ledger = Ledger()
        self._chance = random.Random(0)
        self.outputs = OutputCounter(self.config)

    def add(self, read: Read, record: Record) -> None:
        """Count a row."""
        texts = texts_of(record)
        self.rows += 1
        self.characters.append(sum(map(len, texts)))
        self._look_at_texts(read, texts)
        self._look_at_answers(read, record)
        self._look_at_labels(record)
        self._compare(read, record, texts)
        self._keep(read)

    def hash_of(self, record: Record) -> bytes:
        """What tells a row from another: its texts and what is said of them."""
        return _hash([*texts_of(record), _beside(record)])

    # ---- one row ----------------------------------------------------------------------------------------

    def _look_at_texts(self, read: Read, texts: list[str]) -> None:
        text = "\n".join(texts)[:_TRIED]
        if _LOST in text:
            self.lost += 1
            self._note("encoding", read)
        elif not text.isascii() and _MISREAD.search(text):
            self.misread += 1
            self._note("encoding", read)
        if ("<" in text or "&" in text) and _HTML.search(text) and not _CODE.search(text):
            self.html += 1
            self._note("html", read)

    def _look_at_answers(self, read: Read, record: Record) -> None:
        answers = answers_of(record)
        for answer in answers:
            self.answers.append(len(answer))
            if answer and answer.rstrip()[-1:] not in _ENDS:
                self._open_ended[len(answer)] += 1
        if any(self._cleaner.refuses(answer) for answer in answers):
            self.refusals += 1
            self._note("refusals", read)
        if self._flags.clean(record, read.row.origin, self._ledger) is None:
            self.hollow += 1
            self._note("hollow", read)
        if isinstance(record, Question) and not record.answers:
            self.unanswered += 1

    def _look_at_labels(self, record: Record) -> None:
        self.outputs.note(record)
        if isinstance(record, Labelled) and record.label is not None:
            for label in labels_of(record.label, self.config.data.label_separator):
                name = class_name(label)
                if name in self.labels or len(self.labels) < MOST_NAMED:
                    self.labels[name] += 1
        elif isinstance(record, Tagged):
            self._look_at_tags(record)

    def _look_at_tags(self, record: Tagged) -> None:
        """Count marked places by what they are: a name of three words is one."""
        names, before = self.config.data.names or [], ""
        for tag in record.tags:
            whole = names[tag] if isinstance(tag, int) and 0 <= tag < len(names) else str(tag)
            prefix, dash, kind = whole.partition("-")
            kind = kind if dash and len(prefix) == 1 else whole
            goes_on = bool(dash) and prefix in "IE" and kind == before
            if whole not in ("O", "0") and not goes_on and (kind in self.tags or len(self.tags) < MOST_NAMED):
                self.tags[kind] += 1
            before = kind

    def _compare(self, read: Read, record: Record, texts: list[str]) -> None:
        """Whether an earlier row says the same, or something else of the same text."""
        if len(self._seen) > MOST_HELD:
            return
        said = _said_of(record)
        key = _hash([*texts, _beside(record)])
        if key in self._seen:
            self.duplicates += 1
            self._note("duplicates", read)
            return
        self._seen.add(key)
        if said is not None:
            value = _hash([repr(said)])
            if self._said.setdefault(_hash(texts), value) != value:
                self.contradictions += 1
                self._note("contradictions", read)

    def _keep(self, read: Read) -> None:
        """A sample in which each row is as likely as any other."""
        if len(self.sample) < SAMPLED:
            self.sample.append(read)
            return
        place = self._chance.randrange(self.rows)
        if place < SAMPLED:
            self.sample[place] = read

    def _note(self, what: str, read: Read) -> None:
        self.examples.setdefault(what, str(read.row.origin))

    # ---- all of them ------------------------------------------------------------------------------------

    def finish(self) -> None:
        """What only shows at the end."""
        for step in self._ledger.steps():
            if "e-mail" in step.reason:
                self.emails = step.count
            elif "phone" in step.reason:
                self.phones = step.count

    def holds(self, key: bytes) -> bool:
        """Whether a row with this hash was counted."""
        return key in self._seen

    def cut_answers(self) -> tuple[int, int]:
        """(answers that end within a sentence and are exactly as long as the longest, that length): where
        there are many of them, something cut them off there."""
        longest = max(self.answers, default=0)
        return self._open_ended[longest], longest

    def language(self) -> str:
        """The language of nearly all rows of the sample, as an ISO code; empty where it is not clear."""
        found = Counter(
            language_of(" ".join(texts_of(read.record))[:_TRIED])
            for read in self.sample[:200]
            if read.record is not None
        )
        told = sum(found.values()) - found[""]
        if told < 0.5 * sum(found.values()) or not told:
            return ""
        name, count = Counter({k: v for k, v in found.items() if k}).most_common(1)[0]
        return name if count >= 0.8 * told else ""


def _said_of(record: Record) -> Any:
    """What a row says of its text, where it can be right or wrong; None where several things may be right."""
    if isinstance(record, Labelled):
        return sorted(map(class_name, record.label)) if isinstance(record.label, list) else record.label
    return record.tags if isinstance(record, Tagged) else None


def _beside(record: Record) -> str:
    """What tells rows with the same texts apart: labels, tags, calls of tools."""
    if isinstance(record, Question | Text):
        return ""
    if isinstance(record, Labelled | Tagged):
        return repr(_said_of(record))
    calls = [message.tool_calls for message in record.messages if message.tool_calls]
    return repr((record.tools, calls, getattr(record, "good", None)))


def _hash(parts: list[str]) -> bytes:
    joined = "\0".join(parts).encode("utf-8", "replace")
    return hashlib.blake2b(joined, digest_size=16).digest()
