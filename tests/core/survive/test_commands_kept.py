"""No command is lost, what is owed is made good, and what a run says of its files is so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeConfig, Trained
from tui_tuner.errors import DiskFullError
from tui_tuner.training.evaluator import Evaluator
from tui_tuner.training.keeping import disk, saving

Train = Callable[..., Trained]


def _ask_while_evaluating(
    monkeypatch: pytest.MonkeyPatch, command: str, at: int
) -> Callable[[Trained], None]:
    """Send a command in the middle of the evaluation of a step."""
    real = Evaluator.evaluate_held_out

    def before(run: Trained) -> None:
        def validation(self: Evaluator, model: Any, size: Any, step: int) -> Any:
            if step == at:
                run.control.request_command(command)
            return real(self, model, size, step)

        monkeypatch.setattr(Evaluator, "evaluate_held_out", validation)

    return before


def _evaluated(run: Trained) -> list[int]:
    """Steps, but for how the model did before the first one."""
    return [fields["step"] for fields in run.sink.of("evaluation") if fields["step"]]


def test_a_save_asked_for_during_an_evaluation_is_done(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(training__max_steps=5, evaluation__every=2, output__save_every=None)
    run = train(config, before=_ask_while_evaluating(monkeypatch, "save", 2))
    assert [fields["step"] for fields in run.sink.of("checkpoint")] == [2, 5]


def test_an_evaluation_asked_for_during_an_evaluation_comes_after_the_next_step(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(training__max_steps=5, evaluation__every=2)
    run = train(config, before=_ask_while_evaluating(monkeypatch, "evaluate", 2))
    assert _evaluated(run) == [2, 3, 4, 5]


def test_the_last_evaluation_is_made_good(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(training__max_steps=4, evaluation__every=2)
    whole = train(config)
    run = train(config, before=_ask_while_evaluating(monkeypatch, "stop", 4))
    assert run.outcome.status == "stopped" and _evaluated(run) == [2]
    monkeypatch.undo()
    again = train(config, resume=run.folder)
    assert again.outcome.status == "completed" and _evaluated(again) == [4]
    assert again.outcome.message == whole.outcome.message
    assert again.sink.of("evaluation")[0]["metrics"] == whole.sink.of("evaluation")[-1]["metrics"]
    third = train(config, resume=run.folder)
    assert third.outcome.message == whole.outcome.message and _evaluated(third) == [], "it is owed no more"


def test_best_names_what_is_on_the_disk(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = saving.write_final_model
    written: list[Path] = []

    def before(run: Trained) -> None:
        def write(model: Any, tokenizer: Any, target: Path, *more: Any) -> None:
            if target.name == "best" and written:
                run.control.request_command("continue")
                raise DiskFullError("no room left on the disk.")
            written.append(target)
            real(model, tokenizer, target, *more)

        monkeypatch.setattr(saving, "write_final_model", write)

    run = train(make_config(training__max_steps=4, evaluation__every=2), before=before)
    _before, first, second = (fields["metrics"]["loss"] for fields in run.sink.of("evaluation"))
    assert second < first, "the second was better, and could not be written"
    assert run.outcome.message.endswith(f"best loss {first:.4g} at step 2.")
    assert "disk_full" in run.codes()


def test_a_stop_is_obeyed_while_the_disk_is_full_and_the_next_step_evaluates(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "POLL_SECONDS", 0.01)

    def before(run: Trained) -> None:
        def full(*_: Any) -> None:
            if run.sink.of("step"):
                run.control.request_command("stop" if run.sink.of("step")[-1]["step"] >= 2 else "continue")
            raise DiskFullError("no room left on the disk.")

        monkeypatch.setattr(saving.checkpoints, "begin_checkpoint", full)
        monkeypatch.setattr(saving, "write_final_model", full)

    config = make_config(
        training__max_steps=40, evaluation__every=3, output__save_every=2, training__report_every=0.0001
    )
    run = train(config, before=before)
    assert run.outcome.status == "stopped"
    assert run.outcome.message == "Stopped at step 3; nothing could be saved."
    said = [fields["message"] for fields in run.sink.of("warning") if fields["code"] == "disk_full"]
    assert "Training continues" not in said[-2]


def test_a_best_that_is_gone_is_written_anew(make_config: MakeConfig, train: Train) -> None:
    config = make_config(training__max_steps=6, evaluation__every=2, output__save_every=2, output__keep=9)
    whole = train(config)
    step = int(whole.outcome.message.split("at step ")[1].rstrip("."))
    expected = (whole.folder.best_path / "adapter_model.safetensors").read_bytes()
    shutil.rmtree(whole.folder.best_path)
    again = train(config, resume=whole.folder)
    assert again.outcome.message == whole.outcome.message
    assert (whole.folder.best_path / "adapter_model.safetensors").read_bytes() == expected
    assert any(f"checkpoint of step {step}" in fields["message"] for fields in again.sink.of("log"))


def test_a_best_that_is_gone_for_good_is_said_and_replaced(make_config: MakeConfig, train: Train) -> None:
    config = make_config(training__max_steps=6, evaluation__every=2, output__save_every=2, output__keep=9)
    run = train(config)
    newest = run.folder.checkpoints_path / "step-6"
    state = json.loads((newest / "run_state.json").read_text())
    for path in run.folder.checkpoints_path.iterdir():
        if path != newest:
            shutil.rmtree(path)
    shutil.rmtree(run.folder.best_path)
    # its best was at a step of which nothing is left
    from tui_tuner.training.keeping.checkpoints import begin_checkpoint

    def fill(folder: Path) -> None:
        shutil.copytree(newest, folder, ignore=shutil.ignore_patterns("files.json"), dirs_exist_ok=True)
        (folder / "run_state.json").write_text(json.dumps({**state, "best_step": 3}))

    begin_checkpoint(run.folder.checkpoints_path, 6, fill).finish_checkpoint()
    again = train(config, resume=run.folder)
    assert "best_gone" in again.codes() and _evaluated(again) == [6]
    assert (run.folder.best_path / "adapter_model.safetensors").is_file()
    assert again.outcome.message.endswith("at step 6.")
