"""What a model says of a batch of rows: text that it writes, or what its head finds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tui_tuner.data.chat.template import render
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import Chat, Labelled, Question, Record, Tagged, Text
from tui_tuner.errors import OutOfMemoryError
from tui_tuner.evaluation.generation import Drawing, Generated, generate
from tui_tuner.inference.loading import Loaded
from tui_tuner.inference.predicting.job import RETRY_TEMPERATURE, Job
from tui_tuner.inference.predicting.parsing import read_carp, read_json, read_label
from tui_tuner.inference.predicting.wording import CARP
from tui_tuner.inference.prompts import has_template
from tui_tuner.locales import _
from tui_tuner.models.out_of_memory import free_memory_of, is_out_of_memory
from tui_tuner.text import one_line

WRITES_AT_ONCE, READS_AT_ONCE = 16, 32  # rows of a forward pass, where nobody says


@dataclass(frozen=True)
class Made:
    """The prediction of a row.

    Args:
        cut: It came to the longest answer, not to its own end.
        tokens: That were written for it.
    """

    value: Any
    problem: str = ""
    cut: bool = False
    tokens: int = 0


@dataclass(frozen=True)
class Prepared:
    """A row that can be computed.

    Args:
        payload: What the model is given.
        length: Rows of a similar one are computed together.
    """

    number: int
    payload: Any
    length: int


class Stop(Exception):
    """Raised inside a batch to end it."""


class Answers(ABC):
    """A loaded model that says something about rows.

    Attributes:
        batch_size: Rows of a forward pass; less once memory ran out.
        on_note: Told sentences that the user should read.
    """

    default = 1

    def __init__(self, job: Job, loaded: Loaded, on_note: Callable[[str], None]) -> None:
        self.job, self.loaded, self.on_note = job, loaded, on_note
        self.batch_size = job.batch_size or self.default

    @abstractmethod
    def prepare(self, number: int, record: Record) -> Prepared:
        """What the model is given for a row.

        Raises:
            RowProblem: it cannot be.
        """

    @abstractmethod
    def answer(self, batch: Sequence[Prepared], look: Callable[[int], None]) -> list[Made]:
        """What the model says of each row.

        Args:
            look: Called now and then with the tokens that are written; what it raises ends the batch.

        Raises:
            OutOfMemoryError: there is not enough for a single row.
        """

    def halved(self, size: int) -> None:
        """Memory ran out: go on with fewer rows at once."""
        self.batch_size = max(1, size)
        self.on_note(_("memory ran out: {count} rows at once from here on", count=self.batch_size))


class Written(Answers):
    """Text that a model writes, checked where it has to be a label or JSON."""

    default = WRITES_AT_ONCE

    def prepare(self, number: int, record: Record) -> Prepared:
        tokenizer = self.loaded.tokenizer
        if isinstance(record, Chat) and has_template(tokenizer):
            turns = [message.plain() for message in record.messages]
            text = render(tokenizer, turns, record.tools, generation=True)
            ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
        elif isinstance(record, Chat):
            ids = list(
                tokenizer("\n".join(message.content or "" for message in record.messages))["input_ids"]
            )
        else:
            assert isinstance(record, Text)
            ids = list(self.loaded.task.encode_prompt(tokenizer, record.text))  # type: ignore[attr-defined]
        return Prepared(number, ids, len(ids))

    def answer(self, batch: Sequence[Prepared], look: Callable[[int], None]) -> list[Made]:
        made = self._attempt(batch, 0, look)
        for attempt in range(1, self.job.retries + 1):
            again = [place for place, one in enumerate(made) if one.problem and one.tokens]
            if not again:
                break
            for place, one in zip(
                again, self._attempt([batch[i] for i in again], attempt, look), strict=True
            ):
                tokens = made[place].tokens + one.tokens
                better = made[place] if one.problem else one
                made[place] = Made(better.value, better.problem, better.cut, tokens)
        return made

    def _attempt(self, batch: Sequence[Prepared], attempt: int, look: Callable[[int], None]) -> list[Made]:
        job = self.job
        heat = job.temperature or (RETRY_TEMPERATURE if attempt else 0.0)
        seeds = [_seed(job.seed, one.number, attempt) for one in batch]

        def at_token(done: int, total: int, note: str = "") -> None:
            look(0)

        found = generate(
            self.loaded.model,
            self.loaded.tokenizer,
            [one.payload for one in batch],
            job.max_new_tokens,
            at_token,
            batch_size=min(self.batch_size, len(batch)),
            drawing=Drawing(heat, seeds) if heat else None,
            on_halved=self.halved,
        )
        return [self._made(one) for one in found]

    def _made(self, found: Generated) -> Made:
        tokens = len(found.ids)
        if found.short_of_memory or (found.note and not found.ids):
            return Made(found.text or None, found.note, not found.stopped, 0)
        value, problem = self._read(found.text)
        return Made(value, problem, not found.stopped, max(1, tokens))

    def _read(self, text: str) -> tuple[Any, str]:
        """What an answer says, where it is no free text, and what is wrong with it."""
        job = self.job
        if job.json_keys:
            found, problem = read_json(text, job.json_keys)
            if found is None or not job.labels:
                return found, problem
            label, problem = read_label(str(found["label"]), job.labels)
            return {**found, "label": label}, problem
        if job.prompt == CARP:
            return read_carp(text, job.labels)
        if job.labels:
            label, problem = read_label(text, job.labels)
            return {"label": label}, problem
        return text, ""


class Read(Answers):
    """What a head finds: classes, tags, answers."""

    default = READS_AT_ONCE

    def __init__(self, job: Job, loaded: Loaded, on_note: Callable[[str], None]) -> None:
        super().__init__(job, loaded, on_note)
        self._noted = False

    def prepare(self, number: int, record: Record) -> Prepared:
        if isinstance(record, Tagged) and not self._noted:
            self._noted = True
            self.on_note(
                _("rows are words: start and end are in characters of these joined by single spaces")
            )
        return Prepared(number, record, _letters(record))

    def answer(self, batch: Sequence[Prepared], look: Callable[[int], None]) -> list[Made]:
        loaded, rows = self.loaded, [one.payload for one in batch]
        while True:
            try:
                found = loaded.task.predict(
                    loaded.model, loaded.tokenizer, loaded.config, rows, self.batch_size
                )
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                free_memory_of(error)
                if self.batch_size == 1:
                    raise OutOfMemoryError(
                        _("there is not enough memory for a single row."),
                        where=one_line(loaded.origin.name),
                        hint=_("Use the processor (--device cpu); the same command goes on where it ended."),
                    ) from None
            self.halved(self.batch_size // 2)
        return [Made(None, str(one)) if isinstance(one, RowProblem) else Made(one) for one in found]


def _letters(record: Record) -> int:
    if isinstance(record, Tagged):
        return sum(map(len, record.tokens))
    if isinstance(record, Question):
        return len(record.context) + len(record.question)
    if isinstance(record, Labelled):
        return len(record.text) + len(record.pair or "")
    return len(record.text) if isinstance(record, Text) else 0


def _seed(seed: int, number: int, attempt: int) -> int:
    """Of the random numbers of a row, whatever is computed beside it."""
    import hashlib

    digest = hashlib.sha256(f"{seed} {number} {attempt}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def answers_of(job: Job, loaded: Loaded, on_note: Callable[[str], None]) -> Answers:
    """The right one for a model."""
    return (Written if loaded.config.task_kind.writes else Read)(job, loaded, on_note)
