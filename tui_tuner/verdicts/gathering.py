"""What a verdict is made from, gathered from a journal: one history, whatever was rolled back or resumed.

A run of a million steps is a journal of 400 MB. So steps are kept as numbers in arrays, and read by
`runs.scan` without an event for each.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tui_tuner.config.metrics import renamed
from tui_tuner.data.ledger import COPIES, REPEATED
from tui_tuner.errors import UsageError
from tui_tuner.locales import _
from tui_tuner.runs.events import (
    Body,
    Evaluation,
    EvaluationTable,
    Event,
    HeldOutRows,
    Resolved,
    RolledBack,
    RowLedger,
    RunStarted,
    Step,
    Warned,
)
from tui_tuner.runs.private import open_file
from tui_tuner.runs.scan import Figures, scan
from tui_tuner.runs.wire import decode, real
from tui_tuner.text import one_line

_CHUNK = 8 << 20
MOST_EVALUATIONS = 400  # of which single rows are kept: of more, every second one is forgotten
_LONGEST_LINE = 64 << 20
_NUMBERS = re.compile(r"\d[\d,. ]*")


@dataclass
class Gathered:
    """A run so far. Steps are in the order in which they were done.

    Args:
        most: Steps that are kept; of more, every second one, then every fourth. None keeps all.
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
    rows: dict[int, tuple[list[float], list[float]]] = field(default_factory=dict)  # losses, labels
    tables: dict[int, dict[str, EvaluationTable]] = field(default_factory=dict)
    copies: int | None = None  # held-out rows that are trained on; None where nobody counted
    repeated: float = 0.0  # share of the training rows whose texts are trained more than once
    held_out: int = 0  # rows; 0 where the journal does not say
    events: int = 0
    _stride: int = 1

    def take(self, event: Event | Body) -> None:
        """Add an event. Kinds that say nothing here are passed over."""
        self.events += 1
        body = event.body if isinstance(event, Event) else event
        match body:
            case Step():
                self.take_step(body.step, body.loss, body.learning_rate, body.epoch)
            case Evaluation() if body.stage in ("validation", "") or "loss" in body.metrics:
                self.evaluations[body.step] = renamed(body.metrics)
            case HeldOutRows():
                self._take_rows(body)
            case EvaluationTable():
                self.tables.setdefault(body.step, {})[body.name] = body
                self._forget_tables()
            case RunStarted():
                self._start(body)
            case RolledBack():
                self.back_to(body.step)
            case Resolved():
                self.resolved[body.field] = body.value
            case RowLedger():
                self._take_ledger(body)
            case Warned() if body.code == "leakage" and self.copies is None:
                self._take_leakage(body.message)

    def take_step(self, step: int, loss: float | None, rate: float, epoch: float) -> None:
        """Add a step; one that has no loss, as it trained no token, says nothing."""
        self.epochs = epoch
        if loss is None or (step % self._stride and math.isfinite(loss)):
            return
        if self.most is not None and len(self.steps) >= self.most:
            self._thin()
        self.steps.append(step)
        self.losses.append(loss)
        self.rates.append(rate)

    def _thin(self) -> None:
        """Keep half of the steps, and all those without a number."""
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
        """Forget what came after a step."""
        kept = len(self.steps)
        while kept and self.steps[kept - 1] > step:
            kept -= 1
        for numbers in (self.steps, self.losses, self.rates):
            del numbers[kept:]
        for found in (self.evaluations, self.rows, self.tables):
            for later in [at for at in found if at > step]:
                del found[later]  # type: ignore[attr-defined]

    def _start(self, body: RunStarted) -> None:
        self.config, self.own_metrics = body.config, body.metrics
        if body.resumed_from is not None:
            self.back_to(body.resumed_from)

    def _take_rows(self, body: HeldOutRows) -> None:
        losses, labels = ([real(one, math.nan) for one in those] for those in (body.losses, body.labels))
        if losses and len(losses) == len(labels):
            self.rows[body.step] = losses, labels
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
        """What a warning of a journal says that lacks the count: its first number is that of the copies."""
        found = [re.sub(r"\D", "", number) for number in _NUMBERS.findall(message)]
        numbers = [int(number) for number in found if 0 < len(number) < 12]
        if len(numbers) >= 2:
            self.copies, self.held_out = numbers[0], self.held_out or numbers[1]

    def _forget_tables(self) -> None:
        for step in sorted(self.tables)[:-2]:
            del self.tables[step]

    # ---- long journals ----------------------------------------------------------------------------------

    def take_block(self, block: bytes) -> None:
        """Whole lines of a journal."""
        waiting: list[Figures] = []
        for figures in scan(block):
            line = figures[-1]
            if line:
                self._take_many(waiting)
                waiting = []
                event = decode(line)
                if event is not None:
                    self.take(event)
            elif figures[0]:
                waiting.append(figures)
            elif figures[-2]:
                self.events += 1
        self._take_many(waiting)

    def _take_many(self, found: list[Figures]) -> None:
        """Steps as their lines have them: column by column, where all of them are kept and are numbers."""
        if self.most is None and found:
            self.epochs, count = _epoch(found[-1], self.epochs), len(found)
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
        except ValueError:  # what looks like a number, and is none
            return
        self.events += 1
        self.take_step(*number)


def _epoch(figures: Figures, otherwise: float) -> float:
    try:
        return float(figures[2])
    except ValueError:
        return otherwise


def gather(events: Iterable[Event | Body]) -> Gathered:
    """A history from events."""
    found = Gathered()
    for event in events:
        found.take(event)
    return found


def gather_file(path: Path, most: int | None = None) -> Gathered:
    """A history from a journal, of at most so many steps.

    Raises:
        UsageError: there is no such file, it cannot be read, or it is no journal.
    """
    found, rest = Gathered(most=most), b""
    try:
        with open_file(path) as journal:
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
    if rest.strip():
        event = decode(rest)
        if event is not None:
            found.take(event)
    if not found.events:
        raise UsageError(
            _("this is no journal of a run: none of its lines is an event."),
            where=one_line(path),
            hint=_("Name a run, its folder or its file events.jsonl; `tui-tuner runs` lists the runs."),
        )
    return found
