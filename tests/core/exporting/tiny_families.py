"""Tiny models of many families with tokenizers of their kinds, made on the spot, as folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.conftest import CHATML, chat_rows

LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN_SPLIT = LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")
SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
# Model type -> (splitting of its tokenizer, other values of its config)
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": (
        "llama3",
        {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 10000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        },
    ),
    "mistral": ("pieces", {"sliding_window": None, "head_dim": 32}),
    "qwen2": ("qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("qwen2", {"head_dim": 32}),
    "qwen3_moe": (
        "qwen2",
        {
            "head_dim": 32,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "norm_topk_prob": True,
        },
    ),
    "gemma": ("gemma", {"head_dim": 32}),
    "gemma2": ("gemma", {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 16}),
    "gemma3_text": (
        "gemma",
        {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 16, "num_hidden_layers": 7},
    ),
    "phi3": ("phi3", {"original_max_position_embeddings": 256, "sliding_window": None}),
    "gpt2": ("gpt2", {"n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 256}),
}


def make_family(kind: str, folder: Path, **changed: Any) -> Path:
    """Write a random model of a `model_type` with a tokenizer, whose answers differ from token to token."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    splitting, values = FAMILIES[kind]
    tokenizer = make_tokenizer(splitting)
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    sizes = SIZES if kind != "gpt2" else {}
    # more rows than tokens, as real models have
    config = AutoConfig.for_model(
        kind, **{**sizes, **values, "vocab_size": len(tokenizer) + 8, **ids, **changed}
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # norms and biases are ones and zeros at first, which no mistake about them would change
            spread = 0.05 if weight.ndim == 1 else 0.12
            weight.add_(torch.randn_like(weight), alpha=spread)
            assert weight.isfinite().all(), name
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_tokenizer(splitting: str) -> Any:
    """Return a small tokenizer that splits text as models of a kind do, with a chat template."""
    if splitting == "phi3":
        return _make_phi3()
    if splitting in ("pieces", "gemma"):
        return _make_pieces(splitting == "gemma")
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(ignore_merges=splitting == "llama3"))
    if splitting == "gpt2":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        pattern = {"llama3": LLAMA3_SPLIT, "qwen2": QWEN_SPLIT}[splitting]
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(pattern), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    if splitting == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<|begin|>", "<|pad|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_list_texts(), trainer)
    wrapped = _wrap(tokenizer, {"bos_token": "<|begin|>"} if splitting == "llama3" else {})
    wrapped.add_tokens(["<think>", "</think>"])
    return wrapped


def _wrap(tokenizer: Any, named: dict[str, str]) -> Any:
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    if "bos_token" in named:
        begin = named["bos_token"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A",
            pair=f"{begin} $A {begin} $B",
            special_tokens=[(begin, tokenizer.token_to_id(begin))],
        )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        clean_up_tokenization_spaces=False,
        **named,
    )
    wrapped.chat_template = ("{{ bos_token }}" if "bos_token" in named else "") + CHATML
    return wrapped


def _make_pieces(gemma: bool) -> Any:
    """Return a tokenizer as transformers makes it from a SentencePiece model: merges by scores of pieces."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers.tokenization_utils_base import generate_merges

    special = ["<unk>", "<|begin|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]
    pieces = _count_pieces()
    vocabulary = {token: number for number, token in enumerate(special)}
    for number in range(256):
        vocabulary[f"<0x{number:02X}>"] = len(vocabulary)
    for piece in pieces:
        vocabulary[piece] = len(vocabulary)
    scores = {token: -float(number) for token, number in vocabulary.items()}
    inside = {
        token: number for token, number in vocabulary.items() if token not in special and "<0x" not in token
    }
    merges = generate_merges(inside, {token: scores[token] for token in inside})
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    replace = normalizers.Replace(" ", "▁")
    if gemma:
        tokenizer.normalizer = replace
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        + ([] if gemma else [decoders.Strip(" ", 1, 0)])
    )
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    return _wrap(tokenizer, {"bos_token": "<|begin|>", "unk_token": "<unk>"})


def _make_phi3() -> Any:
    """Return a tokenizer that drops spaces after special tokens, as that of Phi-3 does."""
    from tokenizers import AddedToken

    tokenizer = _make_pieces(False)
    kept = ["<s>", "<|endoftext|>"]
    trimming = ["</s>", "<|begin|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]
    tokenizer.add_special_tokens(
        {
            "additional_special_tokens": [
                *(AddedToken(token, normalized=False, special=True) for token in kept),
                *(AddedToken(token, normalized=False, rstrip=True, special=True) for token in trimming),
            ]
        }
    )
    return tokenizer


def _count_pieces() -> list[str]:
    """Return parts of words, the most frequent first, as SentencePiece ranks them, and all letters."""
    from collections import Counter

    counts: Counter[str] = Counter()
    for text in _list_texts():
        for word in ("▁" + text.replace(" ", " ▁")).split(" "):
            counts.update(
                word[begin:end] for begin in range(len(word)) for end in range(begin + 2, begin + 7)
            )
    letters = sorted({letter for piece in counts for letter in piece})
    common = sorted((piece for piece in counts if len(piece) > 1), key=lambda piece: (-counts[piece], piece))
    return [*dict.fromkeys([*common[:200], *letters])]


def _list_texts() -> list[str]:
    texts = [message["content"] for row in chat_rows() for message in row["messages"]]
    return [*texts, "user\nassistant\nsystem\n", "1234567890 isn't it? Ünïcödé"]
