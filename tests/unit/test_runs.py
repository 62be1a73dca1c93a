"""The journal, control and run folders on real files, with torn lines, dead processes and hostile names."""

import json
import math
import multiprocessing
import os
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import UsageError
from tui_tuner.runs.control import CommandReceiver, send_control_command
from tui_tuner.runs.events import Finished, Heartbeat, Log, Phase, RunStarted, Step, Unknown
from tui_tuner.runs.history import summarise_run
from tui_tuner.runs.journal import JournalReader, JournalWriter
from tui_tuner.runs.journal_tally import CACHE
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.runs.view import RunView, fold_view_events
from tui_tuner.runs.wire import decode_event_line
from tui_tuner.training.keeping.best import STAMP, read_stamp
from tui_tuner.training.keeping.checkpoints import MANIFEST, Checkpoint


def _config(name: str = "auto") -> RunConfig:
    return RunConfig.model_validate({"output": {"name": name}})


def test_events_come_back_whole_and_in_order_from_many_threads(tmp_path: Path) -> None:
    journal = JournalWriter(tmp_path / "events.jsonl", "r")
    threads = [
        threading.Thread(
            target=lambda n=n: [journal.emit(Log(level="info", message=f"{n} {i}")) for i in range(200)]
        )
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    reader = JournalReader(tmp_path / "events.jsonl")
    events = reader.read_events()
    assert [event.seq for event in events] == list(range(800))
    assert reader.damaged == 0


def test_seq_continues_after_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    journal = JournalWriter(path, "r")
    journal.emit(Heartbeat(step=1))
    journal.close()
    with open(path, "ab") as file:
        file.write(b'{"v":1,"kind":"step","st')
    journal = JournalWriter(path, "r")
    journal.emit(Heartbeat(step=2))
    journal.close()
    events = JournalReader(path).read_events()
    assert [(event.seq, event.body.step) for event in events] == [(0, 1), (1, 2)]


def test_a_reader_waits_for_the_newline(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"v":1,"kind":"heartbeat","seq":0}\n{"v":1,"kind":"heart')
    reader = JournalReader(path)
    assert len(reader.read_events()) == 1
    with open(path, "ab") as file:
        file.write(b'beat","seq":1}\n')
    assert [event.seq for event in reader.read_events()] == [1]


def test_numbers_that_json_has_not(tmp_path: Path) -> None:
    journal = JournalWriter(tmp_path / "e", "r")
    odd = {1: {2}, "s": "\ud800"}
    numbers = {"loss": float("nan"), "grad_norm": float("inf"), "epoch": 1 / 3}
    journal.emit(Unknown("step", {"step": 1, **numbers, "odd": odd}))
    journal.close()
    assert journal.lost == 0
    (event,) = JournalReader(tmp_path / "e").read_events()
    assert isinstance(event.body, Step) and math.isnan(event.body.loss) and event.body.grad_norm == math.inf
    assert event.body.epoch == 1 / 3


def test_emit_never_raises(tmp_path: Path) -> None:
    journal = JournalWriter(tmp_path / "e", "r")
    os.close(journal._fd)
    journal.emit(Log(message="the disk refuses this"))
    assert journal.waiting_events == 1
    journal._fd = os.open(tmp_path / "e", os.O_WRONLY | os.O_APPEND)
    journal.emit(Log(message="heard"))
    events = JournalReader(tmp_path / "e").read_events()
    assert [(event.seq, event.body.message) for event in events] == [
        (0, "the disk refuses this"),
        (1, "heard"),
    ]


def test_a_journal_that_waits_too_long_says_how_much_it_gave_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui_tuner.runs.journal.MOST_WAITING", 1000)
    journal = JournalWriter(tmp_path / "e", "r")
    os.close(journal._fd)
    for number in range(20):
        journal.emit(Log(message=f"{number} " + "x" * 100))
    assert 0 < journal.lost < 20 and journal.waiting_events == 20 - journal.lost
    journal._fd = os.open(tmp_path / "e", os.O_WRONLY | os.O_APPEND)
    journal.emit(Log(message="heard"))
    events = JournalReader(tmp_path / "e").read_events()
    lost = 21 - len(events[1:])
    assert events[0].body.code == "journal_gap" and events[0].body.message.startswith(f"{lost} events")
    assert events[-1].body.message == "heard"
    assert journal.lost == 0


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300), st.text(max_size=100).map(lambda text: f'{{"kind":"step",{text}}}'.encode())
    )
)
def test_damaged_journals_never_raise(tmp_path: Path, block: bytes) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(block + b"\n")
    fold_view_events(RunView(), JournalReader(path).read_events())


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


