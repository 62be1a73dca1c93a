"""Read the kernel's log, if permitted, for killed processes and GPU faults."""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path

import psutil

PATH = Path("/dev/kmsg")
_WANTED = ("Killed process", "oom-kill:", "NVRM: Xid", "fallen off the bus")
_MOST_RECORDS = 20_000


def read_kernel_records(since: float = 0.0, wanted: tuple[str, ...] = _WANTED) -> list[str]:
    """Return the texts of records that contain one of the wanted words; empty if the log is not readable.

    Args:
        since: Seconds since the epoch; older records are left out.
        wanted: Words to look for; only records with one of `_WANTED` are available.
    """
    earliest = since - psutil.boot_time() if since else 0.0
    return filter_kernel_records(list(_read_kept(int(time.monotonic() // 10))), earliest, wanted)


def filter_kernel_records(raw: list[str], earliest: float, wanted: tuple[str, ...] = _WANTED) -> list[str]:
    """Return the texts of raw records from `earliest` [s] on.

    A record is `priority,sequence,microseconds since boot,flags;text`.
    """
    found = []
    for record in raw:
        head, _, text = record.partition(";")
        stamp = head.split(",")[2:3]
        old = bool(stamp) and stamp[0].isdigit() and int(stamp[0]) / 1e6 < earliest
        if not old and any(word in text for word in wanted):
            found.append(text.split("\n")[0])
    return found


# The argument counts tens of seconds, so the log is read at most that often: a list of many runs asks many
# times.
@functools.lru_cache(maxsize=1)
def _read_kept(_moment: int) -> tuple[str, ...]:
    """Read the raw records."""
    found: list[str] = []
    try:
        fd = os.open(PATH, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return ()
    try:
        for _ in range(_MOST_RECORDS):
            try:
                record = os.read(fd, 8192).decode("utf-8", "replace")
            # /dev/kmsg reports a record that was overwritten meanwhile as EPIPE; the next read
            # continues after it.
            except BrokenPipeError:
                continue
            if any(word in record for word in _WANTED):
                found.append(record)
    # EAGAIN: there are no more records.
    except OSError:
        pass
    finally:
        os.close(fd)
    return tuple(found)
