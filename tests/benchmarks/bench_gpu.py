"""Training on one GPU beside other programs: `python bench_gpu.py`, in less than eight minutes.

8B LoRA in bfloat16, 8B QLoRA and 1B with all weights, over steps of about 4,000 and 16,000 tokens; this
program as a whole run by its command line, TRL with packing and Liger, Unsloth, and a bare loop. Programs
that are not installed are left out, and said; `--unsloth` names the interpreter of an environment that has
it. The models are random ones of real shapes, made once in `--folder`. Each measurement is a process of its
own with a time limit, and is written to `--out` as it comes. Without a GPU it says so; `--tiny` tries the
script on a processor.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from gpu.arithmetic import flops_a_token  # noqa: E402
from gpu.cases import OURS, PEERS, UNSLOTH, Stage, stages  # noqa: E402
from gpu.table import HEADER, Budget, lines, ratios, wrong_declarations  # noqa: E402
from side_by_side import machine, table  # noqa: E402

from tui_tuner.planning.gpus import Card, card_of  # noqa: E402
from tui_tuner.planning.hardware import detect  # noqa: E402

MAKING = {"l8b": 75.0, "l1b": 40.0, "tiny": 120.0}  # seconds to make a model in
COUNTING = 45.0
CHATS = 2048


@dataclass
class Bench:
    """The measurements of one call.

    Args:
        out: Where each result is added, a line of JSON.
    """

    folder: Path
    out: Path
    budget: Budget
    unsloth: str = sys.executable
    results: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    made: set[str] = field(default_factory=set)
    counted: dict[str, float | None] = field(default_factory=dict)

    def measure(self, stage: Stage, count: bool) -> None:
        """One stage: its model is made first, where it is not there."""
        name = stage.case.model
        if name not in self.made:
            found = self._apart(
                {"who": "make", "model": name, "chats": CHATS}, MAKING[name], MAKING[name] / 3
            )
            if "problem" in found:
                self.skipped.append(f"{stage.name}: no model ({found['problem']})")
                return
            self.made.add(name)
        job = {"who": stage.who, "case": asdict(stage.case), "steps": asdict(stage.steps)}
        python = self.unsloth if stage.who == UNSLOTH else sys.executable
        found = self._apart(job, stage.limit, stage.least, python)
        if found.get("skipped"):
            self.skipped.append(f"{stage.name}: no time left")
            return
        if count and stage.who == OURS:
            found["counted_launches"] = self._count(stage, found)
        found |= {"case": stage.case.name, "who": stage.who, "steps": stage.steps.all}
        found["flops_a_token"] = flops_a_token(stage.case, found.get("trained_share", 1.0))
        self.results.append(found)
        with open(self.out, "a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
        speed = found.get("tokens_a_second")
        said = f"{speed:,.0f} tokens/s" if speed else found.get("problem", "no result")
        print(f"  {stage.name}: {said} ({self.budget.left:.0f} s left)", flush=True)

    def _count(self, stage: Stage, found: dict[str, Any]) -> float | None:
        on = found.get("resolved", {}).get("training.gradient_checkpointing", False)
        case = replace(stage.case, checkpointing=on)
        key = f"{case.name} {on}"
        if key not in self.counted:
            job = {"who": "count", "case": asdict(case), "steps": asdict(stage.steps)}
            self.counted[key] = self._apart(job, COUNTING, COUNTING / 2).get("counted_launches")
        return self.counted[key]

    def _apart(
        self, job: dict[str, Any], limit: float, least: float, python: str = sys.executable
    ) -> dict[str, Any]:
        """What a process of its own finds; ended with all it started when its time is over."""
        seconds = self.budget.limit(limit, least)
        if not seconds:
            return {"skipped": True, "problem": "no time left"}
        out = self.folder / f"result-{os.getpid()}.json"
        out.unlink(missing_ok=True)
        log = self.folder / f"log-{os.getpid()}.txt"
        job |= {"folder": str(self.folder), "out": str(out), "began": time.time()}
        paths = [*sys.path[:2], os.environ.get("PYTHONPATH", "")]
        with open(log, "w", encoding="utf-8") as errors:
            child = subprocess.Popen(
                [python, "-m", "gpu.stage", json.dumps(job)],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)},
                start_new_session=True,
            )
            try:
                child.wait(seconds)
            except subprocess.TimeoutExpired:
                return {"problem": f"not done in {seconds:.0f} s"}
            finally:
                _end(child)
        if out.is_file():
            return json.loads(out.read_text(encoding="utf-8"))
        last = [
            line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()
        ]
        return {"problem": (last[-1] if last else f"exit code {child.returncode}")[:300]}


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a process and what it has started, and wait until the GPU is free of it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def absent(who: str, unsloth: str) -> str:
    """Which package a program lacks here; empty if none."""
    if who == UNSLOTH and unsloth != sys.executable:
        return ""
    return next((name for name in PEERS.get(who, ()) if importlib.util.find_spec(name) is None), "")


def chosen(options: argparse.Namespace) -> tuple[list[Stage], list[str]]:
    """The stages that are asked for and can be run, and a word on each program that cannot."""
    wanted = [
        stage for stage in stages(options.tiny) if options.only is None or _matches(stage, options.only)
    ]
    if not options.peers:
        wanted = [stage for stage in wanted if stage.who.startswith(OURS)]
    lacking = {stage.who: absent(stage.who, options.unsloth) for stage in wanted}
    said = [f"{who} is left out: {name} is not installed here." for who, name in lacking.items() if name]
    return [stage for stage in wanted if not lacking[stage.who]], said


def _matches(stage: Stage, only: str) -> bool:
    return any(part.strip() in stage.name for part in only.split(","))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="all together; what is left is skipped")
    parser.add_argument("--only", help="stages whose names hold one of these, such as l8b-lora-4k,bare")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--count", action=argparse.BooleanOptionalAction, default=True, help="count launches")
    parser.add_argument("--tiny", action="store_true", help="try the script with a tiny model, also on a CPU")
    parser.add_argument("--folder", type=Path, default=_memory_folder(), help="for models and runs")
    parser.add_argument("--out", type=Path, default=Path("bench-gpu.jsonl"), help="results are added here")
    parser.add_argument("--unsloth", default=os.environ.get("UNSLOTH_PYTHON", sys.executable))
    found = parser.parse_args()
    if found.minutes <= 0:
        parser.error("--minutes must be more than 0")
    if found.only is not None and not any(_matches(stage, found.only) for stage in stages(found.tiny)):
        parser.error(f"--only: no stage is called {found.only}")
    return found


def _memory_folder() -> Path:
    """A folder in memory where there is one: 8B are read from it in seconds."""
    shared = Path("/dev/shm")
    return (shared if os.access(shared, os.W_OK) else Path("/tmp")) / "bench-gpu"


def report(bench: Bench, card: Card | None) -> None:
    """The table, what it says in ratios, and what was not measured."""
    print(f"\n{card.name if card else 'no GPU: a dry run'}. {machine()}")
    print(
        "tokens/s, MFU and busy are of the steps between warm-up and profiler.\n"
        "MFU: nothing is counted for computing again. busy: time in which any kernel ran.\n"
        "launches: kernels of a step by the profiler; counted: of a step in one pass, without a GPU.\n"
        "Memory as torch allocated it.\n"
    )
    print(table(HEADER, lines(bench.results, card.tflops if card else 0.0)), "\n")
    for line in [*ratios(bench.results), *wrong_declarations(bench.results)]:
        print(line)
    for one in bench.results:
        if one.get("problem"):
            print(f"not measured: {one['case']}: {one['who']}: {one['problem']}")
    for line in bench.skipped:
        print(f"skipped: {line}")
    versions = {name: version for one in bench.results for name, version in one.get("versions", {}).items()}
    print(", ".join(f"{name} {version}" for name, version in versions.items()))


def main() -> int:
    options = _options()
    gpus = detect().usable_gpus
    if not gpus and not options.tiny:
        print("No GPU that can be used is here, so nothing is measured; --tiny tries the script without one.")
        return 0
    wanted, said = chosen(options)
    for line in said:
        print(line)
    options.folder.mkdir(parents=True, exist_ok=True)
    budget = Budget(60 * options.minutes, time.monotonic)
    bench = Bench(options.folder.resolve(), options.out, budget, options.unsloth)
    for stage in wanted:
        bench.measure(stage, options.count)
    report(bench, card_of(gpus[0]) if gpus else None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
