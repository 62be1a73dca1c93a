"""GGUF files of tiny models, read back by transformers."""

from __future__ import annotations

import os
import weakref

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from tests.core.exporting.tiny_families import FAMILIES, make_family, make_tokenizer
from tui_tuner.errors import ModelError, UsageError
from tui_tuner.exporting.exporting import export_model
from tui_tuner.exporting.gguf.gguf_target import FILE
from tui_tuner.exporting.gguf.llama_cpp import find_tool, require_quantize
from tui_tuner.exporting.gguf.reading_back import list_file_ends, load_back, load_tokenizer_back
from tui_tuner.exporting.gguf.vocabulary import CONTROL, UNUSED, USER_DEFINED, read_vocabulary
from tui_tuner.exporting.gguf.writing import draft_file, write_file
from tui_tuner.exporting.merging.weight_files import WeightFiles
from tui_tuner.exporting.target import ExportOptions
from tui_tuner.inference.origin import Origin

TEXTS = (
    "Hello, what's 12345 and 3.14? It'S I'VE",
    "Ünïcödé ✅ naïve 你好  two  spaces\n\n\tx \r\n",
    " leads with a space",
    "<|im_start|>user\nDescribe the warm coat<|im_end|>\n<|im_start|>assistant\n<think>so</think>\n\nA red",
)


def draft(folder, name="it", ends=None):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    files = WeightFiles(folder)
    shapes = {name: form.shape for name, form in files.forms.items()}
    given = [tokenizer.eos_token_id] if ends is None else ends
    return draft_file(name, AutoConfig.from_pretrained(folder), tokenizer, shapes, given), files, tokenizer


def write(folder, target, word="f32"):
    drafted, files, tokenizer = draft(folder)
    target.mkdir(exist_ok=True)
    write_file(drafted, files, word, target / FILE)
    return drafted, tokenizer, target / FILE


def compute_logits(model, rows):
    torch.manual_seed(1)
    ids = torch.randint(0, rows, (2, 80))
    with torch.no_grad():
        return model(ids).logits


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_file_of_each_family_answers_and_tokenizes_as_the_model_does(tmp_path, kind):
    folder = make_family(kind, tmp_path / "model")
    drafted, tokenizer, path = write(folder, tmp_path / "gguf")
    expected = compute_logits(load(folder), len(tokenizer))
    found = compute_logits(load_back(drafted.family, drafted.config, path, torch.float32), len(tokenizer))
    assert (found - expected).abs().max() < 1e-4 * expected.std()
    again = load_tokenizer_back(
        path, drafted.vocabulary.flags.get("add_space_prefix"), drafted.vocabulary.trims
    )
    assert bool(drafted.vocabulary.trims) == (kind == "phi3") == ("Phi-3" in drafted.name)
    for text in TEXTS:
        assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    chat = [{"role": "user", "content": "Hi"}]
    assert again.apply_chat_template(chat, tokenize=False) == tokenizer.apply_chat_template(
        chat, tokenize=False
    )
    assert list_file_ends(path) == [tokenizer.eos_token_id]
    size = path.stat().st_size
    assert size <= drafted.count_bytes("f32") < 1.2 * size + 20_000


@pytest.mark.parametrize(
    ("word", "most"),
    [
        ("f16", 1e-5),
        ("bf16", 1e-3),
        ("q8_0", 1e-3),
        ("q5_1", 0.02),
        ("q5_0", 0.02),
        ("q4_1", 0.08),
        ("q4_0", 0.08),
    ],
)
def test_coarser_numbers_move_answers_by_as_little_as_they_should(tmp_path, word, most):
    folder = make_family("qwen3", tmp_path / "model")
    drafted, tokenizer, path = write(folder, tmp_path / "gguf", word)
    expected = compute_logits(load(folder), len(tokenizer)).double().log_softmax(-1)
    model = load_back(drafted.family, drafted.config, path, torch.float32)
    found = compute_logits(model, len(tokenizer)).double().log_softmax(-1)
    divergence = (expected.exp() * (expected - found)).sum(-1).mean()
    assert 0 < divergence < most


def test_one_tensor_is_in_memory_at_a_time(tmp_path):
    folder = make_family("llama", tmp_path / "model")
    drafted, files, _tokenizer = draft(folder)
    alive = weakref.WeakSet()
    most, read = [0], []

    class Counting:
        forms = files.forms

        def read_tensor(self, name):
            found = files.read_tensor(name)
            alive.add(found.untyped_storage())
            most[0] = max(most[0], len(alive))
            read.append(name)
            return found

    write_file(drafted, Counting(), "q8_0", tmp_path / FILE)
    assert sorted(read) == sorted(files.forms)
    # the one before is let go while the next is read
    assert most[0] <= 2


