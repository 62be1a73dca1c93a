"""Events to lines: what a run looks like without a screen. A fold over the journal, like the live pane."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, TextIO

import orjson

from tui_tuner.evaluation.compared import comparison, tables_told
from tui_tuner.evaluation.judging import Judging
from tui_tuner.inference.leads import verdict_leads
from tui_tuner.launch.output import Writer
from tui_tuner.locales import _
from tui_tuner.runs.events import (
    Body,
    Bottleneck,
    CheckpointSaved,
    Evaluation,
    Event,
    Finished,
    Heartbeat,
    HeldOutRows,
    Kernels,
    Log,
    Memory,
    ModelSource,
    OutOfMemory,
    Phase,
    Resolved,
    RolledBack,
    RowLedger,
    RunDuration,
    RunStarted,
    Sample,
    Step,
    Verdict,
    Warned,
)
from tui_tuner.runs.journal import JournalReader
from tui_tuner.runs.pace import Between, Pace, StepText, figure
from tui_tuner.runs.phases.lines import LINE_SECONDS as PHASE_LINE_SECONDS
from tui_tuner.runs.phases.lines import PhaseLines
from tui_tuner.runs.phases.step_lines import STEP_LINE_SECONDS
from tui_tuner.runs.scan import Figures, scan, whole_lines
from tui_tuner.runs.store import RunFolder
from tui_tuner.runs.told import (
    duration_line,
    kernels_line,
    ledger_lines,
    memory_line,
    use_words,
)
from tui_tuner.runs.view import RunView, fold
from tui_tuner.runs.wire import decode, encode, fields_of, real
from tui_tuner.text import human_bytes, human_seconds, one_line
from tui_tuner.verdicts.gain import gain_words, gains_between
from tui_tuner.verdicts.told import status_words, verdict_line

READ_AT_ONCE = 4 << 20  # bytes of a journal whose events are in memory at a time
# What a printer's view is folded from: the rest only makes its lists longer, event by event
_OF_STATUS = (RunStarted, RolledBack, Phase, Finished)
_COMPARED = (RunStarted, RolledBack, Evaluation, Sample)
DURATION_MOVED = 0.1  # share by which it is worth another line


class _Printer:
    """What printers share: lines of a feed are written together; the view knows whether a run has ended."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._out = write
        self._lines: list[str] = []
        self.view = RunView()  # without lists, which would be copied with each event

    def feed(self, events: Iterable[Event]) -> None:
        """Print events."""
        for event in events:
            self._take(event)
        self._send()

    def feed_block(self, block: bytes) -> None:
        """Print whole lines of a journal."""
        raise NotImplementedError

    def _take(self, event: Event) -> None:
        raise NotImplementedError

    def _take_line(self, line: bytes) -> None:
        """A line as it stands in a journal; what is no event says nothing."""
        for part in line.splitlines():
            event = decode(part) if part.strip() else None
            if event is not None:
                self._take(event)

    def _look_at(self, event: Event) -> None:
        """Keep the view up to date."""
        if isinstance(event.body, _OF_STATUS):
            self.view = replace(fold(self.view, [event]), steps=())

    def _send(self) -> None:
        lines, self._lines = self._lines, []
        if isinstance(self._out, Writer):
            self._out.lines(lines)
            return
        for line in lines:
            self._out(line)


