"""Soak: kills, dropped terminals, memory and disk that run out, damaged files. Prints a table.

    python tests/benchmarks/bench_soak.py [--kills 100] [--terminals 50] [--fuzz 1000] [--only kills,disk]

Runs are real processes that are really killed. So that a hundred of them take minutes and not an hour, those
of the kills and of the full disk are forked from a process that has imported the libraries already; terminals
and the resume proof (`tui-tuner doctor --resume`) start from nothing.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["TOKENIZERS_PARALLELISM"] = "false"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.soak_files import damage_config, damage_folder
from tests.conftest import chat_rows, write_jsonl
from tui_tuner.config.load import build_config
from tui_tuner.config.schema import RunConfig
from tui_tuner.runs.events import EventBody, Finished, Heartbeat, OutOfMemory, Phase, Step
from tui_tuner.runs.journal import JournalReader
from tui_tuner.runs.store import RunFolder, RunStore

ROWS: list[tuple[str, str, str]] = []
PLACES = ("loading", "forward", "backward", "optimizer", "evaluation", "generation", "saving")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--terminals", type=int, default=50)
    parser.add_argument("--disks", type=int, default=30, help="times the disk is filled")
    parser.add_argument("--fuzz", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="kills,terminals,memory,disk,fuzz,cost")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="soak-") as place:
        root = Path(place)
        os.environ["XDG_CACHE_HOME"] = str(root / "cache")
        model, data = make_model(root)
        base = Base(root, model, data)
        parts: dict[str, Callable[[], None]] = {
            "kills": lambda: soak_kills(base, options.kills, chance),
            "memory": lambda: soak_memory(base),
            "disk": lambda: soak_disk(base, options.disks, chance),
            "terminals": lambda: soak_terminals(base, options.terminals, chance),
            "fuzz": lambda: soak_fuzz(base, options.fuzz, chance),
            "cost": lambda: soak_cost(base),
        }
        for name in options.only.split(","):
            start = time.monotonic()
            parts[name]()
            print(f"[{name}: {time.monotonic() - start:.0f} s]", flush=True)
    print_table()


def print_table() -> None:
    widths = [max(len(row[column]) for row in [*ROWS, ("", "", "")]) for column in range(3)]
    for row in ROWS:
        print("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


class Base:
    """A folder of runs of one small model, with configs made from one."""

    def __init__(self, root: Path, model: Path, data: Path) -> None:
        self.root, self.model, self.data = root, model, data

    def config(self, root: Path | None = None, **changes: Any) -> RunConfig:
        values: dict[str, dict[str, Any]] = {
            "model": {"name": str(self.model), "dtype": "float32"},
            "data": {"path": str(self.data), "validation": 0.1, "max_length": 96, "workers": 1},
            "method": {"kind": "lora", "rank": 4, "dropout": 0.2},
            "training": {
                "max_steps": 60,
                "batch_size": 16,
                "micro_batch": 4,
                "learning_rate": 0.004,
                "autocast": False,
                "report_every": 0.001,
            },
            "evaluation": {"samples": 1, "every": 10, "max_new_tokens": 8},
            "output": {"folder": str(root or self.root / "runs"), "save_every": 2},
            "hardware": {"devices": "cpu"},
        }
        for name, value in changes.items():
            section, _, field = name.partition("__")
            values[section][field] = value
        return build_config(values)

    def folder(self, root: Path | None = None, **changes: Any) -> RunFolder:
        config = self.config(root, **changes)
        return RunStore(config.output.folder).create_run(config)


def make_model(root: Path) -> tuple[Path, Path]:
    """A random Llama with a tokenizer learnt from the rows, made in a process of its own."""
    data = write_jsonl(root / "chats.jsonl", chat_rows(200))
    child = os.fork()
    if child == 0:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        from tui_tuner.models.tokenizer_training import train_tokenizer

        texts = [message["content"] for row in chat_rows(200) for message in row["messages"]]
        tokenizer = train_tokenizer(texts, 384)
        torch.manual_seed(0)
        shape = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        LlamaForCausalLM(shape).save_pretrained(root / "model")
        tokenizer.save_pretrained(root / "model")
        os._exit(0)
    os.waitpid(child, 0)
    return root / "model", data


def fork_worker(folder: RunFolder, resume: bool, before: Callable[[], None] | None = None) -> int:
    """A run in a process forked from this one, as `launch.worker` would have it; returns its pid."""
    preload()
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        os.setsid()
        log = os.open(folder.log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        from tui_tuner.launch.worker import run_worker as worker

        if before is not None:
            before()
        code = worker([str(folder.path), *["--resume"] * resume])
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def preload() -> None:
    import torch

    torch.set_num_threads(1)
    from tui_tuner.training import train

    assert train


def wait(pid: int, seconds: float = 300.0) -> int:
    """The exit code; a process that hangs is killed and gives 124."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return 124