def test_experts_that_are_stored_as_one_weight_give_the_same_file(tmp_path):
    folder = make_family("qwen3_moe", tmp_path / "model")
    _drafted, _tokenizer, path = write(folder, tmp_path / "gguf")
    before = path.read_bytes()
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    for layer in range(3):
        prefix = f"model.layers.{layer}.mlp.experts"
        parts = {
            part: torch.stack([weights.pop(f"{prefix}.{number}.{part}_proj.weight") for number in range(4)])
            for part in ("gate", "up", "down")
        }
        weights[f"{prefix}.gate_up_proj"] = torch.cat([parts["gate"], parts["up"]], dim=1)
        weights[f"{prefix}.down_proj"] = parts["down"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    _drafted, _tokenizer, path = write(folder, tmp_path / "gguf")
    assert path.read_bytes() == before


def test_special_tokens_have_their_kinds_and_roles():
    tokenizer = make_tokenizer("llama3")
    start, pad = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|pad|>"])
    found = read_vocabulary(tokenizer, len(tokenizer) + 2, [start, tokenizer.eos_token_id], "it")
    assert found.special == {"bos": 0, "padding": pad, "eos": tokenizer.eos_token_id, "eot": start}
    assert found.flags == {"add_bos_token": True, "add_eos_token": False}
    assert found.kinds[start] == CONTROL
    assert found.kinds[found.tokens.index("<think>")] == USER_DEFINED
    assert found.kinds[-1] == UNUSED
    assert len(set(found.tokens)) == len(found.tokens)


def test_a_chat_whose_template_writes_no_first_token_gets_none():
    tokenizer = make_tokenizer("llama3")
    tokenizer.chat_template = tokenizer.chat_template.removeprefix("{{ bos_token }}")
    found = read_vocabulary(tokenizer, len(tokenizer), [tokenizer.eos_token_id], "it")
    assert found.flags["add_bos_token"] is False
    assert any("without the first token" in remark for remark in found.remarks)


def test_names_that_llama_cpp_takes_for_another_model_are_changed(tmp_path):
    folder = make_family("llama", tmp_path / "model")
    drafted, _files, _tokenizer = draft(folder, "my-Phi-3-run")
    assert "phi-3" not in drafted.name.lower()
    assert drafted.name == "my-Phi 3-run"


REFUSED = {
    "an unknown family": ("llama", {"model_type": "olmo2"}, "GGUF files are written for llama, mistral"),
    "another activation": ("llama", {"hidden_act": "gelu"}, "its activation function is gelu"),
    "positions that grow": (
        "llama",
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
        "its positions are scaled by dynamic",
    ),
    "windows in another order": (
        "gemma2",
        {"layer_types": ["full_attention", "sliding_attention", "full_attention"]},
        "come in another order",
    ),
    "another scale": ("gemma2", {"query_pre_attn_scalar": 16}, "its attention is scaled by 16"),
    "uncapped logits": ("gemma2", {"final_logit_softcapping": None}, "its logits are not capped"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_llama_cpp_would_compute_differently_is_refused(why):
    kind, changed, told = REFUSED[why]
    from tests.core.exporting.tiny_families import SIZES

    values = {**SIZES, **FAMILIES[kind][1], **changed}
    config = AutoConfig.for_model(values.pop("model_type", kind), **values)
    with pytest.raises(ModelError, match=told) as caught:
        draft_file("it", config, make_tokenizer("llama3"), {}, [])
    assert "--to merged" in str(caught.value)


def test_a_way_to_split_text_that_llama_cpp_does_not_know_is_refused():
    from tokenizers import Regex, pre_tokenizers

    tokenizer = make_tokenizer("gpt2")
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\p{L}{1,5}|\P{L}"), "isolated"),
            pre_tokenizers.ByteLevel(use_regex=False, add_prefix_space=False),
        ]
    )
    with pytest.raises(ModelError, match="splits text in a way of its own"):
        read_vocabulary(tokenizer, len(tokenizer), [], "it")


def test_pieces_whose_merges_no_scores_give_are_refused():
    import json

    from tokenizers import Tokenizer

    tokenizer = make_tokenizer("pieces")
    told = json.loads(tokenizer.backend_tokenizer.to_str())
    last = next(number for number, merge in enumerate(told["model"]["merges"]) if len("".join(merge)) > 3)
    del told["model"]["merges"][last]
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(told))
    with pytest.raises(ModelError, match="do not list every pair"):
        read_vocabulary(tokenizer, len(tokenizer), [], "it")


def test_kinds_that_need_llama_cpp_are_refused_without_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    with pytest.raises(UsageError, match="llama-quantize, which is not on PATH"):
        require_quantize("q4_k_m")
    program = tmp_path / "build" / "bin" / "llama-quantize"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    os.chmod(program, 0o755)
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path))
    assert find_tool("llama-quantize") == str(program)


def test_a_classifier_is_refused_before_any_work(tmp_path):
    folder = make_family("qwen2", tmp_path / "model")
    origin = Origin("model", str(folder), str(folder), task="classification")
    with pytest.raises(ModelError, match="models that write text"):
        export_model(origin, ExportOptions("gguf", str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()
