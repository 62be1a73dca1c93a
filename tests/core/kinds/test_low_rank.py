"""The LoRA family: what its matrices begin as, what is saved of it, and what a resumed run goes on with."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import MakeConfig, Trained
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ConfigError
from tui_tuner.methods import attach, find_method, merge
from tui_tuner.methods.adalora import plan_schedule
from tui_tuner.methods.attached import method_of
from tui_tuner.methods.beginnings import list_low_rank
from tui_tuner.methods.putting import put_adapter
from tui_tuner.models.loading import load_model

Train = Callable[..., Trained]
IDS = torch.arange(3, 23).view(1, 20)
# Loads with plain peft, in a process that has never heard of this package
RELOAD = """
import json, sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
base = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
model = PeftModel.from_pretrained(base, sys.argv[2]).eval()
assert not any(name.startswith("tui_tuner") for name in sys.modules)
with torch.no_grad():
    print(json.dumps(model(input_ids=torch.arange(3, 23).view(1, 20)).logits.flatten().tolist()))
"""


def small(**method: Any) -> dict[str, Any]:
    return {f"method__{name}": value for name, value in {"kind": "lora", "rank": 4, **method}.items()}


def read_logits(model: Any) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=IDS).logits
    return found


def stir(model: Any) -> None:
    """Move what is trained away from where it began, as training does."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.05 * torch.randn_like(weight))


@pytest.mark.parametrize("kind", ["lora", "dora", "rslora"])
@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_what_was_taken_out_of_the_base_fits_the_original_again(
    make_config: MakeConfig, tmp_path: Path, kind: str, init: str
) -> None:
    from peft import PeftModel

    patterns = {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {r"layers\.0\..*": 6.0}}
    config = make_config(**small(kind=kind, init=init, **patterns))
    base = load_model(config, "cpu")
    before = read_logits(base)
    model = attach(base, config)
    assert torch.allclose(read_logits(model), before, atol=1e-5), "it begins as the base model"
    ranks = {layer.r["default"] for _name, layer in list_low_rank(model)}
    assert ranks == {2, 4}
    stir(model)
    trained = read_logits(model)
    assert (trained - before).abs().max() > 1e-3
    method_of(model).save_model(model, tmp_path)
    assert model.active_peft_config.r == 4, "saving changes nothing"
    loaded = PeftModel.from_pretrained(load_model(config, "cpu"), str(tmp_path))
    assert torch.allclose(read_logits(loaded), trained, atol=1e-5)
    with loaded.disable_adapter():
        assert torch.equal(read_logits(loaded), before)
    assert torch.allclose(read_logits(merge(model)), trained, atol=1e-5)


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_beginnings_are_those_of_peft(make_config: MakeConfig, init: str) -> None:
    from peft import LoraConfig, get_peft_model

    config = make_config(**small(init=init, targets=["q_proj", "down_proj"]))
    ours = attach(load_model(config, "cpu"), config)
    settings = LoraConfig(
        r=4, lora_alpha=config.method.alpha, target_modules=["q_proj", "down_proj"], init_lora_weights=init
    )
    theirs = get_peft_model(load_model(config, "cpu"), settings)
    for (name, one), (_name, other) in zip(list_low_rank(ours), list_low_rank(theirs), strict=True):
        products = [layer.get_delta_weight("default") for layer in (one, other)]
        assert torch.allclose(*products, atol=1e-5), name
        assert torch.allclose(one.base_layer.weight, other.base_layer.weight, atol=1e-5), name


def stop_at(step: int) -> Callable[[Trained], None]:
    """Return what asks a run to stop once it has told of a step."""

    def prepare(run: Trained) -> None:
        emit = run.sink.emit

        def watch(body: Any) -> None:
            emit(body)
            if max(run.sink.steps(), default=0) >= step:
                run.control.request_command("stop")

        run.sink.emit = watch  # type: ignore[method-assign]

    return prepare


ENDINGS = [
    {"init": "pissa"},
    {"init": "eva"},
    {"init": "olora", "kind": "dora"},
    {"kind": "adalora", "rank": 6, "final_rank": 2},
]


@pytest.mark.parametrize("method", ENDINGS, ids=lambda method: "-".join(map(str, method.values())))
def test_a_resumed_run_ends_the_same_and_plain_peft_loads_it(
    make_config: MakeConfig, train: Train, method: dict[str, Any]
) -> None:
    config = make_config(
        training__max_steps=12,
        training__batch_size=4,
        training__learning_rate=5e-3,
        training__lora_plus_ratio=4.0,
        evaluation__every=None,
        training__report_every=1e-6,
        output__save_every=2,
        data__max_length=64,
        **small(**method),
    )
    whole = train(config)
    assert whole.outcome.status == "completed", whole.outcome
    for step in (4, 8) if "final_rank" in method else (4,):  # while AdaLoRA takes ranks away, and after that
        stopped = train(config, before=stop_at(step))
        assert stopped.outcome.status == "stopped" and step <= max(stopped.steps()) < 12
        train(config, resume=stopped.folder)
        for name in ("adapter_model.safetensors", "adapter_config.json"):
            one, other = (run.folder.path / "last" / name for run in (whole, stopped))
            assert one.read_bytes() == other.read_bytes(), (step, name)
    found = subprocess.run(
        [sys.executable, "-c", RELOAD, config.model.name, str(whole.folder.path / "last")],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    theirs = torch.tensor(json.loads(found.stdout.splitlines()[-1]))
    ours = put_adapter(load_model(config, "cpu"), whole.folder.path / "last")
    assert torch.allclose(read_logits(ours).flatten(), theirs, atol=1e-5)
