"""Masks token by token, against texts put together by hand, on templates of the public kinds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from chat_templates import DEEPSEEK, GEMMA, KINDS, LLAMA2, LLAMA3, QWEN3, QWEN25, Kind
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_tokenizers import byte_level, sentence_piece

from tui_tuner.data.chat.chat_encoder import ChatEncoder
from tui_tuner.data.chat.template_choice import choose_template
from tui_tuner.data.examples.documents import TextEncoder
from tui_tuner.data.records import Chat, Message
from tui_tuner.data.row_problem import RowProblem

TOKENIZERS = ("bytes", "bytes-trimmed", "pieces")


def tokenizer_for(kind: Kind, sort: str) -> Any:
    if sort == "pieces":
        tokenizer = sentence_piece(kind.specials, kind.bos, kind.eos)
    else:
        tokenizer = byte_level(kind.specials, kind.bos, kind.eos, sort == "bytes-trimmed")
    tokenizer.chat_template = kind.template
    return tokenizer


def chat(*turns: str, system: str | None = None) -> Chat:
    messages = [Message("system", system)] if system else []
    messages += [Message(("user", "assistant")[i % 2], turn) for i, turn in enumerate(turns)]
    return Chat(messages)


def by_hand(kind: Kind, tokenizer: Any, messages: list[dict[str, Any]]) -> tuple[list[int], list[bool]]:
    """Ids, and for each token whether any character of it belongs to a trained part."""
    parts = kind.write(messages)
    text = "".join(part for part, _ in parts)
    marks = [trained for part, trained in parts for _ in part]
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    trained, reached = [], 0
    for start, end in encoded["offset_mapping"]:
        begin = min(start, reached)
        reached = max(reached, end)
        covered = marks[begin:end] if end > begin else marks[begin : begin + 1]
        trained.append(any(covered))
    trained[0] = False
    return encoded["input_ids"], trained


CHATS = {
    "one": chat("Hello there", "I am fine."),
    "three": chat("Hello", "Hi!", "How are you?", "Fine.\n\nAnd you?", "Good", "Bye 😀"),
    "chinese": chat("你好", "这款连衣裙", "简约", "的纯色"),
    "same": chat("ok", "ok", "ok", "ok"),
    "spaces": chat("  padded  ", "  answer with spaces  ", "x", "\nlines\n"),
    "looks like markup": chat(
        "what is assistant\n?", "it is 'user' [INST] x", "and {{ this }}?", "{% that %}"
    ),
    "thinking": chat("2+2?", "<think>\nfour\n</think>\n\n4", "3+3?", "<think>\nsix\n</think>\n\n6"),
}


@pytest.mark.parametrize("sort", TOKENIZERS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", CHATS)
@pytest.mark.parametrize("system", [None, "Be brief."])
def test_mask_is_the_one_by_hand(kind: Kind, name: str, sort: str, system: str | None) -> None:
    if system and not kind.system:
        pytest.skip("this template refuses a system message")
    tokenizer = tokenizer_for(kind, sort)
    sample = Chat(([Message("system", system)] if system else []) + CHATS[name].messages)
    ids, trained = by_hand(kind, tokenizer, [message.to_plain_turn() for message in sample.messages])
    encoded = ChatEncoder(tokenizer).encode_chat(sample)
    assert encoded.ids.tolist() == ids
    assert encoded.mask_of_trained.tolist() == trained
    assert encoded.ids.dtype == np.int32
    assert all(encoded.stops) and not encoded.doubled_bos


WORDS = st.text(st.sampled_from("ab 你好.\n<>|[]{}/'\"é😀"), min_size=1, max_size=12).filter(str.strip)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(turns=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4), which=st.integers(0, len(KINDS) - 1))
def test_mask_holds_for_any_text(turns: list[tuple[str, str]], which: int) -> None:
    kind = KINDS[which]
    tokenizer = tokenizer_for(kind, "bytes")
    sample = chat(*(part for turn in turns for part in turn))
    ids, trained = by_hand(kind, tokenizer, [message.to_plain_turn() for message in sample.messages])
    encoded = ChatEncoder(tokenizer).encode_chat(sample)
    assert encoded.ids.tolist() == ids
    assert encoded.mask_of_trained.tolist() == trained


def trained_text(tokenizer: Any, encoded: Any) -> str:
    return str(tokenizer.decode(encoded.ids[encoded.mask_of_trained]))


def test_tool_calls_are_trained_and_tool_results_are_not() -> None:
    tokenizer = tokenizer_for(QWEN25, "bytes")
    call = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}
    sample = Chat(
        [
            Message("user", "Weather?"),
            Message("assistant", None, [call]),
            Message("tool", '{"degrees": 20}'),
            Message("assistant", "20 degrees."),
        ]
    )
    encoded = ChatEncoder(tokenizer).encode_chat(sample)
    spans = [tokenizer.decode(encoded.ids[start:end]) for start, end, _ in encoded.answers]
    assert spans[0].endswith(
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call><|im_end|>'
    )
    assert spans[1] == "20 degrees.<|im_end|>"
    assert 'degrees": 20' not in "".join(spans)


def test_calls_that_a_template_leaves_out_are_an_error() -> None:
    tokenizer = tokenizer_for(LLAMA3, "bytes")
    call = {"type": "function", "function": {"name": "weather", "arguments": {}}}
    sample = Chat([Message("user", "Weather?"), Message("assistant", None, [call])])
    with pytest.raises(RowProblem, match="tool call"):
        ChatEncoder(tokenizer).encode_chat(sample)


def test_train_flags_and_last_answer() -> None:
    tokenizer = tokenizer_for(LLAMA3, "bytes")
    sample = chat("a", "first", "b", "second", "c", "third")
    only_last = ChatEncoder(tokenizer, "last_answer").encode_chat(sample)
    assert trained_text(tokenizer, only_last) == "third<|eot_id|>"
    sample.messages[3].train = False
    assert (
        trained_text(tokenizer, ChatEncoder(tokenizer).encode_chat(sample))
        == "first<|eot_id|>third<|eot_id|>"
    )


def test_refused_turns_are_a_row_problem() -> None:
    with pytest.raises(RowProblem, match="System role not supported"):
        ChatEncoder(tokenizer_for(GEMMA, "bytes")).encode_chat(chat("a", "b", system="c"))
    with pytest.raises(RowProblem, match="alternate"):
        sample = Chat([Message("user", "a"), Message("user", "b"), Message("assistant", "c")])
        ChatEncoder(tokenizer_for(LLAMA2, "bytes")).encode_chat(sample)


def test_fallback_is_chatml_with_a_stop_token_that_exists() -> None:
    tokenizer = byte_level(("<s>", "</s>"), None, "</s>")
    tokenizer.chat_template = None
    note = choose_template(tokenizer)
    assert "no chat template" in note and "</s>" in note
    encoder = ChatEncoder(tokenizer)
    encoded = encoder.encode_chat(chat("Hello", "Hi"))
    assert trained_text(tokenizer, encoded) == "Hi</s>"
    assert encoder.stop_tokens == {"</s>": tokenizer.eos_token_id}
    assert choose_template(tokenizer) == "", "chosen once, it is the tokenizer's own"
    tokenizer.chat_template = None


def test_doubled_bos_is_seen() -> None:
    tokenizer = tokenizer_for(LLAMA3, "bytes")
    tokenizer.chat_template = "{{ bos_token }}" + LLAMA3.template
    assert ChatEncoder(tokenizer).encode_chat(chat("a", "b")).doubled_bos


def test_prompt_of_a_held_out_row_is_the_generation_prompt() -> None:
    for kind in (QWEN3, LLAMA3, LLAMA2, GEMMA):
        tokenizer = tokenizer_for(kind, "bytes")
        encoder = ChatEncoder(tokenizer)
        sample = chat("Hello", "Hi")
        start = encoder.encode_chat(sample).answers[0][0]
        prompt = tokenizer.apply_chat_template(
            [sample.messages[0].to_plain_turn()], tokenize=False, add_generation_prompt=True
        )
        assert tokenizer.decode(encoder.encode_chat(sample).ids[:start]) == prompt


def test_reasoning_is_found_where_a_template_strips_it() -> None:
    tokenizer = tokenizer_for(DEEPSEEK, "bytes")
    encoded = ChatEncoder(tokenizer).encode_chat(CHATS["thinking"])
    assert "four" not in tokenizer.decode(encoded.ids)
    assert trained_text(tokenizer, encoded).count("<｜end▁of▁sentence｜>") == 2


def test_documents_are_trained_but_for_the_first_token() -> None:
    tokenizer = sentence_piece(("<s>", "</s>"), "<s>", "</s>")
    short, long = TextEncoder(tokenizer, 16).encode_all(["Hello there", "The quick brown fox " * 20])
    assert len(short) == 1 and short[0].ids[0] == tokenizer.bos_token_id
    assert short[0].ids[-1] == tokenizer.eos_token_id
    assert not short[0].mask_of_trained[0] and short[0].mask_of_trained[1:].all()
    whole = [
        tokenizer.bos_token_id,
        *tokenizer("The quick brown fox " * 20, add_special_tokens=False)["input_ids"],
    ]
    assert np.concatenate([piece.ids for piece in long]).tolist() == [*whole, tokenizer.eos_token_id]
    assert all(len(piece) <= 16 for piece in long)