def soak_kills(base: Base, kills: int, chance: random.Random) -> None:
    """Kill at random moments, of loading, training, evaluating and saving alike; resume; compare all."""
    from tui_tuner.launch.proof import compare_proof_runs

    preload()
    whole = base.folder()
    start = time.monotonic()
    assert wait(fork_worker(whole, False)) == 0, whole.log_path.read_text()
    length = time.monotonic() - start
    done = runs = steps = 0
    phases: dict[str, int] = {}
    differences: list[str] = []
    while done < kills:
        folder, resume = base.folder(), False
        while done < kills:
            pid = fork_worker(folder, resume)
            time.sleep(chance.uniform(0.05, 0.35 * length))
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            if os.WIFEXITED(status):
                break
            done += 1
            resume = True
            phase = last_phase(folder)
            phases[phase] = phases.get(phase, 0) + 1
        if folder.find_state() != "completed":
            code = wait(fork_worker(folder, True))
            if code:
                differences.append(f"exit code {code}: {folder.log_path.read_text()[-500:]}")
        found = compare_proof_runs(whole, folder)
        runs, steps = runs + 1, steps + found.steps_compared
        differences += found.differences
        print(f"  {done} kills, {runs} runs, {len(differences)} differences", flush=True)
    where = ", ".join(f"{count} {name}" for name, count in sorted(phases.items()))
    verdict = "all losses and weights equal" if not differences else f"DIFFERENT: {differences[0]}"
    ROWS.append((f"{done} kills in {runs} runs ({where})", f"{steps} steps compared", verdict))


def bodies_of(folder: RunFolder) -> list[EventBody]:
    """What a run has said so far."""
    return [event.body for event in JournalReader(folder.events_path).read_events()]


def last_phase(folder: RunFolder) -> str:
    """What a killed process was doing, by the journal's last phase."""
    names = [body.name for body in bodies_of(folder) if isinstance(body, Phase)]
    return names[-1] if names else "starting"


def soak_memory(base: Base) -> None:
    """Memory runs out once at each of the seven places."""
    went_on = stopped = 0
    bad = []
    for place in PLACES:

        def inject(place: str = place) -> None:
            import torch

            from tui_tuner.training.step import recovery

            inner, seen = recovery.Recovery.__init__, []

            def probe(entered: str) -> None:
                if entered == place:
                    seen.append(entered)
                    if len(seen) == 2 or (place in ("loading", "generation") and len(seen) == 1):
                        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

            def with_probe(instance: Any, *values: Any) -> None:
                inner(instance, *values)
                instance.probe = probe

            recovery.Recovery.__init__ = with_probe  # type: ignore[method-assign]

        folder = base.folder(training__max_steps=8, evaluation__every=3)
        code = wait(fork_worker(folder, False, inject))
        state, bodies = folder.find_state(), bodies_of(folder)
        said = [body for body in bodies if isinstance(body, OutOfMemory)] or [
            body for body in bodies if "emory" in getattr(body, "message", "")
        ]
        clean = "Traceback" not in folder.log_path.read_text() or state == "failed"
        if state == "completed" and code == 0 and said and clean:
            went_on += 1
        elif state == "failed" and code == 1 and said:
            stopped += 1
        else:
            bad.append(f"{place}: {state}, exit code {code}")
    verdict = f"{went_on} went on, {stopped} stopped cleanly" + (f", BAD: {bad}" if bad else "")
    ROWS.append((f"out of memory at {len(PLACES)} places", "", verdict))


