"""Events to lines: what a run looks like without a screen. A fold over the journal, like the live pane."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, TextIO

from tui_tuner.locales import N_, _, recall
from tui_tuner.runs.events import (
    Body,
    CheckpointSaved,
    Evaluation,
    Event,
    Finished,
    Log,
    Memory,
    OutOfMemory,
    Phase,
    Resolved,
    RolledBack,
    RowLedger,
    RunDuration,
    RunStarted,
    Sample,
    Step,
    Warned,
)
from tui_tuner.runs.journal import JournalReader
from tui_tuner.runs.view import RunView, fold
from tui_tuner.runs.wire import encode, fields_of
from tui_tuner.text import human_bytes, human_money, human_seconds, one_line, sanitize

STEP_LINE_SECONDS = 2.0
RECENT_STEPS = 1000  # kept; the pace is told from the last 50, also after going back some steps
READ_AT_ONCE = 4 << 20  # bytes of a journal whose events are in memory at a time
# What a printer's view is folded from: the rest only makes its lists longer, event by event
_OF_STATUS = (RunStarted, RolledBack, Phase, Finished)
_COMPARED = (RunStarted, RolledBack, Evaluation, Sample)
REASONS_SHOWN = 5
DURATION_MOVED = 0.1  # share by which it is worth another line
# Names in the journal, which are translated where they are shown
PHASES = (
    N_("loading"),
    N_("tokenizing"),
    N_("training"),
    N_("evaluating"),
    N_("sampling"),
    N_("saving"),
    N_("paused"),
)
STAGES = (N_("before"), N_("during"), N_("after"), N_("validation"))


class LinePrinter:
    """Prints what a person wants to read. `write` gets one line each; text from outside is sanitised."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self.view = RunView()  # without lists, which would be copied with each event
        self._recent: deque[Step] = deque(maxlen=RECENT_STEPS)
        self._shown: list[Event] = []  # what is compared at the end
        self._last_step_line = 0.0
        self._last_phase = ""
        self._last_duration = 0.0

    def feed(self, events: Iterable[Event]) -> None:
        for event in events:
            body = event.body
            if isinstance(body, Step):
                self._recent.append(body)
            elif isinstance(body, _COMPARED):
                self._shown.append(event)
                self._forget_undone(body)
            if isinstance(body, _OF_STATUS):
                self.view = replace(fold(self.view, [event]), steps=())
            handler = self._HANDLERS.get(type(event.body))
            if handler:
                handler(self, event, event.body)

    def _forget_undone(self, body: Body) -> None:
        """Steps after the one that a run goes back to are no part of its pace."""
        back = body.step if isinstance(body, RolledBack) else None
        if isinstance(body, RunStarted):
            back = body.resumed_from
        if back is not None:
            kept = [step for step in self._recent if step.step <= back]
            self._recent.clear()
            self._recent.extend(kept)

    def _line(self, event: Event, text: str) -> None:
        self._write(f"{time.strftime('%H:%M:%S', time.localtime(event.time))}  {text}")

    def _run_started(self, event: Event, body: RunStarted) -> None:
        run, step, device = one_line(event.run), body.resumed_from, one_line(body.device or _("unknown"))
        if step is None:
            line = _("run {run} started on {device}", run=run, device=device)
        else:
            line = _("run {run} resumed from step {step} on {device}", run=run, step=step, device=device)
        self._line(event, line)

    def _phase(self, event: Event, body: Phase) -> None:
        note = one_line(body.note, 100)
        text = f"{_(one_line(body.name))}{': ' + note if note else ''}"
        if text != self._last_phase:
            self._last_phase = text
            self._line(event, text)

    def _resolved(self, event: Event, body: Resolved) -> None:
        self._line(
            event,
            _(
                "auto: {field} = {value} ({why})",
                field=one_line(body.field),
                value=one_line(body.value),
                why=one_line(body.why),
            ),
        )

    def _ledger(self, event: Event, body: RowLedger) -> None:
        # what stands inside a ledger's tables is as it was written, and may be damaged
        with contextlib.suppress(TypeError, ValueError, KeyError, IndexError, AttributeError, RecursionError):
            for line in ledger_lines(fields_of(body)):
                self._line(event, line)
            for line in ledger_lines(body.validation) if body.validation is not None else ():
                self._line(event, _("validation {line}", line=line))

    def _step(self, event: Event, point: Step) -> None:
        total = self.view.total_steps
        last = total and point.step >= total
        if event.time - self._last_step_line < STEP_LINE_SECONDS and not last and point.step > 1:
            return
        self._last_step_line = event.time
        view = replace(self.view, step=point.step, steps=tuple(self._recent))
        left = view.seconds_left()
        parts = [
            _("step {step}/{total}", step=point.step, total=view.total_steps or "?"),
            _("epoch {epoch:.2f}", epoch=point.epoch),
            _("loss {loss}", loss=_figure(point.loss)),
            _("lr {rate:.2e}", rate=point.learning_rate),
            _("grad norm {norm}", norm=_figure(point.grad_norm, 2)),
            *(f"{one_line(name, 40)} {_figure(value)}" for name, value in point.metrics.items()),
            _("{speed:,.0f} trained tok/s", speed=view.tokens_per_second() or 0),
        ]
        if point.memory_reserved:
            parts.append(human_bytes(point.memory_reserved))
        if left is not None and not last:
            parts.append(_("{time} left", time=human_seconds(left)))
        self._line(event, "  ".join(parts))

    def _duration(self, event: Event, body: RunDuration) -> None:
        before = self._last_duration
        if before and abs(body.seconds / before - 1) < DURATION_MOVED:
            return
        self._last_duration = body.seconds
        said = {
            "time": human_seconds(body.seconds),
            "low": human_seconds(body.low),
            "high": human_seconds(body.high),
            "basis": one_line(body.basis),
        }
        if body.cost is None or body.cost_high is None:
            line = _("the whole run takes about {time} ({low} to {high}), from {basis}", **said)
        else:
            line = _(
                "the whole run takes about {time} ({low} to {high}), costs {cost} (up to {most}), from "
                "{basis}",
                cost=human_money(body.cost),
                most=human_money(body.cost_high),
                **said,
            )
        self._line(event, line)

    def _memory(self, event: Event, body: Memory) -> None:
        measured, predicted = body.allocated, body.predicted_allocated
        if measured is None or predicted is None:
            return
        said = {"measured": human_bytes(measured), "predicted": human_bytes(predicted)}
        if predicted > 0:
            share = measured / predicted - 1
            line = _("memory peak {measured}, predicted {predicted} ({share:+.1%})", share=share, **said)
        else:
            line = _("memory peak {measured}, predicted {predicted}", **said)
        self._line(event, line)

    def _evaluation(self, event: Event, body: Evaluation) -> None:
        metrics = [f"{one_line(name)} {_figure(value)}" for name, value in body.metrics.items()]
        said = {"step": body.step, "metrics": ", ".join(metrics)}
        if body.stage:
            line = _("evaluation {stage} at step {step}: {metrics}", stage=_(one_line(body.stage)), **said)
        else:
            line = _("evaluation at step {step}: {metrics}", **said)
        self._line(event, line)

    def _checkpoint(self, event: Event, body: CheckpointSaved) -> None:
        said = {"step": body.step, "path": one_line(body.path)}
        if body.best:
            self._line(event, _("checkpoint at step {step} (best so far): {path}", **said))
        else:
            self._line(event, _("checkpoint at step {step}: {path}", **said))

    def _warned(self, event: Event, body: Warned) -> None:
        message = f"{one_line(body.message)} {one_line(body.hint)}".rstrip()
        self._line(event, _("warning: {message}", message=message))

    def _log(self, event: Event, body: Log) -> None:
        self._line(event, one_line(body.message, 400))

    def _out_of_memory(self, event: Event, body: OutOfMemory) -> None:
        self._line(event, _("out of memory: {message}", message=one_line(body.message)))

    def _finished(self, event: Event, body: Finished) -> None:
        for line in _comparison(fold(RunView(), self._shown)):
            self._write(line)
        message = one_line(body.message)
        self._line(event, f"{_(one_line(body.status))}{': ' + message if message else ''}")
        if body.hint:
            self._line(event, one_line(body.hint))

    _HANDLERS: ClassVar[dict[type[Body], Callable[[LinePrinter, Event, Any], None]]] = {
        RunStarted: _run_started,
        Phase: _phase,
        Resolved: _resolved,
        RowLedger: _ledger,
        Step: _step,
        RunDuration: _duration,
        Memory: _memory,
        Evaluation: _evaluation,
        CheckpointSaved: _checkpoint,
        Warned: _warned,
        Log: _log,
        OutOfMemory: _out_of_memory,
        Finished: _finished,
    }


