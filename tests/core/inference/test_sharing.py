"""Models of one base share its weights, and none of them changes it: methods of ours, and of other makers."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import chat_rows, write_jsonl
from tests.fusable import make_adapters
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.inference.loading import LoadedModel, ModelKeeper
from tui_tuner.inference.origin import Origin, find_base_origin, find_origin
from tui_tuner.methods import attach
from tui_tuner.methods.saved.putting import leaves_base
from tui_tuner.methods.stored import read_stored
from tui_tuner.runs.store import RunStore

IDS = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12]])


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


def held(model: Any) -> dict[str, torch.Tensor]:
    return {name: one.clone() for name, one in model.state_dict().items()}


def check_apart(tuned: Origin, base: Origin, whole: torch.Tensor) -> list[LoadedModel]:
    """Base and tuned side by side, in both orders: the base stays bit for bit, the tuned one is as alone."""
    (fresh,) = ModelKeeper("cpu").load_all([tuned])
    expected = logits(fresh.model)
    assert not torch.equal(expected, whole)  # else nothing would be told apart
    for order in ([base, tuned], [tuned, base]):
        models = ModelKeeper("cpu")
        loaded = models.load_all(order)
        by = dict(zip((one.checkpoint for one in order), loaded, strict=True))
        before = held(by["base"].model)
        for _turn in range(2):
            assert torch.equal(logits(by["base"].model), whole)
            assert torch.equal(logits(by[tuned.checkpoint].model), expected)
        after = by["base"].model.state_dict()
        assert before.keys() == after.keys() and all(
            torch.equal(before[name], after[name]) for name in before
        )
    return loaded


@pytest.fixture(scope="module")
def saved(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Origin]:
    """An adapter of peft on the tiny model, with weights that are not those it began with."""
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    root = tmp_path_factory.mktemp("adapters")

    def save(name: str, settings: Any, model: Any = None) -> Origin:
        torch.manual_seed(3)
        base = model or AutoModelForCausalLM.from_pretrained(tiny_model)
        tuned = get_peft_model(base, settings)
        with torch.no_grad():
            for parameter in tuned.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.05 * torch.randn_like(parameter))
        tuned.save_pretrained(str(root / name))
        values = json.loads((root / name / "adapter_config.json").read_text())
        values["base_model_name_or_path"] = str(tiny_model)
        (root / name / "adapter_config.json").write_text(json.dumps(values))
        return find_origin(str(root / name), RunStore(root / "none"))

    return save


@pytest.fixture(scope="module")
def whole(tiny_model: Path) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    return logits(AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval())


@pytest.mark.parametrize("kind", [name for name in METHODS if name not in ("full", "freeze")])
def test_no_method_of_ours_changes_the_base(
    kind: str, tiny_model: Path, whole: torch.Tensor, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    from tui_tuner.config.load import build_config

    data = write_jsonl(tmp_path / "rows.jsonl", chat_rows(4))
    needs = {"adapters": make_adapters(str(tiny_model), tmp_path / "fused")} if kind == "fusion" else {}
    method: dict[str, Any] = {
        "kind": kind,
        **needs,
        **({"rank": 4} if kind in ("lora", "dora", "rslora", "loha", "lokr", "vera", "randlora") else {}),
    }
    values = {"model": {"name": str(tiny_model)}, "data": {"path": str(data)}, "method": method}
    torch.manual_seed(0)
    model = attach(AutoModelForCausalLM.from_pretrained(tiny_model), build_config(values), "CAUSAL_LM")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(str(tmp_path / "adapter"), save_embedding_layers=False)
    tuned = find_origin(str(tmp_path / "adapter"), RunStore(tmp_path / "none"))
    loaded = check_apart(tuned, find_base_origin(tuned), whole)
    assert leaves_base(read_stored(tmp_path / "adapter"))
    inside = loaded[0].model.get_base_model().get_input_embeddings().weight
    assert inside.data_ptr() == loaded[1].model.get_input_embeddings().weight.data_ptr()  # in memory once


def other_makers() -> dict[str, Callable[[], Any]]:
    from peft import LNTuningConfig, LoKrConfig, LoraConfig, OFTConfig, TaskType

    causal = {"task_type": TaskType.CAUSAL_LM}
    targets = {"target_modules": ["q_proj", "v_proj"], **causal}
    return {
        "pissa": lambda: LoraConfig(r=4, init_lora_weights="pissa", **targets),
        "olora": lambda: LoraConfig(r=4, init_lora_weights="olora", **targets),
        "dora": lambda: LoraConfig(r=4, use_dora=True, **targets),
        "patterns": lambda: LoraConfig(
            r=4, rank_pattern={"q_proj": 2}, alpha_pattern={"v_proj": 3}, **targets
        ),
        "modules_to_save": lambda: LoraConfig(r=4, modules_to_save=["lm_head", "embed_tokens"], **targets),
        "bias": lambda: LoraConfig(r=4, layers_to_transform=[1], **targets),
        "lokr": lambda: LoKrConfig(r=4, **targets),
        "oft": lambda: OFTConfig(oft_block_size=4, r=0, **targets),
        "norms": lambda: LNTuningConfig(**causal),
    }


@pytest.mark.parametrize("name", list(other_makers()))
def test_no_adapter_of_another_maker_changes_the_base(
    name: str, saved: Callable[..., Origin], whole: torch.Tensor
) -> None:
    tuned = saved(name, other_makers()[name]())
    check_apart(tuned, find_base_origin(tuned), whole)


def test_embeddings_of_added_tokens_make_the_base_larger_only_for_their_adapter(
    tiny_model: Path, saved: Callable[..., Origin], whole: torch.Tensor
) -> None:
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM

    larger = AutoModelForCausalLM.from_pretrained(tiny_model)
    rows = larger.get_input_embeddings().weight.shape[0]
    larger.resize_token_embeddings(rows + 3, mean_resizing=False)
    settings = LoraConfig(
        r=4, target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"], task_type="CAUSAL_LM"
    )
    tuned = saved("larger", settings, copy.deepcopy(larger))
    one, base = ModelKeeper("cpu").load_all([tuned, find_base_origin(tuned)])
    assert logits(one.model).shape[-1] == rows + 3
    assert torch.equal(logits(base.model), whole)


def test_weights_in_four_bits_are_shared_and_stay(tiny_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    from tui_tuner.config.load import build_config
    from tui_tuner.inference.loading import share_weights
    from tui_tuner.models.loading import load_model

    config = build_config(
        {"model": {"name": str(tiny_model), "quantization": "nf4"}, "method": {"kind": "lora", "rank": 4}}
    )
    base = load_model(config, "cpu").eval()
    before, said = held(base), logits(base)
    tuned = attach(share_weights(base), config, "CAUSAL_LM").eval()
    logits(tuned)
    after = base.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(logits(base), said) and not hasattr(base, "peft_config")
