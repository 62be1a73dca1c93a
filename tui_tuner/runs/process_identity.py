"""Identify a process beyond its number: its start in clock ticks since the boot, and the boot.

A start as a time of day moves when the clock is stepped (NTP, a virtual machine that was suspended), because
the system counts ticks since the boot and derives the time of day from the current clock. Source:
proc_pid_stat(5), field 22 (starttime); random(4), boot_id.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil

_PROC = Path("/proc")
# Field 22 of the line, counted after the name in brackets (which may hold blanks), where field 3 is the
# first.
_START_FIELD = 19


def identify_process(pid: int) -> dict[str, Any]:
    """Return what distinguishes a process from another one with the same number.

    Raises:
        psutil.Error: there is no such process.
    """
    started = psutil.Process(pid).create_time()
    # An older version that takes the run later writes its own `process_started` and leaves the rest, so
    # `process` counts only if it repeats the same start.
    return {
        "process_started": started,
        "process": {"started": started, "ticks": _start_ticks(pid), "boot": _read_boot_id()},
    }


def is_process_alive(pid: int, known: dict[str, Any]) -> bool:
    """Return whether the process with this `identify_process` is alive.

    Raises:
        psutil.Error: there is no such process.
        KeyError, TypeError, ValueError: `known` is damaged.
    """
    process = psutil.Process(pid)
    if process.status() == psutil.STATUS_ZOMBIE:
        return False
    started, exact = known["process_started"], known.get("process")
    if isinstance(exact, dict) and exact.get("started") == started:
        now = {"started": started, "ticks": _start_ticks(pid), "boot": _read_boot_id()}
        if None not in now.values() and None not in (exact.get("ticks"), exact.get("boot")):
            return exact == now
    # Written by an older version, or the exact start is not readable here: the time of day has to do.
    return abs(process.create_time() - float(started)) < 1.0


def _start_ticks(pid: int) -> int | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        return int(text.rpartition(")")[2].split()[_START_FIELD])
    except (OSError, ValueError, IndexError):
        return None  # not Linux, or hidden from us


def _read_boot_id() -> str | None:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return None
