"""Summaries of runs, notes, trash, causes of death and secrets, on real folders and processes."""

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tui_tuner.cli import history_commands as history_cli
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ConfigError, UsageError
from tui_tuner.launch.output_capture import capture_output
from tui_tuner.runs import ballast, kernel, trash
from tui_tuner.runs.death import find_cause_of_death, names_killed_process, read_vital_signs
from tui_tuner.runs.events import Evaluation, Finished, Heartbeat, RunStarted, Step, Warned
from tui_tuner.runs.gpu_faults import classify_fault, find_kernel_fault
from tui_tuner.runs.history import (
    describe_lost_run,
    format_resume_command,
    matches_run_words,
    measure_disk_use,
    read_log_tail,
    summarise_run,
    summarise_runs,
)
from tui_tuner.runs.journal import JournalReader, JournalWriter
from tui_tuner.runs.journal_tally import CACHE, update_tally
from tui_tuner.runs.notes import change_run_tags, read_notes, set_run_note
from tui_tuner.runs.secrets import Scrubber
from tui_tuner.runs.store import RunFolder, RunStore

TOKEN = "hf_" + "aBcDeFgHiJkLmNoPqRsT"


def _run(store: RunStore, name: str, **values: object) -> RunFolder:
    return store.create_run(RunConfig.model_validate({"output": {"name": name}, **values}))


def _journal(folder: RunFolder, steps: int = 3, finish: bool = True) -> None:
    journal = JournalWriter(folder.events_path, folder.name)
    journal.emit(RunStarted(total_steps=steps, device="cpu"))
    for step in range(1, steps + 1):
        journal.emit(Step(step=step, loss=4.0 / step, seconds=2.0, supervised_tokens=5))
    journal.emit(Evaluation(step=2, metrics={"loss": 1.25, "bleu": 0.3}))
    journal.emit(Evaluation(step=steps, metrics={"loss": 1.5, "bleu": 0.4}))
    if finish:
        journal.emit(Finished(status="completed", exit_code=0, message=""))
    journal.close()


def _spread(folder: RunFolder, gaps: list[float]) -> None:
    """Rewrite the times of a journal, so that the gaps between events are these."""
    lines = [json.loads(line) for line in folder.events_path.read_text().splitlines()]
    now = 1_000_000.0
    for line, gap in zip(lines, gaps, strict=True):
        now += gap
        line["time"] = now
    folder.events_path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_summary_holds_what_was_paid_for(tmp_path: Path) -> None:
    folder = _run(RunStore(tmp_path), "r", hardware={"price_per_hour": 36.0}, evaluation={"best": "bleu"})
    _journal(folder)
    # An hour of silence in the middle, when no process held the run, costs nothing.
    _spread(folder, [0, 10, 10, 3600, 10, 10, 10])
    row = summarise_run(folder)
    assert row["paid_seconds"] == 50.0
    assert row["cost"] == 0.5
    assert row["training_seconds"] == 6.0
    assert (row["step"], row["total_steps"], row["loss"]) == (3, 3, 4 / 3)
    assert (row["metric"], row["best"], row["best_validation_loss"]) == ("bleu", 0.4, 1.25)
    assert row["state"] == "completed"


def test_only_what_was_appended_is_read_again(tmp_path: Path) -> None:
    folder = _run(RunStore(tmp_path), "r")
    _journal(folder, finish=False)
    first, complete = update_tally(folder)
    assert complete and first.offset == folder.events_path.stat().st_size
    block = folder.events_path.read_bytes()
    # Damage what is already counted: if it were read again, the sums would change.
    folder.events_path.write_bytes(block[:300] + b"x" * (len(block) - 300))
    with open(folder.events_path, "ab") as file:
        file.write(b"\n")
    journal = JournalWriter(folder.events_path, "r")
    journal.emit(Step(step=4, loss=0.5, seconds=1.0))
    journal.close()
    again, complete = update_tally(folder)
    assert complete and again.step == 4 and again.training_seconds == first.training_seconds + 1.0


