"""How light the screen is: first frame, `--help`, training under the live pane, bytes and key presses.

Everything runs in pseudo-terminals of 80x24, as a user would start it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from fcntl import ioctl
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from side_by_side import Claim, judge, machine, table  # noqa: E402

COMMAND = [sys.executable, "-c", "from tui_tuner.cli import main; main()"]
BARE = (
    "from textual.app import App\n"
    "from textual.widgets import Static\n"
    "class Bare(App):\n"
    "    def compose(self):\n"
    "        yield Static('begun')\n"
    "Bare().run()\n"
)


class Terminal:
    """A program in a pseudo-terminal of 80x24."""

    def __init__(self, command: list[str], folder: Path) -> None:
        environment = os.environ | {
            "TERM": "xterm-256color",
            "COLUMNS": "80",
            "LINES": "24",
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "TEXTUAL_ANIMATIONS": "none",
            "HF_HUB_OFFLINE": "1",
        }
        self.began = time.perf_counter()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execvpe(command[0], command, environment)
        ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.text = b""

    def read(self, seconds: float) -> bytes:
        """What comes within a time; empty when the program has ended or says nothing."""
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            return b""
        try:
            found = os.read(self.fd, 65536)
        except OSError:
            return b""
        self.text += found
        return found

    def until(self, marker: bytes, seconds: float = 60.0) -> float:
        """Seconds from the start until the program has written something."""
        end = time.perf_counter() + seconds
        while marker not in self.text:
            if time.perf_counter() > end:
                raise TimeoutError(f"{marker!r} was not shown: {self.text[-300:]!r}")
            self.read(0.5)
        return time.perf_counter() - self.began

    def quiet(self, seconds: float) -> None:
        """Read on until nothing has come for a time."""
        while self.read(seconds):
            pass

    def key_to_paint(self, key: bytes, least: int) -> float:
        """Seconds from a key press until at least so many bytes have been painted."""
        self.quiet(0.03)
        before = len(self.text)
        began = time.perf_counter()
        os.write(self.fd, key)
        while len(self.text) - before < least:
            if time.perf_counter() - began > 5:
                raise TimeoutError(f"nothing was painted after {key!r}")
            self.read(0.5)
        return time.perf_counter() - began

    def close(self) -> None:
        """End it, whatever it is doing."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


def first_frames(folder: Path, rounds: int) -> tuple[float, float]:
    """Seconds to the first frame of a bare Textual app and of the workbench, best of the rounds."""
    bare, ours = [], []
    for _ in range(rounds):
        for command, marker, found in (
            ([sys.executable, "-c", BARE], b"begun", bare),
            ([*COMMAND, "--runs", str(folder / "none")], b"Runs", ours),
        ):
            terminal = Terminal(command, folder)
            found.append(terminal.until(marker))
            terminal.close()
    return min(bare), min(ours)


def helps(rounds: int) -> tuple[float, float]:
    """Seconds of `--help` and of an interpreter that does nothing, best of the rounds."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for command, times in zip(([*COMMAND, "--help"], [sys.executable, "-c", ""]), found, strict=True):
            began = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            times.append(time.perf_counter() - began)
    return min(found[0]), min(found[1])


def config_of(folder: Path, steps: int, name: str) -> Path:
    """A config file that trains a small random model on the chats of the folder."""
    import yaml
    from workload import run_values

    values = run_values(folder, steps)
    values["output"] |= {"name": name, "folder": str(folder / "runs")}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def events(folder: Path, name: str) -> list[dict[str, Any]]:
    path = folder / "runs" / name / "events.jsonl"
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def steps_of(folder: Path, name: str) -> list[dict[str, Any]]:
    return [event for event in events(folder, name) if event["kind"] == "step"]


def speed(folder: Path, name: str) -> float:
    """Supervised tokens a second of a run's steps, without the first three."""
    steps = steps_of(folder, name)[3:]
    return sum(step["supervised_tokens"] for step in steps) / sum(step["seconds"] for step in steps)


def headless(folder: Path, steps: int, name: str) -> float:
    config = config_of(folder, steps, name)
    command = [*COMMAND, "run", str(config), "--no-tui"]
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return speed(folder, name)


def live(folder: Path, steps: int, name: str, keys: bool = False) -> tuple[float, float, list[float]]:
    """Speed of a run under the live pane, bytes a second while it trains, and seconds from key to paint."""
    terminal = Terminal([*COMMAND, "run", str(config_of(folder, steps, name))], folder)
    while len(steps_of(folder, name)) < 3:
        terminal.read(0.2)
        if time.perf_counter() - terminal.began > 300:
            raise TimeoutError(f"no step was made: {terminal.text[-500:]!r}")
    painted, began, times = len(terminal.text), time.perf_counter(), []
    while not any(event["kind"] == "finished" for event in events(folder, name)[-1:]):
        if len(steps_of(folder, name)) >= steps - 1:
            break
        if keys:
            for key in (b"?", b"\x1b"):
                times.append(terminal.key_to_paint(key, 400))
        else:
            terminal.read(0.1)
    rate = (len(terminal.text) - painted) / (time.perf_counter() - began)
    end = time.perf_counter() + 60
    while len(steps_of(folder, name)) < steps and time.perf_counter() < end:
        terminal.read(0.2)
    terminal.close()
    return speed(folder, name), rate, times


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    from workload import Shape, make

    with tempfile.TemporaryDirectory(prefix="bench-screen-") as scratch:
        folder = Path(scratch)
        bare, ours = first_frames(folder, options.rounds + 2)
        help_, interpreter = helps(options.rounds + 2)
        shape = Shape(hidden=192, layers=6, heads=3, kv_heads=3, intermediate=512, chats=400)
        make(folder, shape)
        without, under, rates = [], [], []
        for number in range(options.rounds):
            without.append(headless(folder, options.steps, f"headless{number}"))
            found, rate, _ = live(folder, options.steps, f"live{number}")
            under.append(found)
            rates.append(rate)
        _, _, keys = live(folder, options.steps, "keys", keys=True)
    keys.sort()
    late = keys[min(len(keys) - 1, int(len(keys) * 0.99))]
    print(f"\nThe screen, best of the rounds. {machine()}\n")
    lines = [
        ["first frame, bare Textual app", f"{bare:.2f} s"],
        ["first frame, workbench", f"{ours:.2f} s"],
        ["an interpreter that does nothing", f"{interpreter:.2f} s"],
        ["--help", f"{help_:.2f} s"],
        ["training, headless", f"{max(without):.0f} supervised tokens/s"],
        ["training, under the live pane", f"{max(under):.0f} supervised tokens/s"],
        ["written to the terminal while training", f"{min(rates):.0f} bytes/s"],
        [f"key to paint while training, median of {len(keys)}", f"{keys[len(keys) // 2] * 1000:.0f} ms"],
        ["key to paint while training, p99", f"{late * 1000:.0f} ms"],
    ]
    print(table(["", "measured"], lines), "\n")
    return judge(
        [
            Claim("first frame / bare Textual app", ours / bare, 1.3, above=False),
            Claim("--help, seconds", help_, 0.3, above=False),
            Claim("training under the live pane / headless", max(under) / max(without), 0.97),
            Claim("bytes a second to the terminal", min(rates), 2000, above=False),
            Claim("key to paint p99, seconds", late, 0.1, above=False),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
