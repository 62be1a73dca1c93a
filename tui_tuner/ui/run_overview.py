"""One row for each run, read from the end of its journal: cheap enough to repeat while runs are active."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_tuner.config import consent
from tui_tuner.errors import EXIT_CONFIG, EXIT_DATA
from tui_tuner.evaluation.evaluation_follower import EvaluationFollower
from tui_tuner.runs.events import Evaluation, Event, Finished, Phase, Resolved, RunStarted, Step, Verdict
from tui_tuner.runs.journal_tally import update_tally
from tui_tuner.runs.notes import read_notes
from tui_tuner.runs.private_files import open_regular_file, read_small_file
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.runs.wire import decode_event_line
from tui_tuner.ui.screen_words import STATES, describe_run_state

_TAIL = 128 * 1024
_AT_ONCE = 4 << 20  # bytes of a long journal that are summed up at a time


@dataclass(frozen=True)
class RunRow:
    """A run as the list of runs shows it.

    Args:
        loss: Of the last step.
        when: Unix seconds of the last event.
        metric, best: The deciding metric and its best value, if it is not the loss.
        task, model: From the config; empty if it cannot be read.
        tags, note: What the user wrote about it.
        verdict: The last one in its journal; empty if there is none.
    """

    folder: RunFolder
    state: str
    step: int
    total_steps: int
    loss: float | None
    validation: float | None
    when: float
    message: str
    exit_code: int | None = None
    metric: str = ""
    best: float | None = None
    task: str = ""
    model: str = ""
    tags: tuple[str, ...] = ()
    note: str = ""
    verdict: str = ""

    def matches_words(self, words: Iterable[str]) -> bool:
        """Return whether all words occur in the run's texts; `#word` matches the start of a tag."""
        state = f"{self.state} {STATES[self.state][1] if self.state in STATES else ''}"
        state += f" {describe_run_state(self.state, self.verdict)[1]}"
        parts = (self.folder.name, state, self.task, self.model, self.note, *self.tags)
        said = " ".join(parts).casefold()
        tags = [tag.casefold() for tag in self.tags]
        return all(
            any(tag.startswith(word[1:]) for tag in tags) if word.startswith("#") else word in said
            for word in (word.casefold() for word in words)
        )


def can_resume_run(state: str, steps: int, exit_code: int | None) -> bool:
    """Return whether resuming may help: not if the config or the data prevented the first step."""
    if state == "failed" and not steps:
        return exit_code not in (EXIT_CONFIG, EXIT_DATA)
    return state in ("stopped", "failed", "lost")


def read_run_values(folder: RunFolder) -> dict[str, Any]:
    """Return the settings of a run as values of a form, to change them and start again.

    Raises:
        ConfigError: its config is damaged.
    """
    config = folder.load_config()
    values = config.model_dump(mode="json", exclude_defaults=True)
    if not consent.is_code_allowed(config.model):
        # The run folder may come from somebody else, so its consent to run code is not this user's.
        values["model"].pop("trust_remote_code")
    # A new run gets its own name and folder.
    for key in ("name", "folder"):
        values.get("output", {}).pop(key, None)
    if not values.get("output", True):
        del values["output"]
    return values


def list_run_rows(store: RunStore, hosted: RunFolder | None = None) -> list[RunRow]:
    """Return a row for each run, newest first. `hosted` is the one that this process trains."""
    return [
        read_run_row(folder, hosted is not None and hosted.path == folder.path)
        for folder in store.list_runs()
    ]


def get_run_overview(store: RunStore) -> RunOverview:
    """Return the overview that all screens of this process share."""
    return _OVERVIEWS.setdefault(store.root.absolute(), RunOverview(store))


class RunOverview:
    """The rows of a folder of runs, each read again only when its files have changed.

    Files alone show that an inactive run became active: a process that takes a run writes its manifest.
    """

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._known: dict[Path, tuple[object, RunRow]] = {}

    def iterate_rows(self, hosted: RunFolder | None = None) -> Iterator[RunRow]:
        """Yield a row for each run, newest first, as soon as it is read."""
        kept: dict[Path, tuple[object, RunRow]] = {}
        for folder in self._store.list_runs():
            mine = hosted is not None and hosted.path == folder.path
            marks = None if mine else tuple(_stamp_file(folder.path / name) for name in _FILES)
            known = self._known.get(folder.path)
            if known is None or marks is None or known[0] != marks:
                found = read_run_row(folder, mine)
                # An active run may die without touching its files, so its row is never taken from the cache.
                known = (marks if found.state in _AT_REST else None, found)
            self._known[folder.path] = kept[folder.path] = known
            yield known[1]
        # Only after a whole pass: a caller that stops early must not lose the rows it did not get to.
        self._known = kept


