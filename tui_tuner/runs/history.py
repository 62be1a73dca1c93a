"""Summarise runs from their journals and folders, without a screen."""

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
from tui_tuner.runs.death import Death, find_cause_of_death
from tui_tuner.runs.events import VERSION
from tui_tuner.runs.journal import JournalReader
from tui_tuner.runs.journal_tally import Tally, update_tally
from tui_tuner.runs.notes import read_notes
from tui_tuner.runs.private_files import open_regular_file
from tui_tuner.runs.secrets import get_current_scrubber
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.runs.view import RunView, fold_view_events
from tui_tuner.text import one_line, sanitize

_LOG_TAIL = 32 * 1024
_STEP = 4 << 20  # bytes of a long journal read between two looks at the clock


def summarise_runs(store: RunStore, seconds: float | None = None) -> Iterator[dict[str, Any]]:
    """Yield a summary of each run, newest first.

    Args:
        seconds: Time limit for journals whose sums are not stored yet. Runs that are not reached in time are
            marked `complete: false` and have no figures that need the whole journal.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    for folder in store.list_runs():
        yield summarise_run(folder, deadline)


def read_run_view(folder: RunFolder) -> RunView:
    """Build the view of a whole journal."""
    return fold_view_events(RunView(), JournalReader(folder.events_path).read_events())


def summarise_run(folder: RunFolder, deadline: float | None = None) -> dict[str, Any]:
    """Return name, state, model, progress, last loss, best metric, time, cost and disk use [bytes] of a run.

    A damaged config or journal leaves fields empty instead of failing. `cost` is the price of the time for
    which a process held the run. `deadline` is a value of `time.monotonic`.
    """
    known, complete = update_tally(folder, None if deadline is None else _STEP)
    while not complete and deadline is not None and time.monotonic() < deadline:
        known, complete = update_tally(folder, _STEP)
    config, damage = _read_config(folder)
    price = config.hardware.price_per_hour if config else None
    metric = _choose_metric(config, known) if config else "loss"
    notes = read_notes(folder)
    state = folder.find_state()
    return {
        "name": folder.name,
        "folder": str(folder.path),
        "state": state,
        "task": config.task if config else "",
        "model": config.model.name if config else "",
        "method": config.method.kind if config else "",
        "data": _data_paths(config) if config else "",
        "device": known.device,
        "started": known.started,
        "last_event": known.last_time or None,
        "step": known.step,
        "total_steps": known.total_steps,
        "loss": known.loss if complete else None,
        "metric": metric,
        "best": known.best_value(metric) if complete else None,
        "verdict": known.verdict or None if complete else None,
        "since_step": known.since_step if complete else None,
        "best_validation_loss": known.best_value("loss") if complete else None,
        "training_seconds": round(known.training_seconds, 1),
        "mfu": known.mean_of_sums(known.mfu) if complete else None,
        "gpu_busy": known.mean_of_sums(known.gpu_busy) if complete else None,
        "paid_seconds": round(known.paid_seconds, 1),
        "cost": round(known.paid_seconds / 3600 * price, 4) if price is not None and complete else None,
        "model_from": known.model_from,
        "host": folder.find_other_host(),
        "resumes": known.resumes,
        "warnings": known.warnings,
        "message": find_cause_of_death(folder).message if state == "lost" else known.message or damage,
        "note": notes.note,
        "tags": list(notes.tags),
        "bytes": measure_disk_use(folder.path),
        "complete": complete,
        "newer_journal": known.newest_version > VERSION,
    }


def matches_run_words(row: dict[str, Any], words: Iterable[str] = (), state: str = "") -> bool:
    """Return whether a summary has this state (if given) and contains each of the words, in any case."""
    if state and row["state"] != state:
        return False
    names = ("name", "state", "task", "model", "method", "data", "device", "note", "message")
    said = (row["verdict"] or "").replace("_", " ")
    text = " ".join([*(str(row[name]) for name in names), said, *row["tags"]]).casefold()
    return all(word.casefold() in text for word in words)


@dataclass(frozen=True)
class LostRun:
    """A run whose process ended without a report: the cause, its last log lines, the command to resume."""

    death: Death
    lines: tuple[str, ...]
    resume: str


def describe_lost_run(folder: RunFolder, lines: int = 5) -> LostRun:
    """Collect what to show of a lost run. Never raises; the lines are safe for a terminal."""
    # A process masks its log when it ends; a killed one could not.
    get_current_scrubber().blank_out(folder.log_path)
    return LostRun(
        find_cause_of_death(folder),
        tuple(read_log_tail(folder.log_path, lines)),
        format_resume_command(folder),
    )


def format_resume_command(folder: RunFolder) -> str:
    """Return the command that resumes a run, for the current working folder."""
    root = folder.path.parent
    place = "" if str(root) == "runs" else f" --runs {shlex.quote(one_line(root))}"
    return f"tui-tuner resume {shlex.quote(one_line(folder.name))}{place}"


_COLOUR = re.compile("\x1b\\[[0-9;]*[A-Za-z]")


def read_log_tail(path: Path, lines: int) -> list[str]:
    """Return the last lines of a log that hold text, safe for a terminal; empty if there is no log."""
    try:
        with open_regular_file(path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LOG_TAIL))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    # A progress bar redraws its line with carriage returns: only its last state counts.
    whole = [_COLOUR.sub("", line).rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    # Output that a library printed past Python may not be masked yet.
    mask = get_current_scrubber().mask_text
    return [sanitize(mask(line.rstrip()))[:500] for line in whole if line.strip()][-lines:]


def measure_disk_use(path: Path) -> int:
    """Count the bytes below a folder; links are not followed, and a file with two names counts once."""
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


def _read_config(folder: RunFolder) -> tuple[RunConfig | None, str]:
    """Return the config, or a message about what is wrong with it."""
    try:
        return folder.load_config(), ""
    except TunerError as error:
        return None, one_line(error, 300)


def _choose_metric(config: RunConfig, known: Tally) -> str:
    """Return the metric that judges the run: as requested, as the run chose, or the task's own."""
    return known.judged_by if config.evaluation.best == "auto" and known.judged_by else config.best_metric


def _data_paths(config: RunConfig) -> str:
    path = config.data.path
    parts = path if isinstance(path, list) else [path]
    return ", ".join(part if isinstance(part, str) else part.path for part in parts)
