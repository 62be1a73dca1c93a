"""Runs that lay their rows as on a GPU: the same losses and counts, few lengths, few passes, no question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.conftest import MakeConfig, Trained
from tests.core.speed.test_step import Questions
from tests.core.survive.test_numbers import Spoiled
from tests.core.survive.test_out_of_memory import Injected
from tests.core.test_session import reacting
from tui_tuner.compute.forward import MicroBatch
from tui_tuner.compute.rows.row_sizes import MOST_SIZES
from tui_tuner.objectives.objective import Objective
from tui_tuner.training.keeping.checkpoints import list_checkpoints
from tui_tuner.training.keeping.progress import read_progress
from tui_tuner.training.loop import Loop
from tui_tuner.training.step import optimizers
from tui_tuner.training.step.ahead import Ahead
from tui_tuner.training.step.engine import Engine

Train = Callable[..., Trained]
TEXTS: dict[str, Any] = {"data__path": "demo-texts", "data__limit": 40}


@pytest.fixture
def as_on_gpu(monkeypatch: pytest.MonkeyPatch) -> list[MicroBatch]:
    """Rows are filled on the processor too; gives the forward passes that were computed."""
    monkeypatch.setattr("tui_tuner.objectives.objective.fills_rows", lambda _device: True)
    monkeypatch.setattr("tui_tuner.training.train.fills_rows", lambda _device: True)
    seen: list[MicroBatch] = []
    inner = Objective.wrap_pass

    def around(self: Objective, micro: MicroBatch) -> Any:
        seen.append(micro)
        return inner(self, micro)

    monkeypatch.setattr(Objective, "wrap_pass", around)
    return seen


def counted(run: Trained) -> list[tuple[int, int]]:
    return [(fields["tokens"], fields["supervised_tokens"]) for fields in run.sink.of("step")]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"training__micro_batch": 8},
        {"method": {"kind": "freeze", "layers": 1}, "training__epochs": 2},
        {"method": {"kind": "prompt_tuning", "virtual_tokens": 4}},
        {"training__neftune_alpha": None, "training__gradient_checkpointing": True},
        {"task": "masked_lm", "model__name": "tiny-distilbert", "method": {"kind": "full"}, **TEXTS},
    ],
    ids=["pieces", "one pass", "stored states", "padded", "checkpointing", "hidden tokens"],
)
def test_losses_and_counts_are_those_of_rows_as_they_are(
    changes: dict[str, Any],
    make_config: MakeConfig,
    train: Train,
    as_on_gpu: list[MicroBatch],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = make_config(**changes)
    run = train(config)
    assert run.outcome.status == "completed", run.outcome
    passes = list(as_on_gpu)
    with monkeypatch.context() as patch:
        for module in ("tui_tuner.objectives.objective", "tui_tuner.training.train"):
            patch.setattr(f"{module}.fills_rows", lambda _device: False)
        plain = train(config)
    assert list(run.steps()) == list(plain.steps())
    for step, loss in plain.steps().items():
        assert run.steps()[step] == pytest.approx(loss, abs=5e-6)
    assert counted(run) == counted(plain)
    for one, other in zip(run.sink.of("evaluation"), plain.sink.of("evaluation"), strict=True):
        assert one["metrics"] == pytest.approx(other["metrics"], abs=1e-5, rel=1e-5)
    lengths = {micro.input_ids.shape[1] for micro in passes}
    assert len(lengths) <= MOST_SIZES and all(length % 16 == 0 for length in lengths)
    assert len(passes) <= len(as_on_gpu) - len(passes)
    told = [fields["message"] for fields in run.sink.of("log") if "filler" in fields["message"]]
    assert len(told) == ("prompt" not in config.method.kind)
    if config.training.micro_batch == 8:
        assert len(passes) == 6  # one for each step


def test_no_size_but_memory_keeps_a_step_from_being_one_pass(
    make_config: MakeConfig, train: Train, as_on_gpu: list[MicroBatch]
) -> None:
    run = train(make_config(training__micro_batch=4, data__max_length=256))  # 1,024 tokens hold all 8
    assert run.outcome.status == "completed"
    assert [len(micro.rows) for micro in as_on_gpu] == [8] * 6


def test_the_next_step_is_laid_out_while_this_one_is_computed(
    make_config: MakeConfig, train: Train, as_on_gpu: list[MicroBatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: Counter[str] = Counter()
    take, lay = Ahead.take_step, Engine._lay_parts

    def taken(self: Ahead, *args: Any) -> Any:
        found["taken"] += 1
        return take(self, *args)

    def laid(self: Engine, *args: Any) -> Any:
        found["laid"] += 1
        return lay(self, *args)

    monkeypatch.setattr(Ahead, "take_step", taken)
    monkeypatch.setattr(Engine, "_lay_parts", laid)
    # 54 rows are 4 steps an epoch: the first of the next epoch is made ahead too
    run = train(make_config(training__max_steps=6, training__batch_size=16, training__micro_batch=8))
    assert run.outcome.status == "completed"
    assert found == {"taken": 6, "laid": 6}  # none twice, and none for a step after the last


def test_rows_that_cannot_be_laid_ahead_are_left_to_their_step() -> None:
    left = [1]

    def lay(data: Any, rows: Any, size: Any) -> Any:
        if left and left.pop():
            raise RuntimeError("no memory")
        return [rows, size]

    ahead, data, other = Ahead(lay), [0], [0]  # the same rows as two epochs read them
    ahead.prepare_step(data, [1, 2], "large")  # type: ignore[arg-type]
    assert ahead.take_step(data, [1, 2], "large") == [[1, 2], "large"]  # type: ignore[arg-type]
    ahead.prepare_step(data, [3], "large")  # type: ignore[arg-type]
    assert ahead.take_step(data, [3], "small") == [[3], "small"]  # type: ignore[arg-type]
    left.append(0)
    ahead.prepare_step(data, [3], "large")  # type: ignore[arg-type]
    left.append(1)
    with pytest.raises(RuntimeError):  # not what was laid for the other epoch
        ahead.take_step(other, [3], "large")  # type: ignore[arg-type]


def test_a_step_that_runs_out_of_memory_is_cut_at_once(
    make_config: MakeConfig, train: Train, as_on_gpu: list[MicroBatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(training__micro_batch=8, data__max_length=512)  # room for far more than a step
    calm = train(config)
    Injected(monkeypatch, "backward", at=3)
    del as_on_gpu[:]
    run = train(config)
    assert run.outcome.status == "completed", run.outcome
    for step, loss in calm.steps().items():
        assert run.steps()[step] == pytest.approx(loss, abs=2e-5)
    assert counted(run) == counted(calm)
    assert len(run.sink.of("out_of_memory")) == 1
    assert len(as_on_gpu) >= 2 + 2 * 4  # two passes or more from the third step on


def test_a_step_that_finds_no_room_for_its_rows_is_tried_again(
    make_config: MakeConfig, train: Train, as_on_gpu: list[MicroBatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    lay, failing = Engine._lay_parts, [1]

    def laid(self: Engine, *args: Any) -> Any:
        if failing and failing.pop():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB (injected)")
        return lay(self, *args)

    monkeypatch.setattr(Engine, "_lay_parts", laid)
    run = train(make_config(training__max_steps=1, evaluation__every=None))
    assert run.outcome.status == "completed", run.outcome
    (told,) = run.sink.of("out_of_memory")
    assert "ran out in copying at step 1" in told["message"]


def test_a_resumed_run_ends_with_the_same_weights_bit_for_bit(
    make_config: MakeConfig, train: Train, as_on_gpu: list[MicroBatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    changes = {"training__report_every": 1e-6, "training__micro_batch": 8, "method__dropout": 0.2}

    def weights(run: Trained) -> dict[str, torch.Tensor]:
        return load_file(next(run.folder.last_path.rglob("adapter_model.safetensors")))

    with monkeypatch.context() as patch:
        Injected(patch, "forward", at=2)  # both go on with a smaller micro-batch
        whole = train(make_config(**changes))
    with monkeypatch.context() as patch:
        Injected(patch, "forward", at=2)
        first = train(make_config(**changes), before=reacting({3: ["stop"]}))
    assert first.outcome.status == "stopped", first.outcome
    assert read_progress(list_checkpoints(first.folder.checkpoints_path)[-1].path).path == [True] * 4
    again = train(first.folder.load_config(), resume=first.folder)
    assert again.outcome.status == "completed", again.outcome
    assert {**first.steps(), **again.steps()} == whole.steps()
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(again)[name]), name


class Host(Questions):
    """Counts what a GPU would be asked for, numbers that a tensor of the processor gives away included."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        super().__init__()
        for name in ("tolist", "numpy", "cpu"):
            patch.setattr(torch.Tensor, name, self._counting(name, getattr(torch.Tensor, name)))

    def _counting(self, name: str, known: Any) -> Any:
        def ask(*args: Any, **kwargs: Any) -> Any:
            self.asked[name] += 1
            return known(*args, **kwargs)

        return ask


