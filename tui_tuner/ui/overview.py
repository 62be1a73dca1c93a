"""One line for each run, read from the end of its journal: cheap enough to repeat while runs go on."""

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
from tui_tuner.evaluation.judging import Judging
from tui_tuner.runs.events import Evaluation, Event, Finished, Phase, Resolved, RunStarted, Step, Verdict
from tui_tuner.runs.notes import read_notes
from tui_tuner.runs.private import open_file, read_file
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.runs.tally import tally
from tui_tuner.runs.wire import decode
from tui_tuner.ui.words import STATES, state_words

_TAIL = 128 * 1024
_AT_ONCE = 4 << 20  # bytes of a long journal that are added up at each look


@dataclass(frozen=True)
class RunRow:
    """What a list of runs shows.

    Args:
        loss: Of the last step.
        when: Unix seconds of the last event.
        metric, best: The metric that decides, and its best value, where it is not the loss.
        task, model: As the config has them; empty where it cannot be read.
        tags, note: What the user wrote about it.
        verdict: The one that its journal ends with; empty where it has none.
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

    def matches(self, words: Iterable[str]) -> bool:
        """Whether all words occur in what is known of the run; `#word` in one of its tags."""
        state = f"{self.state} {STATES[self.state][1] if self.state in STATES else ''}"
        state += f" {state_words(self.state, self.verdict)[1]}"
        parts = (self.folder.name, state, self.task, self.model, self.note, *self.tags)
        said = " ".join(parts).casefold()
        tags = [tag.casefold() for tag in self.tags]
        return all(
            any(tag.startswith(word[1:]) for tag in tags) if word.startswith("#") else word in said
            for word in (word.casefold() for word in words)
        )


def can_resume(state: str, steps: int, exit_code: int | None) -> bool:
    """Whether it may help to go on with a run: not if its config or its data kept it from its first step."""
    if state == "failed" and not steps:
        return exit_code not in (EXIT_CONFIG, EXIT_DATA)
    return state in ("stopped", "failed", "lost")


def run_values(folder: RunFolder) -> dict[str, Any]:
    """The settings of a run as a form takes them, to change and start again.

    Raises:
        ConfigError: its config is damaged.
    """
    config = folder.config()
    values = config.model_dump(mode="json", exclude_defaults=True)
    if not consent.allowed(config.model):
        values["model"].pop("trust_remote_code")  # a stranger's word is not the user's
    for key in ("name", "folder"):
        values.get("output", {}).pop(key, None)
    if not values.get("output", True):
        del values["output"]
    return values


def rows(store: RunStore, hosted: RunFolder | None = None) -> list[RunRow]:
    """A row for each run, newest first. `hosted` is the one that this process trains now."""
    return [row(folder, hosted is not None and hosted.path == folder.path) for folder in store.runs()]


def overview_of(store: RunStore) -> Overview:
    """The overview that all screens of this process share."""
    return _OVERVIEWS.setdefault(store.root.absolute(), Overview(store))


class Overview:
    """The rows of a folder of runs, read again only where something of a run has changed.

    A run at rest is told from one that is on by its files alone: whoever takes it writes its manifest.
    """

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._known: dict[Path, tuple[object, RunRow]] = {}

    def rows(self, hosted: RunFolder | None = None) -> Iterator[RunRow]:
        """A row for each run, newest first, each as soon as it is read."""
        kept: dict[Path, tuple[object, RunRow]] = {}
        for folder in self._store.runs():
            mine = hosted is not None and hosted.path == folder.path
            marks = None if mine else tuple(_mark(folder.path / name) for name in _FILES)
            known = self._known.get(folder.path)
            if known is None or marks is None or known[0] != marks:
                found = row(folder, mine)
                known = (marks if found.state in _AT_REST else None, found)
            self._known[folder.path] = kept[folder.path] = known
            yield known[1]
        self._known = kept


def _mark(path: Path) -> tuple[int, int, int]:
    """What changes with a file; zeros where there is none."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0
    return found.st_size, found.st_mtime_ns, found.st_ino


