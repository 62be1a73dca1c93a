"""Makes a tokenizer keep the spaces between words that it is given one by one.

Byte-level tokenizers (GPT-2, RoBERTa, Llama 3, Qwen) write a space into the token after it. Words that come
as a list have none, so their tokens would be those of the middle of a word, unless the tokenizer puts one
before each: what the field calls `add_prefix_space`. The change is saved with the model, so that whoever loads
the two needs to know nothing of it.
"""

from __future__ import annotations

import json
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
    for changed in _changes(json.loads(backend.to_str())):
        other = Tokenizer.from_str(json.dumps(changed))
        kept = backend.normalizer, backend.pre_tokenizer
        if other.normalizer is not None:
            backend.normalizer = other.normalizer
        backend.pre_tokenizer = other.pre_tokenizer
        if not _loses_spaces(tokenizer):
            if hasattr(tokenizer, "add_prefix_space"):
                tokenizer.add_prefix_space = True
            tokenizer.init_kwargs["add_prefix_space"] = True
            return [
                _(
                    "The tokenizer puts a space before each word of a list from now on (add_prefix_space): "
                    "without it, it reads words as parts of one."
                )
            ]
        if kept[0] is not None:
            backend.normalizer = kept[0]
        backend.pre_tokenizer = kept[1]
    return []


def _loses_spaces(tokenizer: Any) -> bool:
    """Whether a second word becomes what it would be in the middle of one, though the text has it otherwise."""
    words = ["a", "b", "a", "b"]
    apart = tokenizer(words, is_split_into_words=True, add_special_tokens=False)["input_ids"]
    text = tokenizer(" ".join(words), add_special_tokens=False)["input_ids"]
    glued = tokenizer("".join(words), add_special_tokens=False)["input_ids"]
    each = [tokenizer([word], is_split_into_words=True, add_special_tokens=False)["input_ids"] for word in "ab"]
    return list(apart) != list(text) and len(text) >= len(apart) and text[1:] != apart[1:] and glued != text and (
        list(apart) == [*each[0], *each[1]] * 2
    ) and list(text[-len(each[1]) :]) != list(each[1])


def _changes(parts: dict[str, Any]) -> list[dict[str, Any]]:
    """What may be changed, the plainest first: JSON of the tokenizers library."""
    found = []
    before = parts.get("pre_tokenizer") or {}
    if before.get("type") == "ByteLevel":
        found.append({**parts, "pre_tokenizer": {**before, "add_prefix_space": True}})
    if before.get("type") == "Metaspace":
        found.append({**parts, "pre_tokenizer": {**before, "prepend_scheme": "always"}})
    normalizer = parts.get("normalizer")
    prepend = {"type": "Prepend", "prepend": " "}
    inner = [] if normalizer is None else [normalizer]
    found.append({**parts, "normalizer": {"type": "Sequence", "normalizers": [prepend, *inner]}})
    return found
