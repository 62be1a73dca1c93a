"""Only the owner steers a run, and its files are not written through links that somebody planted."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tui_tuner.errors import RunError
from tui_tuner.launch.lock import hold_lock
from tui_tuner.launch.output_capture import open_output_log
from tui_tuner.runs.control import CommandReceiver, send_control_command
from tui_tuner.runs.events import Log
from tui_tuner.runs.journal import JournalReader, JournalWriter
from tui_tuner.runs.notes import set_run_note
from tui_tuner.runs.private_files import open_private
from tui_tuner.runs.store import RunFolder


def test_commands_in_a_file_that_others_can_write_are_refused(tmp_path: Path) -> None:
    control = CommandReceiver(tmp_path / "control.jsonl")
    send_control_command(control.path, "save")
    assert (control.poll_commands(), control.refused) == (["save"], 0)
    control.path.chmod(0o666)
    send_control_command(control.path, "stop")
    assert (control.poll_commands(), control.refused) == ([], 1)
    control.path.chmod(0o600)
    send_control_command(control.path, "pause")
    assert control.poll_commands() == ["pause"]


def test_commands_are_not_read_or_sent_through_a_link(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"")
    control = CommandReceiver(tmp_path / "control.jsonl")
    control.path.symlink_to(other)
    with pytest.raises(OSError):
        send_control_command(control.path, "stop")
    other.write_bytes(b'{"command": "stop"}\n')
    assert control.poll_commands() == [] and other.read_bytes() == b'{"command": "stop"}\n'


def test_commands_of_a_file_that_was_replaced_are_heard(tmp_path: Path) -> None:
    control = CommandReceiver(tmp_path / "control.jsonl")
    for _unused in range(5):
        send_control_command(control.path, "save")
    assert control.poll_commands() == ["save"] * 5
    control.path.unlink()
    assert control.poll_commands() == []
    send_control_command(control.path, "stop")
    assert control.poll_commands() == ["stop"]


def _lock(folder: RunFolder) -> None:
    with hold_lock(folder):
        pass


@pytest.mark.parametrize(
    ("name", "write"),
    [
        (".lock", _lock),
        ("events.jsonl", lambda folder: JournalWriter(folder.events_path, "r")),
        ("run.log", lambda folder: open_output_log(folder.log_path)),
    ],
)
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_stands_in_the_place_of_a_file_is_not_written(
    tmp_path: Path, name: str, write: Callable[[RunFolder], object], kind: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    if kind == "link":
        (folder.path / name).symlink_to(victim)
    else:
        os.mkfifo(folder.path / name)
    with pytest.raises((RunError, OSError)):
        write(folder)
    assert victim.read_text() == "precious"


def test_a_file_that_is_replaced_whole_does_not_follow_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    (folder.path / "notes.json").symlink_to(victim)
    set_run_note(folder, "mine")
    assert victim.read_text() == "precious" and not (folder.path / "notes.json").is_symlink()


def test_a_new_file_is_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        os.close(open_private(tmp_path / "new", os.O_WRONLY | os.O_CREAT))
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


def test_a_journal_that_is_deleted_or_replaced_is_begun_anew(tmp_path: Path) -> None:
    from tui_tuner.runs.events import Heartbeat, Warned

    path = tmp_path / "events.jsonl"
    journal = JournalWriter(path, "r")
    journal.emit(Log("first"))
    reader = JournalReader(path)
    assert len(reader.read_events()) == 1
    path.unlink()
    journal.emit(Heartbeat(1))
    journal.emit(Log("second"))
    bodies = [event.body for event in reader.read_events()]
    assert isinstance(bodies[0], Warned) and bodies[0].code == "journal_replaced"
    assert bodies[-1] == Log("second")
    other = tmp_path / "other"
    other.write_bytes(b"not ended")
    other.replace(path)
    journal.emit(Heartbeat(2))
    assert path.read_bytes().startswith(b"not ended\n{")
    path.unlink()
    tmp_path.rename(tmp_path.with_name(tmp_path.name + "-moved"))
    journal.emit(Heartbeat(3))
    journal.emit(Log("nobody reads this, and nothing is raised"))
    journal.close()
    tmp_path.with_name(tmp_path.name + "-moved").rename(tmp_path)
