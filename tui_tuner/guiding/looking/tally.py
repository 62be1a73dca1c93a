"""Counts lengths, duplicates, labels and signs of damage in rows during one pass."""

from __future__ import annotations

import hashlib
import random
import re
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.config.schema import CleaningSection, RunConfig
from tui_tuner.data.cleaning.cleaner import Cleaner, detect_language
from tui_tuner.data.labels.names import name_class, split_labels
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.read_data import ReadRow
from tui_tuner.data.records import (
    LabelledText,
    Question,
    Record,
    TaggedText,
    Text,
    list_record_answers,
    list_record_texts,
)
from tui_tuner.planning.heads.outputs import OutputCounter

SAMPLED = 500  # rows that tokens and language are judged by
MOST_NAMED = 1_000  # labels that are counted by name
MOST_HELD = 2_000_000  # rows that are compared: at least 16 bytes each
_TRIED = 4_000  # characters of a row that are searched for damage and markup

# Tags and entities that web pages leave in texts; not those that people write about, such as <script>, and
# not in code.
_HTML = re.compile(
    r"</?(?:p|br|div|span|b|i|u|em|strong|li|ul|ol|td|tr|table|font|a)(?:\s[^<>]{0,300})?\s*/?>"
    r"|&(?:nbsp|amp|lt|gt|quot|apos|#\d{2,5}|#x[0-9a-f]{2,5});",
    re.I,
)
_CODE = re.compile(r"```|<!doctype|<html|</(?:script|style|body)>", re.I)
# UTF-8 that was decoded as Windows-1252: a first byte became a letter, the following bytes became signs
_MISREAD = re.compile(
    "[\u00c2\u00c3][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u2122]"
    "|\u00e2(?:\u20ac|\u0080)[\u0080-\u00bf\u0152\u0153\u0161\u017e\u02c6\u02dc\u2013-\u2122]"
    "|\u00ef\u00bb\u00bf"
)
_LOST = "\ufffd"
_ENDS = frozenset(".!?\"')]}`。！？」』”’…:;|>*_~-")


