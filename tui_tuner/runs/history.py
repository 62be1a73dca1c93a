"""What can be said about runs without opening a screen: one summary each, from the journal and the folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tui_tuner.errors import TunerError
from tui_tuner.runs.journal import JournalReader
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.runs.view import RunView, fold


def summaries(store: RunStore) -> Iterator[dict[str, Any]]:
    """A summary of each run, newest first."""
    for folder in store.runs():
        yield summary(folder)


def view_of(folder: RunFolder) -> RunView:
    """The whole journal, folded."""
    return fold(RunView(), JournalReader(folder.events).read())


def summary(folder: RunFolder) -> dict[str, Any]:
    """Name, state, what was trained, how far it came, last and best loss, time, disk use [bytes].

    A damaged config or journal leaves fields empty instead of failing.
    """
    view = view_of(folder)
    try:
        config = folder.config()
        task, model, method = config.task, config.model.name, config.method.kind
        price = config.hardware.price_per_hour
    except TunerError:
        task = model = method = ""
        price = None
    losses = [point.loss for point in view.steps if point.loss is not None]
    held_out = [point.metrics["loss"] for point in view.evaluations if point.metrics.get("loss") is not None]
    seconds = sum(point.seconds for point in view.steps)
    return {
        "name": folder.name,
        "folder": str(folder.path),
        "state": folder.state(),
        "task": task,
        "model": model,
        "method": method,
        "started": view.started or None,
        "step": view.step,
        "total_steps": view.total_steps,
        "loss": losses[-1] if losses else None,
        "best_validation_loss": min(held_out, default=None),  # type: ignore[type-var]
        "training_seconds": round(seconds, 1),
        "cost": round(seconds / 3600 * price, 4) if price is not None else None,
        "resumes": view.resumes,
        "message": view.message,
        "bytes": disk_use(folder.path),
    }


def disk_use(path: Path) -> int:
    """Bytes below a folder; links are not followed."""
    total = 0
    for root, _, files in os.walk(path):
        for name in files:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except OSError:
                continue
    return total
