"""Encode words with tags as tokens with labels: the first token of a word has its tag, the others have none.

A text longer than `max_length` is read in windows of whole words. Neighbouring windows share words, so that
each word is well inside of one window, and it is labelled only there: it is trained and evaluated once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.fitting import FittedRow
from tui_tuner.data.examples.record_encoder import EncodingBatch, Encodings, RecordEncoder, RowFacts
from tui_tuner.data.examples.token_types import COLUMN, pack_types
from tui_tuner.data.records import IGNORE, Example, Record, TaggedText
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.data.tagging.facts import WordPlace, describe_tag_baseline, note_tags
from tui_tuner.data.tagging.tag_schemes import hash_tag
from tui_tuner.data.tagging.word_windows import (
    WordTokenizer,
    WordTokens,
    count_window_room,
    cut_windows,
    keep_first_window,
)
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

COLUMNS = {COLUMN: "int64"}


@dataclass
class TaggedExample(Example):
    """A window with labels. `silent` are the words of the row, from 0, for which there are no tokens."""

    silent: Sequence[int] = ()


@dataclass
class SentenceBatch(EncodingBatch):
    """A batch of records, and later the tokens of their words."""

    tokens: list[WordTokens] = field(default_factory=list)


class TagEncoder(RecordEncoder):
    """Encodes words with tags in windows.

    Labels are numbers that do not depend on other rows (`tag_schemes.hash_tag`); the task replaces them with
    classes when all tags are known.

    Args:
        known: The tags of the base model's head. They name numbers that rows have for tags, if `data.names`
            does not.
    """

    takes = (TaggedText,)

    def __init__(self, config: RunConfig, tokenizer: Any, known: Sequence[str] = ()) -> None:
        self._facts = RowFacts()
        self._notes: list[str] = []
        super().__init__(config, tokenizer)
        self.words = WordTokenizer(tokenizer)
        self.known = list(known)
        self.named = list(config.data.names or ())
        self.numbering = self.named or self.known
        self.tags: set[str] = set()

    @property
    def notes(self) -> list[str]:
        """Remarks for the user; after all rows were read, also on their tags."""
        said = describe_tag_baseline(self._facts)
        return [*self._notes, *([said] if said else [])]

    @notes.setter
    def notes(self, notes: list[str]) -> None:
        self._notes = notes

    def begin_batch(self, records: list[Record]) -> SentenceBatch:
        return SentenceBatch(records)

    def tokenise_batch(self, begun: EncodingBatch) -> None:
        assert isinstance(begun, SentenceBatch)
        begun.tokens = self.words.tokenise_words(
            [one.tokens for one in begun.records if isinstance(one, TaggedText)]
        )

    def finish_batch(self, begun: EncodingBatch) -> Encodings:
        assert isinstance(begun, SentenceBatch)
        found: Encodings = []
        for record, tokens in zip(begun.records, begun.tokens, strict=True):
            assert isinstance(record, TaggedText)
            try:
                found.append(self._fit_sentence(record, tokens))
            except RowProblem as problem:
                found.append(problem)
        return found

    @property
    def in_threads(self) -> bool:
        return self.words.in_threads

    def name_record_tags(self, record: TaggedText) -> list[str]:
        """Return the tags of a record by name.

        Raises:
            RowProblem: a number has no name though others do.
        """
        return name_tags(record.tags, self.numbering, self.named)

    def _fit_sentence(self, record: TaggedText, tokens: WordTokens) -> FittedRow:
        tags = self.name_record_tags(record)
        data = self.config.data
        windows = cut_windows(self.words, tokens, data.max_length, data.stride)
        if not any(window.words for window in windows):
            raise RowProblem(N_("the tokenizer gives no tokens for its words"))
        outcome, reason = "kept", ""
        if len(windows) > 1:
            if data.overlong == "drop":
                raise RowProblem(N_("longer than max_length"), _("{tokens} tokens", tokens=len(tokens.ids)))
            outcome, reason = "split", N_("a text longer than max_length, in windows")
            if data.overlong == "truncate":
                windows = cut_windows(
                    self.words, keep_first_window(tokens, windows[0], self.words), data.max_length, 0
                )
                outcome, reason = "truncated", N_("cut at max_length")
        self.tags.update(tags[word] for window in windows for word in window.words)
        silent = [word for word, count in enumerate(tokens.counts) if not count]
        examples: list[TaggedExample] = []
        for window in windows:
            labels = np.full(len(window.ids), IGNORE, dtype=np.int32)
            labels[window.places] = [hash_tag(tags[word]) for word in window.words]
            columns = {COLUMN: pack_types(self.words.window_types(len(window.ids)) or [0])}
            # Words without tokens belong to no window, so the first one carries them.
            examples.append(TaggedExample(window.ids, labels, columns, silent=silent if not examples else ()))
        return FittedRow(examples, outcome, reason)

    def note_row(self, record: Record, fitted: FittedRow, origin: object, facts: RowFacts) -> None:
        assert isinstance(record, TaggedText)
        note_tags(self.name_record_tags(record), origin, facts)
        # The same object all along, so that `notes` can sum it up at the end.
        self._facts = facts
        if fitted.outcome == "split":
            self._note_stride()
        if any(not isinstance(tag, str) for tag in record.tags):
            facts.note_origin("numbers" if self.numbering else "unnamed", origin)
        for example in fitted.examples:
            for word in example.silent if isinstance(example, TaggedExample) else ():
                facts.note_origin("silent", WordPlace(origin, word, record.tokens[word]))

    def _note_stride(self) -> None:
        """Add a note if windows share less than the config asks for."""
        data, room = self.config.data, count_window_room(self.words, self.config.data.max_length)
        if data.stride > room // 2 and not self._notes:
            self._notes.append(
                _(
                    "Windows of {length} tokens share at most {shared}, not the {stride} of data.stride.",
                    length=data.max_length,
                    shared=room // 2,
                    stride=data.stride,
                )
            )

    def export_learned(self) -> dict[str, Any]:
        return {"tags": sorted(self.tags), "names": self.named, "known": self.known}

    def merge_learned(self, learned: dict[str, Any]) -> None:
        self.tags.update(learned["tags"])


def name_tags(tags: Sequence[str | int], names: Sequence[str], only: Sequence[str] = ()) -> list[str]:
    """Return tags by name; numbers without names become text.

    Args:
        names: The names of the numbers.
        only: The allowed tags; empty if any tag is allowed.

    Raises:
        RowProblem: a number has no name though others do, or a tag is not allowed.
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
                else N_("a number that is not one of the model's tags"),
                _("{tag} at word {place}", tag=one_line(tag, 40), place=place + 1),
            )
        found.append(name)
    return found
