"""A run with a chat template by name: what is trained, what stops generation, and what is saved."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

from tests.conftest import MakeConfig, chat_rows, write_jsonl
from tui_tuner.tasks.preview.mask import mask_row
from tui_tuner.training.load_run import load_run

Train = Callable[..., Any]
SPECIALS = ("<|pad|>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")


@pytest.fixture(scope="module")
def phi_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model whose tokenizer knows Phi 3's tokens, ends texts with another one, and has no
    template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator([turn["content"] for row in chat_rows() for turn in row["messages"]], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|endoftext|>", pad_token="<|pad|>"
    )
    folder = tmp_path_factory.mktemp("models") / "phi-like"
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(shape).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("method", ["full", "lora"])
def test_it_is_trained_saved_and_stops(
    phi_like: Path, make_config: MakeConfig, train: Train, method: str
) -> None:
    config = make_config(
        model__name=str(phi_like),
        model__chat_template="phi-3",
        method={"kind": method},
        evaluation__samples=1,
    )
    run = train(config)
    assert run.outcome.status == "completed", run.outcome
    tokenizer = AutoTokenizer.from_pretrained(run.folder.last_path)
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi!"}]
    assert tokenizer.apply_chat_template(turns, tokenize=False) == (
        "<|user|>\nHello<|end|>\n<|assistant|>\nHi!<|end|>\n<|endoftext|>"
    )
    ends = [tokenizer.convert_tokens_to_ids(token) for token in ("<|endoftext|>", "<|end|>")]
    model, again, kept = load_run(run.folder, "last", device="cpu")
    assert set(ends) <= set(model.generation_config.eos_token_id)
    assert again.chat_template == tokenizer.chat_template and kept.model.chat_template == "phi-3"
    if method == "full":
        saved = GenerationConfig.from_pretrained(run.folder.last_path)
        assert set(ends) <= set(saved.eos_token_id)


def test_data_mask_shows_it(phi_like: Path, make_config: MakeConfig, tmp_path: Path) -> None:
    rows = write_jsonl(tmp_path / "one.jsonl", chat_rows(1))
    for name, end, said in (
        ("phi3", "<|end|>", "answers end with <|end|>."),
        ("llama3", "<|endoftext|>", "does not have <|eot_id|>"),
    ):
        config = make_config(
            model__name=str(phi_like), model__chat_template=name, data__path=str(rows), data__validation=None
        )
        view = mask_row(config.model, config.data, 1, AutoTokenizer.from_pretrained(phi_like), config.task)
        assert any(said in note for note in view.notes), view.notes
        trained = [token for token in view.tokens if token.trained]
        assert end in json.dumps(trained[-1].text)
        answer = json.loads(rows.read_text(encoding="utf-8"))["messages"][1]["content"]
        assert "".join(token.text for token in trained).startswith(answer)
