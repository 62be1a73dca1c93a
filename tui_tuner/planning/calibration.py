"""Measured memory beside the prediction, kept for this machine, so that it learns what the ledger missed."""

from __future__ import annotations

import json
import math
import os
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path

from tui_tuner.planning.estimate import Estimate
from tui_tuner.planning.gpus import Card
from tui_tuner.text import one_line

KEPT = 200  # measurements; older ones are dropped
LARGE = 1.0  # GiB allocated from which on the allocator's cache is a share; below, it is a few segments
MOST_CONTEXT = 8.0  # GiB; more outside of torch's allocator is somebody else's


@dataclass(frozen=True)
class Measured:
    """Peaks of a real run in GiB: torch's counters, and what the driver shows for the process.

    `held` is what the allocator holds while the driver is asked, which may be less than at its peak.
    """

    allocated: float
    reserved: float
    device: float
    held: float | None = None

    @property
    def cache(self) -> float:
        """What the allocator holds at its peak beyond the peak of the tensors."""
        return self.reserved - self.allocated

    @property
    def context(self) -> float:
        """What the process takes on the device beside torch's allocator."""
        return self.device - (self.reserved if self.held is None else self.held)


@dataclass(frozen=True)
class Learned:
    """What past runs on one kind of GPU say: medians, and how many runs they rest on.

    `context` in GiB; `residual` is reserved beyond allocated as a share, None where no run was large enough
    to tell; `error` is measured against predicted allocated, as a share.
    """

    runs: int
    context: float
    residual: float | None
    error: float


def calibration_file() -> Path:
    """Where measurements of this machine are kept (XDG data folder)."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "tui-tuner" / "memory.jsonl"


def difference(predicted: Estimate, measured: Measured) -> float:
    """Measured allocated peak against the predicted one, as a share."""
    return measured.allocated / predicted.allocated - 1


def record(gpu: str, predicted: Estimate, measured: Measured, path: Path | None = None) -> bool:
    """Append a measurement; False where the disk refuses, which never harms a run."""
    path = path or calibration_file()
    entry = {
        "time": time.time(),
        "gpu": one_line(gpu),
        "predicted_gib": predicted.allocated,
        "allocated_gib": measured.allocated,
        "reserved_gib": measured.reserved,
        "device_gib": measured.device,
        "cache_gib": measured.cache,
        "context_gib": measured.context,
        "stack": predicted.stack,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text(encoding="utf-8").splitlines()[-(KEPT - 1) :] if path.exists() else []
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        beside.write_text("\n".join([*lines, json.dumps(entry)]) + "\n", encoding="utf-8")
        beside.replace(path)
    except OSError:
        return False
    return True


def learned(gpu: str, path: Path | None = None) -> Learned | None:
    """What is known of a kind of GPU on this machine; None if nothing is. Damaged lines are passed over."""
    path = path or calibration_file()
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    context, residual, error = [], [], []
    for line in lines:
        try:
            entry = json.loads(line)
            if entry["gpu"] != one_line(gpu):
                continue
            allocated, reserved = float(entry["allocated_gib"]), float(entry["reserved_gib"])
            shares = (reserved / allocated - 1, allocated / float(entry["predicted_gib"]) - 1)
            outside = float(entry.get("context_gib", float(entry["device_gib"]) - reserved))
        except (ValueError, KeyError, TypeError, ZeroDivisionError):
            continue
        if not all(math.isfinite(value) for value in (*shares, outside)) or not 0 <= outside < MOST_CONTEXT:
            continue
        context.append(outside)
        error.append(shares[1])
        if allocated >= LARGE:
            residual.append(shares[0])
    if not context:
        return None
    cache = statistics.median(residual) if residual else None
    return Learned(len(context), statistics.median(context), cache, statistics.median(error))


def calibrated(card: Card, path: Path | None = None) -> Card:
    """A GPU of this machine with the context and allocator cache that runs on it have shown."""
    known = None if card.cpu else learned(card.name, path)
    if known is None:
        return card
    return replace(card, context=known.context, cache=known.residual, error=known.error, runs=known.runs)
