"""Optimizers: groups and states as transformers' Trainer makes them, so that older checkpoints fit."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Adafactor as TheirAdafactor
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainingArguments,
)

from tests.conftest import MakeConfig
from tests.core.step.settled import make_settled
from tui_tuner.methods import attach
from tui_tuner.models.device import Device
from tui_tuner.training.step import optimizers
from tui_tuner.training.step.adafactor import Adafactor
from tui_tuner.training.step.optimizers import create_optimizer, group_parameters

CPU = Device("cpu")
NAMES = {
    "adamw": "adamw_torch",
    "adamw_8bit": "adamw_bnb_8bit",
    "paged_adamw_8bit": "paged_adamw_8bit",
    "sgd": "sgd",
    "adafactor": "adafactor",
}


def trainer_optimizer(model: Any, folder: Path, name: str) -> Any:
    """What transformers' Trainer makes for a model."""
    arguments = TrainingArguments(
        output_dir=str(folder),
        optim=NAMES[name],
        learning_rate=0.002,
        weight_decay=0.1,
        adam_beta1=0.8,
        adam_beta2=0.99,
        use_cpu=True,
        report_to="none",
    )
    return Trainer(model=model, args=arguments).create_optimizer()


def encoder() -> Any:
    """A model whose norms and biases have names of their own: LayerNorm, and biases everywhere."""
    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    return BertForSequenceClassification(config)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["lora", "full", "ia3", "encoder"])
def test_groups_and_settings_are_those_of_trainer(
    make_config: MakeConfig, tmp_path: Path, name: str, kind: str
) -> None:
    config = make_settled(
        make_config,
        method={"kind": "full" if kind == "encoder" else kind},
        training__optimizer=name,
        training__learning_rate=0.002,
        training__weight_decay=0.1,
        training__adam_beta1=0.8,
        training__adam_beta2=0.99,
    )
    if kind == "encoder":
        model = encoder()
    else:
        model = attach(AutoModelForCausalLM.from_pretrained(config.model.name), config)
    ours, theirs = (
        create_optimizer(model, config, CPU),
        trainer_optimizer(model, tmp_path, name),
    )
    assert type(ours).__name__ == type(theirs).__name__
    # the same weights in the same order, and all settings
    assert [[id(one) for one in group["params"]] for group in ours.param_groups] == [
        [id(one) for one in group["params"]] for group in theirs.param_groups
    ]
    assert ours.state_dict() == theirs.state_dict()
    assert sum(len(group["params"]) for group in ours.param_groups) > 0


def test_a_norm_by_its_type_does_not_decay() -> None:
    model = torch.nn.ModuleDict({"ln_f": torch.nn.LayerNorm(4), "head": torch.nn.Linear(4, 2)})
    decayed, others = group_parameters(model, 0.1)
    assert [id(one) for one in decayed["params"]] == [id(model["head"].weight)]
    assert len(others["params"]) == 3 and others["weight_decay"] == 0.0


def test_embeddings_keep_32_bits_in_an_8_bit_optimizer(make_config: MakeConfig) -> None:
    from bitsandbytes.optim import GlobalOptimManager

    config = make_settled(make_config, method={"kind": "full"}, training__optimizer="adamw_8bit")
    model = AutoModelForCausalLM.from_pretrained(config.model.name)
    create_optimizer(model, config, CPU)
    known = GlobalOptimManager.get_instance().module_weight_config_triple
    assert (model.get_input_embeddings(), "weight", {"optim_bits": 32}) in known


def test_one_kernel_updates_many_tensors_on_a_gpu(make_config: MakeConfig) -> None:
    assert [optimizers.is_optimizer_fused(device) for device in (CPU, Device("cuda"))] == [False, True]
    config, model = make_settled(make_config), torch.nn.Linear(2, 2)
    found = [create_optimizer(model, config, device) for device in (CPU, Device("cuda"))]
    assert [[group["fused"] for group in one.param_groups] for one in found] == [[None] * 2, [True] * 2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_adafactor_has_the_numbers_of_transformers(dtype: torch.dtype) -> None:
    """Step by step, and from a state that the other one saved."""
    torch.manual_seed(0)
    shapes = [(7, 5), (6,), (3, 4, 5), (9, 1)]
    begin = [torch.randn(shape).to(dtype) for shape in shapes]

    def groups() -> list[dict[str, Any]]:
        weights = [torch.nn.Parameter(one.clone()) for one in begin]
        return [
            {"params": weights[:2], "weight_decay": 0.1},
            {"params": weights[2:], "weight_decay": 0.0},
        ]

    ours = Adafactor(groups(), lr=0.01)
    theirs = TheirAdafactor(groups(), lr=0.01, scale_parameter=False, relative_step=False)
    for step in range(8):
        if step == 4:
            ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
            theirs.load_state_dict(copy.deepcopy(theirs.state_dict()))
        gradients = [torch.randn(shape).to(dtype) * 10**-step for shape in shapes]
        for optimizer in (ours, theirs):
            weights = [one for group in optimizer.param_groups for one in group["params"]]
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient.clone() if step != 2 or weight.dim() > 1 else None
            optimizer.step()
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)
        for one, other in zip(ours.param_groups, theirs.param_groups, strict=True):
            assert all(map(torch.equal, one["params"], other["params"]))
