"""What a run made is loaded again: the final models, and any checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import MakeConfig, Trained
from tests.core.test_older_runs import folder_of, runs  # noqa: F401  # a fixture
from tui_tuner.errors import ModelError, RunError, UsageError
from tui_tuner.runs.store import RunStore
from tui_tuner.training.load_run import list_run_models, load_run

Train = Callable[..., Trained]


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([[5, 9, 20, 7, 33, 12]])).logits[0]


def train_and_keep(config: Any, train: Train) -> tuple[Trained, dict[int, torch.Tensor]]:
    """A run, and the logits of its model when each checkpoint was written."""
    seen: dict[int, torch.Tensor] = {}

    def spy(_: Trained) -> None:
        from tui_tuner.training.keeping.saving import Saver

        inner = Saver.fill_checkpoint

        def fill(self: Any, folder: Path) -> None:
            model = self.engine.model
            training = model.training
            seen[self.engine.step] = logits(model.eval())
            model.train(training)
            inner(self, folder)

        patch.setattr(Saver, "fill_checkpoint", fill)

    with pytest.MonkeyPatch.context() as patch:
        run = train(config, before=spy)
    assert run.outcome.status == "completed", run.outcome
    return run, seen


@pytest.mark.parametrize(
    "method",
    [
        {"kind": "lora", "rank": 4},
        {"kind": "vera", "rank": 8},
        {"kind": "lokr", "rank": 4},
        {"kind": "ln_tuning"},
        {"kind": "boft"},
        {"kind": "randlora", "rank": 8},
        {"kind": "full"},
        {"kind": "freeze", "layers": 1},
        {"kind": "prompt_tuning", "virtual_tokens": 4},
        {"kind": "p_tuning", "virtual_tokens": 4},
    ],
    ids=lambda method: method["kind"],
)
def test_each_model_of_a_run_computes_what_it_computed_then(
    make_config: MakeConfig, train: Train, method: dict[str, Any]
) -> None:
    run, seen = train_and_keep(make_config(method=method, output__keep=3), train)
    assert set(list_run_models(run.folder)) == {"best", "last", "step-3", "step-6"}
    for which, step in (("last", 6), ("step-3", 3), ("step-6", 6)):
        model, tokenizer, config = load_run(run.folder, which, device="cpu")
        assert not model.training and config.method.kind == method["kind"]
        torch.testing.assert_close(logits(model), seen[step], atol=1e-5, rtol=1e-5)
        assert tokenizer.chat_template and tokenizer.eos_token == "<|im_end|>"
    assert load_run(str(run.folder.path)).config.model.dtype == "float32"


def test_what_is_not_there_is_named(make_config: MakeConfig, train: Train, tmp_path: Path) -> None:
    run = train(make_config(training__max_steps=3, evaluation__every=None, data__validation=None))
    with pytest.raises(RunError, match="has no model 'best'") as found:
        load_run(run.folder)
    assert "last, step-3" in found.value.hint
    with pytest.raises(RunError, match="has no model 'step-2'"):
        load_run(run.folder, "step-2")
    with pytest.raises(RunError, match=r"no config\.resolved\.yaml"):
        load_run(tmp_path)
    weights = run.folder.checkpoints_path / "step-3" / "trained.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    with pytest.raises(RunError, match="is damaged"):
        load_run(run.folder, "step-3")
    learned = run.folder.path / "learned.json"
    kept = learned.read_text()
    learned.write_text("[]")
    with pytest.raises(RunError, match="damaged"):
        load_run(run.folder, "last")
    learned.write_text(kept)
    for device in ("tpu", "cpu:7", 0):
        with pytest.raises(UsageError, match="is not a device"):
            load_run(run.folder, "last", device=device)  # type: ignore[arg-type]
    adapter = run.folder.last_path / "adapter_model.safetensors"
    whole = adapter.read_bytes()
    adapter.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="adapter cannot be loaded"):
        load_run(run.folder, "last", device="cpu")
    adapter.write_bytes(whole)
    (run.folder.last_path / "adapter_model.safetensors").rename(run.folder.last_path / "adapter_model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        load_run(run.folder, "last")
    shutil.rmtree(run.folder.last_path)
    shutil.rmtree(run.folder.checkpoints_path)
    with pytest.raises(RunError) as none:
        load_run(run.folder, "last")
    assert "none yet" in none.value.hint


def test_runs_of_version_0_1_load(runs: RunStore) -> None:  # noqa: F811
    for name, which in (("completed-sft", "best"), ("killed-sft", "step-6"), ("stopped-padded", "step-7")):
        model, tokenizer, config = load_run(folder_of(runs, name), which)
        assert logits(model).shape[-1] == len(tokenizer) and config.task == "sft"
    full = load_run(folder_of(runs, "stopped-pretraining"), "step-7")
    assert not hasattr(full.model, "peft_config")
