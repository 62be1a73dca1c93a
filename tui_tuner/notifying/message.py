"""What a message about a run says: a fold over its events, and the words for its end."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.config.deciding import metric_word
from tui_tuner.config.metrics import hundredfold
from tui_tuner.locales import _
from tui_tuner.runs.events import (
    Body,
    Evaluation,
    Finished,
    Resolved,
    RunDuration,
    RunStarted,
    Step,
    Verdict,
    Warned,
)
from tui_tuner.text import human_money, human_seconds, one_line
from tui_tuner.verdicts.words import VERDICTS

IDLE = "gpu_idle"  # the code of the warning that a GPU has nothing to do


class NotSent(Exception):
    """Why a message did not get there, in words without an address. `again`: another attempt may help."""

    def __init__(self, why: str, again: bool = False) -> None:
        super().__init__(why)
        self.again = again


@dataclass(frozen=True)
class Message:
    """A message: its title, a few lines, whether it is bad news, and the same as fields for programs."""

    title: str
    text: str
    bad: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def whole(self) -> str:
        """All of it as one text."""
        return f"{self.title}\n{self.text}".rstrip()


class Story:
    """Fed with the events of one process of a run; gives a message for each that calls for one.

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

    def see(self, body: Body) -> Message | None:
        """Note an event; a message where somebody should be told."""
        match body:
            case Step(step=step):
                self._step = step
            case RunStarted(config=config):
                self._deciding = _deciding(config)
            case Resolved(field="evaluation.best", value=value):
                self._deciding = str(value)
            case RunDuration():
                self._duration = body
            case Evaluation(stage="validation", metrics=metrics):
                self._measured = dict(metrics)
            case Verdict(verdict=verdict):
                self._verdict = verdict
            case Warned(code=code) if code == IDLE:
                return self._message(
                    "idle", _("{run}: the GPU is idle", run=self._run), body.message, body.hint
                )
            case Finished():
                return self._ended(body)
        return None

    def _ended(self, body: Finished) -> Message:
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
        return self._message(body.status, title, body.message, body.hint, exit_code=body.exit_code)

    def _message(self, status: str, title: str, what: str, hint: str, **more: Any) -> Message:
        word = VERDICTS.get(self._verdict)
        seconds, cost = self._spent()
        lines = [one_line(what, 500), one_line(hint, 500)]
        if status == "completed" and word is not None:
            lines.append(_(word.means))
        if status != "idle":
            lines.append(self._figures(seconds, cost))
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

    def _spent(self) -> tuple[float, float | None]:
        """Seconds and money so far; the seconds of this process where no more is known."""
        if self._duration is None:
            return time.monotonic() - self._began, None
        return self._duration.spent or time.monotonic() - self._began, self._duration.cost_spent

    def _figures(self, seconds: float, cost: float | None) -> str:
        """The newest measurement, the time, and what it cost."""
        value = self._measured.get(self._deciding)
        parts = []
        if isinstance(value, int | float):
            figure = hundredfold(self._deciding, value) or f"{value:.4g}"
            parts.append(f"{metric_word(self._deciding)} {figure}")
        parts.append(human_seconds(seconds))
        if cost is not None:
            parts.append(human_money(cost))
        return ", ".join(parts)


def _deciding(config: Mapping[str, Any]) -> str:
    evaluation = config.get("evaluation")
    named = evaluation.get("best") if isinstance(evaluation, Mapping) else None
    return str(named) if named and named != "auto" else "loss"
