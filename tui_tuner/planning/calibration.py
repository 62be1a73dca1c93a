"""Measured memory beside the prediction, kept for this machine, so that it learns what the ledger missed."""

from __future__ import annotations

import json
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from tui_tuner.planning.estimate import Estimate
from tui_tuner.text import one_line

KEPT = 200  # measurements; older ones are dropped


@dataclass(frozen=True)
class Measured:
    """Peaks of a real run in GiB: torch's counters, and what the driver shows for the process."""

    allocated: float
    reserved: float
    device: float


@dataclass(frozen=True)
class Learned:
    """What past runs on one kind of GPU say: medians, and how many runs they rest on.

    `residual` is reserved beyond allocated as a share; `error` is measured against predicted allocated.
    """

    runs: int
    context: float
    residual: float
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
            outside = float(entry["device_gib"]) - reserved
        except (ValueError, KeyError, TypeError, ZeroDivisionError):
            continue
        context.append(outside)
        residual.append(shares[0])
        error.append(shares[1])
    if not context:
        return None
    return Learned(
        len(context), statistics.median(context), statistics.median(residual), statistics.median(error)
    )