_KINDS = (
    "run_started phase step evaluation sample warning resolved finished ledger checkpoint heartbeat new_kind"
)
_FIELDS = "step metrics config total name loss index status resumed_from total_steps memory_host epoch"
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=4
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(_KINDS.split()), st.dictionaries(st.sampled_from(_FIELDS.split()), _VALUES))
def test_any_fields_fold(kind: str, fields: dict[str, object]) -> None:
    event = decode_event_line(json.dumps({"kind": kind, **fields}).encode())
    if event:
        fold_view_events(fold_view_events(RunView(), [event]), [event])


def test_a_resume_drops_the_steps_that_are_done_again(tmp_path: Path) -> None:
    journal = JournalWriter(tmp_path / "e", "r")
    journal.emit(RunStarted(total_steps=10))
    for step in range(1, 8):
        journal.emit(Step(step=step, loss=float(step), seconds=1.0, supervised_tokens=5))
    journal.emit(RunStarted(total_steps=10, resumed_from=4))
    journal.emit(Step(step=5, loss=50.0, seconds=1.0, supervised_tokens=5))
    journal.close()
    view = fold_view_events(RunView(), JournalReader(tmp_path / "e").read_events())
    assert [point.step for point in view.steps] == [1, 2, 3, 4, 5]
    assert view.steps[-1].loss == 50.0
    assert view.resumes == 1
    assert view.tokens_per_second() == 5.0
    assert view.seconds_left() == 5.0


def test_control_hears_other_processes_and_not_the_past(tmp_path: Path) -> None:
    path = tmp_path / "control.jsonl"
    send_control_command(path, "stop")
    control = CommandReceiver(path)
    assert control.poll_commands() == []
    child = multiprocessing.get_context("spawn").Process(target=send_control_command, args=(path, "pause"))
    child.start()
    child.join()
    send_control_command(path, "continue")
    with open(path, "ab") as file:
        file.write(b"garbage\n[1]\n")
    assert control.poll_commands() == ["pause", "continue"]
    control.request_command("stop", reason="SIGTERM")
    assert control.poll_commands() == ["stop"]
    assert control.stop_reason == "SIGTERM"
    with pytest.raises(ValueError):
        send_control_command(path, "explode")


def test_run_folders_are_private_and_never_reused(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs")
    folder = store.create_run(_config("mine"))
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert folder.load_config().output.name == "mine"
    with pytest.raises(UsageError, match="resume mine"):
        store.create_run(_config("mine"))
    first, second = store.create_run(_config()), store.create_run(_config())
    assert first.path != second.path


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "-flag", "x\x1b[31m", "last", "a\x00b"])
def test_names_that_are_no_folder_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        RunStore(tmp_path).create_run(_config(name))
    assert "\x1b" not in str(caught.value)
    assert not any(tmp_path.iterdir())


def test_markup_in_a_name_is_just_a_name(tmp_path: Path) -> None:
    assert RunStore(tmp_path).create_run(_config("a[red]b")).name == "a[red]b"


