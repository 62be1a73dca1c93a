"""A line in the terminal for each request: when, what, how it went, how fast. What was asked is not in it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from tui_tuner.locales import _
from tui_tuner.serving.answers import Count
from tui_tuner.text import one_line


@dataclass
class LoggedRequest:
    """A request, as the log shows it."""

    method: str
    path: str
    status: int = 0
    broken: bool = False
    count: Count = field(default_factory=Count)
    began: float = field(default_factory=time.monotonic)
    at: float = field(default_factory=time.time)
    seconds: float = 0.0

    def end(self) -> None:
        """Stop the clock."""
        self.seconds = time.monotonic() - self.began

    @property
    def rate(self) -> float | None:
        """Return tokens of the answer per second; None without tokens."""
        return self.count.answer / self.seconds if self.count.answer and self.seconds > 0 else None

    def format_line(self) -> str:
        """Return the line."""
        clock = time.strftime("%H:%M:%S", time.localtime(self.at))
        parts = [f"{clock}  {self.method} {one_line(self.path, 80)}  {self.status}"]
        if self.count.answer:
            parts.append(
                _("{prompt:,} + {answer:,} tokens", prompt=self.count.prompt, answer=self.count.answer)
            )
        rate = self.rate
        if rate is not None:
            parts.append(_("{rate:.1f} tokens/s", rate=rate))
        parts.append(_("{seconds:.2f} s", seconds=self.seconds))
        if self.broken:
            parts.append(_("broken off"))
        return " · ".join(parts)