def test_a_replaced_journal_is_read_from_its_start(tmp_path: Path) -> None:
    folder = _run(RunStore(tmp_path), "r")
    _journal(folder, steps=9)
    assert update_tally(folder)[0].step == 9
    folder.events_path.unlink()
    _journal(folder, steps=30)
    assert update_tally(folder)[0].step == 30
    folder.events_path.write_bytes(b"")
    assert update_tally(folder)[0].step == 0


def test_a_resume_takes_back_what_is_done_again(tmp_path: Path) -> None:
    folder = _run(RunStore(tmp_path), "r")
    _journal(folder, steps=5, finish=False)
    journal = JournalWriter(folder.events_path, "r")
    journal.emit(RunStarted(total_steps=5, resumed_from=3))
    journal.close()
    known, _ = update_tally(folder)
    assert known.step == 3 and known.resumes == 1
    assert [step for step, _ in known.evaluations] == [2]


def test_many_runs_with_long_journals_are_listed_quickly(tmp_path: Path) -> None:
    """100 runs whose journals together hold 1 GB: the first look is bounded, the next ones are quick."""
    store = RunStore(tmp_path)
    template = _run(store, "run-0")
    _journal(template, steps=2000)
    text = template.events_path.read_bytes()
    template.events_path.write_bytes(text * (10_000_000 // len(text)))
    for number in range(1, 100):
        os.link(template.events_path, _run(store, f"run-{number}").events_path)
    start = time.process_time()
    rows = list(summarise_runs(store, seconds=0.5))
    assert time.process_time() - start < 20.0
    assert len(rows) == 100 and not all(row["complete"] for row in rows)
    assert all(row["loss"] is None and row["best"] is None for row in rows if not row["complete"])
    assert update_tally(template)[1]
    for folder in store.list_runs():  # the journals are one file, so are the sums
        (folder.path / CACHE).write_bytes((template.path / CACHE).read_bytes())
    start = time.process_time()
    rows = list(summarise_runs(store, seconds=0))
    assert time.process_time() - start < 6.0
    assert all(row["complete"] and row["loss"] == 4.0 / 2000 and row["best"] == 1.25 for row in rows)


def test_damage_costs_only_itself(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    folder = _run(store, "r")
    _journal(folder)
    with open(folder.events_path, "ab") as file:
        file.write(b'{"v":99,"kind":"step","step":7,"loss":0.25,"new_field":{}}\n')
        file.write(b'{"v":99,"kind":"hologram"}\n\xff\xfe\x00\n{"kind":"step","step":"x"}\n{"kind":"st')
    row = summarise_run(folder)
    assert row["newer_journal"] and row["step"] == 7 and row["loss"] == 0.25 and row["complete"]
    for name in (CACHE, "notes.json", "config.yaml", "manifest.json"):
        (folder.path / name).write_bytes(b"\x00[[[")
    assert summarise_run(folder)["step"] == 7
    (folder.path / CACHE).write_text(json.dumps({"cache": 1, "offset": "x"}))
    assert summarise_run(folder)["step"] == 7


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=200),
    st.sampled_from([CACHE, "notes.json", "config.yaml", "manifest.json", "events.jsonl"]),
)
def test_any_bytes_in_any_file_of_a_run_are_survived(tmp_path: Path, block: bytes, name: str) -> None:
    store = RunStore(tmp_path)
    path = tmp_path / "r"
    if not path.exists():
        _journal(_run(store, "r"))
    kept = (path / name).read_bytes() if (path / name).exists() else None
    (path / name).write_bytes(block)
    row = summarise_run(RunFolder(path))
    assert json.dumps(row)
    describe_lost_run(RunFolder(path))
    if kept is None:
        (path / name).unlink()
    else:
        (path / name).write_bytes(kept)


def test_one_endless_line_does_not_hold_the_list_up(tmp_path: Path) -> None:
    folder = _run(RunStore(tmp_path), "r")
    folder.events_path.write_bytes(b"x" * 20_000_000)
    start = time.process_time()
    row = summarise_run(folder, deadline=time.monotonic() + 60)
    assert row["complete"] and time.process_time() - start < 5


def test_search_looks_everywhere_and_in_any_case(tmp_path: Path) -> None:
    folder = _run(RunStore(tmp_path), "r", model={"name": "Qwen/Qwen3-0.6B"})
    set_run_note(folder, "The good one")
    change_run_tags(folder, ["Baseline"])
    row = summarise_run(folder)
    assert matches_run_words(row, ["qwen3", "GOOD", "baseline"]) and matches_run_words(row, [], "new")
    assert not matches_run_words(row, ["qwen3", "bad"]) and not matches_run_words(row, [], "lost")


def test_notes_and_tags(tmp_path: Path) -> None:
    folder = _run(RunStore(tmp_path), "r")
    assert change_run_tags(folder, ["b", "a"]) == ("a", "b")
    assert change_run_tags(folder, ["-b", "c"]) == ("a", "c")
    set_run_note(folder, "hm")
    assert read_notes(folder).tags == ("a", "c") and read_notes(folder).note == "hm"
    for bad in ("", "two words", "x" * 41, "a\x1b[31m"):
        with pytest.raises(UsageError):
            change_run_tags(folder, [bad])


def test_deleted_runs_come_back(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    folder = _run(store, "r")
    _journal(folder)
    trash.delete_run(store, folder)
    assert list(store.list_runs()) == [] and [item.name for item in trash.list_deleted_runs(store)] == ["r"]
    _run(store, "r")
    with pytest.raises(UsageError, match="exists"):
        trash.restore_run(store, "r")
    trash.delete_run(store, store.find_run("r"))
    assert summarise_run(trash.restore_run(store, "r"))["state"] == "new"  # the newest of that name
    trash.rename_run(store, store.find_run("r"), "s")
    assert summarise_run(trash.restore_run(store, "r"))["state"] == "completed"
    with pytest.raises(UsageError, match="no run"):
        trash.restore_run(store, "../r")


def test_emptying_the_trash_follows_no_link(tmp_path: Path) -> None:
    outside = tmp_path / "precious"
    outside.mkdir()
    (outside / "data").write_text("keep")
    store = RunStore(tmp_path / "runs")
    folder = _run(store, "r")
    (folder.path / "checkpoints").symlink_to(outside)
    trash.delete_run(store, folder)
    (store.root / trash.FOLDER / "link~1.0").symlink_to(outside)
    count, _ = trash.empty_trash(store)
    assert count == 2 and (outside / "data").read_text() == "keep" and trash.list_deleted_runs(store) == []


_OWN = (
    "import sys; from pathlib import Path; from tui_tuner.runs.store import RunFolder\n"
    "from tui_tuner.launch.lock import hold_lock\n"
    "with hold_lock(RunFolder(Path(sys.argv[1]))):\n"
    "    print('ready', flush=True); sys.stdin.read()\n"
)


def _owner(folder: RunFolder) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(
        [sys.executable, "-c", _OWN, str(folder.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None and child.stdout.readline() == b"ready\n"
    return child


def test_a_run_that_is_on_is_neither_renamed_nor_deleted(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    folder = _run(store, "r")
    child = _owner(folder)
    for act in (lambda: trash.delete_run(store, folder), lambda: trash.rename_run(store, folder, "s")):
        with pytest.raises(UsageError, match="is still running"):
            act()
    assert folder.path.is_dir()
    child.kill()
    child.wait()
    trash.rename_run(store, folder, "s")


def test_a_lost_run_says_why_and_how_to_go_on(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    folder = _run(store, "r")
    child = _owner(folder)
    _journal(folder, finish=False)
    child.kill()
    child.wait()
    folder.log_path.write_bytes(
        b"first\nprogress 1%\rprogress 99%\n\n\x1b[31mred\x1b[0m \x1b]0;evil\x07\nlast words\n"
    )
    assert folder.find_state() == "lost"
    what = describe_lost_run(folder)
    assert what.lines[0] == "first" and what.lines[1] == "progress 99%" and what.lines[-1] == "last words"
    assert not any("\x1b" in line for line in what.lines)
    assert what.resume == f"tui-tuner resume r --runs {tmp_path}"
    assert what.death.code == "unknown"
    assert "without reporting why" in summarise_run(folder)["message"]


def test_the_memory_killer_is_recognised_afterwards(tmp_path: Path) -> None:
    folder = _run(RunStore(tmp_path), "r")
    child = _owner(folder)
    child.kill()
    child.wait()
    then = folder.read_manifest()["vital_signs"]
    assert then["memory_limit"] > 0 and then["boot"]
    journal = JournalWriter(folder.events_path, "r")
    journal.emit(RunStarted(total_steps=3))
    now = {**then, "oom_kills_group": (then["oom_kills_group"] or 0)}
    assert find_cause_of_death(folder, now).code == "unknown"
    grown = {**now, "oom_kills_group": now["oom_kills_group"] + 1}
    folder.write_file("manifest.json", json.dumps({**folder.read_manifest(), "vital_signs": now}))
    assert find_cause_of_death(folder, grown).code == "oom_killer"
    assert find_cause_of_death(folder, {**now, "boot": "another"}).code == "rebooted"
    journal.emit(Heartbeat(step=1, memory_host=int(then["memory_limit"] * 0.97)))
    journal.close()
    near = find_cause_of_death(folder, now)
    assert near.code == "maybe_oom_killer" and "It used" in near.message
    folder.write_file("manifest.json", json.dumps({**folder.read_manifest(), "host": "elsewhere"}))
    assert find_cause_of_death(folder, now).code == "other_host"


# Records as /dev/kmsg of Linux 6.8 gives them, shortened.
_KMSG = [
    "4,1203,88123456,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,"
    "oom_memcg=/a,task_memcg=/a,task=python,pid=4242,uid=1000",
    "3,1204,88123460,-;Memory cgroup out of memory: Killed process 4242 (python) total-vm:9123456kB",
    "3,1205,88123461,-;Out of memory: Killed process 777 (python3) total-vm:1kB",
]


def test_the_kernel_log_names_the_process() -> None:
    texts = kernel.filter_kernel_records(_KMSG, 0.0)
    assert names_killed_process(4242, texts) and names_killed_process(777, texts)
    assert not names_killed_process(424, texts) and not names_killed_process(42420, texts)
    assert kernel.filter_kernel_records(_KMSG, 100.0) == [], "an older process of the same number"
    assert not names_killed_process(4242, ["Killed process accounting off 4242"])


# As PyTorch, the driver and NVML write them; taken from public reports.
@pytest.mark.parametrize(
    ("code", "hardware", "text"),
    [
        (
            "gpu_ecc",
            True,
            "CUDA error: uncorrectable ECC error encountered\nCUDA kernel errors might be asynchronously "
            "reported at some other API call, so the stacktrace below might be incorrect.",
        ),
        (
            "gpu_illegal_access",
            False,
            "CUDA error: an illegal memory access was encountered\nSearch for `cudaErrorIllegalAddress' in "
            "https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html for more information.",
        ),
        ("gpu_illegal_access", False, "CUDA error: misaligned address"),
        ("gpu_assert", False, "CUDA error: device-side assert triggered"),
        ("gpu_launch", False, "CUDA error: unspecified launch failure"),
        ("gpu_launch", False, "CUDA error: the launch timed out and was terminated"),
        (
            "gpu_lost",
            True,
            "Unable to determine the device handle for GPU 0000:65:00.0: GPU is lost.  Reboot the system to "
            "recover this GPU",
        ),
        ("gpu_busy", False, "CUDA error: CUDA-capable device(s) is/are busy or unavailable"),
        ("gpu_driver", False, "CUDA error: no kernel image is available for execution on the device"),
        ("gpu_driver", False, "CUDA driver version is insufficient for CUDA runtime version"),
        (
            "gpu_collective",
            False,
            "[Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=42, OpType=ALLREDUCE) "
            "ran for 600029 milliseconds before timing out.",
        ),
    ],
)
def test_gpu_faults_are_told_apart(code: str, hardware: bool, text: str) -> None:
    fault = classify_fault(text)
    assert fault is not None and (fault.code, fault.hardware) == (code, hardware)
    assert fault.message and fault.hint


@pytest.mark.parametrize(
    "text",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 14.58 GiB of which",
        "The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 0",
        "No space left on device",
    ],
)
def test_other_errors_are_no_gpu_faults(text: str) -> None:
    assert classify_fault(text) is None


def test_xids_of_the_driver() -> None:
    bus = "NVRM: Xid (PCI:0000:65:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."
    mmu = (
        "NVRM: Xid (PCI:0000:4b:00): 31, pid=1234, name=python, Ch 00000008, intr 00000000. MMU Fault: ENGINE"
    )
    clean = "NVRM: Xid (PCI:0000:01:00): 45, pid=12542, name=VLLM::Worker, channel 0x00000002"
    gsp = "NVRM: Xid (PCI:0000:65:00): 119, pid='N/A', Timeout waiting for RPC from GSP"
    fault = find_kernel_fault([clean, mmu, bus])
    assert fault is not None and fault.code == "gpu_lost" and "Xid 79 for GPU 0000:65:00" in fault.message
    first = find_kernel_fault([mmu, clean])
    assert first is not None and first.code == "gpu_illegal_access"
    firmware = find_kernel_fault([gsp])
    assert firmware is not None and firmware.code == "gpu_firmware"
    assert find_kernel_fault([clean, "NVRM: loading NVIDIA UNIX x86_64 Kernel Module"]) is None


@pytest.mark.parametrize("version", [1, 2])
def test_counters_of_both_kinds_of_control_groups(tmp_path: Path, version: int) -> None:
    proc, cgroup = tmp_path / "proc/self", tmp_path / "sys/fs/cgroup"
    proc.mkdir(parents=True)
    if version == 2:
        group = cgroup / "user.slice/run"
        group.mkdir(parents=True)
        (proc / "cgroup").write_text("0::/user.slice/run\n")
        (group / "memory.events").write_text("low 0\nhigh 0\nmax 7\noom 2\noom_kill 3\noom_group_kill 0\n")
        (group / "memory.max").write_text("1048576\n")
    else:
        # As inside a container: the group's path is the host's, and the group is the mount itself.
        group = cgroup / "memory"
        group.mkdir(parents=True)
        (proc / "cgroup").write_text("9:name=systemd:/\n4:memory:/docker/abc\n0::/\n")
        (group / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
        (group / "memory.limit_in_bytes").write_text("1048576\n")
    signs = read_vital_signs(tmp_path)
    assert signs["oom_kills_group"] == 3 and signs["memory_limit"] == 1048576
    assert read_vital_signs(tmp_path / "nothing")["oom_kills_group"] is None


def test_secrets_are_masked_wherever_they_stand() -> None:
    scrub = Scrubber(
        {"HF_TOKEN": "my-own-token-1", "MY_API_KEY": 'quo"ted\\key', "HF_HOME": "/nowhere", "TOKENS": "x" * 9}
    )
    for text in (
        f"using {TOKEN} now",
        "Authorization: Bearer abcdefghijkl.mnop",
        "token=my-own-token-1,",
        'key quo"ted\\key',
        "https://me:s3cret@host/path",
        f"/home/me/{Path('https://me:s3cret@host/path')}",
        "sk-" + "a1" * 15,
        "ghp_" + "a" * 36,
        "AKIA" + "A" * 16,
    ):
        assert "[secret]" in scrub.mask_text(text), text
        line = scrub.mask_line(json.dumps({"message": text}).encode())
        assert "[secret]" in json.loads(line)["message"]
    for plain in (
        "disk-usage-of-the-whole-machine",
        "https://host:8080/path",
        "hf_hub",
        "xxxxxxxxx",
        "tokens 12",
    ):
        assert scrub.mask_text(plain) == plain


def test_no_token_reaches_journal_log_or_config(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = RunStore(tmp_path)
    folder = _run(store, "r")
    journal = JournalWriter(folder.events_path, "r")
    journal.emit(Warned(code="hub", message=f"401 for {TOKEN}", hint={"nested": [TOKEN]}))
    journal.close()
    with capture_output(folder.log_path):
        print(f"loading with {TOKEN}", file=sys.stderr)  # noqa: T201
        os.write(2, f"a C library says {TOKEN}\n".encode())
    assert folder.log_path.read_bytes().count(TOKEN.encode()) == 1
    assert Scrubber({}).blank_out(folder.log_path) == 1
    with pytest.raises(ConfigError, match="token") as caught:
        _run(store, "s", data={"path": f"https://me:{TOKEN}@host/data.jsonl"})
    assert TOKEN not in str(caught.value) and not (tmp_path / "s").exists()
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes(), path
    assert [event.body.KIND for event in JournalReader(folder.events_path).read_events()] == ["warning"]


def test_blanking_out_finds_a_secret_across_two_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui_tuner.runs.secrets._BLOCK", 64)
    monkeypatch.setattr("tui_tuner.runs.secrets._OVERLAP", 32)
    log = tmp_path / "log"
    for before in range(100):
        log.write_text("-" * before + f" {TOKEN} end\n")
        assert Scrubber({}).blank_out(log) == 1
        assert log.read_text() == "-" * before + " " + "*" * len(TOKEN) + " end\n"


def test_room_is_kept_for_the_journal(tmp_path: Path) -> None:
    assert (
        ballast.reserve_ballast_space(tmp_path)
        and (tmp_path / ballast.NAME).stat().st_blocks * 512 >= ballast.SIZE
    )
    assert ballast.release_ballast_space(tmp_path) and not ballast.release_ballast_space(tmp_path)


def test_disk_use_counts_each_file_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 1000)
    os.link(tmp_path / "a", tmp_path / "b")
    (tmp_path / "c").symlink_to("/bin/ls")
    assert 1000 <= measure_disk_use(tmp_path) < 1100
    assert read_log_tail(tmp_path / "none", 3) == []


def test_the_command_line(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    _journal(_run(store, "first"))
    _journal(_run(store, "second", method={"kind": "full"}))
    runner = CliRunner()

    def command(*words: str) -> str:
        result = runner.invoke(history_cli.app, ["--runs", str(tmp_path), *words])
        assert result.exit_code == 0, (words, result.output, result.exception)
        return result.output

    assert "first" in command() and "2 runs" in command()
    assert [row["name"] for row in json.loads(command("--search", "full", "--json"))] == ["second"]
    assert "no run matches" in command("--state", "lost")
    command("rename", "first", "third")
    command("note", "third", "kept", "for", "later")
    command("tag", "third", "good", "bad")
    command("tag", "third", "-bad")
    assert "#good kept for later" in command("--search", "later")
    command("delete", "third", "second")
    assert "third" in command("trash") and "no runs" in command()
    command("restore", "third")
    assert "1 run," in command("trash", "--empty", "--yes")
    assert "third" in command() and "empty" in command("trash")
    refused = runner.invoke(history_cli.app, ["--runs", str(tmp_path), "--state", "asleep"])
    assert isinstance(refused.exception, UsageError)


def test_the_command_that_goes_on_can_be_typed_wherever_the_runs_are(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "my runs" / "one")
    folder.path.mkdir(parents=True)
    assert shlex.split(format_resume_command(folder)) == [
        *("tui-tuner", "resume", "one", "--runs"),
        str(tmp_path / "my runs"),
    ]
