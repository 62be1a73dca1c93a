"""Why a run died without a word: what the system's own counters say about it afterwards.

A process that the kernel ends for want of memory has no chance to say so. The kernel counts such kills for
each control group; the count is written into the manifest when a process takes the run, and compared when the
run is found dead. A child of this process also leaves its exit code or its signal (`ending`). Sources: the
kernel's Documentation/admin-guide/cgroup-v2.rst (memory.events, oom_kill), cgroup-v1/memory.rst
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
from tui_tuner.runs.gpu_faults import from_kernel_log
from tui_tuner.runs.journal import JournalReader
from tui_tuner.runs.kernel import records
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import human_bytes

_NEAR = 0.9  # share of the memory limit above which the last heartbeats are suspicious
_TAIL = 64 * 1024


@dataclass(frozen=True)
class Death:
    """`code`: oom_killer, maybe_oom_killer, gpu_..., rebooted, other_host, exited, signalled or unknown."""

    code: str
    message: str
    hint: str = ""


def vital_signs(root: Path = Path("/")) -> dict[str, Any]:
    """What to compare with later: kill counters, memory limit [bytes] and boot id, as far as readable."""
    limit, kills = _cgroup(root)
    total = psutil.virtual_memory().total
    return {
        "boot": _read(root / "proc/sys/kernel/random/boot_id"),
        "oom_kills_group": kills,
        "oom_kills_machine": _counter(_read(root / "proc/vmstat"), "oom_kill"),
        "memory_limit": min(limit or total, total),
    }


def cause_of_death(folder: RunFolder, now: dict[str, Any] | None = None) -> Death:
    """What ended a lost run, as far as the system tells. Never raises."""
    manifest = folder.manifest()
    then = manifest.get("vital_signs")
    then = then if isinstance(then, dict) else {}
    now = vital_signs() if now is None else now
    if manifest.get("host") not in (None, socket.gethostname()):
        return Death("other_host", _("It ran on another machine, {host}.", host=manifest["host"]))
    if then.get("boot") and now.get("boot") and then["boot"] != now["boot"]:
        return Death("rebooted", _("The machine was restarted while it ran."))
    pid = manifest.get("pid")
    claimed = manifest.get("claimed")
    log = records(claimed - 5) if isinstance(claimed, int | float) else []
    if isinstance(pid, int) and names_pid(pid, log):
        return Death(
            "oom_killer",
            _("The system's out-of-memory killer ended it (pid {pid}).", pid=pid),
            _(_MEMORY_HINT),
        )
    fault = from_kernel_log(log)
    if fault is not None:
        return Death(fault.code, fault.message, fault.hint)
    memory, limit = _last_memory(folder), then.get("memory_limit")
    near = isinstance(limit, int) and limit > 0 and memory > _NEAR * limit
    held = ""
    if near:
        held = _("It held {held} of {limit}.", held=human_bytes(memory), limit=human_bytes(limit or 0))
    if _grew(then, now, "oom_kills_group"):
        message = _("The system's out-of-memory killer ended a process of its group since it began.")
        return Death("oom_killer", f"{message} {held}".strip(), _(_MEMORY_HINT))
    if near or _grew(then, now, "oom_kills_machine"):
        message = _("Probably ended for want of the machine's memory.")
        said = held or _("The out-of-memory killer was at work on this machine since it began.")
        return Death("maybe_oom_killer", f"{message} {said}", _(_MEMORY_HINT))
    return Death("unknown", _("Its process is gone without a word (killed, or the power was cut)."))


def ending(code: int, pid: int, then: dict[str, Any], since: float) -> Death:
    """How a child process of this one ended; the message continues a sentence, as in `it <message>.`.

    Args:
        code: As `Popen.returncode` has it: negative for a signal.
        then: `vital_signs` when it was started.
        since: Seconds since the epoch when it was started.
    """
    if code >= 0:
        return Death("exited", _("ended with exit code {code}", code=code))
    try:
        name = f"{-code} ({signal.Signals(-code).name})"
    except ValueError:  # a real-time signal
        name = str(-code)
    now = vital_signs() if code == -signal.SIGKILL else {}
    if now and names_pid(pid, records(since - 5)):
        message = _("was ended by signal {signal}, by the system's out-of-memory killer", signal=name)
        return Death("oom_killer", message, _(_MEMORY_HINT))
    if _grew(then, now, "oom_kills_group") or _grew(then, now, "oom_kills_machine"):
        message = _("was ended by signal {signal}, probably for want of the machine's memory", signal=name)
        return Death("maybe_oom_killer", message, _(_MEMORY_HINT))
    return Death("signalled", _("was ended by signal {signal}", signal=name))


_MEMORY_HINT = N_(
    "The machine's memory ran out, not the GPU's: fewer data.workers, a smaller model, or more memory."
)


def _grew(then: dict[str, Any], now: dict[str, Any], name: str) -> bool:
    before, after = then.get(name), now.get(name)
    return isinstance(before, int) and isinstance(after, int) and after > before


def _last_memory(folder: RunFolder) -> int:
    """The largest host memory [bytes] among the last heartbeats."""
    bodies = [event.body for event in JournalReader(folder.events, tail=_TAIL).read()]
    values = [body.memory_host for body in bodies if isinstance(body, Heartbeat)]
    return max(values[-6:], default=0)


def _cgroup(root: Path) -> tuple[int | None, int | None]:
    """Memory limit [bytes] and kill count of this process's own control group, version 2 or 1."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, _unused, rest = line.partition(":")
        names, _unused, inside = rest.partition(":")
        if number == "0" and not names:
            folder = _existing(root / "sys/fs/cgroup", inside, "memory.events")
            if folder:
                return _integer(_read(folder / "memory.max")), _counter(
                    _read(folder / "memory.events"), "oom_kill"
                )
        elif "memory" in names.split(","):
            folder = _existing(root / "sys/fs/cgroup/memory", inside, "memory.oom_control")
            if folder:
                limit = _integer(_read(folder / "memory.limit_in_bytes"))
                return limit, _counter(_read(folder / "memory.oom_control"), "oom_kill")
    return None, None


def _existing(mount: Path, inside: str, name: str) -> Path | None:
    """The group's folder; in a container its path is the host's, and the group is the mount itself."""
    for folder in (mount / inside.strip().lstrip("/"), mount):
        if (folder / name).is_file():
            return folder
    return None


def _counter(text: str, name: str) -> int | None:
    found = re.search(rf"^{name} (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else None


def _integer(text: str) -> int | None:
    return int(text) if text.isdigit() and int(text) < 2**62 else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def names_pid(pid: int, lines: Iterable[str]) -> bool:
    """Whether the kernel's log says that its out-of-memory killer ended this process."""
    pattern = re.compile(rf"Killed process {pid}\b|oom-kill:.*\bpid={pid}\b")
    return any(pattern.search(line) for line in lines)
