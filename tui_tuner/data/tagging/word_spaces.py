"""Makes a tokenizer keep the spaces between words that it is given one by one.

Byte-level tokenizers (GPT-2, RoBERTa, Llama 3, Qwen) write a space into the token after it. Words that come
as a list have none, so their tokens would be those of the middle of a word, unless the tokenizer puts one
before each: what the field calls `add_prefix_space`. The change is saved with the model, so that whoever
loads the two needs to know nothing of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tui_tuner.locales import _


def keep_spaces(tokenizer: Any) -> list[str]:
    """Change a tokenizer that loses them; what was done, in words. A second time changes nothing.

    Slow tokenizers are asked word by word, and put a space before each themselves.
    """
    if not getattr(tokenizer, "is_fast", False) or not _loses_spaces(tokenizer):
        return []
    from tokenizers import Tokenizer

    backend = tokenizer.backend_tokenizer
    before = backend.to_str()
    for changed, option in _changes(json.loads(before)):
        _take_over(backend, Tokenizer.from_str(json.dumps(changed)))
        if not _loses_spaces(tokenizer):
            if option and hasattr(tokenizer, option):
                setattr(tokenizer, option, True)
                tokenizer.init_kwargs[option] = True
            return [
                _(
                    "The tokenizer puts a space before each word of a list from now on (add_prefix_space): "
                    "without it, it reads words as parts of one."
                )
            ]
        _take_over(backend, Tokenizer.from_str(before))
    return []


def _take_over(backend: Any, other: Any) -> None:
    backend.normalizer = other.normalizer
    backend.pre_tokenizer = other.pre_tokenizer


def _loses_spaces(tokenizer: Any) -> bool:
    """Whether the second word of a list becomes other tokens than the second word of a text."""
    first, both = ["a"], ["a", "b"]
    listed = [_ids(tokenizer, words, is_split_into_words=True) for words in (first, both)]
    written = [_ids(tokenizer, " ".join(words)) for words in (first, both)]
    return listed[1][len(listed[0]) :] != written[1][len(written[0]) :]


def _ids(tokenizer: Any, words: Any, **options: Any) -> list[int]:
    return list(tokenizer(words, add_special_tokens=False, **options)["input_ids"])


def _changes(parts: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """What may be changed, the plainest first: JSON of the tokenizers library, and what a class calls it."""
    before = parts.get("pre_tokenizer") or {}
    if before.get("type") == "ByteLevel":
        yield {**parts, "pre_tokenizer": {**before, "add_prefix_space": True}}, "add_prefix_space"
    if before.get("type") == "Metaspace":
        yield {**parts, "pre_tokenizer": {**before, "prepend_scheme": "always"}}, ""
    steps = [{"type": "Prepend", "prepend": " "}, *([parts["normalizer"]] if parts.get("normalizer") else [])]
    yield {**parts, "normalizer": {"type": "Sequence", "normalizers": steps}}, ""
