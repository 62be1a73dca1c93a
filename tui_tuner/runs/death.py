"""Find out why a run ended without reporting it, from the system's own counters.

A process that the kernel kills because memory ran out cannot report it. The kernel counts such kills for each
control group; the count is written into the manifest when a process takes the run, and compared when the run
is found dead. A child of this process also leaves its exit code or its signal (`describe_process_exit`).
Sources: the kernel's Documentation/admin-guide/cgroup-v2.rst (memory.events, oom_kill), cgroup-v1/memory.rst
(memory.oom_control, oom_kill), and `oom_kill` in /proc/vmstat for the whole machine.
"""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tui_tuner.locales import N_, _
from tui_tuner.runs.events import Heartbeat
from tui_tuner.runs.gpu_faults import find_kernel_fault
from tui_tuner.runs.journal import JournalReader
from tui_tuner.runs.kernel import read_kernel_records
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import format_bytes

_NEAR = 0.9  # share of the memory limit above which the last heartbeats are suspicious
_TAIL = 64 * 1024


@dataclass(frozen=True)
class Death:
    """`code`: oom_killer, maybe_oom_killer, gpu_..., rebooted, other_host, exited, signalled or unknown."""

    code: str
    message: str
    hint: str = ""


def read_vital_signs(root: Path = Path("/")) -> dict[str, Any]:
    """Read what to compare later: kill counters, memory limit [bytes] and boot id, as far as readable."""
    limit, kills = _read_cgroup(root)
    total = psutil.virtual_memory().total
    return {
        "boot": _read_text(root / "proc/sys/kernel/random/boot_id"),
        "oom_kills_group": kills,
        "oom_kills_machine": _parse_counter(_read_text(root / "proc/vmstat"), "oom_kill"),
        "memory_limit": min(limit or total, total),
    }


def find_cause_of_death(folder: RunFolder, now: dict[str, Any] | None = None) -> Death:
    """Find what ended a lost run, as far as the system shows it. Never raises."""
    manifest = folder.read_manifest()
    then = manifest.get("vital_signs")
    then = then if isinstance(then, dict) else {}
    now = read_vital_signs() if now is None else now
    if manifest.get("host") not in (None, socket.gethostname()):
        return Death("other_host", _("It ran on another machine, {host}.", host=manifest["host"]))
    # Before the counters: they start again from zero with each boot, so a comparison would mean nothing.
    if then.get("boot") and now.get("boot") and then["boot"] != now["boot"]:
        return Death("rebooted", _("The machine was restarted while the run was active."))
    pid = manifest.get("pid")
    claimed = manifest.get("claimed")
    # Five seconds, as the kernel's clock and the one of the manifest may differ a little.
    log = read_kernel_records(claimed - 5) if isinstance(claimed, int | float) else []
    if isinstance(pid, int) and names_killed_process(pid, log):
        return Death(
            "oom_killer",
            _("The system's out-of-memory killer ended it (pid {pid}).", pid=pid),
            _(_MEMORY_HINT),
        )
    fault = find_kernel_fault(log)
    if fault is not None:
        return Death(fault.code, fault.message, fault.hint)
    memory, limit = _last_memory(folder), then.get("memory_limit")
    near = isinstance(limit, int) and limit > 0 and memory > _NEAR * limit
    held = ""
    if near:
        held = _("It used {held} of {limit}.", held=format_bytes(memory), limit=format_bytes(limit or 0))
    if _has_grown(then, now, "oom_kills_group"):
        message = _(
            "The system's out-of-memory killer has ended a process of its control group during the run."
        )
        return Death("oom_killer", f"{message} {held}".strip(), _(_MEMORY_HINT))
    if near or _has_grown(then, now, "oom_kills_machine"):
        message = _("Probably killed because the machine ran out of memory.")
        said = held or _("The out-of-memory killer has been active on this machine since the run started.")
        return Death("maybe_oom_killer", f"{message} {said}", _(_MEMORY_HINT))
    return Death(
        "unknown", _("Its process ended without reporting why (it was killed, or the power failed).")
    )


