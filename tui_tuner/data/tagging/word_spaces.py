"""Make a tokenizer keep the spaces between words that come as a list.

Byte-level tokenizers (GPT-2, RoBERTa, Llama 3, Qwen) write a space into the token after it. Words in a list
have none, so their tokens would be those of the middle of a word, unless the tokenizer puts a space before
each: `add_prefix_space`. The change is saved with the model, so that other programs need not know of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tui_tuner.locales import _


def keep_spaces(tokenizer: Any) -> list[str]:
    """Change a tokenizer that loses spaces; returns notes for the user. A second call changes nothing."""
    # Slow tokenizers get one word at a time, and put a space before it themselves.
    if not getattr(tokenizer, "is_fast", False) or not _loses_spaces(tokenizer):
        return []
    from tokenizers import Tokenizer

    backend = tokenizer.backend_tokenizer
    before = backend.to_str()
    for changed, option in _list_changes(json.loads(before)):
        _copy_steps(backend, Tokenizer.from_str(json.dumps(changed)))
        if not _loses_spaces(tokenizer):
            if option and hasattr(tokenizer, option):
                setattr(tokenizer, option, True)
                tokenizer.init_kwargs[option] = True
            return [
                _(
                    "The tokenizer now puts a space before each word of a list (add_prefix_space): without "
                    "it, it would read the words as parts of one word."
                )
            ]
        # This change did not help; the next one starts from the original again.
        _copy_steps(backend, Tokenizer.from_str(before))
    return []


def _copy_steps(backend: Any, other: Any) -> None:
    backend.normalizer = other.normalizer
    backend.pre_tokenizer = other.pre_tokenizer


def _loses_spaces(tokenizer: Any) -> bool:
    """Return whether the second word of a list becomes other tokens than the second word of a text."""
    first, both = ["a"], ["a", "b"]
    listed = [_tokenise_ids(tokenizer, words, is_split_into_words=True) for words in (first, both)]
    written = [_tokenise_ids(tokenizer, " ".join(words)) for words in (first, both)]
    return listed[1][len(listed[0]) :] != written[1][len(written[0]) :]


def _tokenise_ids(tokenizer: Any, words: Any, **options: Any) -> list[int]:
    return list(tokenizer(words, add_special_tokens=False, **options)["input_ids"])


def _list_changes(parts: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield possible changes, the simplest first: JSON of the tokenizers library, and the option's name."""
    before = parts.get("pre_tokenizer") or {}
    if before.get("type") == "ByteLevel":
        yield {**parts, "pre_tokenizer": {**before, "add_prefix_space": True}}, "add_prefix_space"
    if before.get("type") == "Metaspace":
        yield {**parts, "pre_tokenizer": {**before, "prepend_scheme": "always"}}, ""
    steps = [{"type": "Prepend", "prepend": " "}, *([parts["normalizer"]] if parts.get("normalizer") else [])]
    yield {**parts, "normalizer": {"type": "Sequence", "normalizers": steps}}, ""