class RawPrinter:
    """Prints the journal's own lines."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self.view = RunView()  # what it is asked for: whether the run has ended, and how

    def feed(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event.body, _OF_STATUS):
                self.view = replace(fold(self.view, [event]), steps=())
            self._write((event.line or encode(event)).decode().rstrip("\n"))


def writer(stream: TextIO) -> Callable[[str], None]:
    """A `write` for the printers that goes quiet when the reader or the terminal is gone."""
    gone = False

    def write(line: str) -> None:
        nonlocal gone
        if gone:
            return
        try:
            stream.write(line + "\n")
            stream.flush()
        except (OSError, ValueError):
            gone = True

    return write


def print_new(reader: JournalReader, printer: LinePrinter | RawPrinter) -> None:
    """Print what is new in a journal, a part of it in memory at a time."""
    while events := reader.read(READ_AT_ONCE):
        printer.feed(events)


class Follower:
    """Feeds a printer from a journal in a thread of its own, so that a slow terminal never slows training."""

    def __init__(self, events: Path, printer: LinePrinter | RawPrinter, from_end: bool = False) -> None:
        self.printer = printer
        self._reader = JournalReader(events)
        if from_end and events.exists():
            self._reader.offset = events.stat().st_size
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="printer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self, timeout: float = 10.0) -> None:
        """Print what is left, then stop."""
        self._done.set()
        self._thread.join(timeout)

    def _follow(self) -> None:
        while not self._done.wait(0.1):
            print_new(self._reader, self.printer)
        print_new(self._reader, self.printer)


def ledger_lines(ledger: Mapping[str, Any]) -> list[str]:
    """The row ledger of a `ledger` event: its sums, then why rows were not taken as they are."""
    outcomes, read = ledger.get("outcomes") or {}, ledger.get("read", 0)
    parts = ", ".join(f"{_(one_line(name))} {count:,}" for name, count in outcomes.items() if count)
    if parts:
        lines = [_("rows: read {read:,} = {parts}", read=read, parts=parts)]
    else:
        lines = [_("rows: read {read:,}", read=read)]
    lines += [_reason_line(reason) for reason in (ledger.get("reasons") or [])[:REASONS_SHOWN]]
    lines += [_step_line(step) for step in (ledger.get("steps") or [])[:REASONS_SHOWN]]
    splits = ledger.get("splits") or {}
    if splits:
        trained, held = splits.get("training_pieces", 0), splits.get("validation_pieces", 0)
        lines.append(
            _("rows: {trained:,} sequences to train on, {held:,} held out", trained=trained, held=held)
        )
    return lines


def _step_line(step: Mapping[str, Any]) -> str:
    """What was done to rows, or noticed in them, such as a column that is not used."""
    what = one_line(_(recall(step.get("step"), step.get("made"))), 120)
    return _("rows: {count:,}: {what}", count=step.get("count", 0), what=what)


def _reason_line(reason: Mapping[str, Any]) -> str:
    said = {
        "count": reason.get("count", 0),
        "outcome": _(one_line(reason.get("outcome"))),
        "why": one_line(_(recall(reason.get("reason"), reason.get("made"))), 120),
    }
    samples = reason.get("samples") or []
    if not samples:
        return _("rows: {count:,} {outcome}: {why}", **said)
    first = one_line(samples[0].get("origin"), 120)
    return _("rows: {count:,} {outcome}: {why}, the first {first}", first=first, **said)


def _figure(value: object, digits: int = 4) -> str:
    return f"{value:.{digits}f}" if isinstance(value, int | float) else _("not a number")


def _comparison(view: RunView) -> list[str]:
    """Held-out prompts answered before and after, and the metrics that moved."""
    before = {sample.index: sample for sample in view.samples if sample.stage == "before"}
    after = {sample.index: sample for sample in view.samples if sample.stage == "after"}
    lines: list[str] = []
    for index in sorted(before.keys() & after.keys()):
        lines += ["", f"{_('prompt'):9} {_flat(after[index].prompt)}"]
        lines.append(f"{_('before'):9} {_answer(before[index])}")
        lines.append(f"{_('after'):9} {_answer(after[index])}")
        if after[index].reference:
            lines.append(f"{_('expected'):9} {_flat(after[index].reference)}")
    first, last = _generated_metrics(view)
    if first and last:
        lines.append("")
        for name in last:
            lines.append(
                _(
                    "{name}: {before} before, {after} after",
                    name=one_line(name),
                    before=_figure(first.get(name), 3),
                    after=_figure(last[name], 3),
                )
            )
    return [*lines, ""] if lines else lines


def _generated_metrics(view: RunView) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """Metrics of the first and the last evaluation that share names beyond the loss."""
    scored = [dict(point.metrics) for point in view.evaluations if "loss" not in point.metrics]
    return (scored[0], scored[-1]) if len(scored) > 1 else ({}, {})


def _flat(text: str) -> str:
    return one_line(sanitize(text).strip(), 300)


def _answer(sample: Sample) -> str:
    return _flat(sample.text) + ("" if sample.stopped else "  " + _("[did not stop]"))
