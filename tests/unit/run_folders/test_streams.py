"""Commands where streams, folders and locales are odd: no traceback, clear words, the right exit code."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tui_tuner.runs.events import Event, Finished, Log, RunStarted
from tui_tuner.runs.wire import encode_event

MAIN = shlex.join([sys.executable, "-m", "tui_tuner"])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder to be in, with one run of an odd name in `runs`."""
    run = tmp_path / "runs" / "läuft ✓"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("model: {name: demo}\ndata: {path: demo}\n")
    bodies = [RunStarted(device="CPU"), *(Log(f"größer als sonst, {n}: 中 😀") for n in range(3000))]
    bodies.append(Finished("completed", 0, "fertig"))
    lines = [encode_event(Event(body, "läuft ✓", n, 1.7e9)) for n, body in enumerate(bodies)]
    (run / "events.jsonl").write_bytes(b"".join(lines))
    (run / "manifest.json").write_text("{}")
    return tmp_path


def _do(place: Path, command: str, **environment: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a line of the shell, where T is the program."""
    known = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    for name in [name for name, value in environment.items() if value == "-"]:
        del known[name]
    done = subprocess.run(
        ["bash", "-c", "set -o pipefail; " + command.replace("T ", f"{MAIN} ", 1)],
        cwd=place,
        env=known,
        capture_output=True,
        timeout=120,
        check=False,
    )
    out, err = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    assert "Traceback" not in out + err and "Exception ignored" not in err, err
    return done.returncode, out, err


def test_closed_streams(place: Path) -> None:
    assert _do(place, "T runs <&- >&- 2>&-")[0] == 0
    assert _do(place, "T <&- >&- 2>&-")[0] == 2


@pytest.mark.parametrize("command", ["attach last --json", "presets"])
def test_a_reader_that_leaves(place: Path, command: str) -> None:
    code, out, err = _do(place, f"T {command} | head -1")
    assert (code, err) == (0, "") and out.count("\n") == 1


@pytest.mark.parametrize("command", ["attach last --json", "presets"])
def test_a_full_disk_behind_standard_output(place: Path, command: str) -> None:
    code, _out, err = _do(place, f"T {command} > /dev/full")
    assert code == 1 and "No space left on device" in err and "bug in tui-tuner" not in err


def test_a_locale_without_utf_8(place: Path) -> None:
    narrow = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    code, out, _err = _do(place, "T attach last", **narrow)
    assert code == 0 and "gr\\u00f6\\u00dfer als sonst" in out and "\\ud83d\\ude00" in out
    code, out, _err = _do(place, "T runs --json", **narrow)
    import json

    assert code == 0 and json.loads(out)[0]["state"] == "completed", "JSON stays JSON"


def test_a_home_and_folders_that_cannot_be_used(place: Path) -> None:
    for environment in (
        {"HOME": "-"},
        {"HOME": "/proc/nothing", "TMPDIR": "/nowhere", "XDG_CACHE_HOME": "/proc", "XDG_STATE_HOME": "/proc"},
    ):
        code, out, _err = _do(place, "T runs", **environment)
        assert code == 0 and "completed" in out, environment


def test_a_working_folder_that_was_deleted(place: Path) -> None:
    code, _out, err = _do(place, "mkdir gone && cd gone && rmdir ../gone && T runs")
    assert code == 2 and "working folder" in err


def test_names_that_are_too_long(place: Path) -> None:
    long = "/".join(["x" * 200] * 30)
    wrong = {
        f"T run {long}": "neither a preset nor a YAML file",
        f"T attach {'y' * 5000}": "File name too long",
    }
    for command, words in wrong.items():
        code, _out, err = _do(place, command)
        assert code == 2 and words in err and "bug in tui-tuner" not in err, command
    code, _out, err = _do(place, "T runs --runs runs/*/config.yaml")
    assert code == 2 and "is a file" in err
