"""Chat templates by name: each format against its published text, and what a tokenizer makes of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from published_formats import PUBLISHED, SYSTEM, TURNS, Published
from small_tokenizers import byte_level, sentence_piece

from tui_tuner.config.chat_templates import (
    CHAT_TEMPLATES,
    find_template_name,
    list_similar_templates,
    list_template_aliases,
)
from tui_tuner.config.load import build_config, make_paths_absolute
from tui_tuner.config.options import list_options
from tui_tuner.data.chat.chat_encoder import ChatEncoder
from tui_tuner.data.chat.named.write_template import FORMATS
from tui_tuner.data.chat.template_choice import choose_template
from tui_tuner.data.records import Chat, Message
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import ModelError
from tui_tuner.ui.form_values import choose_field_editor, parse_field_text

MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": SYSTEM},
    *({"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(TURNS)),
]
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "The weather.", "parameters": {"type": "object"}},
}
CALL = {"type": "function", "id": "abcdefgh1", "function": {"name": "weather", "arguments": {"city": "Rome"}}}
CALLED = [
    {"role": "user", "content": "Rome?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": '{"degrees": 20}', "tool_call_id": "abcdefgh1", "name": "weather"},
    {"role": "assistant", "content": "Warm."},
]
THOUGHT = [
    {"role": "user", "content": "2+2?"},
    {"role": "assistant", "content": "4", "reasoning_content": "two twos"},
    {"role": "user", "content": "3+3?"},
    {"role": "assistant", "content": "6", "reasoning_content": "two threes"},
]
INSIDE = [
    {"role": turn["role"], "content": f"<think>\n{turn['reasoning_content']}\n</think>\n\n{turn['content']}"}
    if "reasoning_content" in turn
    else turn
    for turn in THOUGHT
]


def tokenizer_of(form: Published) -> Any:
    found = sentence_piece(tuple(form.tokens), form.bos, form.eos or form.end)
    found.chat_template = None
    return found


def tokenizer_named(name: str) -> Any:
    form = next(form for form in PUBLISHED if form.name == name)
    tokenizer = tokenizer_of(form)
    choose_template(tokenizer, name)
    return tokenizer


def rendered(tokenizer: Any, messages: list[dict[str, Any]], **more: Any) -> str:
    return str(tokenizer.apply_chat_template(messages, tokenize=False, **more))


def test_every_name_has_a_format_and_a_published_text() -> None:
    assert set(CHAT_TEMPLATES) == set(FORMATS) == {form.name for form in PUBLISHED}
    assert len({form.name for form in PUBLISHED}) == len(PUBLISHED)
    assert all(
        find_template_name(alias) == name for name in CHAT_TEMPLATES for alias in list_template_aliases(name)
    )


@pytest.mark.parametrize("form", PUBLISHED, ids=lambda form: form.name)
def test_it_writes_the_published_text(form: Published) -> None:
    tokenizer = tokenizer_of(form)
    note = choose_template(tokenizer, form.name)
    assert f"answers end with {form.end}." in note
    assert "no token" not in note and "does not have" not in note
    assert rendered(tokenizer, MESSAGES) == form.text
    assert rendered(tokenizer, MESSAGES[1:2], add_generation_prompt=True) == form.prompt


@pytest.mark.parametrize("form", PUBLISHED, ids=lambda form: form.name)
def test_answers_are_trained_with_their_end_and_nothing_else_is(form: Published) -> None:
    tokenizer = tokenizer_of(form)
    choose_template(tokenizer, form.name)
    encoder = ChatEncoder(tokenizer)
    encoded = encoder.encode_chat(Chat([Message(turn["role"], turn["content"]) for turn in MESSAGES]))
    text = tokenizer.decode(encoded.ids[encoded.mask_of_trained])
    assert text.replace(" ", "").endswith(f"Seeyou.{form.end}".replace("▁", ""))
    assert "Hi!" in text and not any(other in text for other in ("brief", "Hello", "Bye"))
    assert encoded.stops == [not form.unstopped, True] and not encoded.doubled_bos
    assert encoder.stop_tokens[form.end] == tokenizer.convert_tokens_to_ids(form.end)


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("llama3", "llama3"),
        ("Llama-3.1", "llama3.1"),
        ("llama3_2", "llama3.1"),
        ("qwen_25", "qwen2.5"),
        ("qwen", "qwen2.5"),
        ("qwen3_nothink", "qwen3_instruct"),
        ("qwen3_5", "qwen3.5"),
        ("phi_3", "phi3"),
        ("phi_35", "phi3"),
        ("gemma3n", "gemma"),
        ("deepseek3", "deepseek_v3"),
        ("deepseekr1", "deepseek_r1"),
        ("mistral", "mistral_v3"),
        ("mistral_v7_tekken", "mistral_small"),
        ("intern2", "internlm2"),
        ("granite3", "granite"),
        ("glm4_moe", "glm4.5"),
        ("llama3_2_vision", "llama3.1"),
        ("pixtral", "mistral_tekken"),
    ],
)
def test_names_as_others_spell_them(word: str, name: str) -> None:
    assert find_template_name(word) == name


def test_an_unknown_name_is_told_near_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = byte_level(("<s>", "</s>"), None, "</s>")
    with pytest.raises(ModelError, match="no chat template and no file has this name") as error:
        choose_template(tokenizer, "lama3")
    assert "llama3" in str(error.value.hint) and "its path" in str(error.value.hint)
    assert list_similar_templates("vicunna")[0] == "vicuna"
    with pytest.raises(ModelError, match="not a readable chat template"):
        choose_template(tokenizer, "./lama3.jinja")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zephyr").write_text("mine", encoding="utf-8")
    assert "zephyr, as asked" in choose_template(tokenizer, "zephyr"), "a name wins over a file"
    assert "./zephyr" in choose_template(tokenizer, "./zephyr") and tokenizer.chat_template == "mine"
    config = build_config({"model": {"chat_template": "zephyr"}})
    assert make_paths_absolute(config).model.chat_template == "zephyr"
    config = build_config({"model": {"chat_template": "./zephyr"}})
    assert make_paths_absolute(config).model.chat_template == str(tmp_path / "zephyr")


def test_tokenizer_default_is_its_own() -> None:
    tokenizer = byte_level(("<s>", "</s>"), None, "</s>")
    tokenizer.chat_template = "{{ 'own' }}"
    assert choose_template(tokenizer, "tokenizer_default") == "" and tokenizer.chat_template == "{{ 'own' }}"
    tokenizer.chat_template = None
    assert "ChatML is used" in choose_template(tokenizer, "tokenizer_default")
    tokenizer.chat_template = None


def test_what_a_tokenizer_does_not_know_is_said() -> None:
    tokenizer = byte_level(("<s>", "</s>"), None, "</s>")
    note = choose_template(tokenizer, "llama3")
    assert "answers end with </s>." in note
    assert "does not have <|eot_id|>" in note
    assert "<|start_header_id|>, <|end_header_id|>, <|eot_id|>: they are read in pieces" in note
    text = rendered(tokenizer, MESSAGES)
    assert text.endswith("See you.</s>") and "Bye<|eot_id|>" in text
    tokenizer.chat_template = None


@pytest.mark.parametrize("token", ["<|ENDOFTEXT|>", "BOS", 'it\'s"END"{{1}}\\n', "%}结束😀"])
@pytest.mark.parametrize("name", ["chatml", "llama2", "qwen3", "glm4", "phi3"])
def test_a_token_may_hold_anything(token: str, name: str) -> None:
    tokenizer = sentence_piece((token, "<e>"), token, "<e>")
    choose_template(tokenizer, name)
    text = rendered(tokenizer, MESSAGES)
    assert text.count("<e>") >= 1
    if name in ("chatml", "llama2"):
        assert text.startswith(token)
    tokenizer = sentence_piece(("<b>", token), "<b>", token)
    choose_template(tokenizer, name)
    assert token in rendered(tokenizer, MESSAGES)


def test_no_end_no_template() -> None:
    tokenizer = byte_level(("<s>", "</s>"), None, "</s>")
    eos, tokenizer.eos_token = tokenizer.eos_token, None
    try:
        with pytest.raises(ModelError, match="no eos token"):
            choose_template(tokenizer, "vicuna")
    finally:
        tokenizer.eos_token = eos


TOOLS = {
    "qwen2.5": (
        "<|im_start|>assistant\n"
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call><|im_end|>\n'
        '<|im_start|>user\n<tool_response>\n{"degrees": 20}\n</tool_response><|im_end|>\n'
    ),
    "qwen3_instruct": '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>',
    "qwen3": '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>',
    "qwen3.5": (
        "<tool_call>\n<function=weather>\n<parameter=city>\nRome\n</parameter>\n</function>\n</tool_call>"
        '<|im_end|>\n<|im_start|>user\n<tool_response>\n{"degrees": 20}\n</tool_response><|im_end|>\n'
    ),
    "llama3.1": (
        '<|start_header_id|>assistant<|end_header_id|>\n\n{"name": "weather", "parameters": {"city": "Rome"}}'
        '<|eot_id|><|start_header_id|>ipython<|end_header_id|>\n\n{"degrees": 20}<|eot_id|>'
    ),
    "mistral_v3": (
        '[/AVAILABLE_TOOLS][INST] Rome?[/INST][TOOL_CALLS] [{"name": "weather", "arguments": {"city": '
        '"Rome"}, "id": "abcdefgh1"}]</s>[TOOL_RESULTS] {"content": {"degrees": 20}, "call_id": "abcdefgh1"}'
        "[/TOOL_RESULTS] Warm.</s>"
    ),
    "mistral_tekken": (
        '[/AVAILABLE_TOOLS][INST]Rome?[/INST][TOOL_CALLS][{"name": "weather", "arguments": {"city": "Rome"}, '
        '"id": "abcdefgh1"}]</s>[TOOL_RESULTS]{"content": {"degrees": 20}, "call_id": "abcdefgh1"}'
        "[/TOOL_RESULTS]Warm.</s>"
    ),
    "mistral_small": '[TOOL_RESULTS]abcdefgh1[TOOL_CONTENT]{"degrees": 20}[/TOOL_RESULTS]Warm.</s>',
    "glm4": (
        '<|user|>\nRome?<|assistant|>weather\n{"city": "Rome"}<|observation|>\n{"degrees": 20}'
        "<|assistant|>\nWarm.<|user|>"
    ),
    "deepseek_v3": (
        "<｜Assistant｜><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n"
        '{"city": "Rome"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜>'
        '<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>{"degrees": 20}<｜tool▁output▁end｜>'
        "<｜tool▁outputs▁end｜>Warm.<｜end▁of▁sentence｜>"
    ),
    "deepseek_r1": "<｜tool▁outputs▁end｜>Warm.<｜end▁of▁sentence｜>",
    "chatml": '<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call><|im_end|>\n',
    "glm4.5": (
        "<|assistant|>\n<think></think>\n<tool_call>weather\n<arg_key>city</arg_key>\n"
        '<arg_value>Rome</arg_value>\n</tool_call><|observation|>\n<tool_response>\n{"degrees": 20}\n'
        "</tool_response><|assistant|>\n<think></think>\nWarm.<|user|>"
    ),
    "qwen3.6": "<function=weather>\n<parameter=city>\nRome\n</parameter>\n</function>",
    "qwen3.5_nothink": "<function=weather>\n<parameter=city>\nRome\n</parameter>\n</function>",
}


@pytest.mark.parametrize("name", TOOLS)
def test_tools_and_calls_are_written(name: str) -> None:
    tokenizer = tokenizer_named(name)
    text = rendered(tokenizer, CALLED, tools=[WEATHER])
    assert TOOLS[name] in text
    assert text.count("The weather.") == 1, "what the tool is for"
    assert text.index("The weather.") < text.index("Rome", text.index("The weather."))
    chat = Chat(
        [
            Message("user", "Rome?"),
            Message("assistant", None, [CALL]),
            Message("tool", "20", tool_call_id="abcdefgh1"),
        ]
    )
    with_end = rendered(
        tokenizer, [message.to_plain_turn() for message in chat.messages[:2]], tools=[WEATHER]
    )
    assert with_end.rstrip("\n").endswith(
        "<|observation|>"
        if name in ("glm4", "glm4.5")
        else next(form.end for form in PUBLISHED if form.name == name)
    )


@pytest.mark.parametrize("name", sorted(set(CHAT_TEMPLATES) - set(TOOLS)))
def test_what_a_format_cannot_write_is_refused_by_name(name: str) -> None:
    encoder = ChatEncoder(tokenizer_named(name))
    with pytest.raises(RowProblem, match=r"writes no tools"):
        encoder.encode_chat(Chat([Message("user", "a"), Message("assistant", "b")], [WEATHER]))
    with pytest.raises(RowProblem, match=r"writes no calls|no place for a turn of this role"):
        encoder.encode_chat(Chat([Message("user", "a"), Message("assistant", None, [CALL])]))
    with pytest.raises(RowProblem, match=r"no place for a turn of this role here: tool"):
        encoder.encode_chat(Chat([Message("user", "a"), Message("tool", "b"), Message("assistant", "c")]))


@pytest.mark.parametrize("messages", [THOUGHT, INSIDE], ids=["apart", "inside"])
@pytest.mark.parametrize(
    ("name", "early", "late"),
    [
        ("qwen3", "assistant\n4<|im_end|>", "assistant\n<think>\ntwo threes\n</think>\n\n6<|im_end|>"),
        ("qwen3.5", "assistant\n4<|im_end|>", "assistant\n<think>\ntwo threes\n</think>\n\n6<|im_end|>"),
        (
            "glm4.5",
            "<think></think>\n4<|user|>",
            "<|assistant|>\n<think>two threes</think>\n6<|user|>",
        ),
        (
            "gpt_oss",
            "assistant<|channel|>final<|message|>4<|end|>",
            "assistant<|channel|>analysis<|message|>two threes<|end|>"
            "<|start|>assistant<|channel|>final<|message|>6<|return|>",
        ),
        (
            "deepseek_r1",
            "4<｜end▁of▁sentence｜>",
            "<｜Assistant｜><think>\ntwo threes\n</think>\n\n6<｜end▁of▁sentence｜>",
        ),
    ],
)
def test_reasoning_stands_in_the_last_answer(
    name: str, early: str, late: str, messages: list[dict[str, Any]]
) -> None:
    text = rendered(tokenizer_named(name), messages)
    assert early in text and late in text
    assert "two twos" not in text


def test_a_system_turn_in_the_middle_stands_there_or_is_refused() -> None:
    turns = [*MESSAGES[1:3], MESSAGES[0], *MESSAGES[3:]]
    for name in ("llama3", "phi3", "zephyr", "llama3.1", "qwen2.5"):
        text = rendered(tokenizer_named(name), turns)
        assert text.index("Hi!") < text.index(SYSTEM) < text.index("Bye")
    for name in ("llama2", "gemma", "mistral_v3", "alpaca", "deepseek_v3"):
        chat = Chat([Message(turn["role"], turn["content"]) for turn in turns])
        with pytest.raises(RowProblem, match="no place for a turn of this role here: system"):
            ChatEncoder(tokenizer_named(name)).encode_chat(chat)


def test_it_is_saved_with_the_tokenizer(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = tokenizer_named("gemma")
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert rendered(again, MESSAGES) == next(form.text for form in PUBLISHED if form.name == "gemma")


def test_the_form_offers_them_and_takes_a_path() -> None:
    option = list_options()["model.chat_template"]
    assert {*CHAT_TEMPLATES, "tokenizer_default"} == set(option.choices)
    assert choose_field_editor(option) == "input" and "text, chatml, alpaca" in option.describe_expected()
    assert (
        parse_field_text(option, "llama3") == "llama3"
        and parse_field_text(option, "a/b.jinja") == "a/b.jinja"
    )
    assert parse_field_text(option, "") is None


def test_data_templates_lists_them() -> None:
    command = [sys.executable, "-c", "from tui_tuner.cli import main; main()", "data", "templates", "--json"]
    found = subprocess.run(command, capture_output=True, check=True)
    rows = {row["name"]: row for row in json.loads(found.stdout)}
    assert set(rows) == set(CHAT_TEMPLATES) and "mistral" in rows["mistral_v3"]["also"]
