"""Ids and token ranges are the same whichever way a tokenizer gives them, and on all cores as on one."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from chat_templates import CHATML, LLAMA3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_tokenizers import byte_level, sentence_piece

from tui_tuner.config.load import build_config
from tui_tuner.data.chat.batch_tokens import (
    BatchTokenizer,
    _EncodingTokens,
    _ListedTokens,
    tokenise_on_all_cores,
)
from tui_tuner.data.examples.workers import encode_batches_in_order
from tui_tuner.data.records import Chat, Message, Text
from tui_tuner.tasks import find_task

SPECIALS = CHATML.specials
MADE = {
    "bytes": byte_level(SPECIALS, None, "<|im_end|>"),
    "bytes-trimmed": byte_level(SPECIALS, None, "<|im_end|>", True),
    "pieces": sentence_piece(SPECIALS, None, "<|im_end|>"),
}
PARTS = st.sampled_from(["ab", " ", "\n", "  ", "你", "é", "😀", "<|im_end|>", "<|im_start|>", "q.", "\t"])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(PARTS, max_size=12).map("".join), st.data(), st.sampled_from(sorted(MADE)))
def test_a_range_asked_for_is_the_range_computed(text: str, data: Any, sort: str) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    encoding = MADE[sort].backend_tokenizer.encode(text, add_special_tokens=False)
    asked, listed = _EncodingTokens(encoding), _ListedTokens(encoding.ids, encoding.offsets)
    assert asked.find_tokens_between(start, end) == listed.find_tokens_between(start, end)
    assert asked.ids.tolist() == listed.ids.tolist() and asked.ids.dtype == np.int32


def test_a_cut_that_the_file_asks_for_is_switched_off() -> None:
    tokenizer = byte_level(LLAMA3.specials, None, LLAMA3.eos)
    tokenizer.backend_tokenizer.enable_truncation(4)
    try:
        tokens = BatchTokenizer(tokenizer)
        text = "The quick brown fox jumps over the lazy dog. " * 20
        assert tokens.in_threads
        assert tokenizer.decode(tokens.tokenize_ids([text])[0]) == text
        assert tokenizer.decode(tokens.place_tokens(tokens.encode_batch([text], [[]])[0]).ids) == text
    finally:
        tokenizer.backend_tokenizer.no_truncation()


def test_a_class_that_does_more_than_its_backend_is_asked_itself() -> None:
    inner = byte_level(SPECIALS, None, "<|im_end|>")

    class Lower:
        is_fast = True
        backend_tokenizer = inner.backend_tokenizer

        def __call__(self, text: Any, **options: Any) -> Any:
            return inner(text.lower() if isinstance(text, str) else [t.lower() for t in text], **options)

    tokens = BatchTokenizer(Lower())
    assert not tokens.in_threads
    expected = inner("hello", add_special_tokens=False)["input_ids"]
    assert tokens.tokenize_ids(["HELLO"]) == [expected]
    assert tokens.place_tokens(tokens.encode_batch(["HELLO"], [[]])[0]).ids.tolist() == expected


@pytest.mark.parametrize("task", ["sft", "pretraining"])
def test_threads_give_the_same_as_one_in_the_same_order(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui_tuner.data.examples.workers.count_cores", lambda: 2)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    tokenizer = byte_level(SPECIALS, None, "<|im_end|>")
    tokenizer.chat_template = CHATML.template
    threads: set[str] = set()

    def batches() -> Any:
        for number in range(40):
            answers = [f"answer {number} {i} " + "word " * (i % 90) for i in range(30)]
            threads.add(os.environ["TOKENIZERS_PARALLELISM"])
            if task == "sft":
                chats = [Chat([Message("user", "question"), Message("assistant", one)]) for one in answers]
                yield number, [*chats, Chat([Message("user", "nothing to learn")])]
            else:
                yield number, [Text(one) for one in answers]

    def made(workers: Any) -> list[Any]:
        config = build_config({"task": task, "data": {"path": "x", "workers": workers, "max_length": 64}})
        found = []
        make = find_task(task).make_encoder
        for number, rows in encode_batches_in_order(make(config, tokenizer), batches(), make):
            for row in rows:
                pieces = getattr(row, "examples", [])
                whole = [(p.ids.tolist(), p.mask_of_trained.tolist(), p.answers) for p in pieces]
                found.append((number, getattr(row, "outcome", str(row)), whole))
        return found

    one = made(1)
    assert threads == {"false"} and len(one) == 40 * (31 if task == "sft" else 30)
    assert made("auto") == one
    assert threads == {"false", "true"}, "all cores were used in the second pass"
    assert os.environ["TOKENIZERS_PARALLELISM"] == "false", "and no longer after it"


def test_the_switch_is_put_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    with pytest.raises(RuntimeError), tokenise_on_all_cores():
        assert os.environ["TOKENIZERS_PARALLELISM"] == "true"
        raise RuntimeError
    assert os.environ["TOKENIZERS_PARALLELISM"] == "false", "a forked process must not wait for threads"
