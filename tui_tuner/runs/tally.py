"""What a journal adds up to, without folding all of it again: one pass, kept in the run folder.

A journal of 100 MB takes about a second to read. So the sums are kept beside it in `.summary.json`, together
with how far they reach, and only what was appended since is read the next time.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import orjson

from tui_tuner.errors import DiskFullError
from tui_tuner.runs.events import VERSION
from tui_tuner.runs.store import RunFolder

CACHE = ".summary.json"
_CACHE_VERSION = 1
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
    device: str = ""
    message: str = ""
    hint: str = ""

    def best(self, metric: str) -> float | None:
        """The best value of a metric over the evaluations that are part of the run's history."""
        values = [
            metrics[metric] for _, metrics in self.evaluations if isinstance(metrics.get(metric), int | float)
        ]
        pick = min if lower_is_better(metric) else max
        return float(pick(values)) if values else None


def lower_is_better(metric: str) -> bool:
    """Whether a smaller value of a metric is the better one: losses, perplexities, error rates."""
    return any(part in metric for part in ("loss", "perplexity", "error", "wer", "cer"))


def tally(folder: RunFolder, may_read: int | None = None) -> tuple[Tally, bool]:
    """The sums of a run's journal, and whether they reach to its end.

    Args:
        folder: The run.
        may_read: Bytes that may be read now; None reads to the end. What was read is kept for the next time.
    """
    known = _load(folder)
    try:
        with open(folder.events, "rb") as journal:
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
    for line in block[:whole].split(b"\n"):
        if not line:
            continue
        try:
            event = orjson.loads(line)
            if isinstance(event, dict):
                _count(known, event)
        except (ValueError, TypeError, KeyError, OverflowError, AttributeError):
            continue  # a damaged line costs itself and no other
    known.offset += whole
    return block[whole:]


def _count(known: Tally, event: dict[str, Any]) -> None:
    time = float(event.get("time") or 0.0)
    if known.last_time and 0 < time - known.last_time < _SILENCE:
        known.paid_seconds += time - known.last_time
    if time > 0:
        known.last_time = time
    known.newest_version = max(known.newest_version, int(event.get("v") or 1))
    handler = _HANDLERS.get(event.get("kind") or "")
    if handler is not None:
        handler(known, event)


def _started(known: Tally, event: dict[str, Any]) -> None:
    if known.started is None:
        known.started = float(event.get("time") or 0.0)
    else:
        known.resumes += 1
    resumed = event.get("resumed_from")
    if isinstance(resumed, int):
        _back_to(known, resumed)
    if isinstance(event.get("total_steps"), int):
        known.total_steps = event["total_steps"]
    known.device = str(event.get("device") or "")
    known.message = known.hint = ""


def _rolled_back(known: Tally, event: dict[str, Any]) -> None:
    _back_to(known, int(event["step"]))


def _back_to(known: Tally, step: int) -> None:
    known.step = step
    known.evaluations = [item for item in known.evaluations if item[0] <= step]


def _phase(known: Tally, event: dict[str, Any]) -> None:
    if event.get("name") == "training" and event.get("total"):
        known.total_steps = int(event["total"])


def _step(known: Tally, event: dict[str, Any]) -> None:
    known.step = int(event["step"])
    seconds, loss = event.get("seconds"), event.get("loss")
    if isinstance(seconds, int | float):
        known.training_seconds += seconds
    if isinstance(loss, int | float):
        known.loss = float(loss)


def _evaluation(known: Tally, event: dict[str, Any]) -> None:
    metrics = {str(name): value for name, value in (event.get("metrics") or {}).items()}
    known.evaluations.append([int(event.get("step") or 0), metrics])
    del known.evaluations[:-_MOST_EVALUATIONS]


def _checkpoint(known: Tally, _: dict[str, Any]) -> None:
    known.checkpoints += 1


def _warning(known: Tally, _: dict[str, Any]) -> None:
    known.warnings += 1


def _finished(known: Tally, event: dict[str, Any]) -> None:
    known.message, known.hint = str(event.get("message") or ""), str(event.get("hint") or "")


_HANDLERS: dict[str, Callable[[Tally, dict[str, Any]], None]] = {
    "run_started": _started,
    "rolled_back": _rolled_back,
    "phase": _phase,
    "step": _step,
    "evaluation": _evaluation,
    "checkpoint": _checkpoint,
    "warning": _warning,
    "out_of_memory": _warning,
    "finished": _finished,
}


def _path(folder: RunFolder) -> Path:
    return folder.path / CACHE


def _load(folder: RunFolder) -> Tally:
    """The kept sums, or empty ones where they are missing, damaged or of another version."""
    try:
        data = orjson.loads(_path(folder).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return Tally()
    if not isinstance(data, dict) or data.pop("cache", None) != _CACHE_VERSION:
        return Tally()
    plain = Tally()
    for item in fields(Tally):
        value = data.get(item.name)
        default = getattr(plain, item.name)
        if not isinstance(value, (int, float) if isinstance(default, float) else type(default)):
            if item.name in ("started", "loss") and (value is None or isinstance(value, int | float)):
                continue
            return Tally()
    if not all(
        isinstance(item, list) and len(item) == 2 and isinstance(item[0], int) and isinstance(item[1], dict)
        for item in data["evaluations"]
    ):
        return Tally()
    return Tally(**{item.name: data[item.name] for item in fields(Tally)})


def _save(folder: RunFolder, known: Tally) -> None:
    # A folder that cannot be written (read-only, full) only costs the time of reading it again.
    with contextlib.suppress(DiskFullError, TypeError):
        folder.write(CACHE, orjson.dumps({"cache": _CACHE_VERSION, **asdict(known)}).decode())
