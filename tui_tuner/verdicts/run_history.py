"""The history of a run, gathered from its journal for a verdict; rollbacks and resumes are applied.

The journal of a million steps has 400 MB. So steps are kept as numbers in arrays, and `runs.scan` reads them
without making an event of each.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tui_tuner.config.metrics import rename_metrics
from tui_tuner.data.ledger import COPIES, REPEATED
from tui_tuner.errors import UsageError
from tui_tuner.locales import _
from tui_tuner.runs.events import (
    Evaluation,
    EvaluationTable,
    Event,
    EventBody,
    HeldOutRows,
    Resolved,
    RolledBack,
    RowLedger,
    RunStarted,
    Step,
    Warned,
)
from tui_tuner.runs.private_files import open_regular_file
from tui_tuner.runs.scan import Figures, scan_journal_lines
from tui_tuner.runs.wire import decode_event_line, read_float
from tui_tuner.text import one_line

_CHUNK = 8 << 20
# Evaluations whose single rows are kept; beyond that, every second one is dropped
MOST_EVALUATIONS = 400
# Bytes without a line break after which a file is not a journal, and must not fill the memory
_LONGEST_LINE = 64 << 20
_NUMBERS = re.compile(r"\d[\d,. ]*")


@dataclass
class RunHistory:
    """A run so far, with its steps in the order in which they were taken.

    Args:
        most: How many steps to keep; beyond that, every second one, then every fourth. None keeps all.
        rows: By step, the losses of single held-out rows and their numbers of labels.
        copies: Held-out rows that are also trained on; None if they were not counted.
        repeated: Share of the training rows whose texts occur more than once.
        held_out: Number of held-out rows; 0 if the journal does not have it.
    """

    most: int | None = None

    config: Mapping[str, Any] = field(default_factory=dict)
    resolved: dict[str, Any] = field(default_factory=dict)
    own_metrics: Mapping[str, Any] = field(default_factory=dict)
    steps: array[int] = field(default_factory=lambda: array("q"))
    losses: array[float] = field(default_factory=lambda: array("d"))
    rates: array[float] = field(default_factory=lambda: array("d"))
    epochs: float = 0.0
    evaluations: dict[int, dict[str, float | None]] = field(default_factory=dict)
    rows: dict[int, tuple[list[float], list[float]]] = field(default_factory=dict)
    tables: dict[int, dict[str, EvaluationTable]] = field(default_factory=dict)
    copies: int | None = None
    repeated: float = 0.0
    held_out: int = 0
    events: int = 0
    _stride: int = 1

    def gather_event(self, event: Event | EventBody) -> None:
        """Add an event; kinds that a verdict does not need are only counted."""
        self.events += 1
        body = event.body if isinstance(event, Event) else event
        match body:
            case Step():
                self.take_step(body.step, body.loss, body.learning_rate, body.epoch)
            case Evaluation() if body.stage in ("validation", "") or "loss" in body.metrics:
                self.evaluations[body.step] = rename_metrics(body.metrics)
            case HeldOutRows():
                self._take_rows(body)
            case EvaluationTable():
                self.tables.setdefault(body.step, {})[body.name] = body
                self._forget_tables()
            case RunStarted():
                self._take_start(body)
            case RolledBack():
                self.back_to(body.step)
            case Resolved():
                self.resolved[body.field] = body.value
            case RowLedger():
                self._take_ledger(body)
            case Warned() if body.code == "leakage" and self.copies is None:
                self._take_leakage(body.message)

    def take_step(self, step: int, loss: float | None, rate: float, epoch: float) -> None:
        """Add a step. One without a loss, which trained no token, only sets the epoch."""
        self.epochs = epoch
        # Steps without a finite loss are always kept, because a verdict counts them
        if loss is None or (step % self._stride and math.isfinite(loss)):
            return
        if self.most is not None and len(self.steps) >= self.most:
            self._thin_steps()
        self.steps.append(step)
        self.losses.append(loss)
        self.rates.append(rate)

    def _thin_steps(self) -> None:
        """Keep half of the steps, and all whose loss is not finite."""
        self._stride *= 2
        kept = [
            place
            for place, step in enumerate(self.steps)
            if not step % self._stride or not math.isfinite(self.losses[place])
        ]
        self.steps = array("q", (self.steps[place] for place in kept))
        self.losses = array("d", (self.losses[place] for place in kept))
        self.rates = array("d", (self.rates[place] for place in kept))

    def back_to(self, step: int) -> None:
        """Forget everything after a step, as a rollback or a resumed run does."""
        kept = len(self.steps)
        while kept and self.steps[kept - 1] > step:
            kept -= 1
        for numbers in (self.steps, self.losses, self.rates):
            del numbers[kept:]
        for found in (self.evaluations, self.rows, self.tables):
            for later in [at for at in found if at > step]:
                del found[later]  # type: ignore[attr-defined]

    def _take_start(self, body: RunStarted) -> None:
        self.config, self.own_metrics = body.config, body.metrics
        if body.resumed_from is not None:
            self.back_to(body.resumed_from)

    def _take_rows(self, body: HeldOutRows) -> None:
        losses, labels = (
            [read_float(one, math.nan) for one in those] for those in (body.losses, body.labels)
        )
        if losses and len(losses) == len(labels):
            self.rows[body.step] = losses, labels
            # The first and the newest stay, as a verdict compares those
            if len(self.rows) > MOST_EVALUATIONS:
                for step in sorted(self.rows)[1:-1:2]:
                    del self.rows[step]

    def _take_ledger(self, body: RowLedger) -> None:
        splits = body.splits
        copies, held = splits.get(COPIES), splits.get("validation_rows")
        if isinstance(copies, int):
            self.copies = copies
        again, trained = splits.get(REPEATED), splits.get("training_rows")
        if isinstance(again, int) and isinstance(trained, int) and trained > 0:
            self.repeated = min(1.0, again / trained)
        if isinstance(held, int):
            self.held_out = max(0, held)

    def _take_leakage(self, message: str) -> None:
        """Read the number of copies from a warning, for journals whose ledger lacks it."""
        # The first number of the sentence is that of the copies, the second that of all held-out rows
        found = [re.sub(r"\D", "", number) for number in _NUMBERS.findall(message)]
        numbers = [int(number) for number in found if 0 < len(number) < 12]
        if len(numbers) >= 2:
            self.copies, self.held_out = numbers[0], self.held_out or numbers[1]

    def _forget_tables(self) -> None:
        # Only the last table is read, and a rollback may take that away
        for step in sorted(self.tables)[:-2]:
            del self.tables[step]

    # ---- long journals ----------------------------------------------------------------------------------

    def take_block(self, block: bytes) -> None:
        """Add the events of a block of whole lines."""
        waiting: list[Figures] = []
        for figures in scan_journal_lines(block):
            line = figures[-1]
            # Steps wait to be added together, but in order: other events, such as a rollback, depend on it
            if line:
                self._take_many(waiting)
                waiting = []
                event = decode_event_line(line)
                if event is not None:
                    self.gather_event(event)
            elif figures[0]:
                waiting.append(figures)
            elif figures[-2]:
                self.events += 1
        self._take_many(waiting)

    def _take_many(self, found: list[Figures]) -> None:
        """Add steps column by column, which is faster; one by one if some are dropped or are not numbers."""
        if self.most is None and found:
            self.epochs, count = _read_epoch(found[-1], self.epochs), len(found)
            found = [one for one in found if one[3] != b"null"]
            try:
                numbers = array("q", map(int, [one[1] for one in found]))
                losses = array("d", map(float, [one[3] for one in found]))
                rates = array("d", map(float, [one[4] for one in found]))
            except ValueError:
                pass
            else:
                self.events += count
                self.steps.extend(numbers)
                self.losses.extend(losses)
                self.rates.extend(rates)
                return
        for one in found:
            self._take_figures(one)

    def _take_figures(self, figures: Figures) -> None:
        _time, step, epoch, loss, rate, *_rest = figures
        try:
            number = int(step), None if loss == b"null" else float(loss), float(rate), float(epoch)
        except ValueError:  # the scanner checks only which characters a number has
            return
        self.events += 1
        self.take_step(*number)


def _read_epoch(figures: Figures, otherwise: float) -> float:
    try:
        return float(figures[2])
    except ValueError:
        return otherwise


def gather_event_history(events: Iterable[Event | EventBody]) -> RunHistory:
    """Gather a history from events."""
    found = RunHistory()
    for event in events:
        found.gather_event(event)
    return found


def gather_journal_history(path: Path, most: int | None = None) -> RunHistory:
    """Gather a history from a journal, with at most `most` steps.

    Raises:
        UsageError: there is no such file, it cannot be read, or it is not a journal.
    """
    found, rest = RunHistory(most=most), b""
    try:
        with open_regular_file(path) as journal:
            while block := journal.read(_CHUNK):
                block = rest + block
                whole = block.rfind(b"\n") + 1
                found.take_block(block[:whole])
                rest = block[whole:]
                if len(rest) > _LONGEST_LINE:
                    rest = b""
    except OSError as error:
        raise UsageError(
            _("the journal cannot be read: {problem}.", problem=error.strerror or one_line(error)),
            where=one_line(path),
            hint=_("A run's journal is its file events.jsonl; `tui-tuner runs` lists the runs."),
        ) from None
    # A running process may be in the middle of writing the last line, which then does not decode
    if rest.strip():
        event = decode_event_line(rest)
        if event is not None:
            found.gather_event(event)
    if not found.events:
        raise UsageError(
            _("this is not the journal of a run: none of its lines is an event."),
            where=one_line(path),
            hint=_("Name a run, its folder or its file events.jsonl; `tui-tuner runs` lists the runs."),
        )
    return found
