"""What torch's profiler recorded: kernels, the time that the GPU was busy, launches of our own operations."""

from __future__ import annotations

import json
import tempfile
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COPIES = ("gpu_memcpy", "gpu_memset")
LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernelEx")


@dataclass(frozen=True)
class Busy:
    """Kernels and copies of a GPU, and the seconds in which any of them ran."""

    kernels: int
    copies: int
    seconds: float


def busy(events: Sequence[dict[str, Any]]) -> Busy:
    """Of the events of a trace; kernels of several streams that run at once count once."""
    kernels = [event for event in events if event.get("cat") == "kernel"]
    copies = [event for event in events if event.get("cat") in COPIES]
    spans = sorted(
        (float(event["ts"]), float(event["ts"]) + float(event["dur"])) for event in kernels + copies
    )
    total, end = 0.0, float("-inf")
    for start, stop in spans:
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return Busy(len(kernels), len(copies), total / 1e6)


def launches_by_operation(events: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, float]:
    """Kernels that one call of each of these operations launched, on average; those that were not called are
    left out."""
    launched: dict[Any, list[float]] = {}
    for event in events:
        if event.get("cat") in ("cuda_runtime", "cuda_driver") and event.get("name") in LAUNCHES:
            launched.setdefault(event.get("tid"), []).append(float(event["ts"]))
    for times in launched.values():
        times.sort()
    calls: dict[str, int] = {}
    counts: dict[str, int] = {}
    for event in events:
        name = event.get("name")
        if event.get("cat") != "cpu_op" or name not in names:
            continue
        times, start = launched.get(event.get("tid"), []), float(event["ts"])
        calls[name] = calls.get(name, 0) + 1
        inside = bisect_left(times, start + float(event["dur"])) - bisect_left(times, start)
        counts[name] = counts.get(name, 0) + inside
    return {name: counts[name] / calls[name] for name in calls}


class Recorder:
    """Profiles some steps in a row: call `step_begins` before each step of a program.

    Args:
        first: The number of the first step under the profiler, from 0.
        count: How many.
        tokens: Gives the tokens that were computed so far.
    """

    def __init__(self, first: int, count: int, tokens: Callable[[], int]) -> None:
        self.first, self.count, self._tokens = first, count, tokens
        self._step, self._profile, self._before = 0, None, 0
        self.found: dict[str, Any] = {}

    def step_begins(self) -> None:
        if self._step == self.first:
            self._begin()
        elif self._step == self.first + self.count:
            self.end()
        self._step += 1

    def _begin(self) -> None:
        import torch
        from torch.profiler import ProfilerActivity, profile

        if not torch.cuda.is_available():
            return
        torch.cuda.synchronize()
        self._before = self._tokens()
        self._profile = profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA])
        self._profile.__enter__()  # type: ignore[attr-defined]

    def end(self) -> None:
        """Stop, and read what was recorded; nothing where it had not begun."""
        import torch

        running: Any = self._profile
        if running is None:
            return
        self._profile = None
        torch.cuda.synchronize()
        running.__exit__(None, None, None)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.json"
            running.export_chrome_trace(str(path))
            events = json.loads(path.read_text(encoding="utf-8", errors="replace"))["traceEvents"]
        seen = busy(events)
        tokens = self._tokens() - self._before
        self.found = {
            "launches": round(seen.kernels / self.count),
            "copies": round(seen.copies / self.count),
            "busy_seconds_a_token": seen.seconds / tokens if tokens else None,
            "operations": launches_by_operation(events, _own_operations()),
        }


def _own_operations() -> list[str]:
    try:
        from tui_tuner.compute.kernels.kernel_launches import LAUNCHES as declared
    except ImportError:
        return []
    return list(declared)
