"""Limits other than a full disk: sizes of files, quotas, a folder that is gone, an interrupted answer."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeConfig, Trained
from tui_tuner.errors import DiskFullError
from tui_tuner.runs.events import Step, Warned
from tui_tuner.training.keeping import checkpoints, disk

Train = Callable[..., Trained]


def _at_step(step: int, do: Callable[[Trained], None]) -> Callable[[Trained], None]:
    """Do something when the run speaks of a step."""

    def before(run: Trained) -> None:
        real = run.sink.emit

        def emit(body: Any) -> None:
            real(body)
            if isinstance(body, Step) and body.step == step:
                do(run)

        run.sink.emit = emit  # type: ignore[method-assign]

    return before


def test_a_limit_on_the_size_of_files_is_a_full_disk_and_a_stop_is_obeyed(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "POLL_SECONDS", 0.01)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(run: Trained) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        real = run.sink.emit

        def emit(body: Any) -> None:
            real(body)
            if isinstance(body, Warned) and body.code == "disk_full":
                run.control.request_command("stop")

        run.sink.emit = emit  # type: ignore[method-assign]

    config = make_config(
        method={"kind": "full"},
        training__max_steps=20,
        training__report_every=0.0001,
        evaluation__every=None,
        output__save_every=2,
    )
    try:
        run = train(config, before=_at_step(3, limit))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert run.outcome.status == "stopped", run.outcome
    said = r"Stopped at step [45], which could not be saved; the last saved is 2\."
    assert re.fullmatch(said, run.outcome.message), run.outcome
    assert "disk_full" in run.codes()
    again = train(config, resume=run.folder)
    assert again.outcome.status == "completed" and again.sink.of("run_started")[0]["resumed_from"] == 2


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        OSError(errno.EFBIG, os.strerror(errno.EFBIG)),
        RuntimeError("I/O error: Disk quota exceeded (os error 122)"),
    ],
)
def test_a_quota_is_a_full_disk_in_whatever_words(tmp_path: Path, error: Exception) -> None:
    def fill(folder: Path) -> None:
        (folder / "a.bin").write_text("half")
        raise error

    with pytest.raises(DiskFullError):
        checkpoints.begin_checkpoint(tmp_path, 3, fill)
    with pytest.raises(DiskFullError):
        checkpoints.write_checkpoint_folder(tmp_path / "best", fill)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_of_another_kind_is_not_put_down_to_the_disk(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    with pytest.raises(RuntimeError, match="PytorchStreamWriter"):
        checkpoints.begin_checkpoint(tmp_path, 3, fill)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["deleted", "renamed"])
def test_a_run_whose_folder_is_gone_ends_in_words(make_config: MakeConfig, train: Train, how: str) -> None:
    def lose(run: Trained) -> None:
        while how == "deleted" and run.folder.path.exists():
            # Once more where a checkpoint that was finished meanwhile is in the way
            shutil.rmtree(run.folder.path, ignore_errors=True)
        if how == "renamed" and run.folder.path.exists():
            run.folder.path.rename(run.folder.path.with_name("renamed"))

    config = make_config(training__max_steps=8, training__report_every=0.0001, output__save_every=2)
    run = train(config, before=_at_step(3, lose))
    assert (run.outcome.status, run.outcome.exit_code) == ("failed", 1)
    assert "deleted or renamed" in run.outcome.message
    assert not run.folder.path.exists(), "no half of a run in its place"


def test_a_run_folder_that_goes_while_a_checkpoint_is_finished_ends_in_the_same_words(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = threading.Event()
    real = checkpoints._hash_file

    def hash_late(path: Path) -> str:
        if threading.current_thread().name == "checkpoint":
            gone.wait(20)
        return real(path)

    def lose(run: Trained) -> None:
        shutil.rmtree(run.folder.path)
        gone.set()

    monkeypatch.setattr(checkpoints, "_hash_file", hash_late)
    config = make_config(training__max_steps=8, training__report_every=0.0001, output__save_every=2)
    run = train(config, before=_at_step(3, lose))
    assert (run.outcome.status, run.outcome.exit_code) == ("failed", 1)
    assert "deleted or renamed" in run.outcome.message
    assert not run.folder.path.exists()


def test_answers_that_a_stop_interrupts_are_given_after_the_resume(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_tuner.training.evaluator import EvaluationInterrupt, Evaluator

    real = Evaluator.show_samples
    config = make_config(training__max_steps=4, evaluation__every=2, evaluation__samples=2)
    config.evaluation.max_new_tokens = 4
    whole = train(config)

    for stage, at in (("during", 2), ("after", 4)):
        holder: list[Trained] = []

        def answer(
            self: Any, model: Any, step: int, now: Any, stage: str = stage, holder: Any = holder
        ) -> None:
            if now == stage:
                holder[0].control.request_command("stop")
                raise EvaluationInterrupt
            real(self, model, step, now)

        monkeypatch.setattr(Evaluator, "show_samples", answer)
        run = train(config, before=holder.append)
        monkeypatch.undo()
        assert run.outcome.status == "stopped", stage
        if stage == "during":  # stopped once more, before they were given: no step is taken meanwhile
            holder.clear()
            monkeypatch.setattr(Evaluator, "show_samples", answer)
            once_more = train(config, resume=run.folder, before=holder.append)
            monkeypatch.undo()
            assert once_more.outcome.message == "Stopped and saved at step 2."
            assert not once_more.sink.of("step")
        again = train(config, resume=run.folder)
        assert again.outcome.status == "completed"
        given = [fields for fields in again.sink.of("sample") if fields["stage"] == stage]
        assert given == [fields for fields in whole.sink.of("sample") if fields["stage"] == stage]
        assert given[0]["step"] == at
