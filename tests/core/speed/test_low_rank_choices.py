"""Which LoRA layers are computed in a quick way, and why peft keeps the others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import Qwen2Config

from tests.core.speed.test_joint_low_rank import GPU, HEADS, SIZES, adapted, assert_same
from tests.core.speed.test_low_rank import loss_and_gradients as step
from tui_tuner.compute import low_rank
from tui_tuner.compute.kernels.chosen_kernel import ChosenKernel
from tui_tuner.compute.low_rank.lora_choice import JOINT, ONE, PEFT


@pytest.mark.parametrize(
    ("facts", "on_cpu", "on_gpu"),
    [
        ({}, "", ""),
        ({"dropout": 0.1}, "dropout", ""),
        ({"base": "4-bit"}, "quantised", ""),
        ({"base": "8-bit"}, "quantised", ""),
        ({"base": "transposed", "transposed": True}, "quantised", ""),
        ({"transposed": True}, "not supported", "not supported"),
        ({"base": "transposed"}, "not supported", "not supported"),
        ({"base": ""}, "not supported", "not supported"),
        ({"variant": True}, "not plain LoRA", "not plain LoRA"),
        ({"adapters": 2}, "several", "several"),
        ({"trained_base": True}, "trained", "trained"),
        ({"hooked": True}, "", "other code"),
    ],
)
def test_which_layers_are_left_to_peft(facts: dict[str, Any], on_cpu: str, on_gpu: str) -> None:
    for kind, expected in (("cpu", on_cpu), ("cuda", on_gpu)):
        found = low_rank.explain_left_layer(low_rank.LoraFacts(**facts), kind)
        assert bool(found) == bool(expected) and expected in found


@pytest.mark.parametrize("settings", [{"use_dora": True}, {"lora_bias": True, "target_modules": ["q_proj"]}])
def test_other_kinds_are_left_to_peft(settings: dict[str, Any]) -> None:
    model = adapted(Qwen2Config(**SIZES, **HEADS), **settings)
    (left,) = low_rank.quicken_lora(model, GPU)
    assert isinstance(left, ChosenKernel) and left.kernel == PEFT and "not plain LoRA" in left.why


def test_what_is_wrong_by_a_hundredth_is_left_to_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = low_rank.joint.JointLora.backward
    wrong = lambda ctx, *above: tuple(  # noqa: E731
        one * 1.01 if isinstance(one, torch.Tensor) else one for one in inner(ctx, *above)
    )
    monkeypatch.setattr(low_rank.joint.JointLora, "backward", staticmethod(wrong))
    chosen = low_rank.quicken_lora(adapted(), GPU)
    assert low_rank.count_quick_lora(chosen) == 0 and "differ from peft's" in chosen[0].why


def test_layers_of_several_ranks_and_few_targets() -> None:
    model = adapted(target_modules=["q_proj", "v_proj", "up_proj"], rank_pattern={"v_proj": 2})
    truth = step(model)
    found = low_rank.quicken_lora(model, GPU)
    assert [(one.kernel, one.layers) for one in found] == [(ONE, 6)]  # other ranks, other scaling
    assert_same(step(model), truth)
    model = adapted(
        target_modules=["q_proj", "v_proj"], rank_pattern={"v_proj": 2}, alpha_pattern={"v_proj": 6}
    )
    truth = step(model)
    assert [(one.kernel, one.layers) for one in low_rank.quicken_lora(model, GPU)] == [(JOINT, 4)]
    assert_same(step(model), truth)
