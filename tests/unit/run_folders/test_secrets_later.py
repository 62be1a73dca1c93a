"""Secrets that come later than the process, and those of other shapes, are masked wherever text is kept."""

import json
import os
from pathlib import Path

import pytest

from tui_tuner.launch.watchdog import Watchdog
from tui_tuner.runs.events import Log
from tui_tuner.runs.history import describe_lost_run, read_log_tail
from tui_tuner.runs.journal import JournalWriter
from tui_tuner.runs.notes import read_notes, set_run_note
from tui_tuner.runs.secrets import MASK, Scrubber, get_current_scrubber
from tui_tuner.runs.store import RunFolder

AWS = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("HF_HOME", raising=False)
    monkeypatch.delenv("HF_TOKEN_PATH", raising=False)


def test_a_token_set_after_the_journal_was_opened_is_masked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = JournalWriter(tmp_path / "events.jsonl", "r")
    journal.emit(Log("swordfish-12345 is no secret yet"))
    monkeypatch.setenv("MY_API_KEY", "swordfish-12345")
    journal.emit(Log("swordfish-12345"))
    monkeypatch.delenv("MY_API_KEY")
    journal.emit(Log("swordfish-12345, which was one"))
    hub = tmp_path / ".cache" / "huggingface"
    hub.mkdir(parents=True)
    (hub / "token").write_text("plain-hub-token\n")
    (hub / "stored_tokens").write_text("[work]\nhf_token = another-hub-token\n")
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password netrc-secret-1\n")
    journal.emit(Log("plain-hub-token another-hub-token netrc-secret-1"))
    journal.close()
    said = [json.loads(line)["message"] for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert said == [
        "swordfish-12345 is no secret yet",
        MASK,
        f"{MASK}, which was one",
        f"{MASK} {MASK} {MASK}",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "error:\nhf_" + "a" * 30,  # behind an escape, once it is JSON
        "\thf_" + "a" * 30,
        "https://user:pw@host/x",
        "https://ghsecrettoken1234567@github.com/x",
        f"aws_secret_access_key = {AWS}",
        f'{{"SecretAccessKey": "{AWS}"}}',
        f"AWS_SECRET_ACCESS_KEY={AWS}",
        "ASIA" + "A" * 16,
        "WANDB_API_KEY=" + "0a" * 20,
        "ghp_" + "a" * 36,
        "sk-" + "a" * 30,
        "npm_" + "a" * 36,
    ],
)
def test_shapes_are_masked_in_text_and_in_a_line_of_json(text: str, tmp_path: Path) -> None:
    plain = Scrubber({}).mask_text(text)
    assert MASK in plain and AWS not in plain and "aaaa" not in plain and "0a0a" not in plain
    journal = JournalWriter(tmp_path / "events.jsonl", "r")
    journal.emit(Log(text))
    journal.close()
    (line,) = (tmp_path / "events.jsonl").read_text().splitlines()
    assert MASK in json.loads(line)["message"], "the line is JSON still"
    assert AWS not in line and "aaaa" not in line and ":pw@" not in line


@pytest.mark.parametrize(
    "text",
    ["pad_token=<|endoftext|>", "password: how do I reset it?", "https://host:8080/a@b", "12:30 a@b.c"],
)
def test_ordinary_words_stay(text: str) -> None:
    assert Scrubber({}).mask_text(text) == text


def test_notes_and_the_shown_end_of_a_log_are_masked(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    set_run_note(folder, "used hf_" + "b" * 30 + " here")
    assert read_notes(folder).note == f"used {MASK} here"
    folder.log_path.write_text("loading\nfailed with hf_" + "b" * 30 + "\n")
    assert read_log_tail(folder.log_path, 5) == ["loading", f"failed with {MASK}"]


def test_what_was_printed_past_python_is_masked_while_the_run_is_on(tmp_path: Path) -> None:
    log = tmp_path / "run.log"

    class Nowhere:
        def emit(self, body: object) -> None:
            pass

    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with Watchdog(Nowhere(), tmp_path, look=0.02):
        for number in range(3):
            os.write(fd, b"x" * 5000 + b" ghp_" + b"c" * 36 + b" end %d\n" % number)
            _until(lambda: b"ccc" not in log.read_bytes())
    os.close(fd)
    assert log.read_bytes().count(b" end ") == 3 and len(log.read_bytes().splitlines()) == 3


def _until(true: object) -> None:
    import time

    deadline = time.monotonic() + 20
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_one_scrubber_serves_as_long_as_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    first = get_current_scrubber()
    assert get_current_scrubber() is first
    monkeypatch.setenv("OTHER_TOKEN", "new-value-123")
    assert get_current_scrubber() is not first and get_current_scrubber().has_secret("new-value-123")


def test_what_a_killed_process_printed_last_is_masked_once_its_run_is_told_as_lost(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.log_path.write_text("loading\nAuthorization: hf_abcdefghijklmnopqrstuvwxyzABCDEFGH\n")
    assert "hf_abc" not in " ".join(describe_lost_run(folder).lines)
    assert b"hf_abc" not in folder.log_path.read_bytes() and folder.log_path.read_bytes().startswith(
        b"loading\n"
    )
