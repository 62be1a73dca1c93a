"""Chat templates for Ollama, compared with what transformers renders."""

from __future__ import annotations

import os

import pytest

from tests.core.exporting.go_rendering import render_go
from tests.core.exporting.tiny_families import make_family, make_tokenizer
from tui_tuner.config.chat_templates import CHAT_TEMPLATES
from tui_tuner.data.chat.template import render_chat
from tui_tuner.data.chat.template_choice import choose_template
from tui_tuner.errors import ModelError
from tui_tuner.exporting.exporting import export_model
from tui_tuner.exporting.ollama.chat_parts import take_apart, trims_turns
from tui_tuner.exporting.ollama.go_template import write_go_template
from tui_tuner.exporting.ollama.modelfile import Modelfile, list_parameters
from tui_tuner.exporting.target import ExportOptions
from tui_tuner.inference.origin import Origin

OPENS = "<|begin|>"
CHATS = [
    ["user"],
    ["user", "assistant", "user"],
    ["system", "user"],
    ["system", "user", "assistant", "user"],
    ["user", "assistant", "user", "assistant", "user"],
]
TEXTS = ["Hi, {{ you }}!", "Two\nlines.", "Ünïcode ✅ \"quoted\" 'too'", "{% raw %}", "12 <b>x</b>"]
NUMBERS_ITS_TURNS = {"chatglm2"}  # [Round 2]


def make_chat(roles):
    return [{"role": role, "content": f"{TEXTS[place]}"} for place, role in enumerate(roles)]


@pytest.mark.parametrize("name", CHAT_TEMPLATES)
def test_a_named_template_renders_in_go_as_in_jinja(name):
    tokenizer = make_tokenizer("llama3")
    choose_template(tokenizer, name)
    if name in NUMBERS_ITS_TURNS:
        with pytest.raises(ModelError, match="depends on more than the roles"):
            take_apart(tokenizer, "it")
        return
    parts = take_apart(tokenizer, "it")
    written = write_go_template(parts, OPENS)
    for roles in CHATS:
        chat = make_chat(roles)
        if parts.system == "none" and roles[0] == "system":
            continue
        expected = render_chat(tokenizer, chat, generation=True)
        found = render_go(written, chat)
        # llama.cpp writes the first token itself
        assert OPENS * expected.startswith(OPENS) + found == expected


def test_a_template_that_trims_turns_is_told_apart():
    tokenizer = make_tokenizer("llama3")
    choose_template(tokenizer, "gemma")
    assert trims_turns(take_apart(tokenizer, "it"), tokenizer)
    choose_template(tokenizer, "chatml")
    assert not trims_turns(take_apart(tokenizer, "it"), tokenizer)


def test_a_modelfile_holds_template_stops_system_and_parameters():
    generation = {"do_sample": True, "temperature": 0.6, "top_p": 0.95}
    told = list_parameters(generation, context=32768, trained=8192)
    text = Modelfile("model.gguf", "{{ .Prompt }}\n", ["<|im_end|>"], told, "Be kind.").write_text()
    assert text.splitlines() == [
        "FROM ./model.gguf",
        'TEMPLATE """{{ .Prompt }}',
        '"""',
        'SYSTEM """Be kind."""',
        'PARAMETER stop "<|im_end|>"',
        "PARAMETER num_ctx 8192",
        "PARAMETER temperature 0.6",
        "PARAMETER top_k 50",
        "PARAMETER top_p 0.95",
        "PARAMETER repeat_penalty 1",
    ]
    assert list_parameters({}, 2048, 512) == {"num_ctx": 2048, "temperature": 0, "repeat_penalty": 1.0}


def test_quotation_marks_that_a_modelfile_cannot_hold_are_refused():
    with pytest.raises(ModelError, match="quotation marks"):
        Modelfile("model.gguf", 'say """this"""').write_text()


def test_an_export_for_ollama_is_proved_and_names_its_file(tmp_path, monkeypatch):
    # an Ollama that writes down what it was asked
    program = tmp_path / "bin" / "ollama"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@" > asked.txt\nls >> asked.txt\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    folder = make_family("llama", tmp_path / "My Model")
    outcome = export_model(
        Origin("model", str(folder), str(folder)), ExportOptions("ollama", str(tmp_path / "out"))
    )
    assert outcome.parity.passed and outcome.parity.greedy_equal
    text = (tmp_path / "out" / "Modelfile").read_text()
    assert text.startswith("FROM ./model.gguf\n")
    assert 'PARAMETER stop "<|im_end|>"' in text
    assert "<|begin|>" not in text
    asked = (tmp_path / "out" / "asked.txt").read_text().split()
    assert asked[:4] == ["create", "my-model", "-f", "Modelfile"] and "model.gguf" in asked
    assert any("ollama run my-model" in note for note in outcome.notes)
