"""How far a phase of a run is: what is counted, how fast it goes, what is left; and all of that in words.

It follows from the events of the phase alone, so a screen, an attached terminal and a line printer say the
same.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from tui_tuner.locales import N_, _
from tui_tuner.runs.events import Phase
from tui_tuner.text import human_bytes, one_line, rough_seconds

MOST_MARKS = 8  # moments that the speed is told from
BETWEEN_MARKS = 2.0  # seconds from one to the next, so that the speed is that of the last quarter of a minute
FIRST_SPEED = 2.0  # seconds of a phase before its speed is worth a word
UNEVEN = ("packages", "passes", "checks", "files")  # of which one takes far longer than another
_NUMBERS = re.compile(r"\d[\d.,]*")
# "3 of 8 rows", and how fast, for the units that a journal knows; others are shown as they are
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
class Progress:
    """A phase as it is now; `after` gives the next.

    Args:
        began: When this stretch of it began [Unix seconds]; 0 before any.
        marks: (moment, done) from the oldest that the speed is told from to the newest.
    """

    name: str = ""
    note: str = ""
    done: int = 0
    total: int = 0
    unit: str = ""
    began: float = 0.0
    marks: tuple[tuple[float, int], ...] = ()

    def after(self, body: Phase, time: float) -> Progress:
        """The same once an event of that time has come."""
        done, total = max(0, body.done), max(0, body.total or 0)
        new = Progress(body.name, body.note, done, total, body.unit, time, ((time, done),))
        if stretch_of(new) != stretch_of(self) or done < self.done:
            return new
        marks = self.marks
        if len(marks) > 1 and marks[-1][0] - marks[-2][0] < BETWEEN_MARKS:
            marks = marks[:-1]
        marks = (*marks, (time, done))[-MOST_MARKS:]
        return replace(new, began=self.began, marks=marks)

    def speed(self) -> float:
        """What is counted, per second, over the last quarter of a minute; 0 where it cannot be told."""
        if len(self.marks) < 2:
            return 0.0
        (first, before), (last, now) = self.marks[0], self.marks[-1]
        return (now - before) / (last - first) if last - first >= FIRST_SPEED and now > before else 0.0

    def seconds(self, now: float) -> float:
        """Since it began."""
        return max(0.0, now - self.began) if self.began else 0.0

    def left(self, now: float) -> float | None:
        """Seconds until it is done at the speed that it has; None where that cannot be told."""
        speed = 0.0 if self.unit in UNEVEN else self.speed()
        if not speed or not self.total or self.done >= self.total:
            return None
        left = (self.total - self.done) / speed - (now - self.marks[-1][0])
        return max(0.0, left) if math.isfinite(left) else None


def stretch_of(progress: Progress) -> tuple[str, str, str]:
    """What tells a part of a phase from another: numbers in its note may move within it."""
    return progress.name, progress.unit, _NUMBERS.sub("#", progress.note)


def counted_words(progress: Progress) -> str:
    """How much is done, and of how much: `1.2 of 4.4 GiB`, `3 of 8 prompts`; or empty."""
    if not progress.total:
        return _so_far(progress.done, progress.unit) if progress.done else ""
    if progress.unit == "bytes":
        return _(
            "{done} of {total}",
            done=_bytes_like(progress.done, progress.total),
            total=human_bytes(progress.total),
        )
    done, total = f"{progress.done:,}", f"{progress.total:,}"
    if progress.unit in _OF:
        return _(_OF[progress.unit], done=done, total=total)
    said = _("{done} of {total}", done=done, total=total)
    return f"{said} {one_line(progress.unit, 20)}" if progress.unit else said


def speed_words(progress: Progress) -> str:
    """How fast it goes, where that says something; else empty."""
    speed = progress.speed()
    if not speed:
        return ""
    if progress.unit == "bytes":
        return _("{speed}/s", speed=human_bytes(speed))
    if progress.unit in _EACH_SECOND and speed >= 1:
        return _(_EACH_SECOND[progress.unit], speed=f"{speed:,.0f}")
    return ""


def left_words(progress: Progress, now: float) -> str:
    """The time left, or empty."""
    left = progress.left(now)
    return _("~{t} left", t=rough_seconds(left)) if left is not None else ""


def progress_words(progress: Progress, now: float) -> str:
    """All of it on one line, the time that it takes already included."""
    parts = [counted_words(progress), speed_words(progress), left_words(progress, now)]
    taken = progress.seconds(now)
    if taken >= 1 and not parts[-1]:
        parts.append(_("for {t}", t=rough_seconds(taken)))
    return ", ".join(part for part in parts if part)


def _so_far(done: int, unit: str) -> str:
    if unit == "bytes":
        return human_bytes(done)
    said = f"{done:,}"
    if unit in _SO_FAR:
        return _(_SO_FAR[unit], done=said)
    return f"{said} {one_line(unit, 20)}" if unit else said


def _bytes_like(done: int, total: int) -> str:
    """`done` without its unit where that of `total` is the same."""
    said, whole = human_bytes(done), human_bytes(total)
    return said.split(" ")[0] if said.split(" ")[1:] == whole.split(" ")[1:] else said
