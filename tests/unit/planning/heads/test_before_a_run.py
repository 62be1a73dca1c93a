"""What is said before a run in which a head decides: parameters, classes, rows, rates, memory, traps."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

from tui_tuner.cli.command_list import app
from tui_tuner.config.schema import RunConfig
from tui_tuner.models.facts import load_facts, read_config_facts
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.duration import count_run_work
from tui_tuner.planning.estimate import estimate_memory
from tui_tuner.planning.heads.outputs import find_trained_head
from tui_tuner.planning.heads.parameters import (
    count_parameters,
    count_run_parameters,
    count_virtual_parameters,
)
from tui_tuner.planning.learning_rate import apply_rate_rules, find_customary_rate
from tui_tuner.planning.row_counting import count_rows_quickly, measure_row_windows
from tui_tuner.planning.traps.advice import list_trap_findings

DISTILBERT = {
    "model_type": "distilbert",
    "architectures": ["DistilBertForMaskedLM"],
    "dim": 768,
    "n_layers": 6,
    "n_heads": 12,
    "hidden_dim": 3072,
    "vocab_size": 30522,
    "max_position_embeddings": 512,
    "dropout": 0.1,
    "attention_dropout": 0.1,
}
BERT = {
    "model_type": "bert",
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "vocab_size": 30522,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
}
ROBERTA_LARGE = {
    "model_type": "roberta",
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "vocab_size": 50265,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "pad_token_id": 1,
}
GUIDE = {"kind": "lora", "rank": 1, "alpha": 32, "dropout": 0.01, "targets": ["q_lin"]}


def run(task: str = "classification", **sections: Any) -> RunConfig:
    return RunConfig.model_validate({"task": task, **sections})


def folder(path: Any, config: dict[str, Any], rows: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Sections `model` and `data` of a run: config.json alone, and rows."""
    (path / "config.json").write_text(json.dumps(config))
    (path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows or []))
    return {"model": {"name": str(path)}, "data": {"path": str(path / "rows.jsonl"), "validation": None}}


