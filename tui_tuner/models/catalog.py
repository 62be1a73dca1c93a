"""Shapes of common models, so that plans need neither network nor weights.

The values are those of each model's published config.json. `parameters`, where it is there, is the published
number of weights: a test holds the shapes to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tui_tuner.models.catalog_more import MORE


@dataclass(frozen=True)
class Entry:
    """A model of the catalogue: its config values, its published size and the hub ids that share them."""

    config: dict[str, Any]
    ids: tuple[str, ...]
    parameters: int | None = None


@dataclass(frozen=True)
class _ModelShape:
    kind: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int
    vocab: int
    tied: bool = False
    positions: int = 4096
    more: dict[str, Any] = field(default_factory=dict)

    def build_config(self) -> dict[str, Any]:
        return {
            "model_type": self.kind,
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "intermediate_size": self.ffn,
            "vocab_size": self.vocab,
            "tie_word_embeddings": self.tied,
            "max_position_embeddings": self.positions,
            **self.more,
        }


_QWEN3 = {"head_dim": 128}
_MOE3 = {"head_dim": 128, "num_experts": 128, "num_experts_per_tok": 8}
_GRANITE = {"attention_bias": False, "mlp_bias": False}

# Positional, unlike other tables here: a row then reads like the table in a model's paper, and a
# wrong order fails the test against `parameters`.
# kind, hidden, layers, heads, kv heads, ffn, vocabulary, tied, positions, more | hub ids | parameters
_MODELS: tuple[tuple[_ModelShape, str, int | None], ...] = (
    (
        _ModelShape("llama", 4096, 32, 32, 32, 11008, 32000),
        "meta-llama/Llama-2-7b-hf meta-llama/Llama-2-7b-chat-hf",
        6_738_415_616,
    ),
    (
        _ModelShape("llama", 5120, 40, 40, 40, 13824, 32000),
        "meta-llama/Llama-2-13b-hf meta-llama/Llama-2-13b-chat-hf",
        13_015_864_320,
    ),
    (
        _ModelShape("llama", 8192, 80, 64, 8, 28672, 32000),
        "meta-llama/Llama-2-70b-hf meta-llama/Llama-2-70b-chat-hf",
        68_976_648_192,
    ),
    (
        _ModelShape("llama", 4096, 32, 32, 8, 14336, 128256, False, 131072),
        "meta-llama/Meta-Llama-3-8B meta-llama/Meta-Llama-3-8B-Instruct meta-llama/Llama-3.1-8B "
        "meta-llama/Llama-3.1-8B-Instruct deepseek-ai/DeepSeek-R1-Distill-Llama-8B",
        8_030_261_248,
    ),
    (
        _ModelShape("llama", 8192, 80, 64, 8, 28672, 128256, False, 131072),
        "meta-llama/Meta-Llama-3-70B meta-llama/Llama-3.1-70B meta-llama/Llama-3.1-70B-Instruct "
        "meta-llama/Llama-3.3-70B-Instruct deepseek-ai/DeepSeek-R1-Distill-Llama-70B",
        70_553_706_496,
    ),
    (
        _ModelShape("llama", 16384, 126, 128, 8, 53248, 128256, False, 131072),
        "meta-llama/Llama-3.1-405B meta-llama/Llama-3.1-405B-Instruct",
        405_853_388_800,
    ),
    (
        _ModelShape("llama", 2048, 16, 32, 8, 8192, 128256, True, 131072, {"head_dim": 64}),
        "meta-llama/Llama-3.2-1B meta-llama/Llama-3.2-1B-Instruct",
        1_235_814_400,
    ),
    (
        _ModelShape("llama", 3072, 28, 24, 8, 8192, 128256, True, 131072, {"head_dim": 128}),
        "meta-llama/Llama-3.2-3B meta-llama/Llama-3.2-3B-Instruct",
        3_212_749_824,
    ),
    (
        _ModelShape("llama", 2048, 22, 32, 4, 5632, 32000, False, 2048),
        "TinyLlama/TinyLlama-1.1B-Chat-v1.0 TinyLlama/TinyLlama_v1.1",
        1_100_048_384,
    ),
    (
        _ModelShape("llama", 576, 30, 9, 3, 1536, 49152, True, 8192),
        "HuggingFaceTB/SmolLM2-135M HuggingFaceTB/SmolLM2-135M-Instruct",
        134_515_008,
    ),
    (
        _ModelShape("llama", 960, 32, 15, 5, 2560, 49152, True, 8192),
        "HuggingFaceTB/SmolLM2-360M HuggingFaceTB/SmolLM2-360M-Instruct",
        361_821_120,
    ),
    (
        _ModelShape("llama", 2048, 24, 32, 32, 8192, 49152, True, 8192),
        "HuggingFaceTB/SmolLM2-1.7B HuggingFaceTB/SmolLM2-1.7B-Instruct",
        1_711_376_384,
    ),
    (
        _ModelShape("smollm3", 2048, 36, 16, 4, 11008, 128256, True, 65536),
        "HuggingFaceTB/SmolLM3-3B HuggingFaceTB/SmolLM3-3B-Base",
        3_075_098_624,
    ),
    (
        _ModelShape("mistral", 4096, 32, 32, 8, 14336, 32000, False, 32768),
        "mistralai/Mistral-7B-v0.1 mistralai/Mistral-7B-Instruct-v0.1 mistralai/Mistral-7B-Instruct-v0.2",
        7_241_732_096,
    ),
    (
        _ModelShape("mistral", 4096, 32, 32, 8, 14336, 32768, False, 32768),
        "mistralai/Mistral-7B-v0.3 mistralai/Mistral-7B-Instruct-v0.3",
        7_248_023_552,
    ),
    (
        _ModelShape("mistral", 5120, 40, 32, 8, 14336, 131072, False, 131072, {"head_dim": 128}),
        "mistralai/Mistral-Nemo-Base-2407 mistralai/Mistral-Nemo-Instruct-2407",
        12_247_782_400,
    ),
    (
        _ModelShape("mixtral", 4096, 32, 32, 8, 14336, 32000, False, 32768, {"num_local_experts": 8}),
        "mistralai/Mixtral-8x7B-v0.1 mistralai/Mixtral-8x7B-Instruct-v0.1",
        46_702_792_704,
    ),
    (
        _ModelShape("mixtral", 6144, 56, 48, 8, 16384, 32768, False, 65536, {"num_local_experts": 8}),
        "mistralai/Mixtral-8x22B-v0.1 mistralai/Mixtral-8x22B-Instruct-v0.1",
        None,
    ),
    (
        _ModelShape("qwen2", 896, 24, 14, 2, 4864, 151936, True, 32768),
        "Qwen/Qwen2.5-0.5B Qwen/Qwen2.5-0.5B-Instruct Qwen/Qwen2-0.5B Qwen/Qwen2-0.5B-Instruct",
        494_032_768,
    ),
    (
        _ModelShape("qwen2", 1536, 28, 12, 2, 8960, 151936, True, 32768),
        "Qwen/Qwen2.5-1.5B Qwen/Qwen2.5-1.5B-Instruct Qwen/Qwen2-1.5B Qwen/Qwen2-1.5B-Instruct",
        1_543_714_304,
    ),
    (
        _ModelShape("qwen2", 2048, 36, 16, 2, 11008, 151936, True, 32768),
        "Qwen/Qwen2.5-3B Qwen/Qwen2.5-3B-Instruct",
        3_085_938_688,
    ),
    (
        _ModelShape("qwen2", 3584, 28, 28, 4, 18944, 152064, False, 131072),
        "Qwen/Qwen2.5-7B Qwen/Qwen2.5-7B-Instruct Qwen/Qwen2-7B Qwen/Qwen2-7B-Instruct "
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
        7_615_616_512,
    ),
    (
        _ModelShape("qwen2", 5120, 48, 40, 8, 13824, 152064, False, 131072),
        "Qwen/Qwen2.5-14B Qwen/Qwen2.5-14B-Instruct deepseek-ai/DeepSeek-R1-Distill-Qwen-14B",
        14_770_033_664,
    ),
    (
        _ModelShape("qwen2", 5120, 64, 40, 8, 27648, 152064, False, 131072),
        "Qwen/Qwen2.5-32B Qwen/Qwen2.5-32B-Instruct deepseek-ai/DeepSeek-R1-Distill-Qwen-32B",
        32_763_876_352,
    ),
    (
        _ModelShape("qwen2", 8192, 80, 64, 8, 29568, 152064, False, 131072),
        "Qwen/Qwen2.5-72B Qwen/Qwen2.5-72B-Instruct",
        72_706_203_648,
    ),
    (
        _ModelShape("qwen3", 1024, 28, 16, 8, 3072, 151936, True, 40960, _QWEN3),
        "Qwen/Qwen3-0.6B Qwen/Qwen3-0.6B-Base",
        596_049_920,
    ),
    (
        _ModelShape("qwen3", 2048, 28, 16, 8, 6144, 151936, True, 40960, _QWEN3),
        "Qwen/Qwen3-1.7B Qwen/Qwen3-1.7B-Base",
        1_720_574_976,
    ),
    (
        _ModelShape("qwen3", 2560, 36, 32, 8, 9728, 151936, True, 40960, _QWEN3),
        "Qwen/Qwen3-4B Qwen/Qwen3-4B-Base",
        4_022_468_096,
    ),
    (
        _ModelShape("qwen3", 4096, 36, 32, 8, 12288, 151936, False, 40960, _QWEN3),
        "Qwen/Qwen3-8B Qwen/Qwen3-8B-Base",
        8_190_735_360,
    ),
    (
        _ModelShape("qwen3", 5120, 40, 40, 8, 17408, 151936, False, 40960, _QWEN3),
        "Qwen/Qwen3-14B Qwen/Qwen3-14B-Base",
        14_768_307_200,
    ),
    (
        _ModelShape("qwen3", 5120, 64, 64, 8, 25600, 151936, False, 40960, _QWEN3),
        "Qwen/Qwen3-32B",
        32_762_123_264,
    ),
    (
        _ModelShape(
            "qwen3_moe", 2048, 48, 32, 4, 6144, 151936, False, 40960, {**_MOE3, "moe_intermediate_size": 768}
        ),
        "Qwen/Qwen3-30B-A3B Qwen/Qwen3-30B-A3B-Base",
        30_532_122_624,
    ),
    (
        _ModelShape(
            "qwen3_moe",
            4096,
            94,
            64,
            4,
            12288,
            151936,
            False,
            40960,
            {**_MOE3, "moe_intermediate_size": 1536},
        ),
        "Qwen/Qwen3-235B-A22B",
        235_093_634_560,
    ),
    (
        _ModelShape("gemma", 2048, 18, 8, 1, 16384, 256000, True, 8192, {"head_dim": 256}),
        "google/gemma-2b google/gemma-2b-it",
        2_506_172_416,
    ),
    (
        _ModelShape("gemma", 3072, 28, 16, 16, 24576, 256000, True, 8192, {"head_dim": 256}),
        "google/gemma-7b google/gemma-7b-it",
        8_537_680_896,
    ),
    (
        _ModelShape("gemma2", 2304, 26, 8, 4, 9216, 256000, True, 8192, {"head_dim": 256}),
        "google/gemma-2-2b google/gemma-2-2b-it",
        2_614_341_888,
    ),
    (
        _ModelShape("gemma2", 3584, 42, 16, 8, 14336, 256000, True, 8192, {"head_dim": 256}),
        "google/gemma-2-9b google/gemma-2-9b-it",
        9_241_705_984,
    ),
    (
        _ModelShape("gemma2", 4608, 46, 32, 16, 36864, 256000, True, 8192, {"head_dim": 128}),
        "google/gemma-2-27b google/gemma-2-27b-it",
        27_227_128_320,
    ),
    (
        _ModelShape("gemma3_text", 1152, 26, 4, 1, 6912, 262144, True, 32768, {"head_dim": 256}),
        "google/gemma-3-1b-pt google/gemma-3-1b-it",
        999_885_952,
    ),
    (
        _ModelShape("gemma3_text", 640, 18, 4, 1, 2048, 262144, True, 32768, {"head_dim": 256}),
        "google/gemma-3-270m google/gemma-3-270m-it",
        268_098_176,
    ),
    (
        _ModelShape("phi", 2048, 24, 32, 32, 8192, 51200, False, 2048),
        "microsoft/phi-1_5",
        1_418_270_720,
    ),
    (
        _ModelShape("phi", 2560, 32, 32, 32, 10240, 51200, False, 2048),
        "microsoft/phi-2",
        2_779_683_840,
    ),
    (
        _ModelShape("phi3", 3072, 32, 32, 32, 8192, 32064, False, 4096),
        "microsoft/Phi-3-mini-4k-instruct microsoft/Phi-3.5-mini-instruct microsoft/Phi-3-mini-128k-instruct",
        3_821_079_552,
    ),
    (
        _ModelShape("phi3", 5120, 40, 40, 10, 17920, 100352, False, 16384),
        "microsoft/phi-4",
        14_659_507_200,
    ),
    (
        _ModelShape("phi3", 3072, 32, 24, 8, 8192, 200064, True, 131072),
        "microsoft/Phi-4-mini-instruct",
        3_836_021_760,
    ),
    (
        _ModelShape("olmo2", 4096, 32, 32, 32, 11008, 100352, False, 4096),
        "allenai/OLMo-2-1124-7B allenai/OLMo-2-1124-7B-Instruct",
        7_298_617_344,
    ),
    (
        _ModelShape("olmo2", 2048, 16, 16, 16, 8192, 100352, False, 4096),
        "allenai/OLMo-2-0425-1B allenai/OLMo-2-0425-1B-Instruct",
        1_484_916_736,
    ),
    (
        _ModelShape("granite", 2304, 40, 36, 36, 9216, 49152, True, 4096, _GRANITE),
        "ibm/PowerLM-3b ibm-research/PowerLM-3b",
        3_510_819_072,
    ),
    (
        _ModelShape("granite", 2048, 40, 32, 8, 8192, 49155, True, 131072, _GRANITE),
        "ibm-granite/granite-3.1-2b-base ibm-granite/granite-3.1-2b-instruct "
        "ibm-granite/granite-3.2-2b-instruct",
        2_533_531_648,
    ),
    (
        _ModelShape("granite", 4096, 40, 32, 8, 12800, 49155, True, 131072, _GRANITE),
        "ibm-granite/granite-3.1-8b-base ibm-granite/granite-3.1-8b-instruct "
        "ibm-granite/granite-3.2-8b-instruct",
        8_170_848_256,
    ),
    (
        _ModelShape("gpt_neox", 2560, 32, 32, 32, 10240, 50304, False, 2048, {}),
        "EleutherAI/pythia-2.8b",
        2_775_208_960,
    ),
    (
        _ModelShape("gpt_neox", 768, 12, 12, 12, 3072, 50304, False, 2048, {}),
        "EleutherAI/pythia-160m",
        162_322_944,
    ),
)

_LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}

_OTHERS: tuple[tuple[dict[str, Any], str, int | None], ...] = (
    (
        # The families below do not use the names of `_ModelShape.build_config`; what is left out of an entry
        # has the default of its configuration class, as in the published file.
        {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257},
        "gpt2 openai-community/gpt2",
        124_439_808,
    ),
    (
        {"model_type": "gpt2", "n_embd": 1024, "n_layer": 24, "n_head": 16, "vocab_size": 50257},
        "gpt2-medium openai-community/gpt2-medium",
        354_823_168,
    ),
    (
        {"model_type": "gpt2", "n_embd": 1280, "n_layer": 36, "n_head": 20, "vocab_size": 50257},
        "gpt2-large openai-community/gpt2-large",
        774_030_080,
    ),
    (
        {"model_type": "gpt2", "n_embd": 1600, "n_layer": 48, "n_head": 25, "vocab_size": 50257},
        "gpt2-xl openai-community/gpt2-xl",
        1_557_611_200,
    ),
    (
        {"model_type": "gpt2", "n_embd": 768, "n_layer": 6, "n_head": 12},
        "distilgpt2 distilbert/distilgpt2",
        None,
    ),
    ({"model_type": "bert"}, "bert-base-uncased google-bert/bert-base-uncased", None),
    (
        {"model_type": "bert", "vocab_size": 28996},
        "bert-base-cased google-bert/bert-base-cased",
        None,
    ),
    (
        {"model_type": "bert", **_LARGE},
        "bert-large-uncased google-bert/bert-large-uncased",
        None,
    ),
    (
        {"model_type": "roberta", "max_position_embeddings": 514, "type_vocab_size": 1},
        "roberta-base FacebookAI/roberta-base",
        None,
    ),
    (
        {"model_type": "roberta", **_LARGE, "max_position_embeddings": 514, "type_vocab_size": 1},
        "roberta-large FacebookAI/roberta-large",
        None,
    ),
    ({"model_type": "distilbert"}, "distilbert-base-uncased distilbert/distilbert-base-uncased", None),
    (
        {"model_type": "bert", "vocab_size": 119547},
        "bert-base-multilingual-cased google-bert/bert-base-multilingual-cased",
        None,
    ),
    (
        {"model_type": "distilbert", "vocab_size": 119547},
        "distilbert-base-multilingual-cased distilbert/distilbert-base-multilingual-cased",
        None,
    ),
    (
        {"model_type": "xlm-roberta", "max_position_embeddings": 514, "type_vocab_size": 1},
        "xlm-roberta-base FacebookAI/xlm-roberta-base",
        None,
    ),
    (
        {"model_type": "xlm-roberta", **_LARGE, "max_position_embeddings": 514, "type_vocab_size": 1},
        "xlm-roberta-large FacebookAI/xlm-roberta-large",
        None,
    ),
)


def list_catalog_entries() -> list[Entry]:
    """Return every model of the catalogue, those that share a shape as one entry."""
    shaped = [Entry(shape.build_config(), tuple(ids.split()), count) for shape, ids, count in _MODELS]
    others = (*_OTHERS, *MORE)
    return shaped + [Entry(dict(config), tuple(ids.split()), count) for config, ids, count in others]


_BY_ID: dict[str, dict[str, Any]] = {}


def find_catalog_config(name: str) -> dict[str, Any] | None:
    """Return the config values of a hub id (case does not matter), or None if it is not in the catalogue."""
    # Filled on first use, as most commands never look a model up.
    if not _BY_ID:
        for entry in list_catalog_entries():
            _BY_ID.update(dict.fromkeys((known.lower() for known in entry.ids), entry.config))
    return _BY_ID.get(name.strip().lower())


def list_catalog_names() -> list[str]:
    """Return all hub ids of the catalogue, in its order."""
    return [known for entry in list_catalog_entries() for known in entry.ids]
