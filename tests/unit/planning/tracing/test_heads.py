"""The ledger against traces of tasks in which a head decides."""

from __future__ import annotations

import pytest

from tui_tuner.launch.tracing import Tracer
from tui_tuner.models.architectures.heads import SPAN, TEXT, TOKEN, head_parts
from tui_tuner.models.facts import facts_from_config
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.stack import installed
from tui_tuner.planning.trace import untraceable

SHAPE = {
    "hidden_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "intermediate_size": 2048,
    "vocab_size": 30_000,
    "max_position_embeddings": 512,
}
BERT, QWEN = {**SHAPE, "model_type": "bert"}, {**SHAPE, "model_type": "qwen2", "num_key_value_heads": 2}
FLAT = {"batch": 1, "length": 4096, "logits": "supervised", "quick": True}
PADDED = {
    "batch": 16,
    "length": 256,
    "padded": True,
    "attention": "masked",
    "logits": "supervised",
    "quick": True,
}
WHOLE = {"method": "full", "rank": 0, "weight": 4, "norm": 4, "embedding": 4}
LORA = {"targets": frozenset(["all-linear"])}


@pytest.mark.parametrize(
    ("shape", "decides", "rows", "method"),
    [(BERT, TEXT, FLAT, WHOLE), (BERT, SPAN, PADDED, LORA), (QWEN, TOKEN, FLAT, LORA)],
    ids=["bert text full", "bert span lora padded", "qwen2 token lora"],
)
def test_a_head_that_decides_is_met_within_two_percent(helper, shape, decides, rows, method):
    facts = facts_from_config(shape)
    if facts.attention_dropout and rows is FLAT:
        rows = {**rows, "attention": "efficient"}
    setup = Setup(
        facts, installed(), decides=decides, head=head_parts(facts, decides, 5), **{**rows, **method}
    )
    with Tracer(helper=helper) as tracer:
        found = tracer.check(setup)
    assert abs(found.difference) < 0.02
    # gradients of what few states of a text were chosen from are the tape's to find
    assert all(abs(traced / computed - 1) < 0.02 for computed, traced in found.phases.values())


def test_what_cannot_be_traced_says_why():
    setup = Setup(facts_from_config(BERT), installed(), **FLAT)
    assert "writes no text" in untraceable(setup)
    albert = facts_from_config({**SHAPE, "model_type": "albert", "embedding_size": 128})
    assert "share" in untraceable(Setup(albert, installed(), head=head_parts(albert, TEXT, 2), **FLAT))
