"""Runs programs in turn, several rounds of each, and prints what they did as one table."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "transformers", "peft", "trl", "accelerate", "textual", "tokenizers")


@dataclass
class Contender:
    """A row of the table: which peer of which script, in which dtype, by which interpreter."""

    label: str
    peer: str
    dtype: str = "float32"
    python: str = sys.executable
    extra: dict[str, Any] = field(default_factory=dict)
    found: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""
    script: str = "peers.py"

    @property
    def speed(self) -> float:
        """Supervised tokens a second, the best of the rounds."""
        return max((one["supervised"] / one["seconds"] for one in self.found), default=0.0)

    @property
    def spread(self) -> float:
        """The slowest round as a share of the best."""
        speeds = [one["supervised"] / one["seconds"] for one in self.found]
        return min(speeds) / max(speeds) if speeds else 0.0

    @property
    def memory(self) -> float:
        """Peak resident MB above the loaded model, the median of the rounds."""
        values = sorted(one["memory"] for one in self.found)
        return values[len(values) // 2] / 1e6 if values else 0.0


def measure(contender: Contender, folder: Path, steps: int, warm: int) -> None:
    """One round of one program in a fresh process; a failure is kept in `problem`."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "found.json"
        options = {"steps": steps, "warm": warm, "dtype": contender.dtype, "out": str(out)}
        options |= contender.extra
        script = str(Path(__file__).parent / contender.script)
        done = subprocess.run(
            [contender.python, script, contender.peer, str(folder), json.dumps(options)],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONWARNINGS": "ignore"},
        )
        if done.returncode or not out.is_file():
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            contender.problem = lines[-1] if lines else f"exit code {done.returncode}"
            return
        contender.found.append(json.loads(out.read_text(encoding="utf-8")))


def rounds(contenders: list[Contender], folder: Path, steps: int, warm: int, count: int) -> None:
    """Every program once in each round, so that a slow minute of the machine hits all of them."""
    for number in range(count):
        for contender in contenders:
            if contender.problem:
                continue
            measure(contender, folder, steps, warm)
            last = contender.found[-1] if contender.found else None
            speed = f"{last['supervised'] / last['seconds']:.1f} a second" if last else contender.problem
            print(f"  round {number + 1}: {contender.label}: {speed}", file=sys.stderr, flush=True)


def machine() -> str:
    """Date, processor, cores, load and versions: what a figure means nothing without."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = os.getloadavg()[0]
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    today = datetime.date.today().isoformat()
    return (
        f"{today}, {model}, {cores} cores (load {load:.1f}), Python {platform.python_version()}\n"
        + ", ".join(versions)
    )


def table(header: list[str], lines: list[list[str]]) -> str:
    """A Markdown table, aligned so that it also reads well in a terminal."""
    widths = [max(len(line[place]) for line in [header, *lines]) for place in range(len(header))]

    def row(cells: list[str]) -> str:
        first = cells[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return "| " + " | ".join([first, *rest]) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([row(header), rule, *(row(line) for line in lines)])


@dataclass(frozen=True)
class Claim:
    """A ratio and what it has to reach; `above` is False where it must stay below."""

    text: str
    value: float
    bound: float
    above: bool = True

    @property
    def holds(self) -> bool:
        return self.value >= self.bound if self.above else self.value <= self.bound

    def line(self) -> str:
        sign = ">=" if self.above else "<="
        verdict = "ok  " if self.holds else "MISS"
        return f"  {verdict} {self.text}: {self.value:.2f} (wanted {sign} {self.bound:g})"


def judge(claims: list[Claim]) -> int:
    """Print each claim; the exit code is 1 if one does not hold."""
    for claim in claims:
        print(claim.line())
    return 0 if all(claim.holds for claim in claims) else 1
