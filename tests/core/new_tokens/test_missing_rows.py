"""Tokens added to a tokenizer: without a row in the model, with one that nobody trained, and trained."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.conftest import MakeConfig, Trained, write_jsonl
from tui_tuner.errors import EXIT_CONFIG
from tui_tuner.models.vocabulary import count_token_ids, find_untrained_tokens

Train = Callable[..., Trained]


@pytest.fixture
def added(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny model whose tokenizer has two more tokens; its embeddings have no rows for them."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "added"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<port>", "</port>"]}, replace_extra_special_tokens=False
    )
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def resized(added: Path) -> Path:
    """The same after the way out that the error names."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(added), AutoTokenizer.from_pretrained(added)
    torch.manual_seed(0)
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(added)
    return added


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    rows = [
        {"prompt": f"Where does number {n} sail?", "response": f"<port> To Vell at {n % 9}. </port>"}
        for n in range(40)
    ]
    return write_jsonl(tmp_path / "marked.jsonl", rows)


def test_a_token_without_an_embedding_is_refused_by_name(
    make_config: MakeConfig, train: Train, added: Path, marked: Path
) -> None:
    run = train(make_config(model__name=str(added), data__path=str(marked), data__preflight="warn"))
    assert run.outcome.exit_code == EXIT_CONFIG
    assert "<port> (40)" in run.outcome.message
    assert "</port> (40)" in run.outcome.message
    (finished,) = run.sink.of("finished")
    assert "resize_token_embeddings(" in finished["hint"]
    assert "train_embeddings" in finished["hint"]


def test_tokens_that_no_row_holds_do_not_matter(make_config: MakeConfig, train: Train, added: Path) -> None:
    run = train(make_config(model__name=str(added), training__max_steps=2))
    assert run.outcome.status == "completed", run.outcome
    assert any("No row contains them" in event["message"] for event in run.sink.of("log"))


def test_a_prompt_that_holds_one_is_refused(make_config: MakeConfig, train: Train, added: Path) -> None:
    run = train(make_config(model__name=str(added), evaluation__prompts=["Say <port>"]))
    assert run.outcome.exit_code == EXIT_CONFIG
    assert "<port> (1)" in run.outcome.message


def test_a_padding_token_without_an_embedding_is_no_trouble(
    make_config: MakeConfig, train: Train, tiny_model: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "padded"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    assert tokenizer.pad_token_id >= AutoModelForCausalLM.from_pretrained(folder).config.vocab_size
    tokenizer.save_pretrained(folder)
    config = {"data__packing": False, "evaluation__samples": 2, "evaluation__max_new_tokens": 4}
    run = train(make_config(model__name=str(folder), training__max_steps=2, **config))
    assert run.outcome.status == "completed", run.outcome
    own = train(make_config(training__max_steps=2, **config))
    assert run.steps() == own.steps()


def test_new_tokens_that_the_method_leaves_untrained_are_warned_of(
    make_config: MakeConfig, train: Train, resized: Path, marked: Path
) -> None:
    config = {"model__name": str(resized), "data__path": str(marked), "training__max_steps": 2}
    run = train(make_config(**config))
    assert run.outcome.status == "completed", run.outcome
    (warning,) = [one for one in run.sink.of("warning") if one["code"] == "untrained_tokens"]
    assert "<port> (40)" in warning["message"]
    assert "method.train_embeddings=true" in warning["hint"]
    frozen = train(make_config(**config, method={"kind": "freeze", "layers": 1}))
    assert "untrained_tokens" in frozen.codes()


@pytest.mark.parametrize("method", [{"kind": "lora", "rank": 4, "train_embeddings": True}, {"kind": "full"}])
def test_the_way_out_trains_them(
    make_config: MakeConfig, train: Train, resized: Path, marked: Path, method: dict[str, Any]
) -> None:
    run = train(
        make_config(model__name=str(resized), data__path=str(marked), training__max_steps=4, method=method)
    )
    assert run.outcome.status == "completed", run.outcome
    assert "untrained_tokens" not in run.codes()
    from tui_tuner.training.load_run import load_run

    tokenizer = AutoTokenizer.from_pretrained(resized)
    before = AutoModelForCausalLM.from_pretrained(resized).get_input_embeddings().weight
    loaded = load_run(run.folder)
    after = loaded.model.get_input_embeddings().weight
    port = tokenizer.convert_tokens_to_ids("<port>")
    assert after.shape == before.shape
    assert not torch.equal(after[port], before[port])


def test_trained_tokens_are_not_warned_of(make_config: MakeConfig, train: Train, tiny_model: Path) -> None:
    assert "untrained_tokens" not in train(make_config(training__max_steps=1)).codes()
    tokenizer, model = (
        AutoTokenizer.from_pretrained(tiny_model),
        AutoModelForCausalLM.from_pretrained(tiny_model),
    )
    assert find_untrained_tokens(model, tokenizer) == []
    end = tokenizer.eos_token_id
    with torch.no_grad():
        model.get_input_embeddings().weight[end] = 0
    assert find_untrained_tokens(model, tokenizer) == [end]


def test_ids_are_counted() -> None:
    parts = [np.array([5, 9, 2, 9], dtype=np.int32), np.array([], dtype=np.int32), np.array([100, 9])]
    assert count_token_ids(parts, [9, 7, 100]) == {9: 3, 100: 1}
    assert count_token_ids(parts, []) == {}


def test_the_plan_knows_of_tokens_without_an_embedding(
    make_config: MakeConfig, added: Path, tiny_model: Path
) -> None:
    from tui_tuner.models.facts import load_facts
    from tui_tuner.planning.data_facts import DataFacts
    from tui_tuner.planning.traps.advice import list_trap_findings

    def said(folder: Path) -> list[str]:
        config = make_config(model__name=str(folder))
        found = list_trap_findings(config, load_facts(config.model), DataFacts(0))
        return [advice.text for advice in found if advice.code == "tokens_beyond"]

    (text,) = said(added)
    assert "<port>" in text
    assert not said(tiny_model)
