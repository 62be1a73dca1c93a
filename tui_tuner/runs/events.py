"""The journal's vocabulary: `{"v":1,"run":…,"seq":…,"time":…,"rank":0,"kind":…,…}`, a line each.

Kinds and their fields (units in brackets):

- `run_started`: config (dict), versions, device, process, resumed_from (step or null), total_steps (or null)
- `phase`: name (loading, tokenizing, training, evaluating, sampling, saving), done, total, note
- `resolved`: field, value, why: what an `auto` became
- `ledger`: the row ledger (data.ledger)
- `step`: step, epoch, loss, learning_rate, grad_norm, supervised_tokens, tokens, tokens_per_second,
  memory_allocated, memory_reserved [bytes], seconds
- `memory`: predicted_allocated, predicted_reserved, predicted_device, allocated, reserved, device (null if
  others use it too) [bytes], difference (share), verified; once, on a GPU, after the first steps
- `duration`: of the whole run: seconds, low, high, cost, cost_high; spent [seconds], cost_spent; basis;
  corrected_by: steps of this run it rests on, 0 as planned before the first
- `evaluation`: step, metrics {name: value}
- `checkpoint`: step, path, best (bool), bytes, seconds (until it was whole), held (of these, training stood
  still); after the atomic rename
- `sample`: step, index, stage (before, during, after), prompt, text, reference, stopped (by a stop token)
- `warning`: code, message, hint
- `out_of_memory`: step, place, micro_batch [before, after], message
- `log`: level, message
- `heartbeat`: step, memory_host [bytes]; every 5 s
- `rolled_back`: step: what came after it is void, and is done again with a lower learning rate
- `command`: command: a control command that was carried out
- `finished`: status (completed, stopped, failed), exit_code, message, hint; exactly once per process
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

VERSION = 1


@dataclass(frozen=True)
class Event:
    """One line of a journal. `fields` holds what belongs to its kind."""

    kind: str
    run: str = ""
    seq: int = 0
    time: float = 0.0
    rank: int = 0
    fields: Mapping[str, Any] = field(default_factory=dict)
    version: int = VERSION

    def get(self, name: str, default: Any = None) -> Any:
        return self.fields.get(name, default)


class Sink(Protocol):
    """Where the training core speaks to. `emit` never blocks for long and never raises."""

    def emit(self, kind: str, **fields: Any) -> None: ...


def encode(event: Event) -> bytes:
    """One line, newline included. Non-finite floats become null; what JSON cannot hold becomes its text."""
    head = {
        "v": event.version,
        "run": event.run,
        "seq": event.seq,
        "time": event.time,
        "rank": event.rank,
        "kind": event.kind,
    }
    head.update(event.fields)
    return orjson.dumps(plain(head), default=str) + b"\n"


def decode(line: bytes) -> Event | None:
    """An event, or None for a line that is none (torn, damaged, not ours). Newer versions are accepted."""
    try:
        data = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(data, dict) or not isinstance(data.get("kind"), str):
        return None
    try:
        return Event(
            kind=data.pop("kind"),
            run=str(data.pop("run", "")),
            seq=int(data.pop("seq", 0)),
            time=float(data.pop("time", 0.0) or 0.0),
            rank=int(data.pop("rank", 0)),
            version=int(data.pop("v", VERSION)),
            fields=data,
        )
    except (TypeError, ValueError, OverflowError):
        return None


def plain(value: Any) -> Any:
    """A copy that JSON can hold: no NaN, no infinity, no lone surrogates, string keys."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else float(value) if abs(value) < 2**1000 else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return str(value)
