"""The kernel's log, where it may be read: what it says of killed processes and of GPU faults."""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path

import psutil

PATH = Path("/dev/kmsg")
_WANTED = ("Killed process", "oom-kill:", "NVRM: Xid", "fallen off the bus")
_MOST_RECORDS = 20_000


def records(since: float = 0.0, wanted: tuple[str, ...] = _WANTED) -> list[str]:
    """Texts of the records that hold one of the wanted words; empty where the log may not be read.

    Args:
        since: Seconds since the epoch; older records are left out.
        wanted: Words to look for, of those that are kept.
    """
    earliest = since - psutil.boot_time() if since else 0.0
    return after(list(_kept(int(time.monotonic() // 10))), earliest, wanted)


def after(raw: list[str], earliest: float, wanted: tuple[str, ...] = _WANTED) -> list[str]:
    """Texts of raw records `priority,sequence,microseconds since boot,flags;text` from `earliest` [s] on."""
    found = []
    for record in raw:
        head, _, text = record.partition(";")
        stamp = head.split(",")[2:3]
        old = bool(stamp) and stamp[0].isdigit() and int(stamp[0]) / 1e6 < earliest
        if not old and any(word in text for word in wanted):
            found.append(text.split("\n")[0])
    return found


@functools.lru_cache(maxsize=1)
def _kept(_moment: int) -> tuple[str, ...]:
    """The raw records; read at most every ten seconds, for a list of many runs asks many times."""
    found: list[str] = []
    try:
        fd = os.open(PATH, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return ()
    try:
        for _ in range(_MOST_RECORDS):
            try:
                record = os.read(fd, 8192).decode("utf-8", "replace")
            except BrokenPipeError:  # this record was overwritten while we read
                continue
            if any(word in record for word in _WANTED):
                found.append(record)
    except OSError:  # nothing more
        pass
    finally:
        os.close(fd)
    return tuple(found)
