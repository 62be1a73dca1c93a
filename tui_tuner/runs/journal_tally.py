"""Sum up a journal in one pass, and keep the sums in the run folder.

A journal of 100 MB takes about a second to read. So the sums are stored next to it in `.summary.json`, with
the position that they reach, and the next call reads only what was appended since.
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

from tui_tuner.config.metrics import find_current_metric_name, is_higher_metric_better, rename_metrics
from tui_tuner.errors import DiskFullError
from tui_tuner.runs.events import (
    VERSION,
    CheckpointSaved,
    Evaluation,
    EventBody,
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
from tui_tuner.runs.private_files import open_regular_file, read_small_file
from tui_tuner.runs.scan import Figures, scan_journal_lines
from tui_tuner.runs.store import RunFolder
from tui_tuner.runs.wire import (
    convert_to_plain_json,
    make_event_body,
    peek_event_line,
    read_event_moment,
    read_float,
)

CACHE = ".summary.json"
_CACHE_VERSION = 6
_CHUNK = 8 << 20
_HEAD = 256  # bytes at the start of a journal that identify it
_SILENCE = 60.0  # seconds; heartbeats come every 5, so no process ran during a longer gap
_MOST_EVALUATIONS = 5000


@dataclass
class Tally:
    """Sums over the first `offset` bytes of a journal.

    `paid_seconds` is how long a process held the run: all gaps between events except those in which no
    process ran. Steps that were repeated after a kill were paid for, so they count. `training_seconds` is
    the part spent in optimizer steps.
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
    verdict: str = ""  # the newest of the newest process; empty if it gave none
    since_step: int | None = None  # first step for which it holds

    def mean_of_sums(self, sums: list[float]) -> float | None:
        """Return the mean of such sums; None if nothing was measured."""
        return sums[0] / sums[1] if sums[1] > 0 else None

    def best_value(self, metric: str) -> float | None:
        """Return the best value of a metric over the evaluations in the run's history; never NaN.

        The evaluation before the first step does not count.
        """
        metric = find_current_metric_name(metric)
        found = (read_float(metrics.get(metric)) for step, metrics in self.evaluations if step)
        values = [value for value in found if value is not None and math.isfinite(value)]
        pick = max if is_higher_metric_better(metric, self.directions.get(metric)) else min
        return pick(values) if values else None


def update_tally(folder: RunFolder, may_read: int | None = None) -> tuple[Tally, bool]:
    """Return the sums of a run's journal, and whether they reach its end.

    Args:
        may_read: Bytes that may be read now; None reads to the end. Later calls continue from there.
    """
    known = _load_cache(folder)
    try:
        with open_regular_file(folder.events_path) as journal:
            size = journal.seek(0, 2)
            journal.seek(0)
            head = hashlib.sha256(journal.read(min(_HEAD, known.offset or _HEAD))).hexdigest()[:16]
            # The journal was truncated, or another one has taken its place.
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
                # A block may end inside a line, which continues in the next one.
                rest = _add_block(known, rest + block)
            complete = known.offset + len(rest) >= size
            if known.offset == start and not complete:
                # One endless line: it is damaged, and skipped one piece per call.
                known.offset += len(rest)
            if known.offset != start:
                journal.seek(0)
                known.head = hashlib.sha256(journal.read(min(_HEAD, known.offset))).hexdigest()[:16]
    except OSError:
        return known, True
    if known.offset != start:
        _save_cache(folder, known)
    return known, complete


def _add_block(known: Tally, block: bytes) -> bytes:
    """Count the complete lines of a block; return the rest, a line without its end."""
    whole = block.rfind(b"\n") + 1
    for figures in scan_journal_lines(block[:whole]):
        line = figures[-1]
        if line:
            found = peek_event_line(line)
            if found is not None:
                _count_event(known, *found)
        elif figures[0]:
            _count_scanned_step(known, figures)
        elif figures[-2]:
            with contextlib.suppress(ValueError):
                _pass_time(known, float(figures[-2]))
    known.offset += whole
    return block[whole:]


def _count_scanned_step(known: Tally, figures: Figures) -> None:
    """Count a step from the figures that `scan_journal_lines` found in its line."""
    when, step, _epoch, loss, _rate, _norm, _trained, _memory, seconds, _metrics, mfu, busy, *_rest = figures
    try:
        time, number, took = float(when), int(step), float(seconds)
        last = known.loss if loss == b"null" else float(loss)
        used = float(mfu) if mfu else None, float(busy) if busy else None
    # `scan_journal_lines` does not check numbers: `1.2.3` may be among them.
    except ValueError:
        return
    _pass_time(known, time)
    known.step, known.loss = number, last
    known.training_seconds += took
    _add_use(known, took, *used)


def _add_use(known: Tally, seconds: float, mfu: float | None, busy: float | None) -> None:
    """Add the use of a GPU over these seconds."""
    for total, share in ((known.mfu, mfu), (known.gpu_busy, busy)):
        if share is not None and math.isfinite(share):
            total[0] += share * seconds
            total[1] += seconds


