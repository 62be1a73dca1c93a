"""The ledger against traces of encoder-decoders, and of encoders that guess hidden tokens."""

from __future__ import annotations

from typing import Any

import pytest

from tui_tuner.launch.tracing import Tracer
from tui_tuner.models.facts import read_config_facts
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.stack import find_installed_stack
from tui_tuner.planning.trace_check import explain_untraceable

T5 = {
    **{"model_type": "t5", "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_heads": 8, "vocab_size": 32128},
    **{"num_layers": 4, "num_decoder_layers": 3, "pad_token_id": 0, "decoder_start_token_id": 0},
}
GATED = {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "num_heads": 6}
BART = {
    **{"model_type": "bart", "d_model": 512, "encoder_layers": 3, "encoder_ffn_dim": 2048},
    **{"encoder_attention_heads": 8, "decoder_layers": 4, "decoder_ffn_dim": 2048, "vocab_size": 50265},
    **{"decoder_attention_heads": 8, "max_position_embeddings": 1024},
}
BERT = {
    **{"model_type": "bert", "hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8},
    **{"intermediate_size": 2048, "vocab_size": 30522, "max_position_embeddings": 512},
}
WIDE = {"kind": "full", "whole_model": True, "rank": 0, "weight": 4, "norm": 4, "embedding": 4}
HALF = {"kind": "full", "whole_model": True, "rank": 0, "autocast": False}
LORA = {"targets": frozenset(["all-linear"])}
CHECKPOINTING = {"checkpointing": True}
SIDES = {"batch": 8, "length": 64, "source_length": 384}
LONG = {"batch": 2, "length": 32, "source_length": 1024}
PADDED = {"padded": True, "attention": "masked", "logits": "supervised", "quick": True}
HIDDEN = {"hides": True, "supervised": 0.15, "logits": "supervised", "quick": True}


def check(helper: Any, config: dict[str, Any], **changes: Any) -> float:
    setup = Setup(read_config_facts(config), find_installed_stack(), **changes)
    with Tracer(helper=helper) as tracer:
        return tracer.check_setup(setup).peak_difference


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        (T5, {**SIDES, **WIDE}),
        (T5, {**LONG, **LORA, **CHECKPOINTING}),
        (GATED, {**SIDES, **HALF, **CHECKPOINTING}),
        (BART, {**SIDES, **WIDE, **CHECKPOINTING}),
        ({**BART, "model_type": "pegasus"}, {**SIDES, **LORA, **CHECKPOINTING}),
        ({**BART, "model_type": "marian", "pad_token_id": 1}, {**SIDES, **WIDE, "accumulate": True}),
    ],
)
def test_both_stacks_are_met_within_one_percent(
    helper: Any, config: dict[str, Any], changes: dict[str, Any]
) -> None:
    assert abs(check(helper, config, **{**PADDED, **changes})) < 0.01


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        (BERT, {"batch": 1, "length": 4096, **WIDE}),
        (BERT, {"batch": 16, "length": 256, "padded": True, "attention": "masked", **LORA, **CHECKPOINTING}),
        ({**BERT, "model_type": "electra", "embedding_size": 128}, {"batch": 1, "length": 4096, **LORA}),
    ],
)
def test_hidden_tokens_are_met_within_two_percent(
    helper: Any, config: dict[str, Any], changes: dict[str, Any]
) -> None:
    assert abs(check(helper, config, **{**HIDDEN, **changes})) < 0.02


def test_some_layers_of_a_decoder_are_not_traced() -> None:
    setup = Setup(read_config_facts(T5), find_installed_stack(), **{**SIDES, **PADDED, "layers": 1})
    assert "decoder" in explain_untraceable(setup)
