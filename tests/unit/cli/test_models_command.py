"""`tui-tuner models` as a process of its own, against a hub played by a local server."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub_server import TOKEN, PlayedHub

WEIGHTS = "model.safetensors"
ROOT = Path(__file__).parents[3]


class Shell:
    """Runs the command with a home of its own."""

    def __init__(self, hub: PlayedHub, folder: Path) -> None:
        self.hub, self.home, self.folder = hub, folder / "home", folder / "work"
        self.folder.mkdir()
        gone = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "MODELSCOPE_API_TOKEN", "HF_HUB_CACHE")
        kept = {name: value for name, value in os.environ.items() if name not in gone}
        self.environment = kept | hub.environment(self.home) | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}
        self.command = [sys.executable, "-P", "-m", "tui_tuner", "models"]

    def __call__(self, *arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *arguments],
            input=given if given is not None else "",
            capture_output=True,
            text=True,
            env=self.environment,
            cwd=self.folder,
            timeout=60,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.command, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            cwd=self.folder,
            # whoever starts the tests in a shell's background has told them to ignore it
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def part(self) -> int:
        return max((path.stat().st_size for path in self.home.rglob("*.incomplete")), default=0)

    def wait_for_part(self, size: int) -> None:
        until = time.monotonic() + 60
        while self.part() < size:
            assert time.monotonic() < until
            time.sleep(0.02)


@pytest.fixture
def models(tmp_path: Path) -> Iterator[Shell]:
    with PlayedHub() as hub:
        hub.add_demo("acme/tiny", {"pytorch_model.bin": b"p" * 200_000})
        yield Shell(hub, tmp_path)


def test_killed_and_interrupted_it_goes_on_where_it_was(models: Shell) -> None:
    hub = models.hub
    hub.slow(300_000)
    first = models.start("fetch", "acme/tiny")
    models.wait_for_part(400_000)
    first.kill()
    first.communicate()
    kept = models.part()
    time.sleep(0.2)  # the server notices
    hub.sent.clear()
    second = models.start("fetch", "acme/tiny", "--json")
    models.wait_for_part(kept + 300_000)
    second.send_signal(signal.SIGINT)
    out, err = second.communicate(timeout=60)
    assert second.returncode == 130
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines[-1]["event"] == "stopped" and lines[-1]["done"] >= kept + 300_000
    assert "the same command continues from there" in err
    again = models.part()
    time.sleep(0.2)
    hub.slow(None)
    hub.sent.clear()
    third = models("fetch", "acme/tiny")
    assert third.returncode == 0 and "acme/tiny is on this machine: 3.6 MiB in " in third.stdout
    assert hub.sent[WEIGHTS] == len(hub.models["acme/tiny"].files[WEIGHTS]) - again
    listed = json.loads(models("list", "--json").stdout)
    assert listed["hubs"]["huggingface"] == hub.url
    assert [(one["name"], one["whole"]) for one in listed["models"]] == [("acme/tiny", True)]


def test_names_go_through_a_pipe(models: Shell) -> None:
    found = models("search", "acme", "--names")
    assert found.stdout == "acme/tiny\n"
    assert models("fetch", "-", given=found.stdout).returncode == 0
    assert models("list", "--names").stdout == "acme/tiny\n"
    shown = models("show", "acme/tiny").stdout
    assert "all of it on this machine" in shown and "901K" in shown and "apache-2.0" in shown


def test_a_chat_with_a_model_that_is_not_here_fetches_it_with_a_count(models: Shell) -> None:
    models.command = models.command[:-1]
    models.hub.break_after(WEIGHTS, 1_000_000)
    asked = models("chat", "acme/tiny", "--max-new-tokens", "3", given="hello\n")
    assert asked.returncode == 0, asked.stderr
    assert "acme/tiny: " in asked.stderr and "0 of 7 files" in asked.stderr
    assert "files" not in asked.stdout
    assert models.hub.sent[WEIGHTS] == len(models.hub.models["acme/tiny"].files[WEIGHTS])


def test_errors_have_words_a_code_and_their_place_in_json(models: Shell) -> None:
    lost = models("fetch", "acme/tinny", "--json")
    assert lost.returncode == 1
    error = json.loads(lost.stdout.splitlines()[-1])["error"]
    assert error["what"] == "is not on Hugging Face." and "acme/tiny" in error["hint"]
    assert models("search", "no-such-thing").returncode == 1
    unknown = models("show", "acme/tiny", "--source", "nowhere")
    assert unknown.returncode == 2 and "Known are huggingface, modelscope" in unknown.stderr


def test_what_no_hub_has_is_not_asked_for(models: Shell) -> None:
    folder = models.folder / "mine"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    found = models("fetch", str(folder))
    assert found.returncode == 0 and found.stdout == f"{folder}\n"
    own = models("fetch", "demo")
    assert own.returncode == 2 and "is included in this package" in own.stderr


def test_a_token_comes_through_a_pipe_and_is_shown_nowhere(models: Shell) -> None:
    done = models("login", given=TOKEN + "\n")
    assert done.returncode == 0 and "anna" in done.stdout
    assert TOKEN not in done.stdout + done.stderr
    who = models("who", "--json")
    assert json.loads(who.stdout)["who"]["name"] == "anna" and TOKEN not in who.stdout
    assert models("logout").returncode == 0
    assert models("who").returncode == 1
    told = models("login", TOKEN)  # arguments are seen by everybody on a machine
    assert told.returncode == 2 and TOKEN not in told.stdout + told.stderr


def test_on_a_terminal_a_line_moves_in_its_place_and_a_token_is_not_echoed(models: Shell) -> None:
    models.hub.slow(4_000_000)
    screen, code = on_terminal(models, "fetch", "acme/tiny")
    assert code == 0 and "acme/tiny is on this machine" in screen
    lines = screen.split("\r\x1b[K")
    assert len(lines) > 3 and all("\n" not in line for line in lines[1:-1])
    assert any("MiB of 3.6 MiB" in line for line in lines)
    screen, code = on_terminal(models, "login", typed=TOKEN)
    assert code == 0 and "anna" in screen and TOKEN not in screen


def on_terminal(shell: Shell, *arguments: str, typed: str = "") -> tuple[str, int]:
    """What a terminal shows of a command, and its exit code."""
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        [*shell.command, *arguments],
        stdin=inside,
        stdout=inside,
        stderr=inside,
        env=shell.environment,
        cwd=shell.folder,
        start_new_session=True,
    )
    os.close(inside)
    shown = b""
    try:
        while select.select([terminal], [], [], 60)[0]:
            try:
                piece = os.read(terminal, 65536)
            except OSError:  # nobody has it open any more
                break
            shown += piece
            if typed and shown.endswith(b"Token: "):  # asked for after echoing was turned off
                os.write(terminal, typed.encode() + b"\n")
                typed = ""
        return shown.decode(), process.wait(60)
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
