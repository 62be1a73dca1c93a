"""The rows that are to be learnt from: which task they are for, and how many tokens they have."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tui_tuner.config.advice import fixes_of, on_screen
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.reading import Reading
from tui_tuner.errors import HubError, ModelError, TunerError
from tui_tuner.guiding.proposal import Concern
from tui_tuner.locales import _
from tui_tuner.planning.counting import count
from tui_tuner.planning.data_facts import DataFacts, counted_facts
from tui_tuner.tasks import find_task

if TYPE_CHECKING:
    from tui_tuner.runs.events import Body

MOST_ROWS = 50_000  # are tokenised; of more, so many from anywhere stand for all
MOST_SECONDS = 20.0  # of reading rows that are only counted
BYTES_A_TOKEN = 4.0  # of text, where no tokenizer is here to tell


@dataclass(frozen=True)
class Tokens:
    """The rows as they are trained on.

    Args:
        facts: Their counts, those held out set apart.
        lengths: Tokens of each training sequence, as long as the model takes them; empty where
            nobody counted.
        rows: All rows that were read.
        unusable: Of these, the ones that cannot be trained on, and `reason` why most of them cannot.
        exact: Whether all was tokenised as in the run.
    """

    facts: DataFacts
    lengths: tuple[int, ...]
    rows: int
    basis: str
    unusable: int = 0
    reason: str = ""
    exact: bool = False


def concern_of(error: TunerError, code: str, about: str = "data") -> Concern:
    """An error as something of concern that stops, with the ways out that it tells."""
    where = f"{error.where}: " if error.where and error.where != error.field else ""
    fixes = tuple((on_screen(error.hint), dict(fix)) for fix in fixes_of(error.hint))
    return Concern(code, f"{where}{error.what}", on_screen(error.hint), True, fixes, about)


class TokenCounter:
    """Counts tokens of rows as a run will see them, or, where its tokenizer is not to be had, by their text.

    What was tokenised is kept: another share of rows held out is counted in a moment.

    Args:
        said: Told how far it is.
        stop: Asked whether to give up.
    """

    def __init__(
        self, said: Callable[[str], None] | None = None, stop: Callable[[], bool] | None = None
    ) -> None:
        self._said, self._stop = said, stop
        self._tokenizer: Any = None
        self._quick: DataFacts | None = None
        self._asked_for = ""

    def count(self, config: RunConfig) -> Tokens:
        """The rows of a config.

        Raises:
            DataError: the data cannot be read or used.
            Cancelled: `stop` said so.
        """
        try:
            return self._tokenised(config)
        except (HubError, ModelError):
            return _guessed(config)

    def _tokenised(self, config: RunConfig) -> Tokens:
        from tui_tuner.data.examples.prepare import prepare
        from tui_tuner.models.loading import load_tokenizer

        if self._tokenizer is None or self._asked_for != config.model.name:
            with _quietly():
                self._tokenizer, self._asked_for = load_tokenizer(config.model), config.model.name
            self._quick = count(config, patience=MOST_SECONDS).facts
        known = self._quick
        total = known.rows + known.validation_rows if known else 0
        sampled = config
        if (not total or total > MOST_ROWS) and config.data.limit is None:
            data = config.data.model_copy(update={"limit": MOST_ROWS, "pick": "random"})
            sampled = config.model_copy(update={"data": data})
        task = find_task(config.task)
        prepared = prepare(sampled, self._tokenizer, task, sink=_Telling(self._said), cancelled=self._stop)
        facts = counted_facts(prepared.train, prepared.validation)
        if known is not None:
            facts = replace(facts, outputs=known.outputs, regression=known.regression)
        ledger, lengths = prepared.ledger, prepared.train.lengths
        reasons = ledger.reasons("dropped")
        why = reasons[0].reason if reasons else ""
        dropped, basis = ledger.outcomes["dropped"], _("all rows read and tokenised as in the run")
        if prepared.validation is not None:
            lengths = np.concatenate((lengths, prepared.validation.lengths))
        every = tuple(int(length) for length in lengths)
        if sampled is config or ledger.read < MOST_ROWS or total <= ledger.read:
            return Tokens(facts, every, ledger.read, basis, dropped, why, True)
        factor = total / ledger.read
        basis = _("{read:,} rows tokenised, {rows:,} counted", read=ledger.read, rows=total)
        return Tokens(_scaled(facts, factor), every, total, basis, round(dropped * factor), why)


def _scaled(facts: DataFacts, factor: float) -> DataFacts:
    """What so many times the rows come to."""
    return replace(
        facts,
        rows=round(facts.rows * factor),
        tokens=round((facts.tokens or 0) * factor),
        supervised=round((facts.supervised or 0) * factor),
        validation_rows=round(facts.validation_rows * factor),
        heaviest=(),
        most_trained=(),
    )


def _guessed(config: RunConfig) -> Tokens:
    """By text alone: no tokenizer is here."""
    from tui_tuner.data.records import answers_of, texts_of

    until, ledger = time.monotonic() + MOST_SECONDS, Ledger()
    lengths, supervised, longest = [], 0, config.data.max_length
    labels: Counter[str] = Counter()
    for read in Reading(config.data):
        record = read.begun(ledger)
        if record is not None:
            whole = round(sum(_bytes(text) for text in texts_of(record)) / BYTES_A_TOKEN) + 1
            pieces = [longest] * (whole // longest) + ([whole % longest] if whole % longest else [])
            lengths += pieces if config.task_kind.plain_text else [min(whole, longest)]
            answers = round(sum(_bytes(text) for text in answers_of(record)) / BYTES_A_TOKEN)
            supervised += answers or whole
            labels[str(getattr(record, "label", ""))] += len(labels) < 1000
        if time.monotonic() > until:
            break
    if not lengths:
        from tui_tuner.data.examples.prepare import nothing_left

        raise nothing_left(config.data, ledger, True)
    share = config.data.validation if isinstance(config.data.validation, float) else 0.0
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
        "{rows:,} rows counted; tokens guessed from their text, as the tokenizer is not here",
        rows=ledger.read,
    )
    return Tokens(facts, tuple(lengths), ledger.read, basis)


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


@dataclass
class _Telling:
    """How far it is, as sentences."""

    said: Callable[[str], None] | None

    def emit(self, body: Body) -> None:
        from tui_tuner.runs.events import Phase

        if self.said is not None and isinstance(body, Phase):
            if body.total:
                self.said(_("{done:,} of {total:,} rows read", done=body.done, total=body.total))
            else:
                self.said(_("{done:,} rows read", done=body.done))


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what libraries say aside."""
    from tui_tuner.models.loading import quiet_libraries

    quiet_libraries()
    yield
