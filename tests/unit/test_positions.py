"""Sequences beyond the positions of a model."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Recorder
from tui_tuner.errors import ConfigError
from tui_tuner.models.facts import read_config_facts
from tui_tuner.training.positions import check_positions
from tui_tuner.training.watching.reporting import Reporter

ROTARY = {
    "model_type": "llama",
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 100,
    "max_position_embeddings": 128,
}
LEARNT = {
    "model_type": "gpt2",
    "n_embd": 32,
    "n_layer": 1,
    "n_head": 2,
    "vocab_size": 100,
    "n_positions": 128,
}


def said(config: dict[str, Any], longest: int) -> list[str]:
    sink = Recorder()
    check_positions(read_config_facts(config), longest, Reporter(sink))
    return [fields["code"] for fields in sink.of("warning")]


def test_rotary_positions_warn_and_learnt_ones_refuse() -> None:
    assert said(ROTARY, 128) == [] and said(LEARNT, 128) == []
    assert said(ROTARY, 129) == ["beyond_positions"]
    with pytest.raises(ConfigError, match=r"129 tokens, and the model was made for 128"):
        said(LEARNT, 129)


def test_of_the_positions_of_roberta_two_are_for_no_token() -> None:
    roberta = {**ROTARY, "model_type": "roberta", "pad_token_id": 1, "type_vocab_size": 1}
    assert said(roberta, 126) == []
    with pytest.raises(ConfigError, match=r"127 tokens, and the model was made for 126"):
        said(roberta, 127)


def test_nothing_is_said_of_models_that_name_no_limit() -> None:
    without = {name: value for name, value in ROTARY.items() if name != "max_position_embeddings"}
    assert said(without, 10_000) == []
    check_positions(None, 10_000, Reporter(Recorder()))