def row(folder: RunFolder, hosted: bool = False) -> RunRow:
    """The row of a run, from the last events of its journal; a damaged journal leaves it empty."""
    events = _tail(folder)
    status = message = verdict = ""
    step = total = 0
    loss = validation = exit_code = None
    when = 0.0
    judging = Judging()
    config: Mapping[str, Any] = {}
    for event in events:
        judging.take(event.body)
        when = max(when, event.time)
        match event.body:
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
    manifest = folder.manifest()
    ended = status in ("completed", "stopped", "failed")
    if not ended or hosted:
        mine = manifest.get("pid") == os.getpid()
        alive = hosted or (not mine and folder.alive())
        if alive:
            status = status if status and not ended else "starting"
        elif not ended:
            status = "lost" if events or manifest else "new"
    with contextlib.suppress(OSError):
        when = when or (folder.path / "config.yaml").stat().st_mtime
    notes = read_notes(folder)
    return RunRow(
        *(folder, status, step, total, loss, validation, when, message, exit_code),
        *_best(folder, judging.name),
        *_trained(folder, config),
        notes.tags,
        notes.note,
        verdict,
    )


def _trained(folder: RunFolder, config: Mapping[str, Any]) -> tuple[str, str]:
    """Task and model; of a run that never began, from the text of its config: reading YAML takes too long."""
    if not config:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            text = read_file(folder.path / "config.yaml")
            task, name = _TASK.search(text), _MODEL.search(text)
            return task[1] if task else _TASK_OF_OLD, name[1].strip() if name else ""
        return "", ""
    model = config.get("model")
    called = model.get("name") if isinstance(model, Mapping) else ""
    return str(config.get("task") or ""), str(called or "")


def _best(folder: RunFolder, metric: str) -> tuple[str, float | None]:
    """The metric that decides and its best value, from the sums beside the journal."""
    if metric == "loss":
        return "", None
    known, complete = tally(folder, _AT_ONCE)
    return metric, known.best(metric) if complete else None


def _tail(folder: RunFolder) -> list[Event]:
    """Events at the end of a journal, and the one with the total from its beginning."""
    try:
        with open_file(folder.events) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            head = file.read(_TAIL) if size > 2 * _TAIL else b""
            file.seek(len(head) and size - _TAIL)
            lines = file.read().split(b"\n")
    except OSError:
        return []
    begun = [event for line in _telling(head.split(b"\n")[:-1]) if (event := decode(line))]
    keep = [event for event in begun if isinstance(event.body, _ONCE)]
    return keep + [event for line in _telling(lines) if (event := decode(line))]


def _telling(lines: list[bytes]) -> list[bytes]:
    """Lines without those of which only the last of their kind tells anything: nearly all of a journal."""
    last: dict[bytes, int] = {}
    kinds = []
    for place, line in enumerate(lines):
        start = line.find(_KIND, 0, _KIND_WITHIN)
        kind = line[start + len(_KIND) : line.find(b'"', start + len(_KIND))] if start >= 0 else b""
        kinds.append(kind)
        last[kind] = place
    return [
        line
        for place, (line, kind) in enumerate(zip(lines, kinds, strict=True))
        if line and (kind not in _ONLY_LAST or last[kind] == place)
    ]


_FILES = ("events.jsonl", "manifest.json", "notes.json", "config.yaml")  # what a row is made from
_AT_REST = ("completed", "stopped", "failed", "lost", "new")
_TASK = re.compile(r"^task:[ \t]*['\"]?(\w+)", re.MULTILINE)
_MODEL = re.compile(r"^model:\s*\n(?:[ \t]+.*\n)*?[ \t]+name:[ \t]*['\"]?([^'\"\n#]+)", re.MULTILINE)
_TASK_OF_OLD = "sft"  # of a config that names none
_KIND, _KIND_WITHIN = b'"kind":"', 1000  # bytes of a line in which its kind stands
_ONLY_LAST = (b"step", b"heartbeat", b"duration", b"sample", b"log", b"memory", b"table", b"ledger")
_ONCE = (RunStarted, Resolved, Phase, Evaluation)
_OVERVIEWS: dict[Path, Overview] = {}
