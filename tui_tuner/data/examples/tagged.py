"""Words with tags become tokens with labels: the first token of a word has its tag, the others have none.

A text longer than `max_length` is read in windows of whole words. Neighbouring windows share words, so that
each stands somewhere inside, and it is labelled there alone: it is trained once, and judged once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.encoder import Begun, Encoder, Encodings, Facts
from tui_tuner.data.examples.fitting import Fitted
from tui_tuner.data.examples.tag_facts import Place, baseline, note_tags
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import IGNORE, Example, Record, Tagged
from tui_tuner.data.tags import number_of
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line


@dataclass
class WordTokens:
    """The tokens of a text that comes in words.

    Args:
        ids: Of all words, one after another, without tokens around them.
        counts: How many tokens each word became; 0 for one of which the tokenizer makes nothing.
    """

    ids: list[int]
    counts: list[int]


class WordTokenizer:
    """Any tokenizer's way from words to tokens."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._kept: dict[str, list[int]] = {}  # of tokenizers that cannot say which word a token is from
        self.before, self.after = self._around()

    def _around(self) -> tuple[list[int], list[int]]:
        """The tokens that the tokenizer puts before and after a text."""
        plain = self.encoded([["a"]])[0].ids
        whole = list(self.tokenizer(["a"], is_split_into_words=True)["input_ids"])
        for start in range(len(whole) - len(plain) + 1):
            if plain and whole[start : start + len(plain)] == plain:
                return whole[:start], whole[start + len(plain) :]
        return [], []

    @property
    def in_threads(self) -> bool:
        """Whether the work is done outside Python's lock."""
        return bool(getattr(self.tokenizer, "is_fast", False))

    def encoded(self, texts: Sequence[Sequence[str]]) -> list[WordTokens]:
        """The tokens of each text."""
        if not self.in_threads:
            return [self._word_by_word(words) for words in texts]
        if not texts:
            return []
        batch = self.tokenizer(
            [list(words) for words in texts], is_split_into_words=True, add_special_tokens=False
        )
        found = []
        for place, (words, ids) in enumerate(zip(texts, batch["input_ids"], strict=True)):
            owners = batch.word_ids(place)
            counts = np.bincount([word for word in owners if word is not None], minlength=len(words))
            found.append(WordTokens(list(ids), counts.tolist()))
        return found

    def _word_by_word(self, words: Sequence[str]) -> WordTokens:
        pieces = [self._word(word) for word in words]
        return WordTokens([token for piece in pieces for token in piece], [len(piece) for piece in pieces])

    def _word(self, word: str) -> list[int]:
        found = self._kept.get(word)
        if found is None:
            ids = self.tokenizer([word], is_split_into_words=True, add_special_tokens=False)["input_ids"]
            found = list(ids) if word else []
            if len(self._kept) < 500_000:
                self._kept[word] = found
        return found


@dataclass
class Window:
    """A part of a text that the model reads at once.

    Args:
        ids: int32, with the tokens around it.
        words: The words that are labelled here, from 0, and `places`, where the first token of each stands.
    """

    ids: np.ndarray
    words: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)


