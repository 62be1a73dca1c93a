"""Measured memory next to the predicted one, kept for this machine to correct what the ledger misses."""

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
LARGE = 1.0  # GiB allocated from which on the cache is a steady share; below, it is a few segments
MOST_CONTEXT = 8.0  # GiB; more than this outside torch's allocator belongs to another process


@dataclass(frozen=True)
class MeasuredPeaks:
    """Peaks of a real run in GiB: torch's counters, and what the driver shows for the process.

    `held` is what the allocator holds while the driver is asked, which may be less than at its peak.
    """

    allocated: float
    reserved: float
    device: float
    held: float | None = None

    @property
    def allocator_cache(self) -> float:
        """Return the allocator's peak beyond the peak of the tensors, in GiB."""
        return self.reserved - self.allocated

    @property
    def process_context(self) -> float:
        """Return the process's memory on the device outside torch's allocator, in GiB."""
        return self.device - (self.reserved if self.held is None else self.held)


@dataclass(frozen=True)
class LearnedMemory:
    """Medians of past runs on one kind of GPU, and how many runs they rest on.

    `context` in GiB; `residual` is reserved beyond allocated as a share, None where no run was large enough
    to tell; `error` is measured against predicted allocated, as a share.
    """

    runs: int
    context: float
    residual: float | None
    error: float


def locate_calibration() -> Path:
    """Return the file with the measurements of this machine (in the XDG data folder)."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "tui-tuner" / "memory.jsonl"


def compare_peaks(predicted: Estimate, measured: MeasuredPeaks) -> float:
    """Return by what share the measured allocated peak differs from the predicted one."""
    return measured.allocated / predicted.allocated - 1


def record_peaks(gpu: str, predicted: Estimate, measured: MeasuredPeaks, path: Path | None = None) -> bool:
    """Append a measurement; return False if the disk refuses it, which must not fail the run."""
    path = path or locate_calibration()
    entry = {
        "time": time.time(),
        "gpu": one_line(gpu),
        "predicted_gib": predicted.allocated,
        "allocated_gib": measured.allocated,
        "reserved_gib": measured.reserved,
        "device_gib": measured.device,
        "cache_gib": measured.allocator_cache,
        "context_gib": measured.process_context,
        "stack": predicted.stack,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Only the newest stay, so that a new driver or torch replaces what was learned with the old one
        lines = path.read_text(encoding="utf-8").splitlines()[-(KEPT - 1) :] if path.exists() else []
        # Renamed into place: runs that end at the same time must not cut each other's lines
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        beside.write_text("\n".join([*lines, json.dumps(entry)]) + "\n", encoding="utf-8")
        beside.replace(path)
    except OSError:
        return False
    return True


def read_learned(gpu: str, path: Path | None = None) -> LearnedMemory | None:
    """Return what is known of a kind of GPU on this machine, or None. Damaged lines are skipped."""
    path = path or locate_calibration()
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    context, residual, error = [], [], []
    for line in lines:
        try:
            entry = json.loads(line)
            # A data folder may be shared by machines with other GPUs
            if entry["gpu"] != one_line(gpu):
                continue
            allocated, reserved = float(entry["allocated_gib"]), float(entry["reserved_gib"])
            # A damaged or edited line may hold anything: each value is checked before it counts
            shares = (reserved / allocated - 1, allocated / float(entry["predicted_gib"]) - 1)
            outside = float(entry.get("context_gib", float(entry["device_gib"]) - reserved))
        except (ValueError, KeyError, TypeError, ZeroDivisionError):
            continue
        if not all(math.isfinite(value) for value in (*shares, outside)) or not 0 <= outside < MOST_CONTEXT:
            continue
        context.append(outside)
        error.append(shares[1])
        # In small runs whole segments of the allocator dominate the share, which then says nothing about
        # large ones
        if allocated >= LARGE:
            residual.append(shares[0])
    if not context:
        return None
    # Medians, so that one run next to another program on the same GPU does not count
    cache = statistics.median(residual) if residual else None
    return LearnedMemory(len(context), statistics.median(context), cache, statistics.median(error))


def calibrate_card(card: Card, path: Path | None = None) -> Card:
    """Return a GPU with the context and allocator cache that earlier runs on it have shown."""
    known = None if card.cpu else read_learned(card.name, path)
    if known is None:
        return card
    return replace(card, context=known.context, cache=known.residual, error=known.error, runs=known.runs)
