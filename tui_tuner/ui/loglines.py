"""Turns events into lines of the log pane. Text from the run is still untrusted here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from tui_tuner.config.deciding import name_metric_in_text
from tui_tuner.locales import _
from tui_tuner.runs.event_lines import format_kernels_event
from tui_tuner.runs.events import (
    Bottleneck,
    CheckpointSaved,
    CommandDone,
    Evaluation,
    Event,
    EventBody,
    Finished,
    Kernels,
    Log,
    ModelSource,
    OutOfMemory,
    Phase,
    RunStarted,
    Verdict,
    Warned,
)
from tui_tuner.text import format_bytes, one_line
from tui_tuner.ui.screen_words import PHASES, format_screen_metric, render_themed_text
from tui_tuner.verdicts.verdict_lines import (
    find_verdict_worth,
    format_run_status,
    format_verdict_line,
    is_verdict_useless,
)

_COLOURS = {
    "warning": ("!", "$warning"),
    "error": ("✗", "$error"),
    "good": ("✓", "$success"),
    "info": ("·", "$foreground"),
    "log": (" ", "$dim"),
}


@dataclass(frozen=True)
class LogLine:
    """One line: Unix time (0 if it has none), level (a key of `_COLOURS`), text and hint."""

    time: float
    level: str
    text: str
    hint: str = ""

    def render_line(self, variables: Mapping[str, str]) -> Text:
        """Render the line, sanitised and in the theme's colours; a mark shows its level, too."""
        mark, colour = _COLOURS.get(self.level, _COLOURS["info"])
        clock = time.strftime("%H:%M:%S", time.localtime(self.time)) if self.time else " " * 8
        parts = [(clock, "$dim"), (f" {mark} ", colour), (one_line(self.text), colour)]
        if self.hint:
            parts.append(("  " + one_line(self.hint), "$dim"))
        return render_themed_text(variables, *parts)


def make_log_line(event: Event, phase: str, verdict: str = "") -> LogLine | None:
    """Return the log line of an event; None for events that the rest of the pane shows.

    Args:
        phase: The phase before this event, so that its progress events add no lines.
        verdict: The newest verdict before it.
    """
    # Not among the makers: whether an end is good depends on the verdict, which they do not get.
    if isinstance(event.body, Finished):
        return make_finished_line(event.time, event.body, verdict)
    maker = _MAKERS.get(type(event.body))
    return maker(event.time, event.body, phase) if maker else None


def _format_start(time: float, body: RunStarted, phase: str) -> LogLine:
    resumed = body.resumed_from
    text = _("started") if resumed is None else _("resumed from step {step}", step=resumed)
    return LogLine(time, "good", f"{text} ({body.device})" if body.device else text)


def _format_phase(time: float, body: Phase, phase: str) -> LogLine | None:
    # A phase posts its progress several times a second.
    if body.name == phase or not body.name:
        return None
    text = PHASES.get(body.name, body.name)
    return LogLine(time, "info", f"{text}: {body.note}" if body.note else text)


def _format_model_source(time: float, body: ModelSource, phase: str) -> LogLine:
    return LogLine(time, "info", f"{_(body.what)}: {body.source_text}")


def _format_evaluation(time: float, body: Evaluation, phase: str) -> LogLine:
    metrics = ", ".join(
        f"{name_metric_in_text(name)} {format_screen_metric(name, value)}"
        for name, value in body.metrics.items()
    )
    return LogLine(time, "good", _("evaluated at step {step}: {m}", step=body.step, m=metrics))


def _format_checkpoint(time: float, body: CheckpointSaved, phase: str) -> LogLine:
    size = f" ({format_bytes(body.bytes)})" if body.bytes is not None else ""
    if body.best:
        text = _("saved step {step}, best so far", step=body.step)
    else:
        text = _("saved step {step}", step=body.step)
    return LogLine(time, "good", text + size)


def _format_warning(time: float, body: Warned, phase: str) -> LogLine:
    return LogLine(time, "warning", body.message, body.advice or body.hint)


def _format_out_of_memory(time: float, body: OutOfMemory, phase: str) -> LogLine:
    text = body.message or _("out of memory")
    return LogLine(time, "warning", _("out of memory: {text}", text=text))


def _format_log(time: float, body: Log, phase: str) -> LogLine:
    level = body.level.lower()
    # Level names are those of whatever library wrote the message.
    return LogLine(time, level if level in _COLOURS else "info", body.message)


def _format_kernels(time: float, body: Kernels, phase: str) -> LogLine | None:
    line = format_kernels_event(body.chosen)
    return LogLine(time, "info", line) if line else None


def _format_bottleneck(time: float, body: Bottleneck, phase: str) -> LogLine:
    if not body.what:
        return LogLine(time, "good", body.message)
    return LogLine(time, "warning", body.message, body.advice or body.hint)


def _format_command(time: float, body: CommandDone, phase: str) -> LogLine:
    said = {
        "pause": _("pause requested"),
        "continue": _("continue requested"),
        "save": _("save requested"),
        "evaluate": _("evaluation requested"),
        "stop": _("stop requested"),
    }
    return LogLine(time, "info", said.get(body.command) or _("command: {command}", command=body.command))


def _format_verdict(time: float, body: Verdict, phase: str) -> LogLine:
    level = {1: "good", -1: "warning"}.get(find_verdict_worth(body.verdict), "info")
    return LogLine(time, level, _("verdict: {line}", line=format_verdict_line(body)))


def make_finished_line(time: float, body: Finished, verdict: str) -> LogLine:
    """Return the line of a run's end; `verdict` is empty if there is none."""
    level = {"completed": "good", "failed": "error"}.get(body.status, "warning")
    # A completed run with a useless result must not look like a success.
    if level == "good" and verdict and find_verdict_worth(verdict) < 1:
        level = "warning" if is_verdict_useless(verdict) else "info"
    ended = format_run_status(body.status, verdict)
    text = f"{ended}: {body.message}" if body.message else ended
    return LogLine(time, level, text, body.advice or body.hint)


_MAKERS: dict[type[EventBody], Callable[[float, Any, str], LogLine | None]] = {
    RunStarted: _format_start,
    Phase: _format_phase,
    ModelSource: _format_model_source,
    Evaluation: _format_evaluation,
    CheckpointSaved: _format_checkpoint,
    Warned: _format_warning,
    OutOfMemory: _format_out_of_memory,
    Log: _format_log,
    Kernels: _format_kernels,
    Bottleneck: _format_bottleneck,
    CommandDone: _format_command,
    Verdict: _format_verdict,
}
