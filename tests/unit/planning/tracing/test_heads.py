"""The ledger against traces of tasks in which a head decides."""

from __future__ import annotations

import pytest

from tui_tuner.launch.tracing import Tracer
from tui_tuner.methods.numbers.terms import Form, Sublayers
from tui_tuner.models.architectures.heads import SPAN, TEXT, list_head_parts
from tui_tuner.models.facts import read_config_facts
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.stack import find_installed_stack
from tui_tuner.planning.trace_check import explain_untraceable

SHAPE = {
    "hidden_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "intermediate_size": 2048,
    "vocab_size": 30_000,
    "max_position_embeddings": 512,
}
BERT = {**SHAPE, "model_type": "bert"}
FLAT = {"batch": 1, "length": 4096, "logits": "supervised", "quick": True}
PADDED = {
    "batch": 16,
    "length": 256,
    "padded": True,
    "attention": "masked",
    "logits": "supervised",
    "quick": True,
}
WHOLE = {"kind": "full", "whole_model": True, "rank": 0, "weight": 4, "norm": 4, "embedding": 4}
ADAPTED = {"rank": 8, "targets": frozenset({"all-linear"}), "weight": 4, "norm": 4, "embedding": 4}


@pytest.mark.parametrize("trained", [WHOLE, ADAPTED])
def test_a_head_that_decides_is_met_within_three_percent(helper, trained):
    facts = read_config_facts(BERT)
    head = list_head_parts(facts, SPAN, 2)
    setup = Setup(facts, find_installed_stack(), decides=SPAN, head=head, **{**PADDED, **trained})
    with Tracer(helper=helper) as tracer:
        found = tracer.check_setup(setup)
    assert abs(found.peak_difference) < 0.03


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("bottleneck", Sublayers("pfeiffer", (32,))),
        ("bottleneck", Sublayers("houlsby", (32,), keeps_input=True)),
        ("bottleneck", Sublayers("parallel", (256,), scaled=True)),
        ("fusion", Sublayers("pfeiffer", (32, 64), fused=True)),
    ],
)
def test_adapters_behind_the_blocks_of_an_encoder_are_met_within_two_percent(helper, kind, told):
    facts = read_config_facts({**BERT, "num_hidden_layers": 12})
    more = {**PADDED, **ADAPTED, "rank": 0, "form": Form.SUBLAYERS, "kind": kind, "sublayers": told}
    setup = Setup(facts, find_installed_stack(), decides=SPAN, head=list_head_parts(facts, SPAN, 2), **more)
    with Tracer(helper=helper) as tracer:
        found = tracer.check_setup(setup)
    assert abs(found.peak_difference) < 0.02


def test_what_cannot_be_traced_says_why():
    setup = Setup(read_config_facts(BERT), find_installed_stack(), **FLAT)
    assert "does not generate text" in explain_untraceable(setup)
    albert = read_config_facts({**SHAPE, "model_type": "albert", "embedding_size": 128})
    assert "share" in explain_untraceable(
        Setup(albert, find_installed_stack(), head=list_head_parts(albert, TEXT, 2), **FLAT)
    )
