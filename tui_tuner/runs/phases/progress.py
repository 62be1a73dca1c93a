"""Track the progress of a phase: what is counted, how fast, and what is left; and format it.

Everything follows from the events of the phase, so a screen, an attached terminal and a line printer show the
same.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from tui_tuner.locales import N_, _
from tui_tuner.runs.events import Phase
from tui_tuner.text import format_bytes, format_rough_seconds, one_line

# Eight moments at least 2 s apart: the speed is that of the last quarter of a minute.
MOST_MARKS = 8
BETWEEN_MARKS = 2.0
FIRST_SPEED = 2.0  # seconds of a phase before its speed is shown
# Units whose items differ so much that no time left can be estimated.
UNEVEN = ("packages", "passes", "checks", "files")
_NUMBERS = re.compile(r"\d[\d.,]*")
# "3 of 8 rows" for the units of a journal, whole sentences for translators; other units are shown as they are
_OF = {
    "rows": N_("{done} of {total} rows"),
    "prompts": N_("{done} of {total} prompts"),
    "files": N_("{done} of {total} files"),
    "steps": N_("{done} of {total} steps"),
    "tokens": N_("{done} of {total} tokens"),
    "tensors": N_("{done} of {total} tensors"),
    "batches": N_("{done} of {total} batches"),
    "checks": N_("{done} of {total} checks"),
    "layers": N_("{done} of {total} layers"),
    "packages": N_("{done} of {total} packages"),
    "passes": N_("{done} of {total} forward passes"),
}
_SO_FAR = {
    "rows": N_("{done} rows"),
    "prompts": N_("{done} prompts"),
    "files": N_("{done} files"),
    "steps": N_("{done} steps"),
    "tokens": N_("{done} tokens"),
    "tensors": N_("{done} tensors"),
    "batches": N_("{done} batches"),
    "checks": N_("{done} checks"),
    "layers": N_("{done} layers"),
    "packages": N_("{done} packages"),
    "passes": N_("{done} forward passes"),
}
_EACH_SECOND = {"rows": N_("{speed} rows/s"), "tokens": N_("{speed} tokens/s")}


@dataclass(frozen=True)
class PhaseProgress:
    """The current state of a phase; `take_event` returns the next.

    Args:
        began: When this stretch of the phase began [Unix seconds]; 0 before any.
        marks: (moment, done), oldest first, from which the speed is computed.
    """

    name: str = ""
    note: str = ""
    done: int = 0
    total: int = 0
    unit: str = ""
    began: float = 0.0
    marks: tuple[tuple[float, int], ...] = ()

    def take_event(self, body: Phase, time: float) -> PhaseProgress:
        """Return the progress after an event at this time."""
        done, total = max(0, body.done), max(0, body.total or 0)
        new = PhaseProgress(body.name, body.note, done, total, body.unit, time, ((time, done),))
        if identify_phase_stretch(new) != identify_phase_stretch(self) or done < self.done:
            return new
        marks = self.marks
        # The newest mark is replaced until it is far enough from the one before, so few marks cover a long
        # time.
        if len(marks) > 1 and marks[-1][0] - marks[-2][0] < BETWEEN_MARKS:
            marks = marks[:-1]
        marks = (*marks, (time, done))[-MOST_MARKS:]
        return replace(new, began=self.began, marks=marks)

    def measure_speed(self) -> float:
        """Return the count per second over the last quarter of a minute; 0 if unknown."""
        if len(self.marks) < 2:
            return 0.0
        (first, before), (last, now) = self.marks[0], self.marks[-1]
        return (now - before) / (last - first) if last - first >= FIRST_SPEED and now > before else 0.0

    def seconds_since(self, now: float) -> float:
        """Return the seconds since it began."""
        return max(0.0, now - self.began) if self.began else 0.0

    def seconds_left(self, now: float) -> float | None:
        """Estimate the seconds left at the current speed; None if unknown."""
        speed = 0.0 if self.unit in UNEVEN else self.measure_speed()
        if not speed or not self.total or self.done >= self.total:
            return None
        # Between two events the time left still goes down.
        left = (self.total - self.done) / speed - (now - self.marks[-1][0])
        return max(0.0, left) if math.isfinite(left) else None


def identify_phase_stretch(progress: PhaseProgress) -> tuple[str, str, str]:
    """Return what identifies a part of a phase; numbers in its note may change within it."""
    return progress.name, progress.unit, _NUMBERS.sub("#", progress.note)


def format_counted_progress(progress: PhaseProgress) -> str:
    """Format how much is done, and of how much: `1.2 of 4.4 GiB`, `3 of 8 prompts`; or empty."""
    if not progress.total:
        return _so_far(progress.done, progress.unit) if progress.done else ""
    if progress.unit == "bytes":
        return _(
            "{done} of {total}",
            done=_bytes_like(progress.done, progress.total),
            total=format_bytes(progress.total),
        )
    done, total = f"{progress.done:,}", f"{progress.total:,}"
    if progress.unit in _OF:
        return _(_OF[progress.unit], done=done, total=total)
    said = _("{done} of {total}", done=done, total=total)
    return f"{said} {one_line(progress.unit, 20)}" if progress.unit else said


def format_phase_speed(progress: PhaseProgress) -> str:
    """Format the speed if it is meaningful for the unit; else empty."""
    speed = progress.measure_speed()
    if not speed:
        return ""
    if progress.unit == "bytes":
        return _("{speed}/s", speed=format_bytes(speed))
    if progress.unit in _EACH_SECOND and speed >= 1:
        return _(_EACH_SECOND[progress.unit], speed=f"{speed:,.0f}")
    return ""


def format_time_left(progress: PhaseProgress, now: float) -> str:
    """Format the time left, or return an empty text."""
    left = progress.seconds_left(now)
    return _("~{t} left", t=format_rough_seconds(left)) if left is not None else ""


def format_phase_progress(progress: PhaseProgress, now: float) -> str:
    """Format the whole progress in one line."""
    parts = [format_counted_progress(progress), format_phase_speed(progress), format_time_left(progress, now)]
    taken = progress.seconds_since(now)
    if taken >= 1 and not parts[-1]:
        parts.append(_("for {t}", t=format_rough_seconds(taken)))
    return ", ".join(part for part in parts if part)


def _so_far(done: int, unit: str) -> str:
    if unit == "bytes":
        return format_bytes(done)
    said = f"{done:,}"
    if unit in _SO_FAR:
        return _(_SO_FAR[unit], done=said)
    return f"{said} {one_line(unit, 20)}" if unit else said


def _bytes_like(done: int, total: int) -> str:
    """Format `done` without its unit if that of `total` is the same."""
    said, whole = format_bytes(done), format_bytes(total)
    return said.split(" ")[0] if said.split(" ")[1:] == whole.split(" ")[1:] else said