def _pass_time(known: Tally, time: float) -> None:
    if known.last_time and 0 < time - known.last_time < _SILENCE:
        known.paid_seconds += time - known.last_time
    if time:
        known.last_time = time


def _count_event(known: Tally, kind: type[EventBody], data: dict[str, Any]) -> None:
    version = data.get("v")
    _pass_time(known, read_event_moment(data))
    # `type`, as JSON's true would be an int of 1.
    if type(version) is int and version > known.newest_version:
        known.newest_version = version
    if kind is Step:
        _count_step(known, data)
    elif kind in _HANDLERS:
        body = make_event_body(kind, data)
        # An event with a damaged number is read as Unknown.
        if type(body) is kind:
            _HANDLERS[kind](known, body)


def _count_step(known: Tally, data: dict[str, Any]) -> None:
    """Count a step from its raw values: making an event would take most of the time of a long journal."""
    step = data.get("step")
    if type(step) is not int:
        return
    known.step = step
    seconds, loss = read_float(data.get("seconds")), read_float(data.get("loss"))
    if seconds is not None and math.isfinite(seconds):
        known.training_seconds += seconds
        _add_use(known, seconds, read_float(data.get("mfu")), read_float(data.get("gpu_busy")))
    if loss is not None:
        known.loss = loss


def _count_start(known: Tally, body: RunStarted) -> None:
    if known.started is None:
        known.started = known.last_time
    else:
        known.resumes += 1
    if body.resumed_from is not None:
        _go_back(known, body.resumed_from)
    if body.total_steps is not None:
        known.total_steps = body.total_steps
    known.device = body.device
    for name, metric in body.metrics.items():
        if isinstance(metric, dict) and isinstance(metric.get("higher_is_better"), bool):
            known.directions[str(name)] = metric["higher_is_better"]
    known.message = known.hint = known.verdict = ""
    known.since_step = None


def _note_rollback(known: Tally, body: RolledBack) -> None:
    _go_back(known, body.step)


def _go_back(known: Tally, step: int) -> None:
    known.step = step
    # Evaluations after this step belong to a history that was discarded.
    known.evaluations = [item for item in known.evaluations if item[0] <= step]


def _note_phase(known: Tally, body: Phase) -> None:
    if body.name == "training" and body.total:
        known.total_steps = body.total


def _note_evaluation(known: Tally, body: Evaluation) -> None:
    known.evaluations.append([body.step, rename_metrics(body.metrics)])
    # The summary is rewritten after each read, so it must not grow with the run.
    del known.evaluations[:-_MOST_EVALUATIONS]


def _count_checkpoint(known: Tally, _: CheckpointSaved) -> None:
    known.checkpoints += 1


def _count_warning(known: Tally, _: Warned | OutOfMemory) -> None:
    known.warnings += 1


def _model_source(known: Tally, body: ModelSource) -> None:
    known.model_from = body.source_text


def _note_verdict(known: Tally, body: Verdict) -> None:
    known.verdict, known.since_step = body.verdict, body.since_step


def _note_end(known: Tally, body: Finished) -> None:
    known.message, known.hint = body.message, body.hint


def _note_resolved(known: Tally, body: Resolved) -> None:
    if body.field == "evaluation.best":
        known.judged_by = str(body.value)


_HANDLERS: dict[type[EventBody], Callable[[Tally, Any], None]] = {
    RunStarted: _count_start,
    RolledBack: _note_rollback,
    Phase: _note_phase,
    Resolved: _note_resolved,
    Evaluation: _note_evaluation,
    Verdict: _note_verdict,
    CheckpointSaved: _count_checkpoint,
    Warned: _count_warning,
    OutOfMemory: _count_warning,
    Finished: _note_end,
    ModelSource: _model_source,
}


def _cache_path(folder: RunFolder) -> Path:
    return folder.path / CACHE


def _load_cache(folder: RunFolder) -> Tally:
    """Read the stored sums; empty if they are missing, damaged or of another version."""
    try:
        data = orjson.loads(read_small_file(_cache_path(folder)))
    except (OSError, ValueError):
        return Tally()
    if not isinstance(data, dict) or data.pop("cache", None) != _CACHE_VERSION:
        return Tally()
    data["loss"] = read_float(data.get("loss"))
    empty = Tally()
    for item in fields(Tally):
        value = data.get(item.name)
        default = getattr(empty, item.name)
        # The file may be edited or damaged: one wrong type, and the journal is read again.
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


def _save_cache(folder: RunFolder, known: Tally) -> None:
    # A folder that cannot be written (read-only, full) only costs the time of reading the journal again.
    with contextlib.suppress(DiskFullError, TypeError):
        kept = convert_to_plain_json({"cache": _CACHE_VERSION, **asdict(known)}, spelt=True)
        folder.write_file(CACHE, orjson.dumps(kept).decode())
