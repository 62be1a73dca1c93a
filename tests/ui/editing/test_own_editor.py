"""An editor of the user's own, in a real terminal: it has the terminal to itself, and gives it back."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.ui.terminal import Terminal, python

EDITOR = """
import json, os, signal, stat, sys, time
mode, path = sys.argv[1], sys.argv[-1]
text = open(path).read()
said = {"flags": sys.argv[2:-1], "mode": stat.S_IMODE(os.stat(path).st_mode),
        "tty": os.isatty(0) and os.isatty(1),
        "folder": stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode), "pid": os.getpid(),
        "front": os.tcgetpgrp(0) == os.getpgrp(), "path": path}
if mode != "look":
    open(path, "w").write(text.replace("#rank: 16 ", "rank: 77 "))
json.dump(said, open("said.json.new", "w"))
os.replace("said.json.new", "said.json")
print("the editor is here", flush=True)
if mode == "fail":
    sys.exit(3)
if mode == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if mode == "waits":
    while not os.path.exists("go on"):
        time.sleep(0.02)
"""

Open = Callable[..., Terminal]


@pytest.fixture
def form(tmp_path: Path) -> Iterator[Open]:
    """The form in a terminal, with this script as the editor."""
    opened: list[Terminal] = []
    (tmp_path / "ed.py").write_text(EDITOR)
    (tmp_path / "mine.yaml").write_text("task: sft\n")

    def open_form(mode: str, name: str = "EDITOR", command: str = "") -> Terminal:
        said = command or f"'{sys.executable}' '{tmp_path / 'ed.py'}' {mode} --flag 'two words'"
        environment = {"EDITOR": "", "VISUAL": "", name: said}
        screen = Terminal(tmp_path, *python("-m", "tui_tuner", "edit", "mine.yaml"), **environment)
        opened.append(screen)
        screen.shows("ready, press ^r to start")
        screen.raw = b""
        screen.press("\x05")
        return screen

    yield open_form
    for screen in opened:
        screen.end()


def words_of(screen: Terminal) -> dict[str, object]:
    """What the editor has found."""
    file = screen.folder / "said.json"
    screen.until(file.exists, "editor")
    return dict(json.loads(file.read_text()))


def test_it_has_the_terminal_and_what_it_wrote_is_taken(form: Open) -> None:
    screen = form("write", "VISUAL")
    said = words_of(screen)
    assert said["flags"] == ["--flag", "two words"] and said["tty"] and said["front"]
    assert (said["mode"], said["folder"]) == (0o600, 0o700)
    screen.until(lambda: b"77" in screen.raw, "rank of the editor", 60)
    assert not Path(str(said["path"])).exists() and screen.modes() == 0
    screen.raw = b""
    screen.press("\x1a")
    screen.shows("edit as YAML (1 setting)")
    screen.press("\x11")
    assert screen.exit_code() == 0


@pytest.mark.parametrize(
    ("mode", "words"),
    [("fail", "ended with code 3"), ("killed", "ended by SIGKILL"), ("look", "Nothing was changed")],
)
def test_an_editor_that_fails_or_changes_nothing_takes_nothing(form: Open, mode: str, words: str) -> None:
    screen = form(mode)
    screen.shows(words)
    if mode != "look":
        screen.shows("Use the text it wrote")
        screen.raw = b""
        screen.press("\r")
        screen.until(lambda: b"77" in screen.raw, "the text it wrote", 60)
    assert screen.modes() == 0


def test_one_that_is_not_there_gives_way_to_the_editor_here(form: Open) -> None:
    screen = form("", command="/no/such/editor --wait")
    screen.shows("program that was not found")
    screen.shows("Apply")


def test_a_signal_while_it_edits_ends_both_and_keeps_the_text(form: Open) -> None:
    screen = form("waits")
    said = words_of(screen)
    editor = psutil.Process(int(str(said["pid"])))
    os.kill(screen.pid, signal.SIGTERM)
    assert screen.exit_code() == 143
    editor.wait(60)
    (kept,) = (screen.folder / "preferences" / "drafts").glob("*.json")
    assert "rank: 77" in json.loads(kept.read_text())["unread"]
    assert not Path(str(said["path"])).exists()


def test_a_killed_workbench_leaves_the_text_to_the_next_one(form: Open) -> None:
    screen = form("waits")
    said = words_of(screen)
    left, folder = Path(str(said["path"])), screen.folder / "preferences" / "drafts"
    assert left.parent.parent == folder
    workbench = psutil.Process(int(left.parent.name.partition("-")[0]))
    workbench.kill()
    screen.until(lambda: not workbench.is_running(), "end")
    (screen.folder / "go on").touch()
    assert "rank: 77" in left.read_text()

    again = Terminal(screen.folder, *python("-m", "tui_tuner"), EDITOR="", VISUAL="")
    try:
        again.shows("your draft")
        again.press("c")
        again.shows("There is an unfinished YAML edit")
        (kept,) = folder.glob("*.json")
        assert "rank: 77" in json.loads(kept.read_text())["unread"] and not left.parent.exists()
        again.raw = b""
        again.press("\x05")
        again.shows("All settings of the form")
    finally:
        again.end()


def test_stopping_it_stops_the_workbench_until_the_shell_goes_on(form: Open) -> None:
    screen = form("waits")
    editor = psutil.Process(int(str(words_of(screen)["pid"])))
    editor.send_signal(signal.SIGTSTP)
    screen.until(lambda: editor.status() == psutil.STATUS_STOPPED, "stopped editor")
    waiter = psutil.Process(screen.pid)
    screen.until(lambda: waiter.status() == psutil.STATUS_STOPPED, "stopped workbench")
    time.sleep(0.2)
    os.killpg(screen.pid, signal.SIGCONT)  # `fg`: this terminal's group is in front already
    screen.until(lambda: editor.status() != psutil.STATUS_STOPPED, "editor that goes on")
    (screen.folder / "go on").touch()
    screen.until(lambda: b"77" in screen.raw, "rank of the editor", 60)
    assert screen.modes() == 0
