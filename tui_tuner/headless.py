"""Events to lines: what a run looks like without a screen. A fold over the journal, like the live pane."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from tui_tuner.locales import N_, _, recall
from tui_tuner.runs.events import Event, encode
from tui_tuner.runs.journal import JournalReader
from tui_tuner.runs.view import RunView, Sample, fold
from tui_tuner.text import human_bytes, human_money, human_seconds, one_line, sanitize

STEP_LINE_SECONDS = 2.0
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
        self.view = RunView()
        self._last_step_line = 0.0
        self._last_phase = ""
        self._last_duration = 0.0

    def feed(self, events: Iterable[Event]) -> None:
        for event in events:
            self.view = fold(self.view, [event])
            handler = getattr(self, f"_on_{event.kind}", None)
            if handler:
                # a damaged line of the journal must not end the printing of those after it
                with contextlib.suppress(TypeError, ValueError, KeyError, IndexError, AttributeError):
                    handler(event)

    def _line(self, event: Event, text: str) -> None:
        self._write(f"{time.strftime('%H:%M:%S', time.localtime(event.time))}  {text}")

    def _on_run_started(self, event: Event) -> None:
        run, step = one_line(event.run), event.get("resumed_from")
        device = one_line(event.get("device") or _("unknown"))
        if isinstance(step, int):
            line = _("run {run} resumed from step {step} on {device}", run=run, step=step, device=device)
        else:
            line = _("run {run} started on {device}", run=run, device=device)
        self._line(event, line)

    def _on_phase(self, event: Event) -> None:
        note = one_line(event.get("note") or "", 100)
        text = f"{_(one_line(event.get('name')))}{': ' + note if note else ''}"
        if text != self._last_phase:
            self._last_phase = text
            self._line(event, text)

    def _on_resolved(self, event: Event) -> None:
        field, value, why = (one_line(event.get(name)) for name in ("field", "value", "why"))
        self._line(event, _("auto: {field} = {value} ({why})", field=field, value=value, why=why))

    def _on_ledger(self, event: Event) -> None:
        for line in ledger_lines(event.fields):
            self._line(event, line)
        held = event.get("validation")
        for line in ledger_lines(held) if isinstance(held, dict) else ():
            self._line(event, _("validation {line}", line=line))

    def _on_step(self, event: Event) -> None:
        view = self.view
        last = view.total_steps and view.step >= view.total_steps
        if event.time - self._last_step_line < STEP_LINE_SECONDS and not last and view.step > 1:
            return
        self._last_step_line = event.time
        point = view.steps[-1]
        left = view.seconds_left()
        parts = [
            _("step {step}/{total}", step=point.step, total=view.total_steps or "?"),
            _("epoch {epoch:.2f}", epoch=point.epoch),
            _("loss {loss}", loss=_figure(point.loss)),
            _("lr {rate:.2e}", rate=point.learning_rate),
            _("grad norm {norm}", norm=_figure(point.grad_norm, 2)),
            _("{speed:,.0f} trained tok/s", speed=view.tokens_per_second() or 0),
        ]
        if point.memory_reserved:
            parts.append(human_bytes(point.memory_reserved))
        if left is not None and not last:
            parts.append(_("{time} left", time=human_seconds(left)))
        self._line(event, "  ".join(parts))

    def _on_duration(self, event: Event) -> None:
        seconds = event.get("seconds")
        if abs(seconds / self._last_duration - 1) < DURATION_MOVED if self._last_duration else False:
            return
        self._last_duration = seconds
        said = {
            "time": human_seconds(seconds),
            "low": human_seconds(event.get("low")),
            "high": human_seconds(event.get("high")),
            "basis": one_line(event.get("basis")),
        }
        cost = event.get("cost")
        if cost is None:
            line = _("the whole run takes about {time} ({low} to {high}), from {basis}", **said)
        else:
            said |= {"cost": human_money(cost), "most": human_money(event.get("cost_high"))}
            line = _(
                "the whole run takes about {time} ({low} to {high}), costs {cost} (up to {most}), from "
                "{basis}",
                **said,
            )
        self._line(event, line)

    def _on_memory(self, event: Event) -> None:
        measured, predicted = event.get("allocated"), event.get("predicted_allocated")
        if not isinstance(measured, int) or not isinstance(predicted, int):
            return
        said = {"measured": human_bytes(measured), "predicted": human_bytes(predicted)}
        if predicted > 0:
            share = measured / predicted - 1
            line = _("memory peak {measured}, predicted {predicted} ({share:+.1%})", share=share, **said)
        else:
            line = _("memory peak {measured}, predicted {predicted}", **said)
        self._line(event, line)

    def _on_evaluation(self, event: Event) -> None:
        stage = event.get("stage")
        metrics = [
            f"{one_line(name)} {_figure(value)}" for name, value in (event.get("metrics") or {}).items()
        ]
        said = {"step": event.get("step"), "metrics": ", ".join(metrics)}
        if stage:
            line = _("evaluation {stage} at step {step}: {metrics}", stage=_(one_line(stage)), **said)
        else:
            line = _("evaluation at step {step}: {metrics}", **said)
        self._line(event, line)

    def _on_checkpoint(self, event: Event) -> None:
        said = {"step": event.get("step"), "path": one_line(event.get("path"))}
        if event.get("best"):
            self._line(event, _("checkpoint at step {step} (best so far): {path}", **said))
        else:
            self._line(event, _("checkpoint at step {step}: {path}", **said))

    def _on_warning(self, event: Event) -> None:
        message = f"{one_line(event.get('message'))} {one_line(event.get('hint') or '')}".rstrip()
        self._line(event, _("warning: {message}", message=message))

    def _on_log(self, event: Event) -> None:
        self._line(event, one_line(event.get("message"), 400))

    def _on_out_of_memory(self, event: Event) -> None:
        self._line(event, _("out of memory: {message}", message=one_line(event.get("message"))))

    def _on_finished(self, event: Event) -> None:
        for line in _comparison(self.view):
            self._write(line)
        message = one_line(event.get("message") or "")
        self._line(event, f"{_(one_line(event.get('status')))}{': ' + message if message else ''}")
        if event.get("hint"):
            self._line(event, one_line(event.get("hint")))


class RawPrinter:
    """Prints the journal's own lines."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self.view = RunView()

    def feed(self, events: Iterable[Event]) -> None:
        for event in events:
            self.view = fold(self.view, [event])
            self._write(encode(event).decode().rstrip("\n"))


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
            self.printer.feed(self._reader.read())
        self.printer.feed(self._reader.read())


def ledger_lines(ledger: Mapping[str, Any]) -> list[str]:
    """The row ledger of a `ledger` event: its sums, then why rows were not taken as they are."""
    outcomes, read = ledger.get("outcomes") or {}, ledger.get("read", 0)
    parts = ", ".join(f"{_(one_line(name))} {count:,}" for name, count in outcomes.items() if count)
    if parts:
        lines = [_("rows: read {read:,} = {parts}", read=read, parts=parts)]
    else:
        lines = [_("rows: read {read:,}", read=read)]
    lines += [_reason_line(reason) for reason in (ledger.get("reasons") or [])[:REASONS_SHOWN]]
    splits = ledger.get("splits") or {}
    if splits:
        trained, held = splits.get("training_pieces", 0), splits.get("validation_pieces", 0)
        lines.append(
            _("rows: {trained:,} sequences to train on, {held:,} held out", trained=trained, held=held)
        )
    return lines


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
