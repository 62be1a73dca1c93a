"""Memory that runs out, injected at each place: the run goes on with the same losses, or stops cleanly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.conftest import MakeConfig, Trained

Train = Callable[..., Trained]


class Injected:
    """Raises at the n-th time that a place is entered, `times` times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, place: str, at: int = 4, times: int = 1) -> None:
        from tui_tuner.training.step import recovery

        self.seen = 0

        def probe(entered: str) -> None:
            if entered == place:
                self.seen += 1
                if at <= self.seen < at + times:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB (injected)")

        inner = recovery.Recovery.__init__

        def with_probe(instance: Any, *args: Any) -> None:
            inner(instance, *args)
            instance.probe = probe

        monkeypatch.setattr(recovery.Recovery, "__init__", with_probe)


@pytest.mark.parametrize("place", ["forward", "backward"])
def test_a_step_is_tried_again_with_half_the_micro_batch(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    config = make_config(training__micro_batch=4)
    calm = train(config)
    Injected(monkeypatch, place, at=3)
    run = train(config)
    assert run.outcome.status == "completed", run.outcome
    for step, loss in calm.steps().items():
        assert run.steps()[step] == pytest.approx(loss, abs=2e-5)
    assert sorted(run.steps()) == sorted(calm.steps())
    said = run.sink.of("out_of_memory")
    assert len(said) == 1
    assert said[0]["place"] == place and said[0]["micro_batch"] == [4, 2]


def test_the_smaller_micro_batch_outlives_the_process(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(training__micro_batch=4, training__schedule="constant", training__warmup=0)
    with monkeypatch.context() as patch:
        Injected(patch, "forward", at=3, times=1)
        run = train(config, before=lambda run: None)
    assert run.sink.of("out_of_memory")
    longer = config.model_copy(deep=True)
    longer.training.max_steps = 8
    resumed = train(longer, resume=run.folder)
    assert resumed.outcome.status == "completed"
    state = (run.folder.checkpoints_path / "step-8" / "run_state.json").read_text()
    assert '"micro": [2, 256]' in state


def test_a_single_sequence_that_does_not_fit_is_named(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(training__max_steps=6)
    Injected(monkeypatch, "backward", at=12, times=1000)
    run = train(config)
    assert (run.outcome.status, run.outcome.exit_code) == ("failed", 1)
    assert "single sequence" in run.outcome.message and "chats.jsonl:" in run.outcome.message
    # what was trained before is saved, and resuming goes on exactly
    at = run.sink.of("checkpoint")[-1]["step"]
    assert at == max(run.steps()) >= 1
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(run.folder.path.parent / "cache"))
    resumed = train(config, resume=run.folder)
    calm = train(config)
    for step, loss in calm.steps().items():
        assert {**run.steps(), **resumed.steps()}[step] == pytest.approx(loss, abs=2e-5)


def test_recovery_can_be_switched_off(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    Injected(monkeypatch, "forward", at=5)
    run = train(make_config(training__on_out_of_memory="stop"))
    assert run.outcome.status == "failed" and "memory ran out in the forward pass" in run.outcome.message


def test_the_optimizer_is_tried_again(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config()
    calm = train(config)
    Injected(monkeypatch, "optimizer", at=2)
    run = train(config)
    assert run.steps() == calm.steps()
    assert [fields["place"] for fields in run.sink.of("out_of_memory")] == ["optimizer"]


def test_an_optimizer_that_changed_something_is_not_repeated(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = torch.optim.AdamW.step
    calls: list[int] = []

    def half(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            with torch.no_grad():
                self.param_groups[0]["params"][0].add_(1.0)
            raise torch.OutOfMemoryError("CUDA out of memory (injected)")
        return inner(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", half)
    config = make_config()
    run = train(config)
    assert run.outcome.status == "failed" and "middle of optimizer step 4" in run.outcome.message
    assert [fields["step"] for fields in run.sink.of("checkpoint")] == [3]
    monkeypatch.setattr(torch.optim.AdamW, "step", inner)
    resumed = train(config, resume=run.folder)
    assert {**run.steps(), **resumed.steps()} == train(config).steps()


def test_evaluation_goes_on_with_smaller_rows(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(training__micro_batch=8)
    calm = train(config)
    Injected(monkeypatch, "evaluation", at=1, times=2)
    run = train(config)
    wanted = [fields["metrics"] for fields in calm.sink.of("evaluation")]
    found = [fields["metrics"] for fields in run.sink.of("evaluation")]
    for one, other in zip(wanted, found, strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    assert run.sink.of("out_of_memory")[0]["place"] == "evaluation"


def test_generation_is_left_out(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    Injected(monkeypatch, "generation", at=1)
    run = train(make_config(evaluation__samples=1, evaluation__max_new_tokens=4))
    assert run.outcome.status == "completed"
    assert run.sink.of("out_of_memory")[0]["place"] == "generation"
    assert {fields["stage"] for fields in run.sink.of("sample")} == {"during", "after"}


def test_saving_is_tried_again(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    Injected(monkeypatch, "saving", at=2)  # the first is `best`
    run = train(make_config())
    assert run.outcome.status == "completed"
    assert [fields["step"] for fields in run.sink.of("checkpoint")] == [4, 6]


def test_the_last_checkpoint_and_the_model_are_tried_once_more(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`best` is written first here, then the checkpoint, then `last`."""
    config = make_config(training__max_steps=2, evaluation__every=2, output__save_every=None)
    for at in (2, 3):
        with monkeypatch.context() as patch:
            Injected(patch, "saving", at=at)
            run = train(config)
        assert run.outcome.status == "completed", run.outcome
        assert not run.codes() and not run.sink.of("out_of_memory"), at
        assert [fields["step"] for fields in run.sink.of("checkpoint")] == [2]
        assert list(run.folder.best_path.glob("*.safetensors")) and list(
            run.folder.last_path.glob("*.safetensors")
        )


def test_a_model_that_cannot_be_written_does_not_end_the_training(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_tuner.training.keeping import saving

    inner = saving.write_final_model

    def write(model: Any, tokenizer: Any, target: Any, *rest: Any) -> None:
        if target.name == "best":
            raise torch.OutOfMemoryError("CUDA out of memory (injected)")
        inner(model, tokenizer, target, *rest)

    monkeypatch.setattr(saving, "write_final_model", write)
    run = train(make_config())
    assert run.outcome.status == "completed", run.outcome
    assert set(run.codes()) == {"out_of_memory"}
    assert "best" in run.warnings()[0]["message"] and "memory ran out" in run.warnings()[0]["message"]
    assert sorted(run.steps()) == [1, 2, 3, 4, 5, 6] and not run.folder.best_path.exists()


def test_loading_stops_cleanly(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    Injected(monkeypatch, "loading", at=1)
    run = train(make_config())
    assert run.outcome.status == "failed"
    assert "while loading the model" in run.outcome.message
    assert "nf4" in run.sink.of("finished")[0]["hint"]
