"""Composes messages about a run from its events."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.config.deciding import name_metric_in_text
from tui_tuner.config.metrics import format_hundredfold_metric
from tui_tuner.locales import _
from tui_tuner.runs.events import (
    Evaluation,
    EventBody,
    Finished,
    Resolved,
    RunDuration,
    RunStarted,
    Step,
    Verdict,
    Warned,
)
from tui_tuner.text import format_money, format_seconds, one_line
from tui_tuner.verdicts.verdict_words import VERDICTS

IDLE = "gpu_idle"  # the code of the warning that a GPU has nothing to do


class NotSent(Exception):
    """Reports why a message was not delivered, without any address. `again`: a retry may help."""

    def __init__(self, why: str, again: bool = False) -> None:
        super().__init__(why)
        self.again = again


@dataclass(frozen=True)
class Message:
    """A message with title, a few lines of text, and fields for programs; `bad` marks bad news."""

    title: str
    text: str
    bad: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def full_text(self) -> str:
        """Return title and text as one text."""
        return f"{self.title}\n{self.text}".rstrip()


class MessageComposer:
    """Turns the events of one process of a run into messages, for those that the user should know of.

    Args:
        run: The name of the run.
    """

    def __init__(self, run: str) -> None:
        self._run = one_line(run, 100)
        self._began = time.monotonic()
        self._deciding = ""
        self._step = 0
        self._verdict = ""
        self._duration: RunDuration | None = None
        self._measured: dict[str, float | None] = {}

    def note_event(self, body: EventBody) -> Message | None:
        """Note an event; return a message if the user should be notified."""
        match body:
            case Step(step=step):
                self._step = step
            case RunStarted(config=config):
                self._deciding = _find_deciding_metric(config)
            case Resolved(field="evaluation.best", value=value):
                self._deciding = str(value)
            case RunDuration():
                self._duration = body
            case Evaluation(stage="validation", metrics=metrics):
                self._measured = dict(metrics)
            case Verdict(verdict=verdict):
                self._verdict = verdict
            case Warned(code=code) if code == IDLE:
                return self._compose_message(
                    "idle", _("{run}: the GPU is idle", run=self._run), body.message, body.hint
                )
            case Finished():
                return self._compose_end(body)
        return None

    def _compose_end(self, body: Finished) -> Message:
        word = VERDICTS.get(self._verdict)
        said = {"run": self._run, "verdict": _(word.label) if word else ""}
        match body.status:
            case "completed" if word:
                title = _("{run} is complete: {verdict}", **said)
            case "completed":
                title = _("{run} is complete", **said)
            case "stopped":
                title = _("{run} has stopped", **said)
            case _:
                title = _("{run} has failed", **said)
        return self._compose_message(body.status, title, body.message, body.hint, exit_code=body.exit_code)

    def _compose_message(self, status: str, title: str, what: str, hint: str, **more: Any) -> Message:
        word = VERDICTS.get(self._verdict)
        seconds, cost = self._find_spent()
        lines = [one_line(what, 500), one_line(hint, 500)]
        if status == "completed" and word is not None:
            lines.append(_(word.means))
        if status != "idle":
            lines.append(self._format_figures(seconds, cost))
        text = "\n".join(line for line in lines if line)
        fields = {
            "run": self._run,
            "status": status,
            "step": self._step,
            "message": one_line(what, 500),
            "hint": one_line(hint, 500),
            "verdict": self._verdict or None,
            "metric": self._deciding or None,
            "value": self._measured.get(self._deciding),
            "seconds": round(seconds, 1),
            "cost": cost,
            "host": one_line(socket.gethostname(), 100),
            **more,
        }
        bad = status in ("failed", "idle") or (status == "completed" and word is not None and word.worth < 0)
        return Message(title, text, bad, fields)

    def _find_spent(self) -> tuple[float, float | None]:
        """Return (seconds, money) spent so far; without an estimate, only the seconds of this process."""
        if self._duration is None:
            return time.monotonic() - self._began, None
        return self._duration.spent or time.monotonic() - self._began, self._duration.cost_spent

    def _format_figures(self, seconds: float, cost: float | None) -> str:
        """Format the newest measurement, the time and the cost."""
        # The metric that decides which checkpoint is best is the one the user cares about
        value = self._measured.get(self._deciding)
        parts = []
        if isinstance(value, int | float):
            figure = format_hundredfold_metric(self._deciding, value) or f"{value:.4g}"
            parts.append(f"{name_metric_in_text(self._deciding)} {figure}")
        parts.append(format_seconds(seconds))
        if cost is not None:
            parts.append(format_money(cost))
        return ", ".join(parts)


def _find_deciding_metric(config: Mapping[str, Any]) -> str:
    evaluation = config.get("evaluation")
    named = evaluation.get("best") if isinstance(evaluation, Mapping) else None
    return str(named) if named and named != "auto" else "loss"
