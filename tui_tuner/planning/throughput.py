"""Speed that runs of the same kind have reached on this machine, from their journals."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import TunerError
from tui_tuner.runs.events import EventBody, RunStarted, Step
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.runs.wire import decode_event_line

LOOKED_AT = 20  # newest runs
TAIL = 128 * 1024  # bytes of a journal that are read
FEWEST = 3  # steps a speed rests on
WARM_UP = 2  # first steps, which are slower


@dataclass(frozen=True)
class Speed:
    """Tokens (trained or not) per second of optimizer steps, and the run that reached it."""

    tokens_per_second: float
    run: str
    steps: int


def find_measured_throughput(config: RunConfig, on_gpu: bool, root: str | Path | None = None) -> Speed | None:
    """Return the speed of the newest run with the same model, method and kind of device, or None.

    Args:
        on_gpu: Whether the planned run trains on a GPU of this machine.
        root: Folder of the runs; the config's own otherwise.
    """
    return match_throughput(config, on_gpu, list_recent_runs(root or config.output.folder))


def list_recent_runs(root: str | Path) -> Iterator[tuple[RunFolder, RunConfig]]:
    """Yield the newest runs of a folder with their configs; damaged ones are skipped."""
    try:
        # The newest runs only: a folder may hold thousands
        folders = list(itertools.islice(RunStore(root).list_runs(), LOOKED_AT))
    except (TunerError, OSError):
        return
    for folder in folders:
        try:
            config = folder.load_config()
        except (TunerError, OSError):
            continue
        yield folder, config


def match_throughput(
    config: RunConfig, on_gpu: bool, runs: Iterable[tuple[RunFolder, RunConfig]]
) -> Speed | None:
    """Return the speed of the first of these runs that is of the same kind, or None."""
    kind = _describe_kind(config)
    for folder, other in runs:
        found = _measure_speed(folder, on_gpu) if _describe_kind(other) == kind else None
        if found is not None:
            return found
    return None


def _describe_kind(config: RunConfig) -> tuple[Any, ...]:
    model, method = config.model, config.method
    shape = json.dumps(model.architecture, sort_keys=True) if model.architecture else model.name
    checkpointing = config.training.gradient_checkpointing
    layers = method.layers if method.reads_field("layers") else None
    return shape, model.quantization, model.dtype, method.kind, layers, checkpointing, config.task


def _measure_speed(folder: RunFolder, on_gpu: bool) -> Speed | None:
    """Return tokens per second over the last steps of a journal; None for the other kind of device."""
    try:
        with open(folder.events_path, "rb") as file:
            # Journals can be large: the device is named at the beginning, recent speed is at the end
            head = file.read(TAIL)
            file.seek(max(0, file.seek(0, 2) - TAIL))
            tail = file.read()
    except OSError:
        return None
    device = next((body.device for body in _decode_bodies(head) if isinstance(body, RunStarted)), None)
    # A run on the other kind of device says nothing about this one
    if device is None or device.lower().startswith("cpu") == on_gpu:
        return None
    # The first steps are slower than the rest: kernels are loaded and memory is allocated
    steps = [body for body in _decode_bodies(tail) if isinstance(body, Step) and body.step > WARM_UP]
    seconds = sum(body.seconds for body in steps if math.isfinite(body.seconds))
    tokens = sum(body.tokens for body in steps)
    if len(steps) < FEWEST or seconds <= 0 or tokens <= 0:
        return None
    return Speed(tokens / seconds, folder.name, len(steps))


def _decode_bodies(data: bytes) -> list[EventBody]:
    """Decode the events in a piece of a journal; truncated or damaged lines are skipped."""
    return [event.body for line in data.splitlines() if (event := decode_event_line(line))]
