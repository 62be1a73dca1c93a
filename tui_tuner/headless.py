"""Prints the events of a run as lines, without a screen. A fold over the journal, like the live pane."""

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

from tui_tuner.evaluation.before_after import compare_answers, list_evaluation_tables
from tui_tuner.evaluation.evaluation_follower import EvaluationFollower
from tui_tuner.inference.leads import format_verdict_leads
from tui_tuner.launch.output_capture import Writer
from tui_tuner.locales import _
from tui_tuner.runs.event_lines import (
    format_duration_event,
    format_gpu_use,
    format_kernels_event,
    format_ledger_event,
    format_memory_event,
)
from tui_tuner.runs.events import (
    Bottleneck,
    CheckpointSaved,
    Evaluation,
    Event,
    EventBody,
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
from tui_tuner.runs.pace import PaceMeter, PauseMeter, StepFormatter, format_figure
from tui_tuner.runs.phases.lines import LINE_SECONDS as PHASE_LINE_SECONDS
from tui_tuner.runs.phases.lines import PhasePrinter
from tui_tuner.runs.phases.step_lines import STEP_LINE_SECONDS
from tui_tuner.runs.scan import Figures, list_whole_lines, scan_journal_lines
from tui_tuner.runs.store import RunFolder
from tui_tuner.runs.view import RunView, fold_view_events
from tui_tuner.runs.wire import decode_event_line, encode_event, list_event_fields, read_float
from tui_tuner.text import format_bytes, format_seconds, one_line
from tui_tuner.verdicts.gain import describe_gain, list_gains_between
from tui_tuner.verdicts.verdict_lines import format_run_status, format_verdict_line

READ_AT_ONCE = 4 << 20  # bytes of a journal that are in memory at a time
# Only these events are folded into a printer's view: others would only grow its lists
_OF_STATUS = (RunStarted, RolledBack, Phase, Finished)
_COMPARED = (RunStarted, RolledBack, Evaluation, Sample)
DURATION_MOVED = 0.1  # relative change that is worth another line


class _Printer:
    """Base of printers: writes the lines of a feed together, and keeps a view of the run's status."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._out = write
        self._lines: list[str] = []
        self.view = RunView()  # its lists stay empty, as they would be copied with each event

    def feed_events(self, events: Iterable[Event]) -> None:
        for event in events:
            self._take_event(event)
        self._write_lines()

    def feed_block(self, block: bytes) -> None:
        """Print complete lines of a journal."""
        raise NotImplementedError

    def _take_event(self, event: Event) -> None:
        raise NotImplementedError

    def _take_line(self, line: bytes) -> None:
        """Print the event in a journal's line; ignore lines that are not events."""
        for part in line.splitlines():
            event = decode_event_line(part) if part.strip() else None
            if event is not None:
                self._take_event(event)

    def _update_view(self, event: Event) -> None:
        if isinstance(event.body, _OF_STATUS):
            self.view = replace(fold_view_events(self.view, [event]), steps=())

    def _write_lines(self) -> None:
        lines, self._lines = self._lines, []
        if isinstance(self._out, Writer):
            self._out.write_lines(lines)
            return
        for line in lines:
            self._out(line)


class LinePrinter(_Printer):
    """Prints events for people. `write` gets one line at a time; text from outside is sanitised.

    Args:
        folder: The run's folder, if commands for the run should be printed.
    """

    def __init__(self, write: Callable[[str], None], folder: RunFolder | None = None) -> None:
        super().__init__(write)
        self._folder = folder
        self._verdict: Verdict | None = None
        self._rows: list[HeldOutRows] = []  # of the first, best and newest evaluation
        self.step_seconds = STEP_LINE_SECONDS  # at least, between two lines about steps
        self._pace, self._between = PaceMeter(), PauseMeter()
        self._step_text = StepFormatter()
        self._shown: list[Event] = []  # events that are compared at the end
        self._judging = EvaluationFollower()
        self._last_step_line = 0.0
        self._phases = PhasePrinter()
        self._last_duration = 0.0

    def feed_block(self, block: bytes) -> None:
        """Print complete lines of a journal; make no events of steps, which are most of a long one."""
        found = scan_journal_lines(block)
        added = 0  # lines whose steps were added to the pace
        due, last = self._last_step_line + self.step_seconds, self.view.total_steps or math.inf
        for index, figures in enumerate(found):
            try:
                when, step = float(figures[0]), int(figures[1])
            except ValueError:  # not a step, or with something that only looks like a number
                if figures[-1]:
                    self._pace.add_figures(found[added:index])
                    added = index + 1
                    self._take_line(figures[-1])
                    due, last = self._last_step_line + self.step_seconds, self.view.total_steps or math.inf
                continue
            if when >= due or step >= last or step <= 1:
                self._pace.add_figures(found[added : index + 1])
                added = index + 1
                with contextlib.suppress(ValueError, OverflowError):
                    self._print_figures(when, step, figures)
                due = self._last_step_line + self.step_seconds
        self._pace.add_figures(found[added:])
        self._write_lines()

    def _take_event(self, event: Event) -> None:
        body = event.body
        if isinstance(body, _COMPARED):
            self._shown.append(event)
            self._forget_undone(body)
        self._update_view(event)
        self._judging.take_event(body)
        handler = self._HANDLERS.get(type(body))
        if handler:
            handler(self, event, body)

    def _forget_undone(self, body: EventBody) -> None:
        """Remove steps from the pace that a run repeats after a rollback or resume."""
        back = body.step if isinstance(body, RolledBack) else None
        if isinstance(body, RunStarted):
            back = body.resumed_from
        if back is not None:
            self._pace.go_back(back)
            self._rows = [rows for rows in self._rows if rows.step <= back]

    def _print_line(self, event: Event, text: str) -> None:
        self._add_line(event.time, text)

    def _add_line(self, moment: float, text: str) -> None:
        self._lines.append(f"{time.strftime('%H:%M:%S', time.localtime(moment))}  {text}")

    def _print_run_start(self, event: Event, body: RunStarted) -> None:
        self._verdict = None
        self._between = PauseMeter(body.resumed_from or 0)
        run, step, device = one_line(event.run), body.resumed_from, one_line(body.device or _("unknown"))
        if step is None:
            line = _("run {run} started on {device}", run=run, device=device)
        else:
            line = _("run {run} resumed from step {step} on {device}", run=run, step=step, device=device)
        self._print_line(event, line)

    def _print_phase(self, event: Event, body: Phase) -> None:
        self._between = self._between.begin_phase(body.name, event.time, self._pace.last_step)
        self._phases.least = max(PHASE_LINE_SECONDS, self.step_seconds)
        self._print_if_any(event, self._phases.print_event(body, event.time))

    def _print_heartbeat(self, event: Event, body: Heartbeat) -> None:
        self._print_if_any(event, self._phases.print_due(event.time))

    def _print_if_any(self, event: Event, text: str) -> None:
        if text:
            self._print_line(event, text)

    def _print_resolved(self, event: Event, body: Resolved) -> None:
        self._print_line(
            event,
            _(
                "auto: {field} = {value} ({why})",
                field=one_line(body.field),
                value=one_line(body.value),
                why=one_line(body.why),
            ),
        )

    def _print_model_source(self, event: Event, body: ModelSource) -> None:
        self._print_line(event, f"{_(one_line(body.what))}: {one_line(body.source_text)}")

    def _print_ledger(self, event: Event, body: RowLedger) -> None:
        # the contents of a ledger's tables are not validated and may be damaged
        with contextlib.suppress(TypeError, ValueError, KeyError, IndexError, AttributeError, RecursionError):
            for line in format_ledger_event(list_event_fields(body)):
                self._print_line(event, line)
            for line in format_ledger_event(body.validation) if body.validation is not None else ():
                self._print_line(event, _("validation {line}", line=line))

    def _print_figures(self, when: float, step: int, figures: Figures) -> None:
        _when, _step, epoch, loss, rate, norm, _trained, memory, seconds, metrics, mfu, busy, *_rest = figures
        float(seconds)  # raises for damaged lines, of which nothing is printed
        self._print_step(
            when,
            step,
            float(epoch),
            None if loss == b"null" else float(loss),
            float(rate),
            None if norm == b"null" else float(norm),
            int(memory),
            {name: read_float(value) for name, value in orjson.loads(metrics).items()} if metrics else {},
            float(mfu) if mfu else None,
            float(busy) if busy else None,
        )

    def _take_step(self, event: Event, point: Step) -> None:
        self._pace.add_step(point.step, point.seconds, point.supervised_tokens)
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
        said = format_figure(loss), rate, format_figure(norm, 2), speed
        text = self._step_text.format_step(step, total or "?", epoch, *said, metrics)
        if memory:
            text += f"  {format_bytes(memory)}"
        for words in format_gpu_use(mfu, busy):
            text += f"  {words}"
        if not (total and step >= total):
            left = None if self.view.has_ended else self._pace.seconds_left(step, total, self._between)
            if left is not None:
                text += "  " + _("{time} left", time=format_seconds(left))
        self._add_line(moment, text)

    def _print_duration(self, event: Event, body: RunDuration) -> None:
        before = self._last_duration
        # The estimate is updated often, mostly by little
        if before and abs(body.seconds / before - 1) < DURATION_MOVED:
            return
        self._last_duration = body.seconds
        self._print_line(event, format_duration_event(body))

    def _print_memory(self, event: Event, body: Memory) -> None:
        line = format_memory_event(body)
        if line:
            self._print_line(event, line)

    def _print_kernels(self, event: Event, body: Kernels) -> None:
        line = format_kernels_event(body.chosen)
        if line:
            self._print_line(event, line)

    def _print_bottleneck(self, event: Event, body: Bottleneck) -> None:
        message = f"{one_line(body.message)} {one_line(body.hint)}".rstrip()
        self._print_line(event, _("bottleneck: {message}", message=message) if body.what else message)

    def _print_evaluation(self, event: Event, body: Evaluation) -> None:
        metrics = self._judging.describe_evaluation(body)
        said = {"step": body.step, "metrics": metrics}
        if body.stage:
            line = _("evaluation {stage} at step {step}: {metrics}", stage=_(one_line(body.stage)), **said)
        else:
            line = _("evaluation at step {step}: {metrics}", **said)
        self._print_line(event, line)

    def _print_checkpoint(self, event: Event, body: CheckpointSaved) -> None:
        said = {"step": body.step, "path": one_line(body.path)}
        if body.best:
            self._print_line(event, _("checkpoint at step {step} (best so far): {path}", **said))
        else:
            self._print_line(event, _("checkpoint at step {step}: {path}", **said))

    def _print_warning(self, event: Event, body: Warned) -> None:
        message = f"{one_line(body.message)} {one_line(body.hint)}".rstrip()
        self._print_line(event, _("warning: {message}", message=message))

    def _print_log(self, event: Event, body: Log) -> None:
        self._print_line(event, one_line(body.message, 400))

    def _print_out_of_memory(self, event: Event, body: OutOfMemory) -> None:
        self._print_line(event, _("out of memory: {message}", message=one_line(body.message)))

    def _keep_held_out(self, event: Event, body: HeldOutRows) -> None:
        # The gain at the end compares the first with the best evaluation, so others need not be kept
        kept = {0, self._judging.best_step} - {body.step}
        self._rows = [*(rows for rows in self._rows if rows.step in kept), body]

    def _take_verdict(self, event: Event, body: Verdict) -> None:
        """Print a changed verdict of a running run; the final one is printed at the end."""
        before, self._verdict = self._verdict, body
        word = before.verdict if before is not None else "unclear"  # as for every run at first
        if not body.final and word != body.verdict:
            self._print_verdict(event, body)

    def _print_verdict(self, event: Event, body: Verdict) -> None:
        self._print_line(event, _("verdict: {line}", line=format_verdict_line(body)))
        for line in format_verdict_leads(self._folder, body):
            self._print_line(event, line)

    def _print_end(self, event: Event, body: Finished) -> None:
        self._phases.end_phases()
        self._lines += compare_answers(fold_view_events(RunView(), self._shown))
        self._lines += list_evaluation_tables(self._judging.tables, self._judging.best_step)
        for gain in list_gains_between(self._rows, self._judging.best_step):
            self._print_line(event, describe_gain(gain))
        if self._verdict is not None and self._verdict.final:
            self._print_verdict(event, self._verdict)
        message = one_line(body.message)
        ended = format_run_status(body.status, self._verdict.verdict if self._verdict is not None else "")
        self._print_line(event, f"{ended}{': ' + message if message else ''}")
        if body.hint:
            self._print_line(event, one_line(body.hint))

    _HANDLERS: ClassVar[dict[type[EventBody], Callable[[LinePrinter, Event, Any], None]]] = {
        RunStarted: _print_run_start,
        Phase: _print_phase,
        Heartbeat: _print_heartbeat,
        Resolved: _print_resolved,
        ModelSource: _print_model_source,
        RowLedger: _print_ledger,
        Step: _take_step,
        RunDuration: _print_duration,
        Memory: _print_memory,
        Kernels: _print_kernels,
        Bottleneck: _print_bottleneck,
        Evaluation: _print_evaluation,
        CheckpointSaved: _print_checkpoint,
        Warned: _print_warning,
        Log: _print_log,
        OutOfMemory: _print_out_of_memory,
        HeldOutRows: _keep_held_out,
        Verdict: _take_verdict,
        Finished: _print_end,
    }

    def print_still_going(self, now: float) -> None:
        """Print that the current phase is still going on, if no event came for a while."""
        text = "" if self.view.has_ended or self.view.status == "new" else self._phases.print_due(now)
        if text:
            self._add_line(now, text)
            self._write_lines()


class RawPrinter(_Printer):
    """Prints the journal's own JSON lines."""

    def feed_block(self, block: bytes) -> None:
        """Print complete lines of a journal, with consecutive steps as one block."""
        for lines, steps in list_whole_lines(block):
            if steps:
                self._lines.append(lines[:-1].decode())
            else:
                self._take_line(lines)
        self._write_lines()

    def _take_event(self, event: Event) -> None:
        self._update_view(event)
        self._lines.append((event.line or encode_event(event)).decode().rstrip("\n"))


def make_printer_writer(stream: TextIO) -> Writer:
    """Return a `write` function for the printers."""
    return Writer(stream)


def print_journal_lines(reader: JournalReader, printer: LinePrinter | RawPrinter) -> None:
    """Print the new lines of a journal, one block at a time."""
    while block := reader.read_block(READ_AT_ONCE):
        printer.feed_block(block)


class Follower:
    """Feeds a printer from a journal in a separate thread, so that a slow terminal never slows training."""

    def __init__(self, events: Path, printer: LinePrinter | RawPrinter, from_end: bool = False) -> None:
        self.printer = printer
        self._reader = JournalReader(events)
        if from_end and events.exists():
            self._reader.offset = events.stat().st_size
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._follow_journal, name="printer", daemon=True)

    def start_following(self) -> None:
        self._thread.start()

    def finish_following(self, timeout: float = 10.0) -> None:
        """Print the remaining lines, then stop."""
        self._done.set()
        self._thread.join(timeout)

    def _follow_journal(self) -> None:
        while not self._done.wait(0.1):
            print_journal_lines(self._reader, self.printer)
            if isinstance(self.printer, LinePrinter):
                self.printer.print_still_going(time.time())
        print_journal_lines(self._reader, self.printer)
