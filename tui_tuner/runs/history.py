"""What can be said about runs without opening a screen: one summary each, from the journal and the folder."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import TunerError
from tui_tuner.runs.death import Death, cause_of_death
from tui_tuner.runs.events import VERSION
from tui_tuner.runs.journal import JournalReader
from tui_tuner.runs.notes import read_notes
from tui_tuner.runs.private import open_file
from tui_tuner.runs.secrets import scrubber
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.runs.tally import Tally, tally
from tui_tuner.runs.view import RunView, fold
from tui_tuner.text import one_line, sanitize

_LOG_TAIL = 32 * 1024
_STEP = 4 << 20  # bytes of a long journal read between two looks at the clock


def summaries(store: RunStore, seconds: float | None = None) -> Iterator[dict[str, Any]]:
    """A summary of each run, newest first.

    Args:
        store: Where the runs are.
        seconds: Time that may go into journals whose sums are not kept yet. Runs that do not get their turn
            are marked `complete: false` and have no figures that need the whole journal.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    for folder in store.runs():
        yield summary(folder, deadline)


def view_of(folder: RunFolder) -> RunView:
    """The whole journal, folded."""
    return fold(RunView(), JournalReader(folder.events).read())


def summary(folder: RunFolder, deadline: float | None = None) -> dict[str, Any]:
    """Name, state, what was trained, how far it came, last loss, best metric, time, cost, disk use [bytes].

    A damaged config or journal leaves fields empty instead of failing. `cost` is the price of the time during
    which a process held the run. `deadline` is a value of `time.monotonic`.
    """
    known, complete = tally(folder, None if deadline is None else _STEP)
    while not complete and deadline is not None and time.monotonic() < deadline:
        known, complete = tally(folder, _STEP)
    config, damage = _config(folder)
    price = config.hardware.price_per_hour if config else None
    metric = _metric(config, known) if config else "loss"
    notes = read_notes(folder)
    state = folder.state()
    return {
        "name": folder.name,
        "folder": str(folder.path),
        "state": state,
        "task": config.task if config else "",
        "model": config.model.name if config else "",
        "method": config.method.kind if config else "",
        "data": _data(config) if config else "",
        "device": known.device,
        "started": known.started,
        "last_event": known.last_time or None,
        "step": known.step,
        "total_steps": known.total_steps,
        "loss": known.loss if complete else None,
        "metric": metric,
        "best": known.best(metric) if complete else None,
        "verdict": known.verdict or None if complete else None,
        "since_step": known.since_step if complete else None,
        "best_validation_loss": known.best("loss") if complete else None,
        "training_seconds": round(known.training_seconds, 1),
        "mfu": known.mean(known.mfu) if complete else None,
        "gpu_busy": known.mean(known.gpu_busy) if complete else None,
        "paid_seconds": round(known.paid_seconds, 1),
        "cost": round(known.paid_seconds / 3600 * price, 4) if price is not None and complete else None,
        "model_from": known.model_from,
        "host": folder.elsewhere(),
        "resumes": known.resumes,
        "warnings": known.warnings,
        "message": cause_of_death(folder).message if state == "lost" else known.message or damage,
        "note": notes.note,
        "tags": list(notes.tags),
        "bytes": disk_use(folder.path),
        "complete": complete,
        "newer_journal": known.newest_version > VERSION,
    }


def matches(row: dict[str, Any], words: Iterable[str] = (), state: str = "") -> bool:
    """Whether a summary is in a state (if given) and holds each of the words somewhere, in any case."""
    if state and row["state"] != state:
        return False
    names = ("name", "state", "task", "model", "method", "data", "device", "note", "message")
    said = (row["verdict"] or "").replace("_", " ")
    text = " ".join([*(str(row[name]) for name in names), said, *row["tags"]]).casefold()
    return all(word.casefold() in text for word in words)


@dataclass(frozen=True)
class Lost:
    """A run whose process is gone without a word: why, its last log lines, how to go on."""

    death: Death
    lines: tuple[str, ...]
    resume: str


def lost(folder: RunFolder, lines: int = 5) -> Lost:
    """What to show of a lost run. Never raises; the lines are safe for a terminal."""
    scrubber().blank_out(folder.log)  # a killed process had no time to
    return Lost(cause_of_death(folder), tuple(log_tail(folder.log, lines)), resume_command(folder))


def resume_command(folder: RunFolder) -> str:
    """The command that goes on with a run, from the folder where one is now."""
    root = folder.path.parent
    place = "" if str(root) == "runs" else f" --runs {shlex.quote(one_line(root))}"
    return f"tui-tuner resume {shlex.quote(one_line(folder.name))}{place}"


_COLOUR = re.compile("\x1b\\[[0-9;]*[A-Za-z]")


def log_tail(path: Path, lines: int) -> list[str]:
    """The last lines of a log that hold something, safe for a terminal; empty where there is no log."""
    try:
        with open_file(path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LOG_TAIL))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    # A progress bar redraws its line with carriage returns: only its last state counts.
    whole = [_COLOUR.sub("", line).rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    mask = scrubber().text  # what a library printed past Python may not be masked yet
    return [sanitize(mask(line.rstrip()))[:500] for line in whole if line.strip()][-lines:]


def disk_use(path: Path) -> int:
    """Bytes below a folder; links are not followed, and a file with two names counts once."""
    total = 0
    seen: set[tuple[int, int]] = set()
    for root, _, files in os.walk(path):
        for name in files:
            try:
                found = os.lstat(os.path.join(root, name))
            except OSError:
                continue
            if found.st_nlink > 1 and (found.st_dev, found.st_ino) in seen:
                continue
            seen.add((found.st_dev, found.st_ino))
            total += found.st_size
    return total


def _config(folder: RunFolder) -> tuple[RunConfig | None, str]:
    """The config, or what is wrong with it."""
    try:
        return folder.config(), ""
    except TunerError as error:
        return None, one_line(error, 300)


def _metric(config: RunConfig, known: Tally) -> str:
    """What the run is judged by: as asked for, as it chose itself, or as its task is."""
    return known.judged_by if config.evaluation.best == "auto" and known.judged_by else config.best_metric


def _data(config: RunConfig) -> str:
    path = config.data.path
    parts = path if isinstance(path, list) else [path]
    return ", ".join(part if isinstance(part, str) else part.path for part in parts)