def describe_process_exit(code: int, pid: int, then: dict[str, Any], since: float) -> Death:
    """Describe how a child process ended; the message continues a sentence, as in `it <message>.`.

    Args:
        code: As `Popen.returncode` has it: negative for a signal.
        then: `read_vital_signs` when it was started.
        since: Seconds since the epoch when it was started.
    """
    if code >= 0:
        return Death("exited", _("ended with exit code {code}", code=code))
    try:
        name = f"{-code} ({signal.Signals(-code).name})"
    except ValueError:  # a real-time signal
        name = str(-code)
    now = read_vital_signs() if code == -signal.SIGKILL else {}
    if now and names_killed_process(pid, read_kernel_records(since - 5)):
        message = _("was ended by signal {signal}, by the system's out-of-memory killer", signal=name)
        return Death("oom_killer", message, _(_MEMORY_HINT))
    if _has_grown(then, now, "oom_kills_group") or _has_grown(then, now, "oom_kills_machine"):
        message = _(
            "was ended by signal {signal}, probably because the machine ran out of memory", signal=name
        )
        return Death("maybe_oom_killer", message, _(_MEMORY_HINT))
    return Death("signalled", _("was ended by signal {signal}", signal=name))


_MEMORY_HINT = N_(
    "The machine's memory ran out, not the GPU's: use fewer data.workers, a smaller model, or more memory."
)


def _has_grown(then: dict[str, Any], now: dict[str, Any], name: str) -> bool:
    before, after = then.get(name), now.get(name)
    return isinstance(before, int) and isinstance(after, int) and after > before


def _last_memory(folder: RunFolder) -> int:
    """Return the largest host memory [bytes] among the last heartbeats."""
    bodies = [event.body for event in JournalReader(folder.events_path, tail=_TAIL).read_events()]
    values = [body.memory_host for body in bodies if isinstance(body, Heartbeat)]
    # Half a minute: the last heartbeat may be from before the allocation that was too large.
    return max(values[-6:], default=0)


def _read_cgroup(root: Path) -> tuple[int | None, int | None]:
    """Read memory limit [bytes] and kill count of this process's own control group, version 2 or 1."""
    for line in _read_text(root / "proc/self/cgroup").splitlines():
        number, _unused, rest = line.partition(":")
        names, _unused, inside = rest.partition(":")
        if number == "0" and not names:
            folder = _find_group_folder(root / "sys/fs/cgroup", inside, "memory.events")
            if folder:
                return _parse_integer(_read_text(folder / "memory.max")), _parse_counter(
                    _read_text(folder / "memory.events"), "oom_kill"
                )
        elif "memory" in names.split(","):
            folder = _find_group_folder(root / "sys/fs/cgroup/memory", inside, "memory.oom_control")
            if folder:
                limit = _parse_integer(_read_text(folder / "memory.limit_in_bytes"))
                return limit, _parse_counter(_read_text(folder / "memory.oom_control"), "oom_kill")
    return None, None


def _find_group_folder(mount: Path, inside: str, name: str) -> Path | None:
    """Return the folder of the group, if it has the file `name`."""
    # In a container the path is the host's, and the group itself is mounted at the root.
    for folder in (mount / inside.strip().lstrip("/"), mount):
        if (folder / name).is_file():
            return folder
    return None


def _parse_counter(text: str, name: str) -> int | None:
    found = re.search(rf"^{name} (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else None


def _parse_integer(text: str) -> int | None:
    # Version 1 writes a number near 2**63 for "no limit", version 2 the word max.
    return int(text) if text.isdigit() and int(text) < 2**62 else None


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def names_killed_process(pid: int, lines: Iterable[str]) -> bool:
    """Return whether the kernel's log reports that its out-of-memory killer ended this process."""
    pattern = re.compile(rf"Killed process {pid}\b|oom-kill:.*\bpid={pid}\b")
    return any(pattern.search(line) for line in lines)