def test_find_takes_names_beginnings_paths_and_last(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    alpha, _ = store.create_run(_config("alpha-1")), store.create_run(_config("beta-1"))
    os.utime(alpha.path / "config.yaml", (1, 1))
    assert store.find_run("alpha").name == "alpha-1"
    assert store.find_run(str(alpha.path)).name == "alpha-1"
    assert store.find_run("last").name == "beta-1"
    store.create_run(_config("alpha-2"))
    with pytest.raises(UsageError, match="several"):
        store.find_run("alpha")
    with pytest.raises(UsageError, match="tui-tuner runs"):
        store.find_run("gamma")


def test_state_tells_a_dead_process_from_a_living_one(tmp_path: Path) -> None:
    folder = RunStore(tmp_path).create_run(_config("r"))
    assert folder.find_state() == "new"
    code = (
        "import sys; from pathlib import Path; from tui_tuner.runs.store import RunFolder;"
        "from tui_tuner.runs.journal import JournalWriter;"
        "f = RunFolder(Path(sys.argv[1])); f.claim_run();"
        "from tui_tuner.runs.events import RunStarted;"
        "JournalWriter(f.events_path, 'r').emit(RunStarted(total_steps=3)); "
        "print('ready', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(folder.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.readline()
    assert folder.find_state() == "running"
    child.kill()
    child.wait()
    assert folder.find_state() == "lost"
    assert summarise_run(folder)["state"] == "lost"


def test_a_pid_that_was_given_to_another_process_is_not_the_run(tmp_path: Path) -> None:
    folder = RunStore(tmp_path).create_run(_config("r"))
    folder.claim_run()
    assert folder.is_alive()
    manifest = folder.read_manifest() | {"process_started": 1.0}
    folder.write_file("manifest.json", json.dumps(manifest))
    assert not folder.is_alive()


def test_a_stepped_clock_does_not_make_a_living_run_a_lost_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psutil

    folder = RunStore(tmp_path).create_run(_config("r"))
    folder.claim_run()
    JournalWriter(folder.events_path, "r").emit(RunStarted(total_steps=3))
    real = psutil.Process.create_time
    for step in (-7200.0, 86400.0 * 365):  # what the system says of a start after its clock was stepped
        monkeypatch.setattr(psutil.Process, "create_time", lambda self, step=step: real(self) + step)
        assert folder.is_alive() and folder.find_state() == "running"
    monkeypatch.undo()
    for what, value in (("ticks", 1), ("boot", "another")):
        manifest = folder.read_manifest()
        manifest["process"][what] = value
        folder.write_file("manifest.json", json.dumps(manifest))
        assert not folder.is_alive(), "another process, or one of another boot, with the same number"
        folder.claim_run()
        assert folder.is_alive()


def test_a_manifest_without_ticks_is_compared_by_the_time_of_day(tmp_path: Path) -> None:
    folder = RunStore(tmp_path).create_run(_config("r"))
    folder.claim_run()
    manifest = folder.read_manifest()
    del manifest["process"]
    folder.write_file("manifest.json", json.dumps(manifest))
    assert folder.is_alive()
    folder.write_file(
        "manifest.json", json.dumps(manifest | {"process": {"started": 5.0, "ticks": 1, "boot": "x"}})
    )
    assert folder.is_alive(), "left over by another claim"


def test_a_line_after_the_end_does_not_make_a_run_a_lost_one(tmp_path: Path) -> None:
    folder = RunStore(tmp_path).create_run(_config("r"))
    folder.write_file("manifest.json", '{"pid": 1, "process_started": 1.0}')
    journal = JournalWriter(folder.events_path, "r")
    for body in (RunStarted(total_steps=3), Finished("completed", 0), Log("late"), Phase("training", 3, 3)):
        journal.emit(body)
    assert folder.find_state() == summarise_run(folder)["state"] == "completed"
    journal.emit(RunStarted(total_steps=3, resumed_from=2))
    assert folder.find_state() == "lost"


def test_a_command_after_a_torn_line_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "control.jsonl"
    control = CommandReceiver(path)
    send_control_command(path, "pause")
    with open(path, "ab") as file:
        file.write(b'{"time": 1, "comma')
    assert control.poll_commands() == ["pause"]
    send_control_command(path, "stop")
    assert control.poll_commands() == ["stop"]
    with open(path, "ab") as file:
        file.write(b'{"time"')
    late = CommandReceiver(path)
    send_control_command(path, "save")
    assert late.poll_commands() == ["save"]


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"pid": "x"}', '{"pid": 1e300, "process_started": null}']
)
def test_damaged_manifests_are_dead_runs(tmp_path: Path, content: str) -> None:
    folder = RunStore(tmp_path).create_run(_config("r"))
    (folder.path / "manifest.json").write_text(content)
    assert not folder.is_alive()
    assert folder.find_state() in ("new", "lost")
    (folder.path / "config.yaml").write_text("{")
    assert summarise_run(RunFolder(folder.path))["model"] == ""


def test_one_folder_that_cannot_be_read_hides_no_other_run(tmp_path: Path) -> None:
    root = tmp_path
    while len(str(root)) < 3900:
        root /= "x" * min(200, 3900 - len(str(root)))
    root.mkdir(parents=True)
    store = RunStore(root)
    store.create_run(_config("whole"))
    (root / "closed").mkdir(mode=0)
    inside = os.open(root, os.O_RDONLY)
    os.mkdir("y" * 200, dir_fd=inside)  # the path of a file in it is too long for the system
    os.close(inside)
    assert "whole" in [folder.name for folder in store.list_runs()]
    assert store.find_run("last").name == "whole"


@pytest.mark.parametrize("name", [CACHE, "notes.json", "manifest.json", "events.jsonl", "run.log"])
def test_a_pipe_or_deep_brackets_in_place_of_a_file_hold_nothing_up(tmp_path: Path, name: str) -> None:
    folder = RunStore(tmp_path).create_run(_config("r"))
    (folder.path / name).write_text("[" * 100_000)
    assert summarise_run(folder)["name"] == "r"
    (folder.path / name).unlink()
    os.mkfifo(folder.path / name)
    with ThreadPoolExecutor(1) as pool:
        row = pool.submit(summarise_run, folder)
        try:
            assert row.result(20)["name"] == "r"
        finally:
            os.close(os.open(folder.path / name, os.O_RDWR | os.O_NONBLOCK))  # lets a reader go


def test_a_pipe_in_a_checkpoint_is_damage(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / MANIFEST)
    os.mkfifo(tmp_path / STAMP)
    with ThreadPoolExecutor(1) as pool:
        problem, stamp = pool.submit(Checkpoint(tmp_path, 1).find_problem), pool.submit(read_stamp, tmp_path)
        try:
            assert "missing or damaged" in problem.result(20)
            assert stamp.result(20) is None
        finally:
            for name in (MANIFEST, STAMP, STAMP):
                os.close(os.open(tmp_path / name, os.O_RDWR | os.O_NONBLOCK))