def test_a_run_asks_for_no_number_from_step_to_step(
    make_config: MakeConfig, train: Train, as_on_gpu: list[MicroBatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop, clipping and the optimizer included: six steps of an epoch ask as often as two.

    That holds for runs that leave bad numbers out, too.
    """
    monkeypatch.setattr(optimizers, "is_optimizer_fused", lambda device: True)
    questions: list[Counter[str]] = []
    inner = Loop.take_steps

    for steps in (2, 6):
        with monkeypatch.context() as patch:

            def training(self: Loop, *args: Any, **kwargs: Any) -> Any:
                with Host(patch) as mode:
                    out = inner(self, *args, **kwargs)
                questions.append(mode.asked)
                return out

            patch.setattr(Loop, "take_steps", training)
            config = make_config(
                training__max_steps=steps,
                training__on_bad_numbers="skip",
                training__report_every=60,
                evaluation__every=None,
                output__save_every=None,
                data__validation=0,
            )
            assert train(config).outcome.status == "completed"
    assert questions[0] == questions[1] and questions[0].total(), questions


def test_a_fused_optimizer_leaves_bad_numbers_out_in_its_kernel(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_pass = {"training__micro_batch": 4, "training__batch_size": 4, "data__max_length": 512}
    found = []
    for fused in (False, True):
        monkeypatch.setattr(optimizers, "is_optimizer_fused", lambda device, fused=fused: fused)
        with monkeypatch.context() as patch:
            Spoiled(patch, {3})
            run = train(make_config(training__on_bad_numbers="skip", evaluation__every=None, **one_pass))
        assert run.outcome.status == "completed", run.outcome
        found.append(run.steps())
    assert found[0][3] != found[0][3] and found[1][3] != found[1][3]
    for step in (1, 2, 4, 5, 6):
        assert found[1][step] == pytest.approx(found[0][step], abs=1e-5)


def test_clipping_and_the_optimizer_take_all_tensors_at_once(
    make_config: MakeConfig, train: Train, as_on_gpu: list[MicroBatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU each of these is a handful of launches for the 448 tensors of an 8B model's adapter."""
    from torch.utils._python_dispatch import TorchDispatchMode

    monkeypatch.setattr(optimizers, "is_optimizer_fused", lambda device: True)
    called: Counter[str] = Counter()

    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            called[str(function).split(".")[1]] += 1
            return function(*args, **(kwargs or {}))

    clip, update = Engine.clip_gradients, Engine.update_weights

    def clipping(self: Engine) -> Any:
        with Names():
            return clip(self)

    def updating(self: Engine) -> Any:
        with Names():
            return update(self)

    def train_step(self: Engine) -> Any:
        called.clear()  # what is found at the end is of the last step
        return step(self)

    step = Engine.train_step
    monkeypatch.setattr(Engine, "train_step", train_step)
    monkeypatch.setattr(Engine, "clip_gradients", clipping)
    monkeypatch.setattr(Engine, "update_weights", updating)
    run = train(make_config(training__max_steps=2))
    assert run.outcome.status == "completed", run.outcome
    wanted = {"_foreach_norm": 1, "_foreach_mul_": 1, "_foreach_add_": 1, "_fused_adamw_": 1}
    assert {name: called[name] for name in wanted} == wanted, called
    assert called.total() < 20, called
