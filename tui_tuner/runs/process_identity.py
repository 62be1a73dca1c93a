"""Which process a number means: its start in clock ticks since the boot, and the boot.

A start as a time of day moves when somebody steps the clock (NTP, a virtual machine that was suspended), for
the system counts in ticks since the boot and reckons from the clock when that was. Source: proc_pid_stat(5),
field 22 (starttime); random(4), boot_id.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil

_PROC = Path("/proc")
_START_FIELD = 19  # of those behind the name in brackets, which may hold blanks: field 22, and the first is 3


def identity(pid: int) -> dict[str, Any]:
    """What tells a process from another of the same number.

    Raises:
        psutil.Error: there is no such process.
    """
    started = psutil.Process(pid).create_time()
    # An older version that takes the run later writes its own `process_started` and leaves the rest: what
    # belongs to another start does not count
    return {
        "process_started": started,
        "process": {"started": started, "ticks": _start_ticks(pid), "boot": _boot()},
    }


def runs_still(pid: int, known: dict[str, Any]) -> bool:
    """Whether the process with this `identity` is alive.

    Raises:
        psutil.Error: there is no such process.
        KeyError, TypeError, ValueError: `known` is damaged.
    """
    process = psutil.Process(pid)
    if process.status() == psutil.STATUS_ZOMBIE:
        return False
    started, exact = known["process_started"], known.get("process")
    if isinstance(exact, dict) and exact.get("started") == started:
        now = {"started": started, "ticks": _start_ticks(pid), "boot": _boot()}
        if None not in now.values() and None not in (exact.get("ticks"), exact.get("boot")):
            return exact == now
    return abs(process.create_time() - float(started)) < 1.0


def _start_ticks(pid: int) -> int | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        return int(text.rpartition(")")[2].split()[_START_FIELD])
    except (OSError, ValueError, IndexError):
        return None  # not Linux, or hidden from us


def _boot() -> str | None:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return None