def soak_disk(base: Base, times: int, chance: random.Random) -> None:
    """A small disk is filled and emptied again and again under a run."""
    from tui_tuner.launch.proof import compare_proof_runs
    from tui_tuner.training.keeping.checkpoints import list_checkpoints

    small = base.root / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=28m", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        ROWS.append(("disk full", "", "skipped: mounting needs root"))
        return
    try:
        whole = base.folder()
        assert wait(fork_worker(whole, False)) == 0
        folder = base.folder(small)
        pid = fork_worker(folder, False)
        corrupt = filled = held = 0
        filler = small / "filler"
        while not list_checkpoints(folder.checkpoints_path) and not os.waitpid(pid, os.WNOHANG)[0]:
            time.sleep(0.01)  # without room for a first checkpoint a run does not begin
        while filled < times and os.waitpid(pid, os.WNOHANG) == (0, 0):
            time.sleep(chance.uniform(0.02, 0.4))
            with open(filler, "wb") as file:
                try:
                    while True:
                        os.write(file.fileno(), b"x" * 16384)
                except OSError:
                    filled += 1
            time.sleep(chance.uniform(0.1, 1.0))
            corrupt += sum(bool(found.problem()) for found in sound(list_checkpoints, folder))
            held += folder.find_state() == "paused"
            filler.unlink()
        code = wait(pid) if folder.find_state() not in ("completed", "failed") else 0
        corrupt += sum(bool(found.problem()) for found in sound(list_checkpoints, folder))
        found = compare_proof_runs(whole, folder)
        events = JournalReader(folder.events_path).read_events()
        whole_journal = [event.seq for event in events] == list(range(len(events)))
        good = code == 0 and folder.find_state() == "completed" and found.is_exact
        verdict = f"{corrupt} corrupt checkpoints, held {held} times, "
        verdict += (
            "completed exactly" if good else f"BAD: {folder.find_state()} {code} {found.differences[:1]}"
        )
        verdict += ", journal whole" if whole_journal else ", journal has gaps"
        ROWS.append((f"disk filled {filled} times", "", verdict))
    finally:
        subprocess.run(["umount", "-l", str(small)], check=False)


def sound(list_checkpoints: Callable[[Path], list[Any]], folder: RunFolder) -> list[Any]:
    """Checkpoints that were not pruned while we looked."""
    return [
        found
        for found in list_checkpoints(folder.checkpoints_path)
        if not found.problem() or found.path.exists()
    ]


def soak_terminals(base: Base, times: int, chance: random.Random) -> None:
    """Drop the terminal of a run on screen, of one without a screen, and of a detached one."""
    finished, bad = 0, []
    kinds = [
        f"{mode}/{way}" for mode in ("screen", "lines", "detached") for way in ("close", "hangup", "leader")
    ]
    for number in range(times):
        kind = kinds[number % len(kinds)]
        problem = drop_terminal(base, *kind.split("/"), chance, number)
        finished += not problem
        if problem:
            bad.append(f"{kind}: {problem}")
            print(f"  {kind}: {problem}", flush=True)
    verdict = f"{finished} runs finished" + (f", BAD: {bad[:3]}" if bad else "")
    ROWS.append((f"{times} terminals dropped (closed, SIGHUP, session leader killed)", "", verdict))


def drop_terminal(base: Base, mode: str, way: str, chance: random.Random, number: int) -> str:
    """Start a run under a shell on a pty, drop the pty at a random moment; what went wrong, or nothing."""
    import pty

    import yaml

    name = f"terminal-{number}"
    config = base.config(training__max_steps=60, training__batch_size=64, output__name=name)
    path = base.root / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    more = {"screen": "", "lines": "--no-tui", "detached": "--detach"}[mode]
    command = f"{sys.executable} -c 'from tui_tuner.cli import main; main()' run {path} {more}; sleep 600"
    leader, terminal = pty.fork()
    if leader == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execvp("sh", ["sh", "-c", command])
    folder = RunFolder(Path(config.output.folder) / name)
    try:
        deadline = time.monotonic() + 120
        while not any(isinstance(body, Step) for body in bodies_of(folder)):
            drain(terminal)
            if time.monotonic() > deadline:
                return "never began"
            time.sleep(0.05)
        time.sleep(chance.uniform(0, 1.0))
        drain(terminal)
        if folder.find_state() != "running":
            return f"was {folder.find_state()} before the terminal was dropped"
        if way == "hangup":
            os.killpg(os.tcgetpgrp(terminal), signal.SIGHUP)
            time.sleep(0.3)
        if way == "leader":
            os.kill(leader, signal.SIGKILL)
            time.sleep(0.3)
        os.close(terminal)
        terminal = -1
        deadline = time.monotonic() + 180
        while folder.find_state() in ("running", "paused") and time.monotonic() < deadline:
            time.sleep(0.1)
        return "" if folder.find_state() == "completed" else f"ended {folder.find_state()}"
    finally:
        if terminal >= 0:
            os.close(terminal)
        os.kill(leader, signal.SIGKILL)
        os.waitpid(leader, 0)


