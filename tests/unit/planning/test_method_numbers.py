"""Every method answers what planning asks it, and one that answers little is planned all the same."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from tests.fusable import NEEDS
from tui_tuner.config.kinds.method_kind import MethodKind, Trait
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.config.schema import RunConfig
from tui_tuner.methods import find_method
from tui_tuner.methods.method import Method
from tui_tuner.methods.numbers.rates import Customary
from tui_tuner.methods.numbers.terms import Form, MethodCase
from tui_tuner.methods.saved.starting_adapter import follow_adapter
from tui_tuner.models.architectures.family import Linear
from tui_tuner.models.facts import read_config_facts
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.duration import estimate_duration
from tui_tuner.planning.estimate import estimate_memory, make_memory_setup, resolve_for_card
from tui_tuner.planning.flops import count_flops
from tui_tuner.planning.gpus import find_gpu_card
from tui_tuner.planning.heads.parameters import count_run_parameters
from tui_tuner.planning.learning_rate import find_customary_rate
from tui_tuner.planning.memory.adapters_more import FORMS
from tui_tuner.planning.memory.method_fields import make_method_case, make_method_fields
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.stack import find_installed_stack
from tui_tuner.planning.memory.static import list_trained_tensors
from tui_tuner.planning.trace_check import explain_untraceable

SHAPE = {
    "model_type": "llama",
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "intermediate_size": 704,
    "vocab_size": 1200,
}
FACTS = read_config_facts(SHAPE)
BERT = read_config_facts({"model_type": "bert"})
DATA = DataFacts(rows=1000, tokens=400_000, supervised=150_000)


def run(kind: str, **sections: Any) -> RunConfig:
    method = {"kind": kind, **NEEDS.get(kind, {})}
    training = {"micro_batch": 2, "gradient_checkpointing": False, "optimizer": "adamw"}
    return RunConfig.model_validate({"method": method, "training": training, **sections})


def fields_of(config: RunConfig) -> dict[str, Any]:
    return make_method_fields(config.method, FACTS, find_installed_stack())


def trained_in_memory(config: RunConfig) -> float:
    card = find_gpu_card("A100-80")
    resolved = resolve_for_card(config, FACTS, card, find_installed_stack(), DATA).config
    setup = make_memory_setup(resolved, FACTS, find_installed_stack(), card, DATA)
    return sum(tensor.count * tensor.copies for tensor in list_trained_tensors(setup))


@pytest.mark.parametrize("kind", METHODS)
def test_every_method_has_a_rate_with_its_source(kind: str) -> None:
    def is_whole(rate: Customary) -> bool:
        return 0 < rate.low <= rate.rate <= rate.high and bool(rate.source)

    rates = find_method(kind).rates
    assert is_whole(rates.usual) and is_whole(rates.preference)
    assert rates.new_head is None or is_whole(rates.new_head)
    assert rates is not Method.rates, "the general rate is for methods without a published one"
    assert is_whole(find_customary_rate(run(kind)))
    for small in (1e6, 1e9):
        assert is_whole(find_customary_rate(run(kind, task="classification"), int(small), encoder=True))


@pytest.mark.parametrize("kind", METHODS)
def test_every_method_counts_what_memory_has(kind: str) -> None:
    """The parameters that are counted one way are the trained tensors of the ledger, counted another way."""
    config = run(kind)
    counted = count_run_parameters(config, FACTS, DATA)
    assert 0 < counted.trained <= counted.total and not counted.doubt
    assert trained_in_memory(config) == counted.trained


@pytest.mark.parametrize("kind", METHODS)
def test_every_method_has_terms_that_planning_knows(kind: str) -> None:
    config = run(kind)
    fields = fields_of(config)
    assert set(fields) <= set(Setup.__dataclass_fields__)
    assert fields["form"] in FORMS or fields["sublayers"] or fields["trains_norms"]
    assert fields["form"] is not Form.GENERAL
    assert fields["trains_norms"] or not (fields["elsewhere"] or fields["own"]), (
        "these are for methods of which less is known"
    )
    found = estimate_memory(config, facts=FACTS, card="A100-80", data=DATA)
    assert found.verified and found.allocated > found.static > 0
    assert count_flops(FACTS, config.method).token > 0


class Beside(Method):
    """Declares what is trained beside a linear layer, and nothing else."""

    def count_parameters(self, linear: Linear, case: MethodCase) -> int:
        return 3 * linear.outputs


class Counted(Method):
    """Declares one number: how much is trained."""

    def count_elsewhere(self, case: MethodCase, decides: bool = False) -> int:
        return 50_000


class Biases(Method):
    """Trains some of the model's own weights."""

    def count_own(self, facts: Any, section: Any, decides: bool = False) -> int:
        return 1234


class Silent(Method):
    """Declares nothing."""


def register(monkeypatch: pytest.MonkeyPatch, kind: type[Method], *traits: Trait) -> RunConfig:
    """A config with a stranger's method."""
    entry = MethodKind("stranger", "Stranger", "A method.", frozenset(traits), ("targets", "layers"))
    monkeypatch.setitem(METHODS, "stranger", entry)
    module = types.ModuleType("tui_tuner.methods.stranger")
    vars(module)["METHODS"] = (kind("stranger"),)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    find_method.cache_clear()  # of the stranger of another test
    return run("stranger")


