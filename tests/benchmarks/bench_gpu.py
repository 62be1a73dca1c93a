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
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from gpu.arithmetic import flops_a_token  # noqa: E402
from gpu.cases import OURS, PEERS, UNSLOTH, Stage, stages  # noqa: E402
from gpu.table import HEADER, Budget, lines, ratios, wrong_declarations  # noqa: E402
from side_by_side import machine, table  # noqa: E402

from tui_tuner.planning.gpus import Card, make_gpu_card  # noqa: E402
from tui_tuner.planning.hardware import detect_hardware  # noqa: E402

MAKING = {"l8b": 75.0, "l1b": 40.0, "tiny": 120.0}  # seconds to make a model in
COUNTING = 45.0
CHATS = 2048
ROOM = 28 << 30  # bytes that both models and what is saved of the runs take
NAME = "bench-gpu"
MARK = "BENCH_GPU_STAGE"


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
    made: dict[str, str] = field(default_factory=dict)

    def measure(self, stage: Stage) -> None:
        """One stage: its model is made first, where it is not there. It is tried once: the time is short."""
        name = stage.case.model
        if name not in self.made:
            job = {"who": "make", "model": name, "chats": CHATS}
            self.made[name] = self._apart(job, MAKING[name], MAKING[name] / 3).get("problem", "")
        if self.made[name]:
            self.skipped.append(f"{stage.name}: no model ({self.made[name]})")
            return
        job = {"who": stage.who, "case": asdict(stage.case), "steps": asdict(stage.steps)}
        python = self.unsloth if stage.who == UNSLOTH else sys.executable
        found = self._apart(job, stage.limit, stage.least, python)
        if found.get("skipped"):
            self.skipped.append(f"{stage.name}: no time left")
            return
        found |= {"case": stage.case.name, "who": stage.who, "steps": stage.steps.all}
        found["flops_a_token"] = flops_a_token(stage.case, found.get("trained_share", 1.0))
        self.results.append(found)
        self._write(found)
        speed = found.get("tokens_a_second")
        said = f"{speed:,.0f} tokens/s" if speed else found.get("problem", "no result")
        print(f"  {stage.name}: {said} ({self.budget.left:.0f} s left)", flush=True)

    def count(self, wanted: Sequence[Stage]) -> None:
        """Launches of what was measured of ours. It needs no GPU, so it comes when all is measured."""
        cases = {stage.case.name: stage for stage in wanted if stage.who == OURS}
        for found in self.results:
            stage = cases.get(found["case"])
            if found["who"] != OURS or stage is None or not found.get("tokens_a_second"):
                continue
            on = found.get("resolved", {}).get("training.gradient_checkpointing", False)
            case = asdict(replace(stage.case, checkpointing=on))
            job = {"who": "count", "case": case, "steps": asdict(stage.steps)}
            counted = self._apart(job, COUNTING, COUNTING / 2).get("counted_launches")
            found["counted_launches"] = counted
            self._write({"case": found["case"], "who": "count", "counted_launches": counted})

    def _write(self, found: dict[str, Any]) -> None:
        with open(self.out, "a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")

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
        mark = uuid.uuid4().hex
        paths = [*sys.path[:2], os.environ.get("PYTHONPATH", "")]
        with open(log, "w", encoding="utf-8") as errors:
            child = subprocess.Popen(
                [python, "-m", "gpu.stage", json.dumps(job)],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path), MARK: mark},
                start_new_session=True,
            )
            try:
                child.wait(seconds)
            except subprocess.TimeoutExpired:
                return {"problem": f"not done in {seconds:.0f} s"}
            finally:
                _end(child, mark)
        if out.is_file():
            return json.loads(out.read_text(encoding="utf-8"))
        last = [
            line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()
        ]
        return {"problem": (last[-1] if last else f"exit code {child.returncode}")[:300]}


def _end(child: subprocess.Popen[bytes], mark: str) -> None:
    """End a process and all that carries its mark, and wait until the GPU is free of them.

    The workbench leads a session of its own, and trains on when its terminal is gone.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    left = [process for process in psutil.process_iter() if _marked(process, mark)]
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=5)


def _marked(process: psutil.Process, mark: str) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        return bool(process.environ().get(MARK) == mark)
    return False


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
    if shutil.which(found.unsloth) is None:
        parser.error(f"--unsloth: {found.unsloth} is no program")
    return found


def _writable(options: argparse.Namespace) -> str:
    """Why results cannot be written; empty if they can. Better known before than after the first of them."""
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
        open(options.out, "a").close()
    except OSError as error:
        return str(error)
    return ""


def _memory_folder() -> Path:
    """A folder in memory where there is one with room: 8B are read from it in seconds."""
    shared = Path("/dev/shm")
    fits = os.access(shared, os.W_OK) and (_held(shared / NAME) + shutil.disk_usage(shared).free >= ROOM)
    return (shared if fits else Path(tempfile.gettempdir())) / NAME


def _held(folder: Path) -> int:
    """Bytes of what an earlier call left there."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


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
    gpus = detect_hardware().usable_gpus
    if not gpus and not options.tiny:
        print("No GPU that can be used is here, so nothing is measured; --tiny tries the script without one.")
        return 0
    wanted, said = chosen(options)
    for line in said:
        print(line)
    problem = _writable(options)
    if problem:
        print(problem, file=sys.stderr)
        return 2
    budget = Budget(60 * options.minutes, time.monotonic)
    bench = Bench(options.folder.resolve(), options.out, budget, options.unsloth)
    code = 0
    try:
        for stage in wanted:
            bench.measure(stage)
        if options.count:
            bench.count(wanted)
    except KeyboardInterrupt:
        code = 130
        print("Interrupted: the table is of what was measured until then.")
    report(bench, make_gpu_card(gpus[0]) if gpus else None)
    return code


if __name__ == "__main__":
    sys.exit(main())
