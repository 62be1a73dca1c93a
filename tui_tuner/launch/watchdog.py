"""Detects that a run makes no progress and records where, and that its disk is filling up.

The watchdog sits between the core and the journal and sees every event. If no event of progress comes for a
long time, it writes the stack of every thread into the run folder and a `stalled` warning into the journal.
It never ends a run: a slow disk or a large model may only need time.
"""

from __future__ import annotations

import contextlib
import faulthandler
import math
import os
import shutil
import statistics
import threading
import time
from collections import deque
from pathlib import Path

from tui_tuner.launch.stopping import StopWatcher
from tui_tuner.locales import _
from tui_tuner.runs.events import (
    CheckpointSaved,
    CommandDone,
    EventBody,
    EventSink,
    Heartbeat,
    Log,
    Phase,
    Step,
    Warned,
)
from tui_tuner.runs.private_files import open_private
from tui_tuner.runs.secrets import get_current_scrubber
from tui_tuner.text import format_bytes, format_seconds

LEAST = 600.0  # seconds without progress that are always allowed
FACTOR = 20.0  # as well as this many median steps
_MOST_DUMPS = 8
_NO_PROGRESS = (Heartbeat, Warned, Log, CommandDone)


class Watchdog:
    """A `EventSink` in front of another one, with a thread that checks every `look` seconds.

    Costs one attribute and one append per step. Use it as a context manager.
    """

    def __init__(
        self,
        sink: EventSink,
        folder: Path,
        *,
        least: float = LEAST,
        factor: float = FACTOR,
        look: float = 5.0,
        stopping: StopWatcher | None = None,
    ) -> None:
        self._stopping = stopping
        self._sink, self._folder = sink, folder
        self._least, self._factor, self._look = least, factor, look
        self._seconds: deque[float] = deque(maxlen=101)
        self._last = time.monotonic()
        self._step = 0
        self._phase = ""
        self._stalled_since: float | None = None
        self._next_dump = 0.0
        self._dumps = 0
        self._checkpoint_bytes = 0
        self._disk_said = False
        self._log_bytes = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch_run, name="watchdog", daemon=True)

    def emit(self, body: EventBody) -> None:
        """Note the progress in an event, then pass it on."""
        if not isinstance(body, _NO_PROGRESS):
            self._last = time.monotonic()
        if self._stopping is not None:
            self._stopping.note_event(body)
        match body:
            case Step(step=step, seconds=seconds):
                self._step = step
                if math.isfinite(seconds):
                    self._seconds.append(seconds)
                if self._phase == "paused":
                    self._phase = "training"
            case Phase(name=name):
                self._phase = name
            case CheckpointSaved(bytes=size):
                self._checkpoint_bytes = size or 0
        self._sink.emit(body)

    def __enter__(self) -> Watchdog:
        self._last = time.monotonic()
        self._thread.start()
        if self._stopping is not None:
            self._stopping.start_watching(self._sink, self._done)
        return self

    def __exit__(self, *_unused: object) -> None:
        self._done.set()
        self._thread.join(1.0)

    def compute_limit(self) -> float:
        """Return the seconds without progress that are still normal."""
        seconds = list(self._seconds)
        # The median, as evaluations and checkpoints make some steps much longer
        return max(self._least, self._factor * statistics.median(seconds) if seconds else 0.0)

    def _watch_run(self) -> None:
        while not self._done.wait(self._look):
            # The watchdog must never harm the run
            with contextlib.suppress(Exception):
                self._check_progress(time.monotonic())
                self._look_at_disk()
                self._scrub_log()

    def _check_progress(self, now: float) -> None:
        quiet = now - self._last
        if self._phase == "paused":
            self._last = now
        elif quiet < self.compute_limit():
            if self._stalled_since is not None:
                length = format_seconds(self._last - self._stalled_since)
                self._sink.emit(Log(_("continuing after {length} without progress", length=length)))
            self._stalled_since, self._next_dump = None, 0.0
        elif quiet >= self._next_dump:
            self._stalled_since = self._last
            # Each report waits twice as long as the last, so a long stall does not fill the journal
            self._next_dump = 2 * quiet
            self._report_stall(quiet)

    def _look_at_disk(self) -> None:
        """Warn when the next two checkpoints will not fit, once each time this happens."""
        free = shutil.disk_usage(self._folder).free
        low = free < 2 * self._checkpoint_bytes
        if low and not self._disk_said:
            size = format_bytes(self._checkpoint_bytes)
            message = _(
                "Only {free} of disk space is free; a checkpoint takes {size}.",
                free=format_bytes(free),
                size=size,
            )
            hint = _("Free some space; the run pauses when the disk is full.")
            self._sink.emit(Warned("disk_low", message, hint))
        self._disk_said = low

    def _scrub_log(self) -> None:
        """Mask secrets that libraries have printed from C since the last check."""
        path = self._folder / "run.log"
        size = path.stat().st_size
        if size != self._log_bytes:
            get_current_scrubber().blank_out(path, start=self._log_bytes)
            self._log_bytes = size

    def _report_stall(self, quiet: float) -> None:
        hint = _("It may only be slow; if it is stuck, kill the process and resume the run.")
        if self._dumps < _MOST_DUMPS:
            self._dumps += 1
            name = f"stacks-{time.strftime('%Y%m%d-%H%M%S')}.txt"
            if self._dump_stacks(name):
                where = _("{name} in the run folder shows what each thread was doing.", name=name)
                hint = f"{where} {hint}"
        said = {"time": format_seconds(quiet), "step": self._step}
        if self._phase:
            message = _("no progress for {time} ({phase}, after step {step}).", phase=_(self._phase), **said)
        else:
            message = _("no progress for {time} (after step {step}).", **said)
        self._sink.emit(Warned("stalled", message, hint))

    def _dump_stacks(self, name: str) -> bool:
        try:
            fd = open_private(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        except OSError:
            return False
        with open(fd, "w", encoding="utf-8") as file:
            file.write(f"pid {os.getpid()}, phase {self._phase or 'unknown'}, after step {self._step}\n\n")
            file.flush()
            # faulthandler works even if other threads hold locks that Python's own tools need
            faulthandler.dump_traceback(file=file, all_threads=True)
        get_current_scrubber().blank_out(self._folder / name)
        return True