def windows_of(words: WordTokenizer, tokens: WordTokens, max_length: int, stride: int) -> list[Window]:
    """A text in windows of at most `max_length` tokens, whole words in each.

    Each word that has a token is labelled in one window: that in which it stands furthest from an edge at
    which the text goes on. Of a word longer than a window the beginning is kept.

    Args:
        stride: Tokens that neighbours share, half a window at most.
    """
    room = room_of(words, max_length)
    if len(tokens.ids) <= room:
        return [_whole(words, tokens)]
    ends = [0, *accumulate(min(count, room) for count in tokens.counts)]  # cut to what fits
    starts = [0, *accumulate(tokens.counts)]
    edges = _edges(ends, room, min(stride, room // 2))
    found = []
    for first, last in edges:
        ids = [
            token
            for word in range(first, last)
            for token in tokens.ids[starts[word] : starts[word] + ends[word + 1] - ends[word]]
        ]
        found.append(Window(np.array([*words.before, *ids, *words.after], dtype=np.int32)))
    at = 0
    for word in range(len(tokens.counts)):
        if ends[word + 1] == ends[word]:
            continue
        at = _window_of(word, edges, ends, at)
        found[at].words.append(word)
        found[at].places.append(len(words.before) + ends[word] - ends[edges[at][0]])
    return found


def _whole(words: WordTokenizer, tokens: WordTokens) -> Window:
    """A text that is short enough."""
    counts = np.array(tokens.counts)
    labelled = np.flatnonzero(counts)
    places = len(words.before) + np.cumsum(counts) - counts
    ids = np.array([*words.before, *tokens.ids, *words.after], dtype=np.int32)
    return Window(ids, labelled.tolist(), places[labelled].tolist())


def room_of(words: WordTokenizer, max_length: int) -> int:
    """Tokens of words that a window has room for."""
    return max(1, max_length - len(words.before) - len(words.after))


def _edges(ends: Sequence[int], room: int, shared: int) -> list[tuple[int, int]]:
    """The first word of each window, and the word behind its last.

    Args:
        ends: Tokens before each word, and of all words.
    """
    count, first, last = len(ends) - 1, 0, 0
    found: list[tuple[int, int]] = []
    while True:
        while last < count and ends[last + 1] - ends[first] <= room:
            last += 1
        found.append((first, last))
        if last == count:
            return found
        begin = last
        while begin > first + 1 and ends[last] - ends[begin - 1] <= shared:
            begin -= 1
        while ends[last + 1] - ends[begin] > room:  # what is shared must leave room for the next word
            begin += 1
        first = begin


def _window_of(word: int, edges: Sequence[tuple[int, int]], ends: Sequence[int], at: int) -> int:
    """The window in which a word stands furthest from an edge at which the text goes on; the first of equals.

    Args:
        at: The window of the word before it: no word's is before that.
    """
    best, margin = at, -1.0
    while at < len(edges) and edges[at][0] <= word:
        first, last = edges[at]
        if word < last:
            left = float("inf") if first == 0 else ends[word] - ends[first]
            right = float("inf") if last == len(ends) - 1 else ends[last] - ends[word + 1]
            if min(left, right) > margin:
                best, margin = at, min(left, right)
        at += 1
    return best


@dataclass
class TaggedExample(Example):
    """A window with labels. `silent`: the words of the row, from 0, of which the tokenizer makes nothing."""

    silent: Sequence[int] = ()


@dataclass
class Sentences(Begun):
    """A batch of records, and then the tokens of their words."""

    tokens: list[WordTokens] = field(default_factory=list)


class TagEncoder(Encoder):
    """Words with tags, in windows.

    Labels are numbers that do not depend on other rows (`tags.number_of`); the task puts classes in their
    place when all tags are known.

    Args:
        known: The tags that the base model's own head knows. They name the numbers that rows may hold for
            tags, where `data.names` does not.
    """

    takes = (Tagged,)

    def __init__(self, config: RunConfig, tokenizer: Any, known: Sequence[str] = ()) -> None:
        self._facts = Facts()
        self._notes: list[str] = []
        super().__init__(config, tokenizer)
        self.words = WordTokenizer(tokenizer)
        self.known = list(known)
        self.named = list(config.data.names or ())
        self.numbering = self.named or self.known
        self.tags: set[str] = set()

    @property
    def notes(self) -> list[str]:
        """What the user should know; when all rows were seen, of their tags, too."""
        said = baseline(self._facts)
        return [*self._notes, *([said] if said else [])]

    @notes.setter
    def notes(self, notes: list[str]) -> None:
        self._notes = notes

    def begin(self, records: list[Record]) -> Sentences:
        return Sentences(records)

    def tokenise(self, begun: Begun) -> None:
        assert isinstance(begun, Sentences)
        begun.tokens = self.words.encoded([one.tokens for one in begun.records if isinstance(one, Tagged)])

    def finish(self, begun: Begun) -> Encodings:
        assert isinstance(begun, Sentences)
        found: Encodings = []
        for record, tokens in zip(begun.records, begun.tokens, strict=True):
            assert isinstance(record, Tagged)
            try:
                found.append(self._fit(record, tokens))
            except RowProblem as problem:
                found.append(problem)
        return found

    @property
    def in_threads(self) -> bool:
        return self.words.in_threads

    def tags_of(self, record: Tagged) -> list[str]:
        """The tags of a record by name.

        Raises:
            RowProblem: a number that has no name though others do.
        """
        return name_tags(record.tags, self.numbering, self.named)

    def _fit(self, record: Tagged, tokens: WordTokens) -> Fitted:
        tags = self.tags_of(record)
        data = self.config.data
        windows = windows_of(self.words, tokens, data.max_length, data.stride)
        if not any(window.words for window in windows):
            raise RowProblem(N_("no word of it becomes a token"))
        outcome, reason = "kept", ""
        if len(windows) > 1:
            if data.overlong == "drop":
                raise RowProblem(N_("longer than max_length"), _("{tokens} tokens", tokens=len(tokens.ids)))
            outcome, reason = "split", N_("a text longer than max_length, in windows")
            if data.overlong == "truncate":
                windows = windows_of(
                    self.words, _beginning(tokens, windows[0], self.words), data.max_length, 0
                )
                outcome, reason = "truncated", N_("cut at max_length")
        self.tags.update(tags[word] for window in windows for word in window.words)
        silent = [word for word, count in enumerate(tokens.counts) if not count]
        examples: list[TaggedExample] = []
        for window in windows:
            labels = np.full(len(window.ids), IGNORE, dtype=np.int32)
            labels[window.places] = [number_of(tags[word]) for word in window.words]
            examples.append(TaggedExample(window.ids, labels, {}, silent if not examples else ()))
        return Fitted(examples, outcome, reason)

    def note_row(self, record: Record, fitted: Fitted, origin: object, facts: Facts) -> None:
        assert isinstance(record, Tagged)
        note_tags(self.tags_of(record), origin, facts)
        self._facts = facts
        if fitted.outcome == "split":
            self._note_stride()
        if any(not isinstance(tag, str) for tag in record.tags):
            facts.note("numbers" if self.numbering else "unnamed", origin)
        for example in fitted.examples:
            for word in example.silent if isinstance(example, TaggedExample) else ():
                facts.note("silent", Place(origin, word, record.tokens[word]))

    def _note_stride(self) -> None:
        """Say that windows share less than the config asks for, where they do."""
        data, room = self.config.data, room_of(self.words, self.config.data.max_length)
        if data.stride > room // 2 and not self._notes:
            self._notes.append(
                _(
                    "Windows of {length} tokens share {shared} at most, not the {stride} of data.stride.",
                    length=data.max_length,
                    shared=room // 2,
                    stride=data.stride,
                )
            )

    def learned(self) -> dict[str, Any]:
        return {"tags": sorted(self.tags), "names": self.named, "known": self.known}

    def learn(self, learned: dict[str, Any]) -> None:
        self.tags.update(learned["tags"])


def _beginning(tokens: WordTokens, window: Window, words: WordTokenizer) -> WordTokens:
    """The words of a text that its first window holds."""
    room = len(window.ids) - len(words.before) - len(words.after)
    counts: list[int] = []
    for count in tokens.counts:
        if sum(counts) + count > room and counts:
            break
        counts.append(count)
    return WordTokens(tokens.ids[: sum(counts)], counts)


def name_tags(tags: Sequence[str | int], names: Sequence[str], only: Sequence[str] = ()) -> list[str]:
    """Tags by name; numbers that nobody names stay numbers, as text.

    Args:
        names: Of the numbers.
        only: The tags there may be; any, if empty.

    Raises:
        RowProblem: a number that has no name though others do, or a tag that there must not be.
    """
    found = []
    for place, tag in enumerate(tags):
        name = tag if isinstance(tag, str) else ""
        if not isinstance(tag, str):
            name = str(tag) if not names else names[tag] if 0 <= tag < len(names) else ""
        if not name or (only and name not in only):
            raise RowProblem(
                N_("a tag that data.names does not have")
                if isinstance(tag, str) or only
                else N_("a number that none of the model's tags has"),
                _("{tag} at word {place}", tag=one_line(tag, 40), place=place + 1),
            )
        found.append(name)
    return found