def _stamp_file(path: Path) -> tuple[int, int, int]:
    """Return size, time and inode of a file; zeros if it does not exist."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0
    return found.st_size, found.st_mtime_ns, found.st_ino


def read_run_row(folder: RunFolder, hosted: bool = False) -> RunRow:
    """Read the row of a run from the last events of its journal; a damaged journal leaves it empty."""
    events = _read_tail(folder)
    status = message = verdict = ""
    step = total = 0
    loss = validation = exit_code = None
    when = 0.0
    judging = EvaluationFollower()
    config: Mapping[str, Any] = {}
    for event in events:
        judging.take_event(event.body)
        when = max(when, event.time)
        match event.body:
            # A pause is only over with its own phase event: a step that was already running may end after it.
            case Step(step=done, loss=now):
                step, loss, status = done, now, status if status == "paused" else "running"
            case Evaluation(metrics=metrics):
                measured = metrics.get("loss")
                validation = validation if measured is None else measured
            case Finished(status=end, message=words, exit_code=code):
                status, message, exit_code = end, words, code
            case RunStarted(total_steps=known, config=values):
                status, total, config, verdict = "running", known or total, values, ""
            case Verdict(verdict=word):
                verdict = word
            case Phase(name=name, total=known):
                if name == "training":
                    total = known or total
                status = "paused" if name == "paused" else "running"
    manifest = folder.read_manifest()
    ended = status in ("completed", "stopped", "failed")
    if not ended or hosted:
        # A run with this process's id in its manifest that is not hosted any more has ended.
        mine = manifest.get("pid") == os.getpid()
        alive = hosted or (not mine and folder.is_alive())
        if alive:
            status = status if status and not ended else "starting"
        elif not ended:
            status = "lost" if events or manifest else "new"
    with contextlib.suppress(OSError):
        # A run without events is as old as its config.
        when = when or (folder.path / "config.yaml").stat().st_mtime
    notes = read_notes(folder)
    return RunRow(
        *(folder, status, step, total, loss, validation, when, message, exit_code),
        *_find_best(folder, judging.name),
        *_find_task_and_model(folder, config),
        notes.tags,
        notes.note,
        verdict,
    )


def _find_task_and_model(folder: RunFolder, config: Mapping[str, Any]) -> tuple[str, str]:
    """Return task and model; for a run without events, by a search in its config, as parsing YAML is slow."""
    if not config:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            text = read_small_file(folder.path / "config.yaml")
            task, name = _TASK.search(text), _MODEL.search(text)
            return task[1] if task else _TASK_OF_OLD, name[1].strip() if name else ""
        return "", ""
    model = config.get("model")
    called = model.get("name") if isinstance(model, Mapping) else ""
    return str(config.get("task") or ""), str(called or "")


def _find_best(folder: RunFolder, metric: str) -> tuple[str, float | None]:
    """Return the deciding metric and its best value, from the tally next to the journal."""
    if metric == "loss":
        return "", None
    known, complete = update_tally(folder, _AT_ONCE)
    return metric, known.best_value(metric) if complete else None


def _read_tail(folder: RunFolder) -> list[Event]:
    """Return the events at the end of a journal, and those from its start that occur once."""
    try:
        with open_regular_file(folder.events_path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            # Of a long journal only both ends are read; a short one is read whole, and `head` stays empty.
            head = file.read(_TAIL) if size > 2 * _TAIL else b""
            file.seek(len(head) and size - _TAIL)
            lines = file.read().split(b"\n")
    except OSError:
        return []
    # The last line of the head is usually cut in the middle.
    begun = [event for line in _drop_superseded(head.split(b"\n")[:-1]) if (event := decode_event_line(line))]
    keep = [event for event in begun if isinstance(event.body, _ONCE)]
    return keep + [event for line in _drop_superseded(lines) if (event := decode_event_line(line))]


def _drop_superseded(lines: list[bytes]) -> list[bytes]:
    """Drop lines that a later one of their kind supersedes: nearly all of a journal."""
    last: dict[bytes, int] = {}
    kinds = []
    for place, line in enumerate(lines):
        # Parsing every line as JSON would take most of the time; the kind is found as bytes.
        start = line.find(_KIND, 0, _KIND_WITHIN)
        kind = line[start + len(_KIND) : line.find(b'"', start + len(_KIND))] if start >= 0 else b""
        kinds.append(kind)
        last[kind] = place
    return [
        line
        for place, (line, kind) in enumerate(zip(lines, kinds, strict=True))
        if line and (kind not in _ONLY_LAST or last[kind] == place)
    ]


_FILES = ("events.jsonl", "manifest.json", "notes.json", "config.yaml")  # the sources of a row
_AT_REST = ("completed", "stopped", "failed", "lost", "new")
_TASK = re.compile(r"^task:[ \t]*['\"]?(\w+)", re.MULTILINE)
_MODEL = re.compile(r"^model:\s*\n(?:[ \t]+.*\n)*?[ \t]+name:[ \t]*['\"]?([^'\"\n#]+)", re.MULTILINE)
_TASK_OF_OLD = "sft"  # of a config that names none
_KIND, _KIND_WITHIN = b'"kind":"', 1000  # the kind is within this many bytes of a line
_ONLY_LAST = (b"step", b"heartbeat", b"duration", b"sample", b"log", b"memory", b"table", b"ledger")
_ONCE = (RunStarted, Resolved, Phase, Evaluation)
_OVERVIEWS: dict[Path, RunOverview] = {}
