"""Shapes from config.json, against the models that transformers builds from the same config."""

from __future__ import annotations

import json

import pytest

from tui_tuner.config.schema import ModelSection
from tui_tuner.errors import ModelError
from tui_tuner.models.facts import load_facts, read_config_facts
from tui_tuner.models.lookup import count_elements
from tui_tuner.models.weights_check import check_weights_match_config

SMALL = {
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 256,
    "vocab_size": 1000,
    "pad_token_id": 0,
}
LATENT = {
    **SMALL,
    "num_key_value_heads": 4,
    "n_routed_experts": 8,
    "moe_intermediate_size": 64,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
    "kv_lora_rank": 32,
    "q_lora_rank": 48,
    "qk_rope_head_dim": 16,
    "qk_nope_head_dim": 32,
    "v_head_dim": 32,
}
KINDS = (
    *("llama", "mistral", "mixtral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "gemma", "gemma2"),
    *("gemma3_text", "phi3", "phi", "stablelm", "olmo", "olmo2", "olmoe", "granite", "granitemoe"),
    *("cohere", "starcoder2", "smollm3"),
)
T5 = {
    **{"vocab_size": 500, "d_model": 64, "d_kv": 24, "d_ff": 100, "num_heads": 4},
    **{"num_layers": 3, "num_decoder_layers": 2},
}
BART = {
    **{"vocab_size": 500, "d_model": 64, "encoder_layers": 3, "encoder_attention_heads": 4},
    **{"encoder_ffn_dim": 100, "decoder_layers": 2, "decoder_attention_heads": 8, "decoder_ffn_dim": 120},
    **{"max_position_embeddings": 77, "pad_token_id": 0},
}
STACKED = ("bart", "mbart", "pegasus", "marian", "m2m_100", "blenderbot", "blenderbot-small", "plbart")
CONFIGS = {kind: SMALL for kind in KINDS} | {
    "deepseek_v3": LATENT,
    "gpt2": {"n_embd": 128, "n_layer": 3, "n_head": 4, "vocab_size": 1000, "n_positions": 64},
    "gpt_neox": {key: value for key, value in SMALL.items() if key != "num_key_value_heads"},
    "opt": {
        **{key: value for key, value in SMALL.items() if key != "num_key_value_heads"},
        "ffn_dim": 256,
        "word_embed_proj_dim": 128,
    },
    "bert": SMALL,
    "roberta": SMALL,
    "albert": {**SMALL, "embedding_size": 24},
    "electra": {**SMALL, "embedding_size": 24},
    "mpnet": SMALL,
    "deberta-v2": {**SMALL, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "distilbert": {"dim": 128, "n_layers": 3, "n_heads": 4, "hidden_dim": 256, "vocab_size": 1000},
    "modernbert": {
        **SMALL,
        "eos_token_id": 1,
        "bos_token_id": 1,
        "cls_token_id": 1,
        "sep_token_id": 1,
    },
    **{kind: T5 for kind in ("t5", "mt5", "umt5")},
    **{kind: BART for kind in STACKED},
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_parameters_are_those_of_the_real_model(kind):
    torch = pytest.importorskip("torch")
    import transformers
    from transformers import CONFIG_MAPPING

    config = CONFIG_MAPPING[kind](**CONFIGS[kind])
    facts = read_config_facts(json.loads(config.to_json_string(use_diff=False)))
    writer = "Seq2SeqLM" if facts.source else "MaskedLM" if facts.encoder else "CausalLM"
    with torch.device("meta"):
        model = getattr(transformers, f"AutoModelFor{writer}").from_config(config)
    assert facts.parameters == sum(parameter.numel() for parameter in model.parameters())


PUBLISHED = {  # parameters that the hub counts
    60_506_624: {"model_type": "t5"},
    76_961_152: {
        **{"model_type": "t5", "d_ff": 1024, "num_layers": 8, "num_heads": 6, "vocab_size": 32128},
        **{"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    },
    300_176_768: {"model_type": "mt5", "tie_word_embeddings": False},
    406_291_456: {"model_type": "bart"},
}


@pytest.mark.parametrize("count", PUBLISHED)
def test_encoder_decoders_have_the_size_that_is_published(count):
    facts = read_config_facts(PUBLISHED[count])
    assert facts.parameters == count
    assert facts.source.layers == facts.layers and not facts.source.vocab


FEW = {**SMALL, "num_experts_per_tok": 1}
OTHERWISE = (
    *((kind, {**FEW, "num_experts": 6}) for kind in ("mixtral", "qwen2_moe", "qwen3_moe", "olmoe")),
    *((kind, {**FEW, "num_local_experts": 6}) for kind in ("mixtral", "qwen3_moe", "olmoe", "granitemoe")),
    ("mixtral", {**FEW, "num_experts": 1}),
    ("mixtral", {**FEW, "num_experts": 4, "num_local_experts": 8}),
    ("qwen3_moe", {**FEW, "num_experts": 4, "num_local_experts": 8}),
    ("qwen3_moe", {**FEW, "num_experts": 1}),
    ("qwen3_moe", {**FEW, "num_experts": 6, "decoder_sparse_step": 2}),
    ("qwen2_moe", {**FEW, "num_experts": 6, "mlp_only_layers": [0, 2, 7]}),
    ("deepseek_v2", {**LATENT, "num_experts": 4}),
    ("deepseek_v3", {**LATENT, "num_local_experts": 4}),
    ("deepseek_v3", {**LATENT, "first_k_dense_replace": 9}),
    *(("gpt2", {**CONFIGS["gpt2"], **more}) for more in ({"hidden_size": 64}, {"num_hidden_layers": 5})),
    ("distilbert", {**CONFIGS["distilbert"], "num_hidden_layers": 5}),
    *((kind, SMALL) for kind in ("qwen2_moe", "qwen3_moe", "olmoe", "granitemoe", "smollm3")),
    *((kind, {**SMALL, "num_key_value_heads": 4}) for kind in ("deepseek_v2", "deepseek_v3")),
)


@pytest.mark.parametrize(("kind", "values"), OTHERWISE)
def test_other_names_left_out_values_and_layers_without_experts(kind, values):
    torch = pytest.importorskip("torch")
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForMaskedLM

    config = CONFIG_MAPPING[kind](**values)
    with torch.device("meta"):
        auto = AutoModelForMaskedLM if kind == "distilbert" else AutoModelForCausalLM
        real = sum(parameter.numel() for parameter in auto.from_config(config).parameters())
    written = read_config_facts({**values, "model_type": kind})
    assert written.parameters == real
    assert read_config_facts(json.loads(config.to_json_string())).parameters == real
    assert written.experts_per_token == (getattr(config, "num_experts_per_tok", 0) or 2 * written.has_experts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": None}, "model_type"),
        ({"hidden_size": None}, "hidden_size"),
        ({"hidden_size": -5}, "hidden_size"),
        ({"hidden_size": "big"}, "not a whole number"),
        ({"hidden_size": 10**12}, "not a plausible size"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"num_hidden_layers": True}, "not a whole number"),
        ({"num_key_value_heads": 3}, "not a multiple"),
        ({"hidden_size": 130}, "not a multiple"),
        ({"vocab_size": 1.5}, "vocab_size"),
    ],
)
def test_absurd_configs_are_named(change, message):
    values = {**SMALL, "model_type": "llama", **change}
    with pytest.raises(ModelError, match=message):
        read_config_facts({key: value for key, value in values.items() if value is not None})


def test_a_folder_with_nothing_but_config_json(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**SMALL, "model_type": "llama"}))
    facts = load_facts(ModelSection(name=str(tmp_path)), network=False)
    assert facts.hidden == 128 and facts.verified


@pytest.mark.parametrize("content", ["", "[]", "{", '"text"', "\xff\xfe"])
def test_damaged_config_files(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ModelError, match=r"config\.json"):
        load_facts(ModelSection(name=str(tmp_path)), network=False)


def test_weights_that_are_not_the_config_are_noticed(tmp_path):
    import numpy as np
    from safetensors.numpy import save_file

    (tmp_path / "config.json").write_text(json.dumps({**SMALL, "model_type": "llama"}))
    save_file({"a": np.zeros((10, 10), np.float32)}, tmp_path / "model.safetensors")
    assert count_elements(tmp_path) == 100
    facts = load_facts(ModelSection(name=str(tmp_path)), network=False)
    assert not facts.verified and "100" in facts.why_unverified
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ModelError, match="damaged"):
        load_facts(ModelSection(name=str(tmp_path)), network=False)


def test_a_mixture_that_is_not_stored_is_refused(tmp_path):
    import numpy as np
    from safetensors.numpy import save_file

    (tmp_path / "config.json").write_text(
        json.dumps({**SMALL, "model_type": "qwen3_moe", "num_local_experts": 4})
    )
    model = ModelSection(name=str(tmp_path))
    described = load_facts(model, network=False).parameters
    save_file({"a": np.zeros(described // 2, np.float32)}, tmp_path / "model.safetensors")
    check_weights_match_config(model)
    save_file({"a": np.zeros(described // 5, np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=f"{described:,} parameters"):
        check_weights_match_config(model)


def test_a_multimodal_config_counts_its_language_part():
    text = {**SMALL, "model_type": "gemma3_text", "head_dim": 32}
    facts = read_config_facts({"model_type": "gemma3", "text_config": text, "vision_config": {}})
    assert facts.model_type == "gemma3_text" and not facts.verified
