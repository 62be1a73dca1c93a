"""The lines of the log pane, from events. Text of the run is still untrusted here."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from rich.text import Text

from tui_tuner.locales import _
from tui_tuner.runs.events import Event
from tui_tuner.text import human_bytes, one_line
from tui_tuner.ui.words import PHASES, figure, themed

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


def log_line(event: Event, phase: str) -> LogLine | None:
    """The line an event leaves in the log; None for those the rest of the pane shows.

    Args:
        phase: The phase before this event, so that its progress does not fill the log.
    """
    maker = _MAKERS.get(event.kind)
    try:
        return maker(event, phase) if maker else None
    except (TypeError, ValueError, AttributeError, OverflowError):
        return None  # a damaged line must not take the screen down


def _started(event: Event, phase: str) -> LogLine:
    resumed = event.get("resumed_from")
    text = _("started") if resumed is None else _("resumed from step {step}", step=resumed)
    device = event.get("device")
    return LogLine(event.time, "good", f"{text} ({device})" if device else text)


def _phase(event: Event, phase: str) -> LogLine | None:
    name = str(event.get("name") or "")
    if name == phase or not name:
        return None
    note = str(event.get("note") or "")
    text = PHASES.get(name, name)
    return LogLine(event.time, "info", f"{text}: {note}" if note else text)


def _evaluation(event: Event, phase: str) -> LogLine:
    metrics = ", ".join(f"{name} {figure(value)}" for name, value in event.get("metrics").items())
    step = event.get("step")
    return LogLine(event.time, "good", _("evaluated at step {step}: {m}", step=step, m=metrics))


def _checkpoint(event: Event, phase: str) -> LogLine:
    size, step = event.get("bytes"), event.get("step")
    size_text = f" ({human_bytes(size)})" if isinstance(size, int | float) else ""
    if event.get("best"):
        text = _("saved step {step}, best so far", step=step)
    else:
        text = _("saved step {step}", step=step)
    return LogLine(event.time, "good", text + size_text)


def _warning(event: Event, phase: str) -> LogLine:
    return LogLine(event.time, "warning", str(event.get("message") or ""), str(event.get("hint") or ""))


def _out_of_memory(event: Event, phase: str) -> LogLine:
    text = str(event.get("message") or _("out of memory"))
    return LogLine(event.time, "warning", _("out of memory: {text}", text=text))


def _log(event: Event, phase: str) -> LogLine:
    level = str(event.get("level") or "info").lower()
    return LogLine(event.time, level if level in _COLOURS else "info", str(event.get("message") or ""))


def _command(event: Event, phase: str) -> LogLine:
    return LogLine(event.time, "info", _("done: {command}", command=event.get("command")))


def _finished(event: Event, phase: str) -> LogLine:
    level = {"completed": "good", "failed": "error"}.get(str(event.get("status")), "warning")
    status = _(str(event.get("status")))
    message = str(event.get("message") or "")
    return LogLine(
        event.time, level, f"{status}: {message}" if message else status, str(event.get("hint") or "")
    )


_MAKERS = {
    "run_started": _started,
    "phase": _phase,
    "evaluation": _evaluation,
    "checkpoint": _checkpoint,
    "warning": _warning,
    "out_of_memory": _out_of_memory,
    "log": _log,
    "command": _command,
    "finished": _finished,
}
