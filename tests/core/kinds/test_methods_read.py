"""Every field of a method with every method: one that is not read changes nothing, one that is read does."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import MakeConfig
from tests.fusable import NEEDS, make_adapters
from tui_tuner.config.applying import is_read_by_method, list_unread_fields
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.config.options import list_options
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import edit_values
from tui_tuner.errors import ConfigError
from tui_tuner.methods import attach
from tui_tuner.models.facts import load_facts
from tui_tuner.models.loading import load_model
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.hardware import Hardware
from tui_tuner.planning.plan import plan_run

OTHERS: dict[str, Any] = {
    "method.rank": 4,
    "method.alpha": 7.0,
    "method.dropout": 0.25,
    "method.targets": ["q_proj"],
    "method.layers": 1,
    "method.train_embeddings": True,
    "method.virtual_tokens": 5,
    "method.encoder_size": 24,
    "method.initial_text": "a red coat",
    "method.style": "houlsby",
    "method.reduction": 4.0,
    "method.non_linearity": "tanh",
    "method.layer_norm": "before",
    "method.adapters": ["nowhere"],
    "method.init": "pissa",
    "method.final_rank": 2,
    "method.rank_pattern": {"q_proj": 3},
    "method.alpha_pattern": {"q_proj": 5.0},
    "method.pattern": "*.mlp.*",
    "method.decompose_both": True,
    "method.decompose_factor": 2,
    "method.frequencies": 50,
    "method.rotation_block": 8,
}
ALSO: dict[str, dict[str, Any]] = {"method.pattern": {"method.layers": None}}  # one of the two is read
CPU = Hardware(cores=2, memory_gib=16)


def test_another_value_is_tried_of_every_field() -> None:
    fields = {path for path in list_options() if path.startswith("method.")}
    assert set(OTHERS) == fields - {"method.kind"}
    assert all(value != list_options()[path].default for path, value in OTHERS.items())


def trained(config: RunConfig) -> str:
    """What a run with this method would train, to the bit, and how."""
    torch.manual_seed(0)
    model = attach(load_model(config, "cpu"), config)
    weights = {
        name: (list(one.shape), hashlib.sha256(one.detach().float().numpy().tobytes()).hexdigest())
        for name, one in model.named_parameters()
        if one.requires_grad
    }
    settings = {name: one.to_dict() for name, one in getattr(model, "peft_config", {}).items()}
    modules = [repr(module) for module in model.modules() if "Dropout" in type(module).__name__]
    return json.dumps([weights, settings, modules], default=str, sort_keys=True)


def planned(config: RunConfig) -> Any:
    found = plan_run(config, hardware=CPU, data=DataFacts(400, 60.0, 90), facts=load_facts(config.model))
    steps = found.duration and (found.duration.work, found.duration.seconds)
    return found.fit.estimate, found.resolved.config.model_dump(exclude={"method"}), steps, found.parameters


@pytest.mark.parametrize("kind", METHODS)
def test_what_a_method_does_not_read_changes_nothing_and_what_it_reads_does(
    make_config: MakeConfig, kind: str, tiny_model: Path, tmp_path: Path
) -> None:
    # The tiny model's blocks hold no LoKr of the default rank
    needs, others = {**NEEDS, "lokr": {"rank": 3}}.get(kind, {}), OTHERS
    if kind == "fusion":
        adapters = make_adapters(str(tiny_model), tmp_path, 3)
        needs, others = {"adapters": adapters[:2]}, {**OTHERS, "method.adapters": adapters}
    base = make_config(method={"kind": kind, **needs})
    before, plan_before = trained(base), planned(base)
    for path, value in others.items():
        read = is_read_by_method(kind, path)
        config = edit_values(base, {path: value, **(ALSO.get(path, {}) if read else {})})
        assert list_unread_fields(config) == ([] if read else [path])
        if read:
            assert trained(config) != before, path
        else:
            assert trained(config) == before, path
            assert planned(config) == plan_before, path


def test_a_text_that_a_network_leaves_no_room_for_changes_nothing(make_config: MakeConfig) -> None:
    with_network = {"kind": "prefix_tuning", "encoder_size": 24}
    base = make_config(method=with_network)
    config = make_config(method={**with_network, "initial_text": "a red coat"})
    assert list_unread_fields(config) == ["method.initial_text"]
    assert trained(config) == trained(base) and planned(config) == planned(base)
    with pytest.raises(ConfigError):  # where it is read, it is looked at
        trained(
            make_config(method={"kind": "prefix_tuning", "virtual_tokens": 1, "initial_text": "a red coat"})
        )


@pytest.mark.parametrize(
    ("sections", "path", "value"),
    [
        ({}, "model.double_quant", False),
        ({}, "model.vocabulary", 900),
        ({"method": {"kind": "p_tuning"}}, "data.packing", False),
        ({"method": {"kind": "prefix_tuning"}}, "training.gradient_checkpointing", False),
        ({}, "data.pick", "random"),
        ({}, "data.cleaning.phrases", "no-such-file.yaml"),
        ({"training": {"max_steps": 7}}, "training.epochs", 9.0),
        ({"training": {"optimizer": "sgd"}}, "training.adam_beta1", 0.5),
        ({"training": {"optimizer": "adafactor"}}, "training.adam_beta2", 0.5),
        ({"hardware": {"devices": "cpu"}}, "training.tf32", True),
        ({"data": {"validation": None}}, "evaluation.samples", 9),
        ({"data": {"validation": 0.0}}, "evaluation.metric_rows", 9),
        ({}, "evaluation.metrics", ["rouge_l"]),
        ({"evaluation": {"samples": 0}}, "evaluation.max_new_tokens", 9),
        ({"data": {"validation": None}}, "evaluation.best", "perplexity"),
    ],
)
def test_what_does_not_go_with_other_fields_changes_no_plan(
    make_config: MakeConfig, sections: dict[str, Any], path: str, value: Any
) -> None:
    base = make_config(**sections)
    config = edit_values(base, {path: value})
    assert path in list_unread_fields(config)
    before, now = planned(base), planned(config)
    assert (now[0], now[2], now[3]) == (before[0], before[2], before[3])
    section, _dot, name = path.rpartition(".")
    same = [settled[1] for settled in (before, now)]
    for settled in same:
        inner = settled
        for part in section.split("."):
            inner = inner[part]
        inner.pop(name)
    assert same[0] == same[1]
