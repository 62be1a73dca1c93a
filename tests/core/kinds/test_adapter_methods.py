"""The method of a saved adapter follows from its config, whoever made it."""

from __future__ import annotations

from typing import Any

import pytest

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.methods import find_method
from tui_tuner.methods.attached import count_virtual_tokens, forget_method, is_adapter_model, remember_method
from tui_tuner.methods.saved.putting import find_adapter_method


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"peft_type": "LORA"}, "lora"),
        ({"peft_type": "LORA", "use_dora": True}, "dora"),
        ({"peft_type": "LORA", "use_rslora": True}, "rslora"),
        ({"peft_type": "LORA", "use_dora": True, "use_rslora": True}, "dora"),
        ({"peft_type": "ADALORA"}, "adalora"),
        ({"peft_type": "LOHA"}, "loha"),
        ({"peft_type": "VERA"}, "vera"),
        ({"peft_type": "LOKR"}, "lokr"),
        ({"peft_type": "LN_TUNING"}, "ln_tuning"),
        ({"peft_type": "OFT"}, "oft"),
        ({"peft_type": "BOFT", "boft_n_butterfly_factor": 1}, "boft"),
        ({"peft_type": "FOURIERFT"}, "fourierft"),
        ({"peft_type": "RANDLORA"}, "randlora"),
        ({"peft_type": "IA3"}, "ia3"),
        ({"peft_type": "PROMPT_TUNING"}, "prompt_tuning"),
        ({"peft_type": "P_TUNING"}, "p_tuning"),
        ({"peft_type": "PREFIX_TUNING"}, "prefix_tuning"),
        ({"method": "lora"}, "lora"),
    ],
)
def test_adapters_of_our_methods_are_known(settings: dict[str, Any], name: str) -> None:
    assert find_adapter_method(settings) is find_method(name)


@pytest.mark.parametrize(
    "settings",
    [{"peft_type": "HRA"}, {"peft_type": "BOFT", "boft_n_butterfly_factor": 2}, {}, {"method": "os"}],
)
def test_an_adapter_of_another_kind_is_an_adapter_all_the_same(settings: dict[str, Any]) -> None:
    method = find_adapter_method(settings)
    assert method.has(Trait.ADAPTER) and method.name not in METHODS
    assert not method.has(Trait.VIRTUAL_TOKENS)


def test_a_model_remembers_its_method_until_it_is_merged() -> None:
    import torch

    model = torch.nn.Linear(2, 2)
    assert not is_adapter_model(model) and count_virtual_tokens(model) == 0
    remember_method(model, find_method("lora"))
    assert is_adapter_model(model)
    forget_method(model)
    assert not is_adapter_model(model)