class LinePrinter(_Printer):
    """Prints what a person wants to read. `write` gets one line each; text from outside is sanitised.

    Args:
        folder: Of the run, where one is told what to type.
    """

    def __init__(self, write: Callable[[str], None], folder: RunFolder | None = None) -> None:
        super().__init__(write)
        self._folder = folder
        self._verdict: Verdict | None = None
        self._rows: list[HeldOutRows] = []  # of the first, the best and the newest evaluation
        self.step_seconds = STEP_LINE_SECONDS  # at least, from one line of a step to the next
        self._pace, self._between = Pace(), Between()
        self._step_text = StepText()
        self._shown: list[Event] = []  # what is compared at the end
        self._judging = Judging()
        self._last_step_line = 0.0
        self._phases = PhaseLines()
        self._last_duration = 0.0

    def feed_block(self, block: bytes) -> None:
        """Print whole lines of a journal; of steps, which are most of a long one, no events are made."""
        found = scan(block)
        added = 0  # lines whose steps the pace knows of
        due, last = self._last_step_line + self.step_seconds, self.view.total_steps or math.inf
        for index, figures in enumerate(found):
            try:
                when, step = float(figures[0]), int(figures[1])
            except ValueError:  # another line, or one with what only looks like a number
                if figures[-1]:
                    self._pace.add_all(found[added:index])
                    added = index + 1
                    self._take_line(figures[-1])
                    due, last = self._last_step_line + self.step_seconds, self.view.total_steps or math.inf
                continue
            if when >= due or step >= last or step <= 1:
                self._pace.add_all(found[added : index + 1])
                added = index + 1
                with contextlib.suppress(ValueError, OverflowError):
                    self._print_figures(when, step, figures)
                due = self._last_step_line + self.step_seconds
        self._pace.add_all(found[added:])
        self._send()

    def _take(self, event: Event) -> None:
        body = event.body
        if isinstance(body, _COMPARED):
            self._shown.append(event)
            self._forget_undone(body)
        self._look_at(event)
        self._judging.take(body)
        handler = self._HANDLERS.get(type(body))
        if handler:
            handler(self, event, body)

    def _forget_undone(self, body: Body) -> None:
        """Steps after the one that a run goes back to are no part of its pace."""
        back = body.step if isinstance(body, RolledBack) else None
        if isinstance(body, RunStarted):
            back = body.resumed_from
        if back is not None:
            self._pace.back_to(back)
            self._rows = [rows for rows in self._rows if rows.step <= back]

    def _line(self, event: Event, text: str) -> None:
        self._say(event.time, text)

    def _say(self, moment: float, text: str) -> None:
        self._lines.append(f"{time.strftime('%H:%M:%S', time.localtime(moment))}  {text}")

    def _run_started(self, event: Event, body: RunStarted) -> None:
        self._verdict = None
        self._between = Between(body.resumed_from or 0)
        run, step, device = one_line(event.run), body.resumed_from, one_line(body.device or _("unknown"))
        if step is None:
            line = _("run {run} started on {device}", run=run, device=device)
        else:
            line = _("run {run} resumed from step {step} on {device}", run=run, step=step, device=device)
        self._line(event, line)

    def _phase(self, event: Event, body: Phase) -> None:
        self._between = self._between.after(body.name, event.time, self._pace.step)
        self._phases.least = max(PHASE_LINE_SECONDS, self.step_seconds)
        self._if_said(event, self._phases.begun(body, event.time))

    def _heartbeat(self, event: Event, body: Heartbeat) -> None:
        self._if_said(event, self._phases.going_on(event.time))

    def _if_said(self, event: Event, text: str) -> None:
        if text:
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

    def _model_source(self, event: Event, body: ModelSource) -> None:
        self._line(event, f"{_(one_line(body.what))}: {one_line(body.text)}")

    def _ledger(self, event: Event, body: RowLedger) -> None:
        # what stands inside a ledger's tables is as it was written, and may be damaged
        with contextlib.suppress(TypeError, ValueError, KeyError, IndexError, AttributeError, RecursionError):
            for line in ledger_lines(fields_of(body)):
                self._line(event, line)
            for line in ledger_lines(body.validation) if body.validation is not None else ():
                self._line(event, _("validation {line}", line=line))

    def _print_figures(self, when: float, step: int, figures: Figures) -> None:
        _when, _step, epoch, loss, rate, norm, _trained, memory, seconds, metrics, mfu, busy, *_rest = figures
        float(seconds)  # a line with one number that only looks like one says nothing
        self._print_step(
            when,
            step,
            float(epoch),
            None if loss == b"null" else float(loss),
            float(rate),
            None if norm == b"null" else float(norm),
            int(memory),
            {name: real(value) for name, value in orjson.loads(metrics).items()} if metrics else {},
            float(mfu) if mfu else None,
            float(busy) if busy else None,
        )

    def _step(self, event: Event, point: Step) -> None:
        self._pace.add(point.step, point.seconds, point.supervised_tokens)
        late = event.time >= self._last_step_line + self.step_seconds
        if late or point.step <= 1 or point.step >= (self.view.total_steps or math.inf):
            self._print_step(
                event.time,
                point.step,
                point.epoch,
                point.loss,
                point.learning_rate,
                point.grad_norm,
                point.memory_reserved,
                point.metrics,
                point.mfu,
                point.gpu_busy,
            )

    def _print_step(
        self,
        moment: float,
        step: int,
        epoch: float,
        loss: float | None,
        rate: float,
        norm: float | None,
        memory: int,
        metrics: Mapping[str, float | None],
        mfu: float | None,
        busy: float | None,
    ) -> None:
        self._last_step_line = moment
        total, speed = self.view.total_steps, self._pace.tokens_per_second() or 0
        said = figure(loss), rate, figure(norm, 2), speed
        text = self._step_text.of(step, total or "?", epoch, *said, metrics)
        if memory:
            text += f"  {human_bytes(memory)}"
        for words in use_words(mfu, busy):
            text += f"  {words}"
        if not (total and step >= total):
            left = None if self.view.ended else self._pace.seconds_left(step, total, self._between)
            if left is not None:
                text += "  " + _("{time} left", time=human_seconds(left))
        self._say(moment, text)

    def _duration(self, event: Event, body: RunDuration) -> None:
        before = self._last_duration
        if before and abs(body.seconds / before - 1) < DURATION_MOVED:
            return
        self._last_duration = body.seconds
        self._line(event, duration_line(body))

    def _memory(self, event: Event, body: Memory) -> None:
        line = memory_line(body)
        if line:
            self._line(event, line)

    def _kernels(self, event: Event, body: Kernels) -> None:
        line = kernels_line(body.chosen)
        if line:
            self._line(event, line)

    def _bottleneck(self, event: Event, body: Bottleneck) -> None:
        message = f"{one_line(body.message)} {one_line(body.hint)}".rstrip()
        self._line(event, _("bottleneck: {message}", message=message) if body.what else message)

    def _evaluation(self, event: Event, body: Evaluation) -> None:
        metrics = self._judging.told(body)
        said = {"step": body.step, "metrics": metrics}
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

    def _held_out(self, event: Event, body: HeldOutRows) -> None:
        kept = {0, self._judging.best_step} - {body.step}
        self._rows = [*(rows for rows in self._rows if rows.step in kept), body]

    def _judged(self, event: Event, body: Verdict) -> None:
        """A verdict while it goes on; the last one stands before the last line."""
        before, self._verdict = self._verdict, body
        word = before.verdict if before is not None else "unclear"  # as every run is at first
        if not body.final and word != body.verdict:
            self._say_verdict(event, body)

    def _say_verdict(self, event: Event, body: Verdict) -> None:
        self._line(event, _("verdict: {line}", line=verdict_line(body)))
        for line in verdict_leads(self._folder, body):
            self._line(event, line)

    def _finished(self, event: Event, body: Finished) -> None:
        self._phases.end()
        self._lines += comparison(fold(RunView(), self._shown))
        self._lines += tables_told(self._judging.tables, self._judging.best_step)
        for gain in gains_between(self._rows, self._judging.best_step):
            self._line(event, gain_words(gain))
        if self._verdict is not None and self._verdict.final:
            self._say_verdict(event, self._verdict)
        message = one_line(body.message)
        ended = status_words(body.status, self._verdict.verdict if self._verdict is not None else "")
        self._line(event, f"{ended}{': ' + message if message else ''}")
        if body.hint:
            self._line(event, one_line(body.hint))

    _HANDLERS: ClassVar[dict[type[Body], Callable[[LinePrinter, Event, Any], None]]] = {
        RunStarted: _run_started,
        Phase: _phase,
        Heartbeat: _heartbeat,
        Resolved: _resolved,
        ModelSource: _model_source,
        RowLedger: _ledger,
        Step: _step,
        RunDuration: _duration,
        Memory: _memory,
        Kernels: _kernels,
        Bottleneck: _bottleneck,
        Evaluation: _evaluation,
        CheckpointSaved: _checkpoint,
        Warned: _warned,
        Log: _log,
        OutOfMemory: _out_of_memory,
        HeldOutRows: _held_out,
        Verdict: _judged,
        Finished: _finished,
    }

    def tick(self, now: float) -> None:
        """Nothing may have come for a while: say that what goes on still does."""
        text = "" if self.view.ended or self.view.status == "new" else self._phases.going_on(now)
        if text:
            self._say(now, text)
            self._send()


class RawPrinter(_Printer):
    """Prints the journal's own lines."""

    def feed_block(self, block: bytes) -> None:
        """Print whole lines of a journal; steps in one piece."""
        for lines, steps in whole_lines(block):
            if steps:
                self._lines.append(lines[:-1].decode())
            else:
                self._take_line(lines)
        self._send()

    def _take(self, event: Event) -> None:
        self._look_at(event)
        self._lines.append((event.line or encode(event)).decode().rstrip("\n"))


def writer(stream: TextIO) -> Writer:
    """A `write` for the printers."""
    return Writer(stream)


def print_new(reader: JournalReader, printer: LinePrinter | RawPrinter) -> None:
    """Print what is new in a journal, a part of it in memory at a time."""
    while block := reader.read_block(READ_AT_ONCE):
        printer.feed_block(block)


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
            if isinstance(self.printer, LinePrinter):
                self.printer.tick(time.time())
        print_new(self._reader, self.printer)