def said(config: Any, *arguments: str) -> Any:
    result = CliRunner().invoke(app, ["estimate", str(config), *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return json.loads(result.output) if "--json" in arguments else result.output


def test_the_numbers_of_a_guide(tmp_path):
    rows = [{"text": f"A film {place}.", "label": place % 2} for place in range(40)]
    sections = {"task": "classification", **folder(tmp_path, DISTILBERT, rows), "method": GUIDE}
    (tmp_path / "run.yaml").write_text(json.dumps(sections))
    found = said(tmp_path / "run.yaml", "--json")
    assert (found["trained_parameters"], found["total_parameters"]) == (601_346, 67_556_356)
    assert found["parameters_exact"] is True
    assert "601,346 of 67,556,356 parameters trained (0.8901 %)" in said(tmp_path / "run.yaml")


@pytest.mark.parametrize(
    ("method", "trained", "total"),
    [  # printed by PEFT 0.3's examples, which did not count the head that a copy stands beside
        ({"kind": "p_tuning", "virtual_tokens": 20, "encoder_size": 128}, 1_351_938, 355_662_082),
        ({"kind": "prefix_tuning", "virtual_tokens": 20}, 2_034_690, 356_344_834),
    ],
)
def test_numbers_of_published_examples(method, trained, total):
    facts = read_config_facts(ROBERTA_LARGE)
    head = 1024 * 1024 + 1024 + 2 * 1024 + 2
    found = count_parameters(facts, run(method=method).method, "text", 2)
    assert (found.trained, found.total) == (trained, total + head)


BERT_LARGE = {
    "model_type": "bert",
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}


@pytest.mark.parametrize(
    ("shape", "count", "numbers"),
    [(BERT_LARGE, 40, 1_966_080), (ROBERTA_LARGE, 16, 786_432)],
)
def test_deep_prompts_are_those_of_their_paper(shape, count, numbers):
    """P-Tuning v2's own code: layers x 2 x width x length, which its BoolQ and SQuAD scripts set."""
    facts = read_config_facts(shape)
    section = run(method={"kind": "p_tuning_v2", "virtual_tokens": count}).method
    assert count_virtual_parameters(facts, section, decides=True) == numbers


@pytest.mark.parametrize(
    ("rows", "data", "outputs"),
    [
        ([{"text": "a", "label": name} for name in ("x", "y", "z", "x")], {}, 3),
        ([{"text": "a", "label": number / 7} for number in range(1, 30)], {}, 1),
        ([{"text": "a", "label": number} for number in (0, 1, 2)], {"problem": "regression"}, 1),
        ([{"sentence1": "a", "sentence2": "b", "label": name} for name in ("x", "y")], {}, 2),
    ],
)
def test_classes_are_counted_in_the_rows(tmp_path, rows, data, outputs):
    sections = folder(tmp_path, {**BERT, "id2label": {str(place): f"c{place}" for place in range(9)}}, rows)
    asked = run(model=sections["model"], data={**sections["data"], **data})
    found = find_trained_head(asked, load_facts(asked.model), count_rows_quickly(asked, patience=10).facts)
    assert found.outputs == outputs


def test_tags_are_counted_and_a_model_that_knows_them_keeps_its_own(tmp_path):
    rows = [{"tokens": ["A", "b"], "tags": ["B-X", "O"]}, {"tokens": ["c"], "tags": ["I-X"]}]
    sections = folder(tmp_path, BERT, rows)
    asked = run("token_classification", **sections)
    assert (
        find_trained_head(
            asked, load_facts(asked.model), count_rows_quickly(asked, patience=10).facts
        ).outputs
        == 3
    )
    names = ["O", "B-X", "I-X", "B-Y", "I-Y"]
    known = {**BERT, "architectures": ["BertForTokenClassification"], "id2label": dict(enumerate(names))}
    folder(tmp_path, known, rows)
    assert (
        find_trained_head(
            asked, load_facts(asked.model), count_rows_quickly(asked, patience=10).facts
        ).outputs
        == 5
    )


@pytest.mark.parametrize(
    ("config", "outputs"),
    [({"num_labels": 7}, 7), ({"id2label": {"0": "a", "1": "b", "2": "c"}}, 3), ({}, 2)],
)
def test_without_rows_the_models_config_tells_the_classes(tmp_path, config, outputs):
    sections = folder(tmp_path, {**BERT, **config})
    asked = run(model=sections["model"], data={"path": "someone/their-rows"})
    assert (
        find_trained_head(asked, load_facts(asked.model), count_rows_quickly(asked).facts).outputs == outputs
    )
    spans = run("question_answering", model=sections["model"])
    assert find_trained_head(spans, load_facts(asked.model)).outputs == 2


def test_a_stored_model_without_a_pooler_trains_a_new_one(tmp_path):
    import torch
    from safetensors.torch import save_file

    asked = run(method={"kind": "lora"}, **folder(tmp_path, BERT))
    before = count_run_parameters(asked, load_facts(asked.model))
    save_file({"bert.embeddings.word_embeddings.weight": torch.zeros(2, 2)}, tmp_path / "model.safetensors")
    after = count_run_parameters(asked, load_facts(asked.model))
    pooler = 768 * 768 + 768
    assert (after.trained, after.total) == (before.trained + pooler, before.total + pooler)


def test_windows_cover_a_text_and_share_what_was_asked_for():
    for tokens in range(1, 60):
        found = measure_row_windows(tokens, 16, 4)
        assert all(length <= 16 for length in found) and sum(found) - 4 * (len(found) - 1) == tokens
    assert measure_row_windows(10, 4, 100) == [4] * 7  # never on the spot


def test_windows_and_what_is_learnt_of_rows_are_counted(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    words = {name: place for place, name in enumerate(["[UNK]", "[CLS]", "[SEP]", "a", "b"])}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]", [("[CLS]", 1), ("[SEP]", 2)]
    )
    row = {"question": "a b", "context": "a " * 40, "answers": {"text": ["a"], "answer_start": [0]}}
    sections = folder(tmp_path, BERT, [row] * 3)
    made.save(str(tmp_path / "tokenizer.json"))
    data = {**sections["data"], "max_length": 25, "stride": 5}
    found = count_rows_quickly(run("question_answering", model=sections["model"], data=data)).facts
    # 25 less question and three special tokens leave 20 a window: 0 to 20, 15 to 35, 30 to 40
    assert (found.rows, found.supervised, found.tokens) == (9, 18, 3 * (20 + 20 + 10 + 3 * 5))
    folder(tmp_path, BERT, [{"text": "a b", "label": "x"}, {"text": "a " * 90, "label": "y"}])
    found = count_rows_quickly(run(model=sections["model"], data=data)).facts
    assert (found.rows, found.supervised, found.tokens) == (2, 2, 4 + 25)


def test_memory_of_a_head_does_not_grow_with_the_vocabulary():
    small, large = (read_config_facts({**BERT, "vocab_size": size}) for size in (30_522, 250_002))
    asked = run(
        data={"max_length": 128, "packing": False}, training={"micro_batch": 8}, method={"kind": "lora"}
    )
    few, many = (estimate_memory(asked, facts=facts) for facts in (small, large))
    embeddings = (250_002 - 30_522) * 768 * 4 / 2**30
    assert many.allocated - few.allocated < 1.05 * embeddings
    writes = estimate_memory(asked.model_copy(update={"task": "sft"}), facts=small)
    assert writes.allocated > few.allocated + 8 * 128 * 30_522 * 4 / 2**30


@pytest.mark.parametrize("task", ["classification", "token_classification", "question_answering"])
def test_arithmetic_of_a_head_is_small_beside_the_layers(task):
    facts = read_config_facts(BERT)
    data = DataFacts(1000, 128_000, 1000, outputs=2)
    found = count_run_work(run(task, method={"kind": "full"}, data={"max_length": 128}), facts, data)
    layers = 12 * (4 * 768**2 + 2 * 768 * 3072)
    rows = 1000 * run(task).training.epochs
    exact = rows * 128 * (6 * layers + 12 * 12 * 64 * 128 * 12)  # and scores that read both ways
    assert found.flops == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize(
    ("method", "shape", "low", "high", "named"),
    [
        ({"kind": "full"}, BERT, 2e-5, 5e-5, "1810.04805"),
        ({"kind": "lora"}, BERT, 1e-4, 1e-3, "2106.09685"),
        ({"kind": "full"}, {**BERT, "hidden_size": 384, "num_hidden_layers": 6}, 3e-5, 3e-4, "2003.10555"),
        ({"kind": "vera"}, BERT, 1e-3, 1e-2, "2310.11454"),
        ({"kind": "prefix_tuning"}, BERT, 1e-3, 1e-2, "MRPC"),
    ],
)
def test_rates_for_encoders_have_their_sources(method, shape, low, high, named):
    facts, asked = read_config_facts(shape), run(method=method)
    found = apply_rate_rules(asked, facts)
    assert len(found) == 1 and low <= found[0].rate <= high and named in found[0].source
    assert (
        find_customary_rate(asked, facts.parameters).rate
        == find_customary_rate(run("sft", method=method)).rate
    )  # a decoder's


def test_random_weights_learn_at_the_rates_of_random_weights():
    small = run(model={"architecture": {"model_type": "bert"}, "tokenizer": "train"}, method={"kind": "full"})
    assert find_customary_rate(small, 5_000_000, True).rate == 1e-3


def codes(asked: RunConfig, shape: dict[str, Any]) -> set[str]:
    return {advice.code for advice in list_trap_findings(asked, read_config_facts(shape))}


def test_positions_that_padding_takes_are_none_of_the_texts():
    at, beyond = (run(data={"max_length": length}) for length in (512, 513))
    assert "too_long" not in codes(at, ROBERTA_LARGE) and "too_long" in codes(beyond, ROBERTA_LARGE)
    assert "too_long" not in codes(at, BERT) and "too_long" in codes(beyond, BERT)
    fix = next(
        one.fix
        for one in list_trap_findings(beyond, read_config_facts(ROBERTA_LARGE))
        if one.code == "too_long"
    )
    assert fix == {"data.max_length": 512}


def test_traps_of_heads():
    length = {"max_length": 128}
    gemma = {**BERT, "model_type": "gemma2", "num_key_value_heads": 12, "head_dim": 64}
    assert "no_such_head" in codes(run("question_answering", data=length), gemma)
    assert "no_such_head" not in codes(run("token_classification", data=length), gemma)
    assert "writes_and_decides" in codes(run("sft", data=length), BERT)
    assert "writes_and_decides" not in codes(run(data=length), BERT)
    fast = run(data=length, method={"kind": "full"}, training={"learning_rate": 1e-3})
    assert "learning_rate" in codes(fast, BERT)
    assert "learning_rate" not in codes(
        run(data=length, method=GUIDE, training={"learning_rate": 1e-3}), BERT
    )
    random = {"architecture": BERT, "tokenizer": "train"}
    scratch = run(data=length, model=random, method={"kind": "freeze", "layers": 2})
    assert "random_body" in codes(scratch, BERT)
    assert "random_body" not in codes(run(data=length, method={"kind": "freeze", "layers": 2}), BERT)


def test_what_was_never_measured_is_said():
    facts = read_config_facts({**BERT, "model_type": "new-bert", "architectures": ["NewBertForMaskedLM"]})
    assert facts.encoder and not facts.verified and "BERT" in facts.why_unverified
    found = count_run_parameters(run(), facts)
    assert found.doubt and "about" in found.describe_counts()
    assert count_run_parameters(run(), replace(facts, uncounted="")).doubt == ""
