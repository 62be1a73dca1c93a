"""Small tokenizers of the public kinds, trained on the spot; each caller has one of its own to change."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

TEXT = [
    "The quick brown fox jumps over the lazy dog. user assistant system model [INST] [/INST] <<SYS>>",
    "Hello there, how are you today? I am fine.\n\nThank you very much! 1 2 3 4 5 6 7 8 9 0",
    "这款连衣裙，简约的纯色半高领针织上衣。 Ünïcödé naïve café 😀 final channel",
] * 4


def byte_level(specials: tuple[str, ...], bos: str | None, eos: str, trim: bool = False) -> Any:
    """GPT-2's kind, as Llama-3 and Qwen; `trim` leaves white space out of the offsets."""
    return copy.deepcopy(_byte_level(specials, bos, eos, trim))


def sentence_piece(specials: tuple[str, ...], bos: str | None, eos: str) -> Any:
    """Llama-2's kind: BPE on characters with ▁ for spaces, one put in front, bytes as a fallback."""
    return copy.deepcopy(_sentence_piece(specials, bos, eos))


@cache
def _byte_level(specials: tuple[str, ...], bos: str | None, eos: str, trim: bool) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=list(specials), initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(TEXT, trainer)
    inner.post_processor = processors.ByteLevel(trim_offsets=trim)
    return _wrapped(inner, bos, eos)


@cache
def _sentence_piece(specials: tuple[str, ...], bos: str | None, eos: str) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers

    inner = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    inner.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1, right=0),
        ]
    )
    named = list(dict.fromkeys(["<unk>", *specials, *(f"<0x{byte:02X}>" for byte in range(256))]))
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=named, show_progress=False)
    inner.train_from_iterator(TEXT, trainer)
    if bos:
        inner.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, inner.token_to_id(bos))]
        )
    return _wrapped(inner, bos, eos)


def _wrapped(inner: Any, bos: str | None, eos: str) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=bos, eos_token=eos, clean_up_tokenization_spaces=False
    )
