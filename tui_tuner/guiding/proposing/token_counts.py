"""Counts the rows to be trained on and their tokens, with the run's tokenizer where it is available."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tui_tuner.config.advice import format_screen_hint, list_hint_fixes
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.read_data import DataReading
from tui_tuner.errors import HubError, ModelError, TunerError
from tui_tuner.guiding.proposal import Concern
from tui_tuner.locales import _
from tui_tuner.planning.data_facts import SOURCE, DataFacts, make_facts
from tui_tuner.planning.row_counting import count_rows_quickly
from tui_tuner.tasks import find_task

if TYPE_CHECKING:
    from tui_tuner.runs.events import EventBody

MOST_ROWS = 50_000  # are tokenised; larger data sets are estimated from a random sample of this size
MOST_SECONDS = 20.0  # of reading rows that are only counted
BYTES_A_TOKEN = 4.0  # of text, where no tokenizer is available


@dataclass(frozen=True)
class Tokens:
    """Counts of the rows as they are trained on.

    Args:
        facts: Counts, with held-out rows separate.
        lengths: Tokens of each training sequence, cut where the model's limit is; empty where
            they were not counted.
        rows: All rows that were read.
        unusable: How many of them cannot be trained on; `reason` is the most frequent reason.
        exact: Whether every row was tokenised exactly as the run will.
        sources, targets: Tokens of both sides of each row that has them.
    """

    facts: DataFacts
    lengths: tuple[int, ...]
    rows: int
    basis: str
    unusable: int = 0
    reason: str = ""
    exact: bool = False
    sources: tuple[int, ...] = ()
    targets: tuple[int, ...] = ()


def turn_error_into_concern(error: TunerError, code: str, about: str = "data") -> Concern:
    """Turn an error into a concern that blocks the start, with the fixes from its hint."""
    # The field is shown with the answer it belongs to, so naming it again would only repeat it
    where = f"{error.where}: " if error.where and error.where != error.field else ""
    fixes = tuple((format_screen_hint(error.hint), dict(fix)) for fix in list_hint_fixes(error.hint))
    return Concern(code, f"{where}{error.what}", format_screen_hint(error.hint), True, fixes, about)


class TokenCounter:
    """Counts tokens as a run will see them; estimates them from the text without its tokenizer.

    Tokenised rows are cached, so counting again with another held-out share is quick.

    Args:
        said: Called with progress messages.
        stop: Returns true to cancel.
    """

    def __init__(
        self, said: Callable[[str], None] | None = None, stop: Callable[[], bool] | None = None
    ) -> None:
        self._said, self._stop = said, stop
        self._tokenizer: Any = None
        self._quick: DataFacts | None = None
        self._asked_for = ""

    def count_tokens(self, config: RunConfig) -> Tokens:
        """Count the rows of a config and their tokens.

        Raises:
            DataError: the data cannot be read or used.
            Cancelled: `stop` returned true.
        """
        try:
            return self._tokenise_rows(config)
        except (HubError, ModelError):
            return _estimate_tokens(config)

    def _tokenise_rows(self, config: RunConfig) -> Tokens:
        from tui_tuner.data.examples.prepare import prepare_examples
        from tui_tuner.models.loading import load_tokenizer

        if self._tokenizer is None or self._asked_for != config.model.name:
            # Loading a tokenizer prints warnings of libraries into the middle of the progress line
            with _silence_libraries():
                self._tokenizer, self._asked_for = load_tokenizer(config.model), config.model.name
            # The quick count belongs to this tokenizer, so it is taken once for each model, not for each
            # length
            self._quick = count_rows_quickly(config, patience=MOST_SECONDS).facts
        known = self._quick
        total = known.rows + known.validation_rows if known else 0
        sampled = config
        # A limit of the user's own is what the run will read, so it is never replaced by a sample
        if (not total or total > MOST_ROWS) and config.data.limit is None:
            data = config.data.model_copy(update={"limit": MOST_ROWS, "pick": "random"})
            sampled = config.model_copy(update={"data": data})
        task = find_task(config.task)
        prepared = prepare_examples(
            sampled, self._tokenizer, task, sink=_ProgressSink(self._said), cancelled=self._stop
        )
        facts = make_facts(prepared.train, prepared.validation, config.trained_share)
        if known is not None:
            # A sample may miss rare classes; the quick count has read the labels of all rows it could
            facts = replace(facts, outputs=known.outputs, regression=known.regression)
        ledger, lengths = prepared.ledger, prepared.train.lengths
        reasons = ledger.list_reasons("dropped")
        why = reasons[0].reason if reasons else ""
        dropped, basis = ledger.outcomes["dropped"], _("all rows read and tokenised as in the run")
        if prepared.validation is not None:
            lengths = np.concatenate((lengths, prepared.validation.lengths))
        every = tuple(int(length) for length in lengths)
        sides = _read_sides(prepared.train, prepared.validation)
        # Fewer rows came than the sample's limit: the file was read to its end, and the counts are exact
        if sampled is config or ledger.read < MOST_ROWS or total <= ledger.read:
            return Tokens(facts, every, ledger.read, basis, dropped, why, True, *sides)
        factor = total / ledger.read
        basis = _("{read:,} rows tokenised, {rows:,} counted", read=ledger.read, rows=total)
        scaled = _scale_facts(facts, factor)
        return Tokens(scaled, every, total, basis, round(dropped * factor), why, False, *sides)


def _read_sides(*parts: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the tokens of the sources and of the targets of tokenised rows, if these have both."""
    found = [part for part in parts if part is not None and SOURCE in part.columns]
    sources = tuple(int(count) for part in found for count in part.columns[SOURCE])
    return sources, tuple(int(count) for part in found for count in part.trained_tokens)


