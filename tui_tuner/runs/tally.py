"""What a journal adds up to, without folding all of it again: one pass, kept in the run folder.

A journal of 100 MB takes about a second to read. So the sums are kept beside it in `.summary.json`, together
with how far they reach, and only what was appended since is read the next time.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import orjson

from tui_tuner.config.metrics import canonical, higher_is_better, renamed
from tui_tuner.errors import DiskFullError
from tui_tuner.runs.events import (
    VERSION,
    Body,
    CheckpointSaved,
    Evaluation,
    Finished,
    ModelSource,
    OutOfMemory,
    Phase,
    Resolved,
    RolledBack,
    RunStarted,
    Step,
    Verdict,
    Warned,
)
from tui_tuner.runs.private import open_file, read_file
from tui_tuner.runs.scan import Figures, scan
from tui_tuner.runs.store import RunFolder
from tui_tuner.runs.wire import body_of, moment, peek, plain, real

CACHE = ".summary.json"
_CACHE_VERSION = 6
_CHUNK = 8 << 20
_HEAD = 256  # bytes at the start of a journal that tell it from another one
_SILENCE = 60.0  # seconds; heartbeats come every 5, so nobody ran during a longer gap
_MOST_EVALUATIONS = 5000


@dataclass
class Tally:
    """Sums over the first `offset` bytes of a journal.

    `paid_seconds` is how long a process held the run: gaps between events, but those in which nobody ran.
    Steps that were done again after a kill were paid for, so they count. `training_seconds` is the part
    spent in optimizer steps.
    """

    offset: int = 0
    head: str = ""
    newest_version: int = VERSION
    started: float | None = None
    last_time: float = 0.0
    step: int = 0
    total_steps: int = 0
    loss: float | None = None
    evaluations: list[list[Any]] = field(default_factory=list)  # [step, {name: value}]
    checkpoints: int = 0
    warnings: int = 0
    resumes: int = 0
    paid_seconds: float = 0.0
    training_seconds: float = 0.0
    mfu: list[float] = field(default_factory=lambda: [0.0, 0.0])  # its sum by seconds, and those seconds
    gpu_busy: list[float] = field(default_factory=lambda: [0.0, 0.0])  # likewise
    device: str = ""
    model_from: str = ""
    message: str = ""
    hint: str = ""
    judged_by: str = ""  # the metric that `evaluation.best: auto` became
    directions: dict[str, bool] = field(default_factory=dict)  # of the task's metrics: is higher better?
    verdict: str = ""  # the newest of the newest process; empty where it gave none
    since_step: int | None = None  # from where on that holds

    def mean(self, sums: list[float]) -> float | None:
        """The mean that such sums make; None where nothing was measured."""
        return sums[0] / sums[1] if sums[1] > 0 else None

    def best(self, metric: str) -> float | None:
        """The best value of a metric over the evaluations that are part of the run's history; never NaN.

        How the model did before its first step counts for nothing.
        """
        metric = canonical(metric)
        found = (real(metrics.get(metric)) for step, metrics in self.evaluations if step)
        values = [value for value in found if value is not None and math.isfinite(value)]
        pick = max if higher_is_better(metric, self.directions.get(metric)) else min
        return pick(values) if values else None


def tally(folder: RunFolder, may_read: int | None = None) -> tuple[Tally, bool]:
    """The sums of a run's journal, and whether they reach to its end.

    Args:
        folder: The run.
        may_read: Bytes that may be read now; None reads to the end. What was read is kept for the next time.
    """
    known = _load(folder)
    try:
        with open_file(folder.events) as journal:
            size = journal.seek(0, 2)
            journal.seek(0)
            head = hashlib.sha256(journal.read(min(_HEAD, known.offset or _HEAD))).hexdigest()[:16]
            if known.offset > size or (known.offset and known.head != head):
                known = Tally()
            start = known.offset
            journal.seek(start)
            left = size - start if may_read is None else min(may_read, size - start)
            rest = b""
            while left > 0:
                block = journal.read(min(_CHUNK, left))
                if not block:
                    break
                left -= len(block)
                rest = _add(known, rest + block)
            complete = known.offset + len(rest) >= size
            if known.offset == start and not complete:
                known.offset += len(rest)  # one endless line: damaged, and passed over piece by piece
            if known.offset != start:
                journal.seek(0)
                known.head = hashlib.sha256(journal.read(min(_HEAD, known.offset))).hexdigest()[:16]
    except OSError:
        return known, True
    if known.offset != start:
        _save(folder, known)
    return known, complete


def _add(known: Tally, block: bytes) -> bytes:
    """Count the whole lines of a block; returns what is left of a line that has no end yet."""
    whole = block.rfind(b"\n") + 1
    for figures in scan(block[:whole]):
        line = figures[-1]
        if line:
            found = peek(line)
            if found is not None:
                _count(known, *found)
        elif figures[0]:
            _plain_step(known, figures)
        elif figures[-2]:
            with contextlib.suppress(ValueError):
                _pass_time(known, float(figures[-2]))
    known.offset += whole
    return block[whole:]


def _plain_step(known: Tally, figures: Figures) -> None:
    """A step as its line has it."""
    when, step, _epoch, loss, _rate, _norm, _trained, _memory, seconds, _metrics, mfu, busy, *_rest = figures
    try:
        time, number, took = float(when), int(step), float(seconds)
        last = known.loss if loss == b"null" else float(loss)
        used = float(mfu) if mfu else None, float(busy) if busy else None
    except ValueError:  # what looks like a number, and is none
        return
    _pass_time(known, time)
    known.step, known.loss = number, last
    known.training_seconds += took
    _add_use(known, took, *used)


def _add_use(known: Tally, seconds: float, mfu: float | None, busy: float | None) -> None:
    """How well a GPU was used in so many seconds."""
    for total, share in ((known.mfu, mfu), (known.gpu_busy, busy)):
        if share is not None and math.isfinite(share):
            total[0] += share * seconds
            total[1] += seconds


def _pass_time(known: Tally, time: float) -> None:
    if known.last_time and 0 < time - known.last_time < _SILENCE:
        known.paid_seconds += time - known.last_time
    if time:
        known.last_time = time


def _count(known: Tally, kind: type[Body], data: dict[str, Any]) -> None:
    version = data.get("v")
    _pass_time(known, moment(data))
    if type(version) is int and version > known.newest_version:
        known.newest_version = version
    if kind is Step:
        _step(known, data)
    elif kind in _HANDLERS:
        body = body_of(kind, data)
        if type(body) is kind:  # and not Unknown
            _HANDLERS[kind](known, body)


def _step(known: Tally, data: dict[str, Any]) -> None:
    """Most of a long journal is steps, and only three of their fields are needed."""
    step = data.get("step")
    if type(step) is not int:
        return
    known.step = step
    seconds, loss = real(data.get("seconds")), real(data.get("loss"))
    if seconds is not None and math.isfinite(seconds):
        known.training_seconds += seconds
        _add_use(known, seconds, real(data.get("mfu")), real(data.get("gpu_busy")))
    if loss is not None:
        known.loss = loss


def _started(known: Tally, body: RunStarted) -> None:
    if known.started is None:
        known.started = known.last_time
    else:
        known.resumes += 1
    if body.resumed_from is not None:
        _back_to(known, body.resumed_from)
    if body.total_steps is not None:
        known.total_steps = body.total_steps
    known.device = body.device
    for name, metric in body.metrics.items():
        if isinstance(metric, dict) and isinstance(metric.get("higher_is_better"), bool):
            known.directions[str(name)] = metric["higher_is_better"]
    known.message = known.hint = known.verdict = ""
    known.since_step = None


def _rolled_back(known: Tally, body: RolledBack) -> None:
    _back_to(known, body.step)


def _back_to(known: Tally, step: int) -> None:
    known.step = step
    known.evaluations = [item for item in known.evaluations if item[0] <= step]


def _phase(known: Tally, body: Phase) -> None:
    if body.name == "training" and body.total:
        known.total_steps = body.total


def _evaluation(known: Tally, body: Evaluation) -> None:
    known.evaluations.append([body.step, renamed(body.metrics)])
    del known.evaluations[:-_MOST_EVALUATIONS]


def _checkpoint(known: Tally, _: CheckpointSaved) -> None:
    known.checkpoints += 1


def _warning(known: Tally, _: Warned | OutOfMemory) -> None:
    known.warnings += 1


def _model_source(known: Tally, body: ModelSource) -> None:
    known.model_from = body.text


def _verdict(known: Tally, body: Verdict) -> None:
    known.verdict, known.since_step = body.verdict, body.since_step


def _finished(known: Tally, body: Finished) -> None:
    known.message, known.hint = body.message, body.hint


def _resolved(known: Tally, body: Resolved) -> None:
    if body.field == "evaluation.best":
        known.judged_by = str(body.value)


_HANDLERS: dict[type[Body], Callable[[Tally, Any], None]] = {
    RunStarted: _started,
    RolledBack: _rolled_back,
    Phase: _phase,
    Resolved: _resolved,
    Evaluation: _evaluation,
    Verdict: _verdict,
    CheckpointSaved: _checkpoint,
    Warned: _warning,
    OutOfMemory: _warning,
    Finished: _finished,
    ModelSource: _model_source,
}


def _path(folder: RunFolder) -> Path:
    return folder.path / CACHE


def _load(folder: RunFolder) -> Tally:
    """The kept sums, or empty ones where they are missing, damaged or of another version."""
    try:
        data = orjson.loads(read_file(_path(folder)))
    except (OSError, ValueError):
        return Tally()
    if not isinstance(data, dict) or data.pop("cache", None) != _CACHE_VERSION:
        return Tally()
    data["loss"] = real(data.get("loss"))
    empty = Tally()
    for item in fields(Tally):
        value = data.get(item.name)
        default = getattr(empty, item.name)
        if not isinstance(value, (int, float) if isinstance(default, float) else type(default)):
            if item.name in ("started", "loss") and (value is None or isinstance(value, int | float)):
                continue
            if item.name == "since_step" and (value is None or type(value) is int):
                continue
            return Tally()
    if not all(
        isinstance(item, list) and len(item) == 2 and isinstance(item[0], int) and isinstance(item[1], dict)
        for item in data["evaluations"]
    ):
        return Tally()
    if not all(len(data[name]) == 2 and all(map(_is_number, data[name])) for name in ("mfu", "gpu_busy")):
        return Tally()
    return Tally(**{item.name: data[item.name] for item in fields(Tally)})


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _save(folder: RunFolder, known: Tally) -> None:
    # A folder that cannot be written (read-only, full) only costs the time of reading it again.
    with contextlib.suppress(DiskFullError, TypeError):
        kept = plain({"cache": _CACHE_VERSION, **asdict(known)}, spelt=True)
        folder.write(CACHE, orjson.dumps(kept).decode())
