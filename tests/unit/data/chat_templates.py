"""Chat templates of the public kinds, in our own words, each beside what it writes in plain Python.

`write` gives the text of a chat as (text, trained) parts, put together by hand and without the Jinja: the
tests compare the masks found by rendering with these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Messages = list[dict[str, Any]]
Parts = list[tuple[str, bool]]


@dataclass(frozen=True)
class Kind:
    """A template, the special tokens it needs, and its text by hand."""

    name: str
    template: str
    specials: tuple[str, ...]
    eos: str
    write: Callable[[Messages], Parts]
    bos: str | None = None
    system: bool = True


def _chatml(messages: Messages) -> Parts:
    parts: Parts = []
    for message in messages:
        parts.append((f"<|im_start|>{message['role']}\n", False))
        parts.append((f"{message['content']}<|im_end|>", message["role"] == "assistant"))
        parts.append(("\n", False))
    return parts


CHATML = Kind(
    "chatml",
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    ("<|im_start|>", "<|im_end|>"),
    "<|im_end|>",
    _chatml,
)


def _qwen25(messages: Messages) -> Parts:
    if messages[0]["role"] != "system":
        messages = [{"role": "system", "content": "You are a helpful assistant."}, *messages]
    return _chatml(messages)


QWEN25 = Kind(
    "qwen2.5",
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful assistant."
    "<|im_end|>\n{% endif %}"
    "{% for m in messages %}"
    "{% if m.role == 'tool' %}<|im_start|>user\n<tool_response>\n{{ m.content }}"
    "\n</tool_response><|im_end|>\n"
    "{% else %}<|im_start|>{{ m.role }}"
    "{% if m.content or not m.tool_calls %}{{ '\n' + m.content }}{% endif %}"
    "{% for c in m.tool_calls or [] %}{{ '\n' }}<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}'
    "\n</tool_call>{% endfor %}"
    "<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    ("<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<|endoftext|>"),
    "<|im_end|>",
    _qwen25,
)


def _qwen3(messages: Messages) -> Parts:
    parts: Parts = []
    last_user = max(i for i, m in enumerate(messages) if m["role"] == "user")
    for place, message in enumerate(messages):
        content = message["content"]
        parts.append((f"<|im_start|>{message['role']}\n", False))
        if message["role"] != "assistant":
            parts += [(f"{content}<|im_end|>\n", False)]
            continue
        thought = ""
        if "</think>" in content:
            before, content = content.split("</think>")
            thought = before.split("<think>")[-1].strip("\n")
            content = content.lstrip("\n")
        if place > last_user and (place == len(messages) - 1 or thought):
            content = f"<think>\n{thought}\n</think>\n\n{content}"
        parts += [(f"{content}<|im_end|>", True), ("\n", False)]
    return parts


QWEN3 = Kind(
    "qwen3",
    "{% set ns = namespace(last=-1) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
    "{% set c = m.content %}{% set t = '' %}"
    "{% if '</think>' in c %}{% set t = c.split('</think>')[0].split('<think>')[-1].strip('\\n') %}"
    "{% set c = c.split('</think>')[-1].lstrip('\\n') %}{% endif %}"
    "{% if loop.index0 > ns.last and (loop.last or t) %}<think>\n{{ t }}\n</think>\n\n{% endif %}{{ c }}"
    "{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    ("<|im_start|>", "<|im_end|>", "<think>", "</think>"),
    "<|im_end|>",
    _qwen3,
)


def _llama3(messages: Messages) -> Parts:
    parts: Parts = [("<|begin_of_text|>", False)]
    for message in messages:
        parts.append((f"<|start_header_id|>{message['role']}<|end_header_id|>\n\n", False))
        parts.append((f"{message['content'].strip()}<|eot_id|>", message["role"] == "assistant"))
    return parts


LLAMA3 = Kind(
    "llama-3",
    "{% for m in messages %}{{ bos_token if loop.first else '' }}"
    "<|start_header_id|>{{ m.role }}<|end_header_id|>"
    "\n\n{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end_of_text|>"),
    "<|eot_id|>",
    _llama3,
    bos="<|begin_of_text|>",
)


def _llama2(messages: Messages) -> Parts:
    system = ""
    if messages[0]["role"] == "system":
        system = f"<<SYS>>\n{messages[0]['content']}\n<</SYS>>\n\n"
        messages = messages[1:]
    parts: Parts = []
    for place, message in enumerate(messages):
        if message["role"] == "user":
            content = (system if not place else "") + message["content"]
            parts.append((f"<s>[INST] {content.strip()} [/INST]", False))
        else:
            parts.append((f" {message['content'].strip()} </s>", True))
    return parts


LLAMA2 = Kind(
    "llama-2",
    "{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}"
    "{% set sys = '<<SYS>>\n' + messages[0].content + '\n<</SYS>>\n\n' %}"
    "{% else %}{% set rest = messages %}{% set sys = '' %}{% endif %}"
    "{% for m in rest %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate user, assistant') }}{% endif %}"
    "{% if m.role == 'user' %}{{ bos_token }}[INST] "
    "{{ ((sys if loop.first else '') + m.content).strip() }} [/INST]"
    "{% else %} {{ m.content.strip() }} {{ eos_token }}{% endif %}{% endfor %}",
    ("<s>", "</s>", "<unk>"),
    "</s>",
    _llama2,
    bos="<s>",
)


def _mistral1(messages: Messages) -> Parts:
    parts: Parts = [("<s>", False)]
    for message in messages:
        if message["role"] == "user":
            parts.append((f"[INST] {message['content']} [/INST]", False))
        else:
            parts.append((f"{message['content']}</s>", True))
    return parts


MISTRAL1 = Kind(
    "mistral-v0.1",
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% elif m.role == 'assistant' %}{{ m.content + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported') }}{% endif %}{% endfor %}",
    ("<s>", "</s>", "<unk>"),
    "</s>",
    _mistral1,
    bos="<s>",
    system=False,
)


def _mistral3(messages: Messages) -> Parts:
    system = messages[0]["content"] + "\n\n" if messages[0]["role"] == "system" else ""
    messages = messages[1:] if system else messages
    last = max(i for i, m in enumerate(messages) if m["role"] == "user")
    parts: Parts = [("<s>", False)]
    for place, message in enumerate(messages):
        if message["role"] == "user":
            parts.append((f"[INST] {system if place == last else ''}{message['content']}[/INST]", False))
        else:
            parts.append((f" {message['content'].strip()}</s>", True))
    return parts


MISTRAL3 = Kind(
    "mistral-v0.3",
    "{% if messages[0].role == 'system' %}{% set sys = messages[0].content + '\n\n' %}"
    "{% set rest = messages[1:] %}"
    "{% else %}{% set sys = '' %}{% set rest = messages %}{% endif %}"
    "{% set ns = namespace(last=0) %}"
    "{% for m in rest %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{{ bos_token }}{% for m in rest %}{% if m.role == 'user' %}"
    "[INST] {{ (sys if loop.index0 == ns.last else '') + m.content }}[/INST]"
    "{% else %} {{ m.content | trim }}{{ eos_token }}{% endif %}{% endfor %}",
    ("<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]"),
    "</s>",
    _mistral3,
    bos="<s>",
)


def _gemma(messages: Messages) -> Parts:
    parts: Parts = [("<bos>", False)]
    for message in messages:
        role = "model" if message["role"] == "assistant" else message["role"]
        parts.append((f"<start_of_turn>{role}\n", False))
        parts.append((f"{message['content'].strip()}<end_of_turn>", role == "model"))
        parts.append(("\n", False))
    return parts


GEMMA = Kind(
    "gemma",
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
    ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
    "<eos>",
    _gemma,
    bos="<bos>",
    system=False,
)


def _zephyr(messages: Messages) -> Parts:
    parts: Parts = []
    for message in messages:
        parts.append((f"<|{message['role']}|>\n", False))
        parts.append((f"{message['content']}</s>", message["role"] == "assistant"))
        parts.append(("\n", False))
    return parts


ZEPHYR = Kind(
    "zephyr",
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + eos_token + '\n' }}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}",
    ("<s>", "</s>"),
    "</s>",
    _zephyr,
    bos="<s>",
)


def _phi3(messages: Messages) -> Parts:
    parts: Parts = []
    for message in messages:
        parts.append((f"<|{message['role']}|>\n", False))
        parts.append((f"{message['content']}<|end|>", message["role"] == "assistant"))
        parts.append(("\n", False))
    return [*parts, ("<|endoftext|>", False)]


PHI3 = Kind(
    "phi-3",
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}",
    ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>"),
    "<|endoftext|>",
    _phi3,
)


def _deepseek(messages: Messages) -> Parts:
    parts: Parts = [("<｜begin▁of▁sentence｜>", False)]
    if messages[0]["role"] == "system":
        parts.append((messages[0]["content"], False))
    for message in messages:
        if message["role"] == "user":
            parts.append((f"<｜User｜>{message['content']}", False))
        elif message["role"] == "assistant":
            answer = message["content"].split("</think>")[-1]
            parts += [("<｜Assistant｜>", False), (f"{answer}<｜end▁of▁sentence｜>", True)]
    return parts


DEEPSEEK = Kind(
    "deepseek-r1",
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}"
    "{% for m in messages %}{% if m.role == 'user' %}{{ '<｜User｜>' + m.content }}"
    "{% elif m.role == 'assistant' %}{{ '<｜Assistant｜>' + m.content.split('</think>')[-1] }}"
    "{{ '<｜end▁of▁sentence｜>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\n' }}{% endif %}",
    (
        "<｜begin▁of▁sentence｜>",
        "<｜end▁of▁sentence｜>",
        "<｜User｜>",
        "<｜Assistant｜>",
        "<think>",
        "</think>",
    ),
    "<｜end▁of▁sentence｜>",
    _deepseek,
    bos="<｜begin▁of▁sentence｜>",
)


def _harmony(messages: Messages) -> Parts:
    parts: Parts = []
    for place, message in enumerate(messages):
        answer = message["role"] == "assistant"
        parts.append((f"<|start|>{message['role']}", False))
        end = "<|return|>" if answer and place == len(messages) - 1 else "<|end|>"
        lead = "<|channel|>final<|message|>" if answer else "<|message|>"
        parts.append((f"{lead}{message['content']}{end}", answer))
    return parts


HARMONY = Kind(
    "harmony",
    "{% for m in messages %}<|start|>{{ m.role }}{% if m.role == 'assistant' %}<|channel|>final{% endif %}"
    "<|message|>{{ m.content }}"
    "{% if loop.last and m.role == 'assistant' %}<|return|>{% else %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}",
    ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>"),
    "<|return|>",
    _harmony,
)

KINDS = (
    CHATML,
    QWEN25,
    QWEN3,
    LLAMA3,
    LLAMA2,
    MISTRAL1,
    MISTRAL3,
    GEMMA,
    ZEPHYR,
    PHI3,
    DEEPSEEK,
    HARMONY,
)