def _scale_facts(facts: DataFacts, factor: float) -> DataFacts:
    """Scale counts of a sample to the whole data set."""
    return replace(
        facts,
        rows=round(facts.rows * factor),
        tokens=round((facts.tokens or 0) * factor),
        supervised=round((facts.supervised or 0) * factor),
        validation_rows=round(facts.validation_rows * factor),
        heaviest=(),
        most_trained=(),
    )


def _estimate_tokens(config: RunConfig) -> Tokens:
    """Estimate tokens from the bytes of the text, without a tokenizer."""
    from tui_tuner.data.records import list_record_answers, list_record_texts

    # The user is waiting, so a very large file is judged by its beginning
    until, ledger = time.monotonic() + MOST_SECONDS, Ledger()
    lengths, supervised, longest = [], 0, config.data.max_length
    labels: Counter[str] = Counter()
    sources: list[int] = []
    targets: list[int] = []
    for read in DataReading(config.data):
        record = read.count_start(ledger)
        if record is not None:
            # One more for the token at the end; bytes rather than characters, as other scripts have more
            # tokens per character
            whole = round(sum(_count_bytes(text) for text in list_record_texts(record)) / BYTES_A_TOKEN) + 1
            pieces = [longest] * (whole // longest) + ([whole % longest] if whole % longest else [])
            lengths += pieces if config.task_kind.plain_text else [min(whole, longest)]
            answers = round(sum(_count_bytes(text) for text in list_record_answers(record)) / BYTES_A_TOKEN)
            supervised += round((answers or whole) * config.trained_share)
            if config.task_kind.encoder_decoder and answers:
                sources.append(max(1, whole - answers))
                targets.append(answers + 1)
            # Numbers as labels (regression) would be as many as the rows: stop collecting at some point
            labels[str(getattr(record, "label", ""))] += len(labels) < 1000
        if time.monotonic() > until:
            break
    # The same error as the run's own, as none of the rows is usable
    if not lengths:
        from tui_tuner.data.examples.prepare import make_no_rows_error

        raise make_no_rows_error(config.data, ledger, True)
    share = config.data.validation if isinstance(config.data.validation, float) else 0.0
    # As the run itself does: at least one row is held out, and at least one is trained on
    held = min(len(lengths) - 1, max(1, round(share * len(lengths)))) if share else 0
    part = (len(lengths) - held) / len(lengths)
    facts = DataFacts(
        len(lengths) - held,
        round(sum(lengths) * part),
        round(supervised * part),
        max(lengths),
        held,
        outputs=len(labels) if config.task_kind.decides == "text" else 0,
    )
    basis = _(
        "{rows:,} rows counted; tokens estimated from the text, as the tokenizer is not on this machine",
        rows=ledger.read,
    )
    return Tokens(facts, tuple(lengths), ledger.read, basis, sources=tuple(sources), targets=tuple(targets))


def _count_bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


@dataclass
class _ProgressSink:
    """Turns progress events into messages."""

    said: Callable[[str], None] | None

    def emit(self, body: EventBody) -> None:
        from tui_tuner.runs.events import Phase

        if self.said is not None and isinstance(body, Phase):
            if body.total:
                self.said(_("{done:,} of {total:,} rows read", done=body.done, total=body.total))
            else:
                self.said(_("{done:,} rows read", done=body.done))


@contextmanager
def _silence_libraries() -> Iterator[None]:
    """Silence the progress bars and warnings of libraries."""
    from tui_tuner.models.loading import silence_libraries

    silence_libraries()
    yield
