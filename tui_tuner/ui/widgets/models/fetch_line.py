"""One line about the model that is fetched now: bytes, rate, and the time that is left."""

from __future__ import annotations

import time

from textual.content import Content

from tui_tuner.locales import _, _n
from tui_tuner.text import human_bytes
from tui_tuner.ui.base_models.fetches import Fetches, Job
from tui_tuner.ui.widgets.changed import Lines
from tui_tuner.ui.words import bar, duration, rough, safe

_BAR = 6


class FetchLine(Lines):
    """Nothing where nothing is fetched; it looks once a second."""

    DEFAULT_CSS = "FetchLine { display: none; padding: 0 1; } FetchLine.-on { display: block; }"

    def __init__(self, fetches: Fetches) -> None:
        super().__init__()
        self._fetches = fetches

    def on_mount(self) -> None:
        self.set_interval(1.0, self.look)
        self.look()

    def look(self) -> None:
        """Draw how far it is."""
        jobs = self._fetches.active
        self.set_class(bool(jobs), "-on")
        if jobs and self.screen.is_active:
            self.show(fetch_line(jobs, time.monotonic()))


def fetch_line(jobs: list[Job], now: float) -> Content:
    """The line for what is fetched, and what waits."""
    job, waiting = jobs[0], len(jobs) - 1
    parts: list[str | tuple[str, str] | Content] = [("⇣ ", "$primary"), safe(job.name.rpartition("/")[2], 18)]
    if waiting:
        parts.append((" " + _n("(+{n} waits)", "(+{n} wait)", waiting, n=waiting), "$dim"))
    if job.share is not None:
        full, rest = bar(job.share, _BAR)
        parts += ["  ", (full, "$primary"), (rest, "$line"), f" {job.share:.0%}"]
    parts.append(f"  {amount_words(job)}")
    still, rate, left = job.still(now), job.rate, job.left
    if job.note:
        parts += ["  ", safe(job.note).stylize("$warning")]
    elif still:
        parts.append(("  " + _("nothing came for {time}", time=duration(still)), "$warning"))
    else:
        parts += ["  " + _("{size}/s", size=human_bytes(rate))] if rate is not None else []
        parts += ["  " + _("~{time} left", time=rough(left))] if left is not None else []
    return Content.assemble(*parts)


def amount_words(job: Job) -> str:
    """Bytes that are here, of how many."""
    if job.total is None:
        return human_bytes(job.done)
    return _("{done} of {total}", done=human_bytes(job.done), total=human_bytes(job.total))
