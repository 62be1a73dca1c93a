"""One line for each run, read from the end of its journal: cheap enough to repeat while runs go on."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import Any

from tui_tuner.config import consent
from tui_tuner.errors import EXIT_CONFIG, EXIT_DATA
from tui_tuner.evaluation.judging import Judging
from tui_tuner.runs.events import Evaluation, Event, Finished, Phase, Resolved, RunStarted, Step
from tui_tuner.runs.private import open_file
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.runs.tally import tally
from tui_tuner.runs.wire import decode

_TAIL = 128 * 1024
_AT_ONCE = 4 << 20  # bytes of a long journal that are added up at each look


@dataclass(frozen=True)
class RunRow:
    """What a list of runs shows.

    Args:
        loss: Of the last step.
        when: Unix seconds of the last event.
        metric, best: The metric that decides, and its best value, where it is not the loss.
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


def row(folder: RunFolder, hosted: bool = False) -> RunRow:
    """The row of a run, from the last events of its journal; a damaged journal leaves it empty."""
    events = _tail(folder)
    status, message = "", ""
    step = total = 0
    loss = validation = exit_code = None
    when = 0.0
    judging = Judging()
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
            case RunStarted(total_steps=known):
                status, total = "running", known or total
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
    return RunRow(
        folder, status, step, total, loss, validation, when, message, exit_code, *_best(folder, judging.name)
    )


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
    begun = [event for line in head.split(b"\n")[:-1] if (event := decode(line))]
    keep = [event for event in begun if isinstance(event.body, _ONCE)]
    return keep + [event for line in lines if line and (event := decode(line))]


_ONCE = (RunStarted, Resolved, Phase, Evaluation)
