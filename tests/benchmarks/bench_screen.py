"""How light the screen is: first frame, `--help`, training under the live pane, bytes and key presses.

Everything runs in pseudo-terminals of 80x24, as a user would start it.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
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
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path
from statistics import median

import psutil

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from side_by_side import Claim, judge, machine, table  # noqa: E402

from tui_tuner.runs.events import Finished, Step  # noqa: E402
from tui_tuner.runs.journal import JournalReader  # noqa: E402

COMMAND = [sys.executable, "-c", "from tui_tuner.cli import main; main()"]
BARE = (
    "from textual.app import App\n"
    "from textual.widgets import Static\n"
    "class Bare(App):\n"
    "    def compose(self):\n"
    "        yield Static('begun')\n"
    "Bare().run()\n"
)
# Help over the live pane, and the pane again. Not by Escape: Textual waits 0.1 s for the rest of a sequence.
KEYS = ((b"?", b"Here"), (b"?", b"Figures"))


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

    def until(self, marker: bytes, seconds: float = 60.0, after: int = 0) -> float:
        """Seconds from the start until the program has written something, behind its first `after` bytes."""
        end = time.perf_counter() + seconds
        while self.text.find(marker, after) < 0:
            if time.perf_counter() > end:
                raise TimeoutError(f"{marker!r} was not shown: {self.text[-300:]!r}")
            self.read(0.5)
        return time.perf_counter() - self.began

    def quiet(self, seconds: float, most: float = 5.0) -> None:
        """Read on until nothing has come for a time."""
        end = time.perf_counter() + most
        while self.read(seconds) and time.perf_counter() < end:
            pass

    def key_to_paint(self, key: bytes, marker: bytes) -> float:
        """Seconds from a key press until what it brings has been painted."""
        self.quiet(0.03)
        before, began = len(self.text), time.perf_counter()
        os.write(self.fd, key)
        self.until(marker, 10.0, before)
        return time.perf_counter() - began

    def processor(self) -> float:
        """Processor seconds, in user and in system mode, of the program and what it has started."""
        root = psutil.Process(self.pid)
        times = [process.cpu_times() for process in (root, *root.children(recursive=True))]
        return sum(one.user + one.system for one in times)

    def close(self) -> None:
        """End it, whatever it is doing."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self.pid).children(recursive=True):
                process.kill()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


@dataclass(frozen=True)
class Trained:
    """One run. Of its steps without the first three: supervised tokens a second, processor seconds a step,
    bytes a second to the terminal; and the seconds from key to paint.
    """

    speed: float
    processor: float
    bytes_a_second: float
    keys: list[float]


def first_frames(folder: Path, rounds: int) -> tuple[list[float], list[float], list[float]]:
    """Seconds to the first frame of a bare Textual app and of the workbench, and to the whole home screen."""
    bare, ours, whole = [], [], []
    for _ in range(rounds):
        terminal = Terminal([sys.executable, "-c", BARE], folder)
        bare.append(terminal.until(b"begun"))
        terminal.close()
        terminal = Terminal([*COMMAND, "--runs", str(folder / "none")], folder)
        ours.append(terminal.until(b"Runs"))
        whole.append(max(terminal.until(word) for word in (b"No runs yet", b"demo", b"Quit")))
        terminal.close()
    return bare, ours, whole


def idle(folder: Path, seconds: float = 10.0) -> float:
    """Bytes a second of a home screen that is left alone."""
    terminal = Terminal([*COMMAND, "--runs", str(folder / "none")], folder)
    terminal.until(b"No runs yet")
    terminal.quiet(1.0)
    before, end = len(terminal.text), time.perf_counter() + seconds
    while time.perf_counter() < end:
        terminal.read(0.5)
    written = len(terminal.text) - before
    terminal.close()
    return written / seconds


