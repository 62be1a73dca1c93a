"""Words with tags become tokens with labels: the first token of a word has its tag, the others have none.

A text longer than `max_length` is read in windows of whole words. Neighbouring windows share words, so that
each stands somewhere inside, and it is labelled there alone: it is trained once, and judged once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.encoder import Begun, Encoder, Encodings, Facts
from tui_tuner.data.examples.fitting import Fitted
from tui_tuner.data.examples.token_types import COLUMN, pack_types
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import IGNORE, Example, Record, Tagged
from tui_tuner.data.tagging.facts import Place, baseline, note_tags
from tui_tuner.data.tagging.tags import number_of
from tui_tuner.data.tagging.windows import (
    WordTokenizer,
    WordTokens,
    beginning_of,
    room_of,
    windows_of,
)
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

COLUMNS = {COLUMN: "int64"}


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
                    self.words, beginning_of(tokens, windows[0], self.words), data.max_length, 0
                )
                outcome, reason = "truncated", N_("cut at max_length")
        self.tags.update(tags[word] for window in windows for word in window.words)
        silent = [word for word, count in enumerate(tokens.counts) if not count]
        examples: list[TaggedExample] = []
        for window in windows:
            labels = np.full(len(window.ids), IGNORE, dtype=np.int32)
            labels[window.places] = [number_of(tags[word]) for word in window.words]
            columns = {COLUMN: pack_types(self.words.types_of(len(window.ids)) or [0])}
            examples.append(TaggedExample(window.ids, labels, columns, silent if not examples else ()))
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
