"""Parameters, operations and estimates of encoder-decoders, against peft's and torch's own counts."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tui_tuner.config.load import build_config
from tui_tuner.config.schema import MethodSection, ModelSection
from tui_tuner.models.facts import read_config_facts
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.duration import count_run_work
from tui_tuner.planning.estimate import estimate_memory
from tui_tuner.planning.flops import Segment, count_flops
from tui_tuner.planning.heads.parameters import count_parameters
from tui_tuner.planning.learning_rate import find_model_rate
from tui_tuner.planning.memory import ledger
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.stack import find_installed_stack
from tui_tuner.planning.traps.advice import list_trap_findings

T5 = {
    **{"vocab_size": 500, "d_model": 64, "d_kv": 24, "d_ff": 100, "num_heads": 4, "num_layers": 3},
    **{"num_decoder_layers": 2, "feed_forward_proj": "gated-gelu", "decoder_start_token_id": 0},
}
BART = {
    **{"vocab_size": 500, "d_model": 64, "encoder_layers": 3, "encoder_attention_heads": 4},
    **{"encoder_ffn_dim": 100, "decoder_layers": 2, "decoder_attention_heads": 8, "decoder_ffn_dim": 120},
    **{"max_position_embeddings": 77, "pad_token_id": 0},
}
SHAPES = {"t5": T5, "bart": BART, "mbart": BART}
METHODS = (
    *({"kind": kind, "rank": 2} for kind in ("full", "freeze", "lora", "dora", "adalora", "ia3", "loha")),
    {"kind": "ln_tuning"},
    {"kind": "vera", "rank": 3},
)


def build(kind: str) -> tuple[Any, Any]:
    import torch
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    with torch.device("meta"):
        config = AutoConfig.for_model(kind, **SHAPES[kind])
        model = AutoModelForSeq2SeqLM.from_config(config)
    return model, read_config_facts(json.loads(config.to_json_string()))


@pytest.mark.parametrize("kind", SHAPES)
def test_adapters_of_both_stacks_are_those_of_peft(kind: str) -> None:
    import torch

    from tui_tuner.methods import attach, count_model_parameters

    model, facts = build(kind)
    queries = {"kind": "lora", "rank": 2, "targets": ["q" if kind == "t5" else "q_proj"]}
    for method in (*METHODS, queries):
        section = MethodSection.model_validate(method)
        run: Any = SimpleNamespace(method=section, model=ModelSection(), training=SimpleNamespace(seed=1))
        with torch.device("meta"):
            made = attach(copy.deepcopy(model), run, "SEQ_2_SEQ_LM")
        counted = count_parameters(facts, section)
        assert (counted.trained, counted.total) == count_model_parameters(made), method
        assert not counted.doubt


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_torch_counts_the_same_operations(kind: str) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    facts = build(kind)[1]
    config = AutoConfig.for_model(kind, **SHAPES[kind])
    model = AutoModelForSeq2SeqLM.from_config(config, attn_implementation="eager").eval()
    source, target = torch.ones(2, 20, dtype=torch.long), torch.ones(2, 7, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=source, decoder_input_ids=target, use_cache=False).logits.sum().backward()
    cost = count_flops(facts, MethodSection(kind="full"))
    # torch counts the pairs that a causal mask hides
    hidden = 2 * sum(each * 7 * 7 / 2 for each in cost.pairs.values())
    assert counter.get_total_flops() == 2 * cost.count_step([Segment(7, source=20)], 7) + hidden


def test_further_layers_add_what_simulating_them_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = read_config_facts({"model_type": "t5", **T5, "num_layers": 9, "num_decoder_layers": 7})
    setup = Setup(
        facts, find_installed_stack(), 4, 32, source_length=64, padded=True, attention="masked", quick=True
    )
    whole = ledger.make_ledger(setup).peak_phase.total_bytes
    monkeypatch.setattr(ledger, "MOST_STACKED", 4)
    assert ledger.make_ledger(setup).peak_phase.total_bytes == pytest.approx(whole, rel=1e-6)


def plan(**changes: Any) -> Any:
    shape = {"model_type": "t5", **T5, "d_model": 512, "num_heads": 8, "d_ff": 2048}
    values = {"task": "seq2seq", "model": {"architecture": shape}, "method": {"kind": "full"}, **changes}
    return build_config(values), read_config_facts(shape)


def test_memory_and_work_follow_both_lengths() -> None:
    sizes = []
    for source, target in ((128, 32), (512, 32), (128, 128)):
        config, facts = plan(data={"max_source": source, "max_target": target})
        sizes.append(estimate_memory(config, facts=facts, card="A100-80").allocated)
    assert sizes[0] < min(sizes[1:])
    config, facts = plan(data={"max_source": 512, "max_target": 128})
    known = DataFacts(100, 7000, 2000, 90, heaviest=(90,), most_trained=(25,), longest_source=65)
    assert estimate_memory(config, facts=facts, card="A100-80", data=known).allocated < sizes[0]
    work = count_run_work(config, facts, known)
    assert work.sided and (work.tokens, work.supervised) == (21_000, 6_000)
    assert "15,000 tokens of sources" in work.formula and "6,000 of targets" in work.formula
    more = count_run_work(config, facts, replace(known, tokens=12_000))
    assert more.flops > work.flops


def test_rates_are_those_of_the_architecture() -> None:
    def rate(kind: str, method: str) -> float:
        facts = read_config_facts({"model_type": kind, **SHAPES.get(kind, {})})
        task = "seq2seq" if facts.source else "masked_lm"
        return find_model_rate(build_config({"task": task, "method": {"kind": method}}), facts).rate

    assert (rate("t5", "full"), rate("t5", "lora")) == (3e-4, 1e-3)
    assert (rate("bart", "full"), rate("bert", "full")) == (3e-5, 5e-5)


def test_traps_of_t5() -> None:
    facts = read_config_facts({"model_type": "t5", "torch_dtype": "float32"})

    def find(**changes: Any) -> set[str]:
        config = build_config({"task": "seq2seq", "method": {"kind": "full"}, **changes})
        return {one.code for one in list_trap_findings(config, facts=facts)}

    assert "float16" in find(model={"name": "t5-small", "dtype": "float16"})
    assert "learning_rate" in find(training={"learning_rate": 1e-5})
    assert not {"float16", "learning_rate"} & find(training={"learning_rate": 3e-4})
