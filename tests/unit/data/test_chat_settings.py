"""What a run may set about chats, and what reaches a template of what a row holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chat_templates import CHATML, GEMMA, LLAMA3, QWEN3
from small_tokenizers import byte_level

from tui_tuner.config.schema import DataSection, ModelSection, RunConfig
from tui_tuner.data.chat.chat_encoder import ChatEncoder
from tui_tuner.data.examples.prepare import prepare_examples
from tui_tuner.data.records import Chat, Message
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import DataError, PreflightError
from tui_tuner.models.generation import list_generation_ends
from tui_tuner.tasks import find_task
from tui_tuner.tasks.preview.mask import mask_row

HEADER = "{% for m in messages %}<|im_start|>{{ m.role }}\n"
ASKED = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


def tokenizer_with(template: str, *more: str, eos: str = "<|im_end|>") -> Any:
    tokenizer = byte_level(("<|im_start|>", "<|im_end|>", *more), None, eos)
    tokenizer.chat_template = template
    return tokenizer


def trained(encoder: ChatEncoder, chat: Chat) -> str:
    encoded = encoder.encode_chat(chat)
    return str(encoder.tokenizer.decode(encoded.ids[encoded.mask_of_trained]))


def whole(encoder: ChatEncoder, chat: Chat) -> str:
    return str(encoder.tokenizer.decode(encoder.encode_chat(chat).ids))


def spoken(answer: Message, *, system: str | None = None) -> Chat:
    front = [Message("system", system)] if system else []
    return Chat([*front, Message("user", "How many?"), answer])


# ---- settings ---------------------------------------------------------------------------------------------


def test_everything_trains_all_but_answers_that_say_no() -> None:
    tokenizer = tokenizer_with(CHATML.template)
    chat = Chat(
        [
            Message("user", "One?"),
            Message("assistant", "No such thing.", train=False),
            Message("user", "Two?"),
            Message("assistant", "Yes."),
        ]
    )
    encoded = ChatEncoder(tokenizer, "everything").encode_chat(chat)
    text = tokenizer.decode(encoded.ids[encoded.mask_of_trained])
    # the very first token has nothing in front of it that could predict it
    assert text == (
        "user\nOne?<|im_end|>\n<|im_start|>assistant\n\n<|im_start|>user\nTwo?<|im_end|>\n"
        "<|im_start|>assistant\nYes.<|im_end|>\n"
    )


@pytest.mark.parametrize(
    ("turns", "asked"), [("first_user", "Be brief.\n\nHow many?"), ("drop", "How many?")]
)
def test_system_turns_go_where_the_run_wants_them(turns: Any, asked: str) -> None:
    tokenizer = tokenizer_with(CHATML.template)
    encoder = ChatEncoder(tokenizer, system_turns=turns)
    chat = spoken(Message("assistant", "Two."), system="Be brief.")
    assert whole(encoder, chat).startswith(f"<|im_start|>user\n{asked}<|im_end|>")
    assert trained(encoder, chat) == "Two.<|im_end|>"
    assert chat.messages[0].role == "system", "the record is left as it is"
    remark = "system_moved" if turns == "first_user" else "system_dropped"
    assert encoder.encode_chat(chat).remarks == (remark,)


def test_a_refused_system_message_has_a_way_out_that_works(tmp_path: Path) -> None:
    tokenizer = byte_level(GEMMA.specials, GEMMA.bos, GEMMA.eos)
    tokenizer.chat_template = GEMMA.template
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How many?"},
        {"role": "assistant", "content": "Two."},
    ]
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": turns}) + "\n")

    def prepared(**data: Any) -> Any:
        section = DataSection(path=str(tmp_path / "a.jsonl"), validation=None, **data)
        config = RunConfig(data=section, model=ModelSection(name="demo"))
        return prepare_examples(config, tokenizer, find_task("sft"), cache_dir=tmp_path / "cache")

    with pytest.raises(DataError, match="refuses system messages") as raised:
        prepared()
    assert "--set data.system_turns=first_user" in (raised.value.hint or "")
    found = prepared(system_turns="first_user")
    assert len(found.train) == 1
    assert [problem.code for problem in found.report.problems] == ["system_moved"]


def test_an_empty_system_turn_is_no_reason_to_refuse() -> None:
    tokenizer = byte_level(GEMMA.specials, GEMMA.bos, GEMMA.eos)
    tokenizer.chat_template = GEMMA.template
    empty = Chat([Message("system", " "), *spoken(Message("assistant", "Two.")).messages])
    assert trained(ChatEncoder(tokenizer), empty).startswith("Two.")


# ---- stops ------------------------------------------------------------------------------------------------


def test_generation_ends_come_from_the_models_generation_config(tmp_path: Path) -> None:
    tokenizer = tokenizer_with(CHATML.template)
    (tmp_path / "config.json").write_text('{"model_type": "llama", "eos_token_id": 0}')
    model = ModelSection(name=str(tmp_path))
    assert list_generation_ends(model, tokenizer) == [tokenizer.convert_ids_to_tokens(0)]
    ids = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|im_start|>"])
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [*ids, 10**9]}))
    assert list_generation_ends(model, tokenizer) == ["<|im_end|>", "<|im_start|>"]


def test_a_header_that_generation_ends_with_is_the_stop_between_turns() -> None:
    template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
    template += "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    tokenizer = tokenizer_with(template, "<|user|>", "<|assistant|>", "<|stop|>", eos="<|stop|>")
    chat = Chat([Message(("user", "assistant")[i % 2], text) for i, text in enumerate(("a", "b", "c", "d"))])
    encoder = ChatEncoder(tokenizer, ends=["<|stop|>", "<|user|>"])
    assert trained(encoder, chat) == "b<|user|>d<|user|>"
    assert encoder.encode_chat(chat).remarks == ("stop_added",)
    without = ChatEncoder(tokenizer)
    assert trained(without, chat) == "bd<|stop|>"
    assert without.encode_chat(chat).stops == [False, True]


def test_a_template_with_two_ends_in_a_row_has_both_trained() -> None:
    template = HEADER + "{{ m.content }}<|said|><|im_end|>{% endfor %}" + ASKED
    tokenizer = tokenizer_with(template, "<|said|>")
    encoder = ChatEncoder(tokenizer)
    assert trained(encoder, spoken(Message("assistant", "Two."))) == "Two.<|said|><|im_end|>"
    assert encoder.stop_tokens == {"<|im_end|>": tokenizer.eos_token_id}


# ---- reasoning --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_reaches_a_template_whatever_key_it_reads(key: str) -> None:
    block = "{% if m." + key + " %}<think>{{ m." + key + " }}</think>{% endif %}"
    tokenizer = tokenizer_with(HEADER + block + "{{ m.content }}<|im_end|>\n{% endfor %}" + ASKED)
    encoder = ChatEncoder(tokenizer)
    for own in ("reasoning_content", "reasoning", "thinking"):
        answer = Message("assistant", "Two.", reasoning="One and one.", reasoning_key=own)
        assert trained(encoder, spoken(answer)) == "<think>One and one.</think>Two.<|im_end|>"
        assert encoder.encode_chat(spoken(answer)).remarks == ("reasoning",)


def test_reasoning_that_no_template_writes_stops_the_run(tmp_path: Path) -> None:
    tokenizer = tokenizer_with(CHATML.template)
    answer = {"role": "assistant", "content": "Two.", "reasoning_content": "One and one."}
    rows = [{"messages": [{"role": "user", "content": f"Number {i}?"}, answer]} for i in range(3)]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    config = RunConfig(data=DataSection(path=str(path), validation=None), model=ModelSection(name="demo"))
    with pytest.raises(PreflightError, match="none of the 3 answers"):
        prepare_examples(config, tokenizer, find_task("sft"), cache_dir=tmp_path / "cache")
    tokenizer.chat_template = QWEN3.template.replace("<think>\n\n", "<think>\n{{ m.reasoning_content }}\n")
    config.data.preflight = "warn"
    with_some = prepare_examples(config, tokenizer, find_task("sft"), cache_dir=tmp_path / "cache")
    assert len(with_some.train) == 3


def test_a_turn_of_reasoning_alone_is_dropped_where_it_is_left_out() -> None:
    tokenizer = tokenizer_with(CHATML.template)
    with pytest.raises(RowProblem, match="leaves a whole answer out"):
        ChatEncoder(tokenizer).encode_chat(spoken(Message("assistant", None, reasoning="Hm.")))


def test_a_prompt_that_opens_reasoning_which_the_chat_lacks_is_said() -> None:
    tokenizer = tokenizer_with(
        CHATML.template.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
    )
    encoder = ChatEncoder(tokenizer)
    chat = spoken(Message("assistant", "Two."))
    assert trained(encoder, chat) == "Two.<|im_end|>"
    assert "prompt_differs" in encoder.encode_chat(chat).remarks


# ---- calls ------------------------------------------------------------------------------------------------

CALL = {"type": "function", "function": {"name": "tide", "arguments": {"port": "Tarn", "day": 3}}}
CALLING = [
    Message("user", "Tide?"),
    Message("assistant", None, [CALL]),
    Message("tool", "06:12", name="tide"),
]


@pytest.mark.parametrize("written", ["{{ f.arguments }}", "{{ f.name + f.arguments }}"])
def test_arguments_are_text_for_a_template_that_wants_text(written: str) -> None:
    calls = (
        "{% for c in m.tool_calls or [] %}{% set f = c.function %}<call>{{ f.name }}"
        + written
        + "{% endfor %}"
    )
    tokenizer = tokenizer_with(HEADER + "{{ m.content }}" + calls + "<|im_end|>\n{% endfor %}" + ASKED)
    text = trained(ChatEncoder(tokenizer), Chat([*CALLING, Message("assistant", "At 06:12.")]))
    assert '{"port": "Tarn", "day": 3}<|im_end|>At 06:12.<|im_end|>' in text


def test_contents_are_parts_for_a_template_that_wants_parts() -> None:
    parts = "{% for p in m.content %}{{ p.text }}{% endfor %}"
    tokenizer = tokenizer_with(HEADER + parts + "<|im_end|>\n{% endfor %}" + ASKED)
    assert trained(ChatEncoder(tokenizer), spoken(Message("assistant", "Two."))) == "Two.<|im_end|>"


def test_tools_that_are_left_out_are_told_from_names_in_calls() -> None:
    calls = "{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}"
    tokenizer = tokenizer_with(HEADER + "{{ m.content }}" + calls + "<|im_end|>\n{% endfor %}" + ASKED)
    tools = [{"type": "function", "function": {"name": "tide", "parameters": {}}}]
    encoded = ChatEncoder(tokenizer).encode_chat(Chat([*CALLING, Message("assistant", "At 06:12.")], tools))
    assert encoded.remarks == ("tools_left_out",)


def test_a_result_inside_the_models_turn_is_not_trained() -> None:
    template = (
        "{% for m in messages %}{% if m.role == 'user' %}<|im_start|>user\n{{ m.content }}<|im_end|>\n"
        "<|im_start|>assistant\n{% elif m.role == 'tool' %}<result>{{ m.content }}</result>"
        "{% else %}{{ m.content }}{% for c in m.tool_calls or [] %}<call>{{ c.function | tojson }}</call>"
        "{% endfor %}{% if not m.tool_calls %}<|im_end|>\n{% endif %}{% endif %}{% endfor %}"
    )
    tokenizer = tokenizer_with(template)
    encoder = ChatEncoder(tokenizer)
    chat = Chat([*CALLING, Message("assistant", "At 06:12.")])
    text = trained(encoder, chat)
    assert "<result>" not in text and "06:12</" not in text
    assert text.endswith("</call>At 06:12.<|im_end|>")
    assert encoder.encode_chat(chat).stops == [False, True]


def test_llama_calls_without_a_template_for_them_are_refused_truly() -> None:
    tokenizer = byte_level(LLAMA3.specials, LLAMA3.bos, LLAMA3.eos)
    tokenizer.chat_template = LLAMA3.template
    tools = [{"type": "function", "function": {"name": "tide", "parameters": {}}}]
    with pytest.raises(RowProblem, match="leaves out tool calls"):
        ChatEncoder(tokenizer).encode_chat(Chat([*CALLING, Message("assistant", "At 06:12.")], tools))


def test_the_mask_of_a_row_says_what_is_remarkable_about_it(tmp_path: Path) -> None:
    tokenizer = tokenizer_with(CHATML.template)
    answer = {"role": "assistant", "content": "Two.", "reasoning_content": "One and one."}
    row = {"messages": [{"role": "user", "content": "How many?"}, answer]}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    view = mask_row(ModelSection(name="demo"), DataSection(path=str(tmp_path / "a.jsonl")), 1, tokenizer)
    assert "This chat template leaves out reasoning of an answer, so it is not trained." in view.notes
