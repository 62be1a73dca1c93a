"""Tier 1 against tier 2: the ledger against the installed libraries' own code."""

from __future__ import annotations

import dataclasses

import pytest

from tui_tuner.errors import RunError
from tui_tuner.models.catalog import find
from tui_tuner.models.facts import facts_from_config
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.stack import installed, parse_stack
from tui_tuner.planning.trace import Tracer, untraceable

pytest.importorskip("peft")
ALL = frozenset(["all-linear"])
FULL = {"method": "full", "rank": 0}
GRID = [
    (model, changes)
    for model in ("meta-llama/Llama-3.2-1B", "mistralai/Mixtral-8x7B-v0.1", "microsoft/phi-4")
    for changes in (
        {},
        {"checkpointing": True},
        {"autocast": False},
        {"checkpointing": True, "dropout": 0.1},
    )
] + [
    ("Qwen/Qwen3-8B", {}),
    ("Qwen/Qwen3-8B", {**FULL, "weight": 4, "norm": 4, "embedding": 4}),
    ("Qwen/Qwen3-8B", {**FULL, "autocast": False, "checkpointing": True}),
    ("Qwen/Qwen2.5-7B", {"attention": "eager", "targets": frozenset(["q_proj", "v_proj"])}),
    ("google/gemma-2-2b", {"attention": "eager"}),
    ("ibm-granite/granite-3.1-2b-base", {"rank": 64}),
    ("allenai/OLMo-2-0425-1B", {}),
    ("EleutherAI/pythia-160m", {"autocast": False}),
]


def setup(name, **changes):
    facts = facts_from_config(find(name), name)
    return Setup(facts, installed(), 2, 512, **{"targets": ALL, **changes})


@pytest.fixture(scope="module")
def tracer():
    with Tracer(seconds=240) as process:
        yield process


@pytest.mark.parametrize(("name", "changes"), GRID)
def test_ledger_and_trace_agree_within_one_percent(tracer, name, changes):
    found = tracer.check(setup(name, **changes))
    assert abs(found.difference) < 0.01, found
    assert found.confirmed and "Confirmed" in found.sentence()


def test_a_wrong_ledger_is_corrected(tracer):
    right = tracer.check(setup("meta-llama/Llama-3.2-1B"))
    wrong = dataclasses.replace(right, computed=right.computed / 2)
    assert not wrong.confirmed and "GiB" in wrong.sentence()


def test_what_cannot_be_traced_says_why(tracer):
    quantised = setup("Qwen/Qwen3-8B", quantization="nf4")
    assert "GPU" in untraceable(quantised)
    with pytest.raises(RunError, match="quantised"):
        tracer.check(quantised)
    foreign = dataclasses.replace(setup("Qwen/Qwen3-8B"), stack=parse_stack("transformers==4.48.1"))
    assert "versions" in untraceable(foreign)
    broken = setup("meta-llama/Llama-3.2-1B", targets=frozenset(["no_such_layer"]))
    with pytest.raises(RunError, match="trace failed"):
        tracer.check(broken)