@dataclass(frozen=True)
class Spread:
    """The distribution of lengths, all in the same unit."""

    count: int
    total: int
    median: int
    most_are_below: int  # 95 of 100 are no longer
    longest: int

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0

    @classmethod
    def summarise_lengths(cls, lengths: Any) -> Spread | None:
        """Summarise lengths; None if there are none."""
        found = sorted(lengths)
        if not found:
            return None
        last = len(found) - 1
        return cls(len(found), sum(found), found[last // 2], found[min(last, -(-19 * last // 20))], found[-1])


@dataclass
class Tally:
    """Counts the rows that a task can use."""

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
    hollow: int = 0  # rows whose answer or text is blank
    examples: dict[str, str] = field(default_factory=dict)  # the first place of each kind of finding
    sample: list[ReadRow] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)  # of the sampled rows, if a tokenizer is on this machine

    def __post_init__(self) -> None:
        self._seen: set[bytes] = set()
        self._said: dict[bytes, bytes] = {}  # hash of a text -> hash of the label an earlier row gave it
        self._open_ended: Counter[int] = Counter()  # lengths of answers that end within a sentence
        # The same rules as in data.cleaning, so that the fix offered removes exactly the rows counted
        self._cleaner = Cleaner(CleaningSection(refusals=True))
        self._flags = Cleaner(CleaningSection(personal_data=True))
        self._ledger = Ledger()
        # Seeded: two looks at the same file give the same figures
        self._chance = random.Random(0)
        self.outputs = OutputCounter(self.config)

    def count_row(self, read: ReadRow, record: Record) -> None:
        """Count a row in every respect."""
        texts = list_record_texts(record)
        self.rows += 1
        self.characters.append(sum(map(len, texts)))
        self._look_at_texts(read, texts)
        self._look_at_answers(read, record)
        self._look_at_labels(record)
        self._compare_row(read, record, texts)
        self._keep_sample(read)

    def hash_record(self, record: Record) -> bytes:
        """Hash a row by its texts and labels."""
        return _hash_parts([*list_record_texts(record), _find_distinction(record)])

    # ---- one row ----------------------------------------------------------------------------------------

    def _look_at_texts(self, read: ReadRow, texts: list[str]) -> None:
        # Damage shows early in a text, and regular expressions over whole books are slow
        text = "\n".join(texts)[:_TRIED]
        if _LOST in text:
            self.lost += 1
            self._note_example("encoding", read)
        elif not text.isascii() and _MISREAD.search(text):
            self.misread += 1
            self._note_example("encoding", read)
        if ("<" in text or "&" in text) and _HTML.search(text) and not _CODE.search(text):
            self.html += 1
            self._note_example("html", read)

    def _look_at_answers(self, read: ReadRow, record: Record) -> None:
        answers = list_record_answers(record)
        for answer in answers:
            self.answers.append(len(answer))
            if answer and answer.rstrip()[-1:] not in _ENDS:
                self._open_ended[len(answer)] += 1
        if any(self._cleaner.is_refusal(answer) for answer in answers):
            self.refusals += 1
            self._note_example("refusals", read)
        if self._flags.clean_record(record, read.row.origin, self._ledger) is None:
            self.hollow += 1
            self._note_example("hollow", read)
        if isinstance(record, Question) and not record.answers:
            self.unanswered += 1

    def _look_at_labels(self, record: Record) -> None:
        self.outputs.count_record(record)
        if isinstance(record, LabelledText) and record.label is not None:
            for label in split_labels(record.label, self.config.data.label_separator):
                name = name_class(label)
                # A column of answers taken for labels would have as many as rows
                if name in self.labels or len(self.labels) < MOST_NAMED:
                    self.labels[name] += 1
        elif isinstance(record, TaggedText):
            self._look_at_tags(record)

    def _look_at_tags(self, record: TaggedText) -> None:
        """Count marks by kind: a name of three words is one mark."""
        names, before = self.config.data.names or [], ""
        for tag in record.tags:
            whole = names[tag] if isinstance(tag, int) and 0 <= tag < len(names) else str(tag)
            prefix, dash, kind = whole.partition("-")
            # A dash in a tag's own name, such as WORK-OF-ART, is not a prefix
            kind = kind if dash and len(prefix) == 1 else whole
            # Inside (I) and end (E) of the BIO and BIOES schemes continue the mark before them
            goes_on = bool(dash) and prefix in "IE" and kind == before
            if whole not in ("O", "0") and not goes_on and (kind in self.tags or len(self.tags) < MOST_NAMED):
                self.tags[kind] += 1
            before = kind

    def _compare_row(self, read: ReadRow, record: Record, texts: list[str]) -> None:
        """Count a row that repeats an earlier one, or labels the same text differently."""
        # A limit on memory: later rows are no longer compared
        if len(self._seen) > MOST_HELD:
            return
        said = _find_label(record)
        key = _hash_parts([*texts, _find_distinction(record)])
        if key in self._seen:
            self.duplicates += 1
            self._note_example("duplicates", read)
            return
        self._seen.add(key)
        if said is not None:
            value = _hash_parts([repr(said)])
            if self._said.setdefault(_hash_parts(texts), value) != value:
                self.contradictions += 1
                self._note_example("contradictions", read)

    def _keep_sample(self, read: ReadRow) -> None:
        """Keep a uniform random sample (reservoir sampling)."""
        if len(self.sample) < SAMPLED:
            self.sample.append(read)
            return
        # Row n replaces a sampled one with probability SAMPLED / n (Vitter, algorithm R)
        place = self._chance.randrange(self.rows)
        if place < SAMPLED:
            self.sample[place] = read

    def _note_example(self, what: str, read: ReadRow) -> None:
        self.examples.setdefault(what, str(read.row.origin))

    # ---- all of them ------------------------------------------------------------------------------------

    def finish_counts(self) -> None:
        """Read the counts of personal data, which the cleaner totals in its ledger."""
        # The cleaner replaces personal data and records it in its ledger; the replaced rows are not needed
        # here
        for step in self._ledger.list_steps():
            if "e-mail" in step.reason:
                self.emails = step.count
            elif "phone" in step.reason:
                self.phones = step.count

    def has_hash(self, key: bytes) -> bool:
        """Return whether a row with this hash was counted."""
        return key in self._seen

    def count_cut_answers(self) -> tuple[int, int]:
        """Return (answers that end within a sentence and have the greatest length, that length): if there are
        many of them, they were cut off there."""
        longest = max(self.answers, default=0)
        return self._open_ended[longest], longest

    def guess_language(self) -> str:
        """Return the language of nearly all sampled rows as an ISO code; empty if it is not clear."""
        found = Counter(
            detect_language(" ".join(list_record_texts(read.record))[:_TRIED])
            # 200 rows are enough to see which language prevails
            for read in self.sample[:200]
            if read.record is not None
        )
        told = sum(found.values()) - found[""]
        # Most rows are too short for their language to be recognised: say nothing
        if told < 0.5 * sum(found.values()) or not told:
            return ""
        name, count = Counter({k: v for k, v in found.items() if k}).most_common(1)[0]
        return name if count >= 0.8 * told else ""


def _find_label(record: Record) -> Any:
    """Return the label of a row if only one can be right; None if several answers may be right."""
    if isinstance(record, LabelledText):
        return sorted(map(name_class, record.label)) if isinstance(record.label, list) else record.label
    return record.tags if isinstance(record, TaggedText) else None


def _find_distinction(record: Record) -> str:
    """Return what distinguishes rows with the same texts: labels, tags, tool calls."""
    if isinstance(record, Question | Text):
        return ""
    if isinstance(record, LabelledText | TaggedText):
        return repr(_find_label(record))
    calls = [message.tool_calls for message in record.messages if message.tool_calls]
    return repr((record.tools, calls, getattr(record, "good", None)))


def _hash_parts(parts: list[str]) -> bytes:
    joined = "\0".join(parts).encode("utf-8", "replace")
    return hashlib.blake2b(joined, digest_size=16).digest()
