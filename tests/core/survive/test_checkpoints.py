"""Checkpoints are whole or not there."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeConfig, Trained
from tui_tuner.errors import DiskFullError
from tui_tuner.training.keeping import checkpoints
from tui_tuner.training.keeping.checkpoints import (
    Checkpoint,
    begin_checkpoint,
    find_newest_checkpoint,
    prune_checkpoints,
    restore_checkpoint_folder,
    write_checkpoint_folder,
)

Train = Callable[..., Trained]


def fill(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "inner").mkdir()
        (folder / "a.bin").write_text(text)
        (folder / "inner" / "b.bin").write_text(text * 2)

    return write


def write_checkpoint(root: Path, step: int, fill: Callable[[Path], None]) -> Checkpoint:
    return begin_checkpoint(root, step, fill).finish_checkpoint()


def full_disk(folder: Path) -> None:
    (folder / "a.bin").write_text("half")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "a.bin").write_text("ane"),
        lambda path: (path / "a.bin").write_text(""),
        lambda path: (path / "inner" / "b.bin").unlink(),
        lambda path: (path / "files.json").unlink(),
        lambda path: (path / "files.json").write_text("{"),
        lambda path: (path / "files.json").write_text("[]"),
        lambda path: (path / "files.json").write_text('{"files": {"a.bin": 3}}'),
    ],
)
def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path: Path, damage: Callable[[Path], Any]) -> None:
    write_checkpoint(tmp_path, 5, fill("one"))
    write_checkpoint(tmp_path, 10, fill("two"))
    bad: list[tuple[int, str]] = []
    found = find_newest_checkpoint(
        tmp_path, lambda checkpoint, problem: bad.append((checkpoint.step, problem))
    )
    assert found is not None and found.step == 10 and not bad
    damage(tmp_path / "step-10")
    found = find_newest_checkpoint(
        tmp_path, lambda checkpoint, problem: bad.append((checkpoint.step, problem))
    )
    assert found is not None and found.step == 5
    assert [step for step, problem in bad if problem] == [10]


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 5, fill("one"))
    write_checkpoint_folder(tmp_path / "best", fill("old"))
    for write in (
        lambda: write_checkpoint(tmp_path, 6, full_disk),
        lambda: write_checkpoint_folder(tmp_path / "best", full_disk),
    ):
        with pytest.raises(DiskFullError):
            write()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "step-5"]
    assert (tmp_path / "best" / "a.bin").read_text() == "old"


def test_a_kill_between_two_renames_is_mended(tmp_path: Path) -> None:
    best = tmp_path / "best"
    write_checkpoint_folder(best, fill("old"))
    best.rename(tmp_path / ".best.old")
    (tmp_path / ".best.0123.writing").mkdir()
    restore_checkpoint_folder(best)
    assert (best / "a.bin").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
    write_checkpoint_folder(best, fill("new"))
    assert (best / "a.bin").read_text() == "new"


def test_only_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 9, 10):
        write_checkpoint(tmp_path, step, fill("x"))
    prune_checkpoints(tmp_path, keep=2, best_step=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-10", "step-2", "step-9"]


def test_strange_names_are_no_checkpoints(tmp_path: Path) -> None:
    for name in ("step-", "step-x", "step--3", "step-1.tmp", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "step-7").write_text("a file")
    assert checkpoints.list_checkpoints(tmp_path) == []
    assert checkpoints.list_checkpoints(tmp_path / "absent") == []


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(
    make_config: MakeConfig, train: Train
) -> None:
    config = make_config(training__max_steps=9)
    run = train(config)
    with open(run.folder.checkpoints_path / "step-9" / "optimizer.pt", "r+b") as file:
        file.truncate(1000)
    resumed = train(config, resume=run.folder)
    assert resumed.sink.of("run_started")[0]["resumed_from"] == 6
    assert "checkpoint_damaged" in resumed.codes()
    assert resumed.steps() == {step: run.steps()[step] for step in (7, 8, 9)}
    assert all(
        not checkpoint.find_problem()
        for checkpoint in checkpoints.list_checkpoints(run.folder.checkpoints_path)
    )


def test_without_any_checkpoint_a_run_starts_again(make_config: MakeConfig, train: Train) -> None:
    config = make_config()
    run = train(config, before=lambda run: run.control.request_command("stop"))
    assert run.outcome.status == "stopped" and not run.steps()
    resumed = train(config, resume=run.folder)
    assert resumed.outcome.status == "completed" and "no_checkpoint" in resumed.codes()


def test_a_full_disk_does_not_end_the_run(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_tuner.training.keeping import saving

    inner = saving.Saver.fill_checkpoint
    attempts: list[Path] = []

    def sometimes(self: Any, folder: Path) -> None:
        attempts.append(folder)
        inner(self, folder)
        if len(attempts) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(saving.Saver, "fill_checkpoint", sometimes)
    config = make_config(training__max_steps=6)
    run = train(config)
    assert run.outcome.status == "completed"
    assert "disk_full" in run.codes()
    assert [fields["step"] for fields in run.sink.of("checkpoint")] == [3, 6]
    found = checkpoints.list_checkpoints(run.folder.checkpoints_path)
    assert found and all(not checkpoint.find_problem() for checkpoint in found)
    assert [path.name for path in run.folder.checkpoints_path.iterdir() if path.name.startswith(".")] == []
    assert run.steps() == train(config).steps()


def test_other_rows_than_before_are_refused(make_config: MakeConfig, train: Train, chats: Path) -> None:
    config = make_config()
    run = train(config)
    lines = chats.read_text().splitlines()
    chats.write_text(
        "\n".join([*lines[:20], lines[21].replace("Describe", "Please do describe"), *lines[22:]])
    )
    resumed = train(config, resume=run.folder)
    assert resumed.outcome.status == "failed" and resumed.outcome.exit_code == 3
    assert "not those the run began with" in resumed.outcome.message


def test_a_damaged_later_checkpoint_never_outlives_the_sound_ones(tmp_path: Path) -> None:
    for step in (100, 200):
        write_checkpoint(tmp_path, step, fill("x"))
    (tmp_path / "step-200" / "a.bin").write_text("y")  # of the same size
    for keep, step in ((1, 150), (2, 160), (2, 170)):
        write_checkpoint(tmp_path, step, fill("z"))
        prune_checkpoints(tmp_path, keep, None)
        found = find_newest_checkpoint(tmp_path, lambda *_: None)
        assert found is not None and found.step == step
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-160", "step-170", "step-200"]
    write_checkpoint(tmp_path, 300, fill("z"))
    prune_checkpoints(tmp_path, 1, None)
    assert [path.name for path in tmp_path.iterdir()] == ["step-300"]


def test_a_checkpoint_damaged_while_the_run_is_on_counts_for_nothing(tmp_path: Path) -> None:
    for step in (1, 2):
        write_checkpoint(tmp_path, step, fill("x"))
    (tmp_path / "step-2" / "inner" / "b.bin").unlink()
    prune_checkpoints(tmp_path, 1, None)
    found = find_newest_checkpoint(tmp_path, lambda *_: None)
    assert found is not None and found.step == 1


def test_a_checkpoint_is_not_believed_under_another_number_or_without_files(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 5, fill("one"))
    (tmp_path / "step-5").rename(tmp_path / "step-9")
    assert checkpoints.list_checkpoints(tmp_path)[0].find_problem() == "it holds step 5"
    (tmp_path / "step-9" / "files.json").write_text('{"step": 9, "files": {}}')
    assert checkpoints.list_checkpoints(tmp_path)[0].find_problem() == "its list of files is empty"


def test_a_checkpoint_set_aside_by_a_killed_process_is_put_back(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 5, fill("one"))
    (tmp_path / "step-5").rename(tmp_path / ".step-5.before")
    checkpoints.clear_checkpoint_leftovers(tmp_path)
    assert not checkpoints.list_checkpoints(tmp_path)[0].find_problem()
    write_checkpoint(tmp_path, 6, fill("two"))
    (tmp_path / ".step-6.before").mkdir()
    checkpoints.clear_checkpoint_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-5", "step-6"]
