"""A line about the current download: bytes, rate and time left."""

from __future__ import annotations

import time

from textual.content import Content

from tui_tuner.locales import _, _n
from tui_tuner.text import format_bytes
from tui_tuner.ui.base_models.fetches import FetchJob, FetchQueue
from tui_tuner.ui.screen_words import draw_screen_bar, format_screen_duration, make_safe_line, rough
from tui_tuner.ui.widgets.changed_lines import Lines

_BAR = 6


class FetchLine(Lines):
    """Shows the current download, updated each second; hidden if there is none."""

    DEFAULT_CSS = "FetchLine { display: none; padding: 0 1; } FetchLine.-on { display: block; }"

    def __init__(self, fetches: FetchQueue) -> None:
        super().__init__()
        self._fetches = fetches

    def on_mount(self) -> None:
        self.set_interval(1.0, self.show_progress)
        self.show_progress()

    def show_progress(self) -> None:
        """Draw the progress."""
        jobs = self._fetches.active_jobs
        self.set_class(bool(jobs), "-on")
        if jobs and self.screen.is_active:
            self.show_lines(format_fetch_line(jobs, time.monotonic()))


def format_fetch_line(jobs: list[FetchJob], now: float) -> Content:
    """Format the current download and the number of waiting ones."""
    job, waiting = jobs[0], len(jobs) - 1
    parts: list[str | tuple[str, str] | Content] = [
        ("⇣ ", "$primary"),
        make_safe_line(job.name.rpartition("/")[2], 18),
    ]
    if waiting:
        parts.append((" " + _n("(+{n} waits)", "(+{n} wait)", waiting, n=waiting), "$dim"))
    if job.share is not None:
        full, rest = draw_screen_bar(job.share, _BAR)
        parts += ["  ", (full, "$primary"), (rest, "$line"), f" {job.share:.0%}"]
    parts.append(f"  {format_fetched_amount(job)}")
    still, rate, left = job.count_still_seconds(now), job.rate, job.seconds_left
    if job.note:
        parts += ["  ", make_safe_line(job.note).stylize("$warning")]
    elif still:
        parts.append(("  " + _("no data for {time}", time=format_screen_duration(still)), "$warning"))
    else:
        parts += ["  " + _("{size}/s", size=format_bytes(rate))] if rate is not None else []
        parts += ["  " + _("~{time} left", time=rough(left))] if left is not None else []
    return Content.assemble(*parts)


def format_fetched_amount(job: FetchJob) -> str:
    """Format the downloaded bytes and the total."""
    if job.total is None:
        return format_bytes(job.done)
    return _("{done} of {total}", done=format_bytes(job.done), total=format_bytes(job.total))