def helps(rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of `--help` and of an interpreter that does nothing."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for command, times in zip(([*COMMAND, "--help"], [sys.executable, "-c", ""]), found, strict=True):
            began = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            times.append(time.perf_counter() - began)
    return found


def config_of(folder: Path, steps: int, name: str) -> Path:
    """A config file that trains a small random model on the chats of the folder."""
    import yaml
    from workload import run_values

    values = run_values(folder, steps)
    values["output"] |= {"name": name, "folder": str(folder / "runs")}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


class Steps:
    """The `step` events of a run, read as they come."""

    def __init__(self, folder: Path, name: str) -> None:
        self._reader = JournalReader(folder / "runs" / name / "events.jsonl")
        self.found: list[Step] = []
        self.ended = False

    def look(self) -> int:
        for event in self._reader.read_events():
            self.ended = self.ended or isinstance(event.body, Finished)
            if isinstance(event.body, Step):
                self.found.append(event.body)
        return len(self.found)

    def speed(self) -> float:
        """Supervised tokens a second, without the first three steps."""
        steps = self.found[3:]
        return sum(step.supervised_tokens for step in steps) / sum(step.seconds for step in steps)


def train(folder: Path, steps: int, name: str, *more: str, keys: bool = False) -> Trained:
    """Train in a pseudo-terminal, under the live pane or with `--no-tui`, and watch what it costs."""
    terminal = Terminal([*COMMAND, "run", str(config_of(folder, steps, name)), *more], folder)
    journal = Steps(folder, name)
    try:
        end = time.perf_counter() + 600
        while journal.look() < 3:
            terminal.read(0.1)
            if journal.ended or time.perf_counter() > end:
                raise RuntimeError(f"no step was made: {terminal.text[-500:]!r}")
        processor, first = terminal.processor(), len(journal.found)
        painted, began, times = len(terminal.text), time.perf_counter(), []
        while journal.look() < steps and not journal.ended:
            if time.perf_counter() > end:
                raise TimeoutError(f"step {len(journal.found)} of {steps} was the last")
            if keys and len(journal.found) < steps - 2:
                for key, marker in KEYS:
                    times.append(terminal.key_to_paint(key, marker))
            else:
                terminal.read(0.1)
        rate = (len(terminal.text) - painted) / (time.perf_counter() - began)
        spent = (terminal.processor() - processor) / (len(journal.found) - first)
    finally:
        terminal.close()
    return Trained(journal.speed(), spent, rate, times)


def pairs(folder: Path, rounds: int, steps: int) -> tuple[list[Trained], list[Trained]]:
    """The same run headless and under the live pane, in turns, each of them first in every other round.

    Both have a terminal of their own: the kernel shares out the processors among sessions first, and a
    niceness counts inside a session only.
    """
    headless, live = [], []
    for number in range(rounds):
        ways = [(headless, f"headless{number}", ["--no-tui"]), (live, f"live{number}", [])]
        for found, name, more in ways if number % 2 else reversed(ways):
            found.append(train(folder, steps, name, *more))
            last = found[-1]
            print(
                f"  {name}: {last.speed:.0f} tokens/s, {last.processor:.3f} processor s/step", file=sys.stderr
            )
    return headless, live


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--keys", type=int, default=120, help="steps of the run in which keys are pressed")
    options = parser.parse_args()
    from workload import Shape, make

    with tempfile.TemporaryDirectory(prefix="bench-screen-") as scratch:
        folder = Path(scratch)
        bare, ours, whole = first_frames(folder, 2 * options.rounds + 1)
        help_, interpreter = helps(options.rounds + 2)
        left_alone = idle(folder)
        make(folder, Shape(hidden=192, layers=6, heads=3, kv_heads=3, intermediate=512, chats=400))
        gc.collect()
        gc.freeze()  # or collections of this process would be taken for slow keys
        headless, live = pairs(folder, options.rounds, options.steps)
        keys = sorted(train(folder, options.keys, "keys", keys=True).keys)
    late = keys[min(len(keys) - 1, int(len(keys) * 0.99))]
    rate = max(run.bytes_a_second for run in live)
    frame = median(one / other for one, other in zip(ours, bare, strict=True))
    speed = median(one.speed / other.speed for one, other in zip(live, headless, strict=True))
    spent = median(one.processor / other.processor for one, other in zip(live, headless, strict=True))
    print(f"\nThe screen, 80x24, medians; a ratio is the median of the pairs' ratios. {machine()}\n")
    lines = [
        ["first frame, bare Textual app", f"{median(bare):.3f} s"],
        ["first frame, workbench", f"{median(ours):.3f} s"],
        ["whole home screen", f"{median(whole):.3f} s"],
        ["an interpreter that does nothing", f"{median(interpreter):.3f} s"],
        ["--help", f"{median(help_):.3f} s"],
        ["training, headless", f"{median(run.speed for run in headless):.0f} supervised tokens/s"],
        ["training, under the live pane", f"{median(run.speed for run in live):.0f} supervised tokens/s"],
        ["the same, best of each", f"{_best(live) / _best(headless):.2f}"],
        ["processor time a step, live pane / headless", f"{spent:.2f}"],
        ["written to the terminal while training, most", f"{rate:.0f} bytes/s"],
        ["written by a home screen left alone", f"{left_alone:.0f} bytes/s"],
        [f"key to paint while training, median of {len(keys)}", f"{median(keys) * 1000:.0f} ms"],
        ["key to paint while training, p99", f"{late * 1000:.0f} ms"],
    ]
    print(table(["", "measured"], lines), "\n")
    return judge(
        [
            Claim("first frame / bare Textual app", frame, 1.3, above=False),
            Claim("--help, seconds", median(help_), 0.3, above=False),
            Claim("training under the live pane / headless", speed, 0.97),
            Claim("bytes a second to the terminal", rate, 2000, above=False),
            Claim("bytes a second, home screen left alone", left_alone, 1, above=False),
            Claim("key to paint p99, seconds", late, 0.1, above=False),
        ]
    )


def _best(runs: list[Trained]) -> float:
    return max(run.speed for run in runs)


if __name__ == "__main__":
    sys.exit(main())
