"""The lines of the log pane, from events. Text of the run is still untrusted here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from tui_tuner.config.deciding import metric_word
from tui_tuner.locales import _
from tui_tuner.runs.events import (
    Body,
    Bottleneck,
    CheckpointSaved,
    CommandDone,
    Evaluation,
    Event,
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
from tui_tuner.runs.told import kernels_line
from tui_tuner.text import human_bytes, one_line
from tui_tuner.ui.words import PHASES, measured, themed
from tui_tuner.verdicts.told import is_useless, status_words, verdict_line, worth_of

_COLOURS = {
    "warning": ("!", "$warning"),
    "error": ("✗", "$error"),
    "good": ("✓", "$success"),
    "info": ("·", "$foreground"),
    "log": (" ", "$dim"),
}


@dataclass(frozen=True)
class LogLine:
    """One line: Unix time (0 where it has none), level (a key of the colours above), text, hint."""

    time: float
    level: str
    text: str
    hint: str = ""

    def line(self, variables: Mapping[str, str]) -> Text:
        """The line, safe and in the theme's colours; a mark tells its level as well."""
        mark, colour = _COLOURS.get(self.level, _COLOURS["info"])
        clock = time.strftime("%H:%M:%S", time.localtime(self.time)) if self.time else " " * 8
        parts = [(clock, "$dim"), (f" {mark} ", colour), (one_line(self.text), colour)]
        if self.hint:
            parts.append(("  " + one_line(self.hint), "$dim"))
        return themed(variables, *parts)


def log_line(event: Event, phase: str, verdict: str = "") -> LogLine | None:
    """The line an event leaves in the log; None for those the rest of the pane shows.

    Args:
        phase: The phase before this event, so that its progress does not fill the log.
        verdict: The newest one before it.
    """
    if isinstance(event.body, Finished):
        return finished_line(event.time, event.body, verdict)
    maker = _MAKERS.get(type(event.body))
    return maker(event.time, event.body, phase) if maker else None


def _started(time: float, body: RunStarted, phase: str) -> LogLine:
    resumed = body.resumed_from
    text = _("started") if resumed is None else _("resumed from step {step}", step=resumed)
    return LogLine(time, "good", f"{text} ({body.device})" if body.device else text)


def _phase(time: float, body: Phase, phase: str) -> LogLine | None:
    if body.name == phase or not body.name:
        return None
    text = PHASES.get(body.name, body.name)
    return LogLine(time, "info", f"{text}: {body.note}" if body.note else text)


def _model_source(time: float, body: ModelSource, phase: str) -> LogLine:
    return LogLine(time, "info", f"{_(body.what)}: {body.text}")


def _evaluation(time: float, body: Evaluation, phase: str) -> LogLine:
    metrics = ", ".join(
        f"{metric_word(name)} {measured(name, value)}" for name, value in body.metrics.items()
    )
    return LogLine(time, "good", _("evaluated at step {step}: {m}", step=body.step, m=metrics))


def _checkpoint(time: float, body: CheckpointSaved, phase: str) -> LogLine:
    size = f" ({human_bytes(body.bytes)})" if body.bytes is not None else ""
    if body.best:
        text = _("saved step {step}, best so far", step=body.step)
    else:
        text = _("saved step {step}", step=body.step)
    return LogLine(time, "good", text + size)


def _warning(time: float, body: Warned, phase: str) -> LogLine:
    return LogLine(time, "warning", body.message, body.advice or body.hint)


def _out_of_memory(time: float, body: OutOfMemory, phase: str) -> LogLine:
    text = body.message or _("out of memory")
    return LogLine(time, "warning", _("out of memory: {text}", text=text))


def _log(time: float, body: Log, phase: str) -> LogLine:
    level = body.level.lower()
    return LogLine(time, level if level in _COLOURS else "info", body.message)


def _kernels(time: float, body: Kernels, phase: str) -> LogLine | None:
    line = kernels_line(body.chosen)
    return LogLine(time, "info", line) if line else None


def _bottleneck(time: float, body: Bottleneck, phase: str) -> LogLine:
    if not body.what:
        return LogLine(time, "good", body.message)
    return LogLine(time, "warning", body.message, body.advice or body.hint)


def _command(time: float, body: CommandDone, phase: str) -> LogLine:
    said = {
        "pause": _("told to pause"),
        "continue": _("told to go on"),
        "save": _("told to save"),
        "evaluate": _("told to evaluate"),
        "stop": _("told to stop"),
    }
    return LogLine(time, "info", said.get(body.command) or _("told: {command}", command=body.command))


def _verdict(time: float, body: Verdict, phase: str) -> LogLine:
    level = {1: "good", -1: "warning"}.get(worth_of(body.verdict), "info")
    return LogLine(time, level, _("verdict: {line}", line=verdict_line(body)))


def finished_line(time: float, body: Finished, verdict: str) -> LogLine:
    """The end of a run of which there is a verdict, or none."""
    level = {"completed": "good", "failed": "error"}.get(body.status, "warning")
    if level == "good" and verdict and worth_of(verdict) < 1:
        level = "warning" if is_useless(verdict) else "info"
    ended = status_words(body.status, verdict)
    text = f"{ended}: {body.message}" if body.message else ended
    return LogLine(time, level, text, body.advice or body.hint)


_MAKERS: dict[type[Body], Callable[[float, Any, str], LogLine | None]] = {
    RunStarted: _started,
    Phase: _phase,
    ModelSource: _model_source,
    Evaluation: _evaluation,
    CheckpointSaved: _checkpoint,
    Warned: _warning,
    OutOfMemory: _out_of_memory,
    Log: _log,
    Kernels: _kernels,
    Bottleneck: _bottleneck,
    CommandDone: _command,
    Verdict: _verdict,
}