def drain(terminal: int) -> None:
    """Read what a screen draws, so that it never waits for us."""
    import select

    while select.select([terminal], [], [], 0)[0]:
        try:
            if not os.read(terminal, 65536):
                return
        except OSError:
            return


def soak_fuzz(base: Base, times: int, chance: random.Random) -> None:
    """Configs and run folders damaged at random: an error that says what is wrong, or none."""
    configs = [damage_config(base.root, chance) for _ in range(times)]
    bad = [problem for problem in configs if problem]
    ROWS.append((f"{times} fuzzed configs", "", f"{len(bad)} tracebacks {bad[:1] or ''}".rstrip()))
    folder = base.folder(training__max_steps=4)
    assert wait(fork_worker(folder, False)) == 0
    slowest, bad = 0.0, []
    for number in range(times):
        resume = number % 50 == 0
        start = time.monotonic()
        problem = damage_folder(folder, base.root / "damaged", chance, fork_resume if resume else None)
        if not resume:
            slowest = max(slowest, time.monotonic() - start)
        if problem:
            bad.append(problem)
            print(problem, flush=True)
    verdict = f"{len(bad)} tracebacks, slowest {slowest:.2f} s"
    ROWS.append((f"{times} damaged run folders ({times // 50} of them resumed)", "", verdict))


def fork_resume(folder: RunFolder) -> str:
    """Resume a damaged run; what went wrong beyond a clean failure, or nothing."""
    code = wait(fork_worker(folder, True), 60)
    log = folder.log_path.read_text(errors="replace") if folder.log_path.exists() else ""
    if code in (0, 1, 2, 3):
        ends = [body for body in bodies_of(folder) if isinstance(body, Finished)]
        message = ends[-1].message if ends else ""
        unexpected = message.split(":")[0].endswith("Error") and "Traceback" in log
        return f"{message}\n{log[-1500:]}" if unexpected else ""
    return f"exit code {code}: {log[-1500:]}"


def soak_cost(base: Base) -> None:
    """Processor time of watching, by thread, beside that of training."""
    from tui_tuner.launch.watchdog import Watchdog
    from tui_tuner.runs.journal import JournalWriter
    from tui_tuner.training.watching.number_watch import NumberWatch

    folder = base.folder()
    assert wait(fork_worker(folder, False)) == 0
    steps = [body for body in bodies_of(folder) if isinstance(body, Step)]
    quick = sorted(body.seconds for body in steps)[len(steps) // 2]
    scratch = base.folder()
    journal = JournalWriter(scratch.events_path, "r")
    with Watchdog(journal, scratch.path) as watchdog:
        start = time.process_time()
        numbers = NumberWatch()
        for step in range(5000):
            watchdog.emit(steps[0])
            numbers.feed_numbers(step, 2.0 + 0.01 * (step % 7), 1.0 + 0.01 * (step % 11))
        emit = (time.process_time() - start) / 5000
        start, looks = time.process_time(), 2000
        for _ in range(looks):
            watchdog._check_progress(time.monotonic())
            watchdog._look_at_disk()
        look = (time.process_time() - start) / looks
    import psutil

    process = psutil.Process()
    start = time.process_time()
    for _ in range(1000):
        process.memory_info()
        watchdog.emit(Heartbeat(step=1, memory_host=1))
    beat = (time.process_time() - start) / 1000
    share = emit / quick + (look + beat) / 5.0
    detail = f"{emit * 1e6:.0f} us a step of {quick * 1e3:.0f} ms, {(look + beat) * 1e6:.0f} us every 5 s"
    ROWS.append(("cost of watching", detail, f"{share:.3%} of the time"))


if __name__ == "__main__":
    main()
