"""This program: a whole run by its command line, in this process under the profiler, or in a terminal."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from gpu.cases import Case, Steps
from gpu.traces import Recorder


def config_of(folder: Path, case: Case, steps: int, runs: Path) -> Path:
    """A config that trains this case."""
    import yaml

    tiny = case.model == "tiny"
    method: dict[str, Any] = {"kind": case.method}
    if case.method != "full":
        method |= {"rank": 16, "alpha": 16}
    values = {
        "model": {
            "name": str(folder / case.model),
            "dtype": "float32" if tiny else "bfloat16",
            "quantization": case.quantization,
        },
        "data": {
            "path": str(folder / "chats.jsonl"),
            "validation": None,
            "max_length": 2048,
            "preflight": "warn",
        },
        "method": method,
        "training": {"max_steps": steps, "batch_size": case.batch, "learning_rate": 1e-5},
        "evaluation": {"samples": 0, "every": None},
        "output": {"folder": str(runs), "save_every": None, "name": "run"},
    }
    path = runs.with_suffix(".yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def headless(folder: Path, case: Case, steps: Steps, began: float) -> dict[str, Any]:
    """`tui-tuner run CONFIG --no-tui` in this process, whose last steps are profiled."""
    from tui_tuner.cli import main
    from tui_tuner.training import session

    runs = folder / "runs" / f"{case.name}-{os.getpid()}"
    # one more, or what saves the model would be under the profiler: its copies keep a GPU busy for long
    config = config_of(folder, case, steps.all + 1, runs)
    recorders: list[Recorder] = []
    imports = session._import_libraries

    def import_and_watch(*args: Any) -> None:
        imports(*args)
        recorders.append(_watch_engine(steps))

    session._import_libraries = import_and_watch
    sys.argv = ["tui-tuner", "run", str(config), "--no-tui", "--json"]
    said = io.StringIO()
    code: Any = 0
    with contextlib.redirect_stdout(said):
        try:
            main()
        except SystemExit as ended:
            code = ended.code
    for recorder in recorders:
        recorder.end()
    found = from_journal(runs / "run" / "events.jsonl", steps, began)
    if code:
        found["problem"] = found.get("problem") or f"exit code {code}"
    return found | (recorders[0].found if recorders else {})


def _watch_engine(steps: Steps) -> Recorder:
    from tui_tuner.training.step.engine import Engine

    inner, seen = Engine.train_step, [0]
    recorder = Recorder(steps.warm + steps.timed, steps.profiled, lambda: seen[0])

    def train_step(engine: Any) -> Any:
        recorder.step_begins()
        found = inner(engine)
        seen[0] += found.tokens
        return found

    Engine.train_step = train_step  # type: ignore[method-assign]
    return recorder


def from_journal(path: Path, steps: Steps, began: float) -> dict[str, Any]:
    """Figures of a run by its journal; `began`: when its process did, as the clock on the wall has it."""
    events = []
    with contextlib.suppress(OSError):
        text = path.read_text(encoding="utf-8", errors="replace")
        events = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    made = [event for event in events if event["kind"] == "step"]
    timed = made[steps.warm : steps.warm + steps.timed]
    found: dict[str, Any] = {
        "warnings": [event.get("message") for event in events if event["kind"] == "warning"],
        "resolved": {event["field"]: event["value"] for event in events if event["kind"] == "resolved"},
    }
    memory = [event for event in events if event["kind"] == "memory"]
    if memory:
        found["predicted_bytes"] = memory[-1].get("predicted_allocated")
        found["peak_bytes"] = memory[-1].get("allocated")
    if not timed:
        ended = [event for event in events if event["kind"] == "finished"]
        found["problem"] = ended[-1].get("message", "") if ended else "no step was made"
        return found
    peaks = [event.get("memory_allocated") or 0 for event in made]
    return found | {
        "tokens_a_second": sum(step["tokens"] for step in timed) / sum(step["seconds"] for step in timed),
        "tokens_a_step": sum(step["tokens"] for step in timed) / len(timed),
        "trained_share": sum(step["supervised_tokens"] for step in timed)
        / sum(step["tokens"] for step in timed),
        "first_step": made[0]["time"] - made[0]["seconds"] - began,
        "peak_bytes": max(peaks) or found.get("peak_bytes"),
        "losses": [made[0]["loss"], made[-1]["loss"]],
    }


def live(folder: Path, case: Case, steps: Steps, began: float) -> dict[str, Any]:
    """The same run in the worker thread of the workbench, under its live pane."""
    from bench_screen import COMMAND, Terminal

    runs = folder / "runs" / f"{case.name}-live-{os.getpid()}"
    config = config_of(folder, case, steps.all, runs)
    journal = runs / "run" / "events.jsonl"
    terminal = Terminal([*COMMAND, "run", str(config)], folder)
    try:
        end = time.monotonic() + 600
        while time.monotonic() < end and not _ended(journal) and _alive(terminal.pid):
            terminal.read(0.2)
    finally:
        terminal.close()
    return from_journal(journal, steps, began)


def _alive(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    return False


def _ended(journal: Path) -> bool:
    with contextlib.suppress(OSError):
        return b'"kind":"finished"' in journal.read_bytes().replace(b'": "', b'":"')
    return False
