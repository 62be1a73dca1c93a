"""Computes predictions for batches of rows: generated text, or the output of a head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tui_tuner.data.records import LabelledText, Question, Record, TaggedText, Text
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import OutOfMemoryError
from tui_tuner.evaluation.generation import generate_answers
from tui_tuner.evaluation.writing.answers import GeneratedAnswer, SamplingSettings
from tui_tuner.inference.loading import LoadedModel
from tui_tuner.inference.predicting.job import RETRY_TEMPERATURE, Job
from tui_tuner.inference.predicting.parsing import parse_carp_answer, parse_json_answer, parse_label_answer
from tui_tuner.inference.predicting.wording import CARP
from tui_tuner.locales import _
from tui_tuner.models.out_of_memory import free_attempt_memory, is_out_of_memory
from tui_tuner.tasks.generative import GenerativeTask
from tui_tuner.text import one_line

WRITES_AT_ONCE, READS_AT_ONCE = 16, 32  # default rows per forward pass


@dataclass(frozen=True)
class Prediction:
    """The prediction of a row.

    Args:
        cut: Whether it was cut at the longest answer.
        tokens: Tokens generated for it, over all attempts.
    """

    value: Any
    problem: str = ""
    cut: bool = False
    tokens: int = 0


@dataclass(frozen=True)
class PreparedRow:
    """A row that is ready for the model.

    Args:
        payload: The model's input.
        length: Its length; rows of similar length are computed together.
    """

    number: int
    payload: Any
    length: int


class StopRequested(Exception):
    """Raised inside a batch to end it."""


class Predictor(ABC):
    """Computes predictions of rows with a loaded model.

    Attributes:
        batch_size: Rows per forward pass; reduced when memory runs out.
        on_note: Called with sentences that the user should read.
    """

    default = 1

    def __init__(self, job: Job, loaded: LoadedModel, on_note: Callable[[str], None]) -> None:
        self.job, self.loaded, self.on_note = job, loaded, on_note
        self.batch_size = job.batch_size or self.default

    @abstractmethod
    def prepare_row(self, number: int, record: Record) -> PreparedRow:
        """Turn a row into the model's input.

        Raises:
            RowProblem: the row cannot be used.
        """

    @abstractmethod
    def answer_batch(self, batch: Sequence[PreparedRow], look: Callable[[int], None]) -> list[Prediction]:
        """Predict each row of a batch.

        Args:
            look: Called now and then with the tokens generated; an exception from it ends the batch.

        Raises:
            OutOfMemoryError: there is not enough memory for a single row.
        """

    def halve_batch(self, size: int) -> None:
        """Reduce the batch size after memory ran out."""
        self.batch_size = max(1, size)
        self.on_note(_("ran out of memory: continuing with {count} rows at once", count=self.batch_size))


class TextPredictor(Predictor):
    """Generates text, and checks it where a label or JSON is expected."""

    default = WRITES_AT_ONCE

    def __init__(self, job: Job, loaded: LoadedModel, on_note: Callable[[str], None]) -> None:
        super().__init__(job, loaded, on_note)
        self._noted: set[str] = set()

    def prepare_row(self, number: int, record: Record) -> PreparedRow:
        loaded = self.loaded
        assert isinstance(loaded.task, GenerativeTask)
        ids, note = loaded.task.encode_row(loaded.config, loaded.tokenizer, record)
        if note and note not in self._noted:
            self._noted.add(note)
            self.on_note(note)
        return PreparedRow(number, ids, len(ids))

    def answer_batch(self, batch: Sequence[PreparedRow], look: Callable[[int], None]) -> list[Prediction]:
        made = self._attempt_batch(batch, 0, look)
        for attempt in range(1, self.job.retries + 1):
            # Rows without tokens had no answer at all (out of memory, too long), so asking again is useless
            again = [place for place, one in enumerate(made) if one.problem and one.tokens]
            if not again:
                break
            for place, one in zip(
                again, self._attempt_batch([batch[i] for i in again], attempt, look), strict=True
            ):
                tokens = made[place].tokens + one.tokens
                # If the retry failed, too, the first answer stays: it is the one without random choices
                better = made[place] if one.problem else one
                made[place] = Prediction(better.value, better.problem, better.cut, tokens)
        return made

    def _attempt_batch(
        self, batch: Sequence[PreparedRow], attempt: int, look: Callable[[int], None]
    ) -> list[Prediction]:
        job = self.job
        heat = job.temperature or (RETRY_TEMPERATURE if attempt else 0.0)
        # One seed per row: a resumed job puts rows into other batches and must give the same answers
        seeds = [_derive_seed(job.seed, one.number, attempt) for one in batch]

        def at_token(done: int, total: int, note: str = "") -> None:
            look(0)

        found = generate_answers(
            self.loaded.model,
            self.loaded.tokenizer,
            [one.payload for one in batch],
            job.max_new_tokens,
            at_token,
            batch_size=min(self.batch_size, len(batch)),
            drawing=SamplingSettings(heat, seeds) if heat else None,
            on_halved=self.halve_batch,
        )
        return [self._make_prediction(one) for one in found]

    def _make_prediction(self, found: GeneratedAnswer) -> Prediction:
        tokens = len(found.ids)
        if found.short_of_memory or (found.note and not found.ids):
            return Prediction(found.text or None, found.note, not found.stopped, 0)
        value, problem = self._parse_answer(found.text)
        return Prediction(value, problem, not found.stopped, max(1, tokens))

    def _parse_answer(self, text: str) -> tuple[Any, str]:
        """Parse an answer as the label or JSON that was asked for; return (value, problem)."""
        job = self.job
        if job.json_keys:
            found, problem = parse_json_answer(text, job.json_keys)
            if found is None or not job.labels:
                return found, problem
            label, problem = parse_label_answer(str(found["label"]), job.labels)
            return {**found, "label": label}, problem
        if job.prompt == CARP:
            return parse_carp_answer(text, job.labels)
        if job.labels:
            label, problem = parse_label_answer(text, job.labels)
            return {"label": label}, problem
        return text, ""


class HeadPredictor(Predictor):
    """Predicts classes, tags or answers with the model's head."""

    default = READS_AT_ONCE

    def __init__(self, job: Job, loaded: LoadedModel, on_note: Callable[[str], None]) -> None:
        super().__init__(job, loaded, on_note)
        self._noted = False

    def prepare_row(self, number: int, record: Record) -> PreparedRow:
        if isinstance(record, TaggedText) and not self._noted:
            self._noted = True
            self.on_note(
                _(
                    "rows are lists of words: start and end are in characters of the words joined by "
                    "single spaces"
                )
            )
        return PreparedRow(number, record, _count_letters(record))

    def answer_batch(self, batch: Sequence[PreparedRow], look: Callable[[int], None]) -> list[Prediction]:
        loaded, rows = self.loaded, [one.payload for one in batch]
        while True:
            try:
                found = loaded.task.predict_rows(
                    loaded.model, loaded.tokenizer, loaded.config, rows, self.batch_size
                )
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                free_attempt_memory(error)
                if self.batch_size == 1:
                    raise OutOfMemoryError(
                        _("there is not enough memory for a single row."),
                        where=one_line(loaded.origin.name),
                        hint=_(
                            "Use the processor (--device cpu); the same command continues where it stopped."
                        ),
                    ) from None
            # After the error's memory is freed, so that the smaller batch has all of it
            self.halve_batch(self.batch_size // 2)
        return [
            Prediction(None, str(one)) if isinstance(one, RowProblem) else Prediction(one) for one in found
        ]


def _count_letters(record: Record) -> int:
    if isinstance(record, TaggedText):
        return sum(map(len, record.tokens))
    if isinstance(record, Question):
        return len(record.context) + len(record.question)
    if isinstance(record, LabelledText):
        return len(record.text) + len(record.pair or "")
    return len(record.text) if isinstance(record, Text) else 0


def _derive_seed(seed: int, number: int, attempt: int) -> int:
    """Return the seed of a row's attempt, which does not depend on the other rows of its batch."""
    import hashlib

    digest = hashlib.sha256(f"{seed} {number} {attempt}".encode()).digest()
    # 63 bits: torch takes signed seeds
    return int.from_bytes(digest[:8], "big") >> 1


def choose_predictor(job: Job, loaded: LoadedModel, on_note: Callable[[str], None]) -> Predictor:
    """Return the predictor for a model: generating, or with a head."""
    return (TextPredictor if loaded.config.task_kind.writes else HeadPredictor)(job, loaded, on_note)