@pytest.mark.parametrize(
    ("kind", "traits", "trained"),
    [
        (Beside, [Trait.ADAPTER], 4 * 3 * (256 + 64 + 64 + 256 + 704 + 704 + 256)),
        (Counted, [Trait.ADAPTER], 50_000),
        (Biases, [], 1234),
    ],
)
def test_a_method_that_declares_little_is_planned(
    monkeypatch: pytest.MonkeyPatch, kind: type[Method], traits: list[Trait], trained: int
) -> None:
    config = register(monkeypatch, kind, *traits)
    counted = count_run_parameters(config, FACTS, DATA)
    assert counted.trained == trained and not counted.doubt
    assert counted.total == FACTS.parameters + (trained if Trait.ADAPTER in traits else 0)
    assert trained_in_memory(config) == trained
    card = find_gpu_card("A100-80")
    found = estimate_memory(config, facts=FACTS, card=card, data=DATA)
    resolved = resolve_for_card(config, FACTS, card, find_installed_stack(), DATA).config
    rows = {row.name: row.gib * 2**30 for row in found.rows}
    states = rows["optimizer states"]
    assert 8 * trained <= states <= 8 * trained + 30 * 4 * 1024, "two of AdamW, in float32 or rounded up"
    assert estimate_duration(resolved, FACTS, DATA, card=card).seconds
    assert 0 < find_customary_rate(config).rate < 1 and find_customary_rate(config).source
    own = make_memory_setup(resolved, FACTS, find_installed_stack(), card, DATA)
    assert explain_untraceable(own), "its libraries' code is not followed line by line"
    weights = run("lora")
    frozen = estimate_memory(weights, facts=FACTS, card=card, data=DATA)
    sizes = {row.name: row.gib * 2**30 for row in frozen.rows}
    assert rows["weights"] == pytest.approx(sizes["weights"]), "no weight is counted twice"


def test_a_method_that_declares_nothing_gets_an_estimate_with_a_doubt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = register(monkeypatch, Silent, Trait.ADAPTER)
    assert "declare" in count_run_parameters(config, FACTS, DATA).doubt
    card = find_gpu_card("A100-80")
    assert estimate_memory(config, facts=FACTS, card=card, data=DATA).device > 0
    resolved = resolve_for_card(config, FACTS, card, find_installed_stack(), DATA).config
    assert estimate_duration(resolved, FACTS, DATA, card=card).seconds


def test_a_mixture_counts_experts_by_their_own_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dense layers of a mixture have matrices of the same names as its experts, and of other sizes."""
    config = register(monkeypatch, Beside, Trait.ADAPTER)
    facts = read_config_facts(
        {**SHAPE, "model_type": "qwen2_moe", "mlp_only_layers": [0], "num_experts": 6, "head_dim": 32}
    )
    stack = find_installed_stack()
    counts = make_method_fields(config.method, facts, stack)["counts"]
    assert {(name, into, out) for name, into, out, _count in counts} == {
        (linear.name, linear.inputs, linear.outputs)
        for one in (facts, facts.without_experts)
        for linear in one.layer_linears
        if make_method_case(config.method, facts, stack).adapts(linear)
    }


@pytest.mark.parametrize(
    ("method", "counted"),
    [
        ({"kind": "bottleneck"}, 894_528),
        ({"kind": "bottleneck", "style": "houlsby"}, 1_789_056),
        ({"kind": "bottleneck", "style": "parallel"}, 7_091_712),
        ({"kind": "fusion", "adapters": ["a", "b", "c"]}, 21_252_096),
    ],
)
def test_adapters_of_bert_have_as_many_numbers_as_published(method: dict[str, Any], counted: int) -> None:
    """From config.json alone: AdapterHub's figures for BERT-base, and the attention of a fusion."""
    config = RunConfig.model_validate({"task": "classification", "method": method})
    found = count_run_parameters(config, BERT, DATA)
    assert found.adapter == found.to_json()["adapter_parameters"] == counted
    assert found.trained > counted and found.total > BERT.body_parameters + counted


def test_a_fusion_is_counted_from_the_settings_of_its_adapters_alone(tmp_path: Path) -> None:
    told = {"peft_type": "BOTTLENECK", "style": "houlsby", "size": 48, "non_linearity": "relu"}
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        settings = json.dumps({**told, "layers": 3, "scaling": 1.0})
        (tmp_path / name / "adapter_config.json").write_text(settings, encoding="utf-8")
    method = {"kind": "fusion", "adapters": ["a", "b"]}
    values = {"task": "classification", "method": method, "output": {"folder": str(tmp_path)}}
    config = follow_adapter(RunConfig.model_validate(values))
    places = 2 * 3
    assert count_run_parameters(config, BERT, DATA).adapter == places * (3 * 768**2 + 2 * 768)
