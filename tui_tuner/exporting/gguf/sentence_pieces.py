"""Vocabularies of pieces that llama.cpp merges by score, from a `tokenizer.json` that lists merges by rank.

llama.cpp joins the neighbours whose joint token has the best score, whichever pair makes it; `tokenizer.json`
ranks pairs. Both give the same tokens if all pairs that make a token have ranks next to each other, and every
pair of tokens that make one is listed. Files made from a SentencePiece model are so; it is checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tui_tuner.exporting.gguf.pre_tokenizers import refuse_tokenizer
from tui_tuner.locales import _

_SPACE = "▁"


def read_space_prefix(described: Any, where: str) -> tuple[bool, bool]:
    """Return (whether a space is put before a text, whether llama.cpp does that everywhere it is done).

    Raises:
        ModelError: it changes or splits text in another way.
    """
    steps = _list_steps(described.get("normalizer"), "normalizers")
    steps += _list_steps(described.get("pre_tokenizer"), "pretokenizers")
    kinds = [step["type"] for step in steps]
    if kinds == ["Metaspace"] and steps[0].get("replacement") == _SPACE:
        scheme = steps[0].get("prepend_scheme", "always")
        # llama.cpp also sets a space after each special token, and "first" only at the beginning
        return scheme == "always", scheme != "first"
    replaces = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    splits = {
        "type": "Split",
        "pattern": {"String": " "},
        "behavior": "MergedWithPrevious",
        "invert": False,
    }
    if steps in ([replaces], [replaces, splits]):
        return False, True
    if steps == [{"type": "Prepend", "prepend": _SPACE}, replaces]:
        return True, True
    raise refuse_tokenizer(where, _("it changes text first: {steps}.", steps=", ".join(kinds) or "-"))


def choose_prefix(tokenizer: Any, samples: Sequence[str]) -> bool:
    """Return whether these texts get their tokens by a space before each, and after special tokens."""
    from tokenizers import Tokenizer

    expected = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in samples]
    for prefix in (True, False):
        backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        set_space_prefix(backend, prefix)
        if [backend.encode(text, add_special_tokens=False).ids for text in samples] == expected:
            return prefix
    return False


def set_space_prefix(backend: Any, prefix: bool) -> None:
    """Let a tokenizer set spaces as llama.cpp does: before each text between special tokens, or nowhere."""
    from tokenizers import normalizers

    replace = normalizers.Replace(" ", _SPACE)
    before = normalizers.Sequence([normalizers.Prepend(_SPACE), replace])
    backend.normalizer = before if prefix else replace
    backend.pre_tokenizer = None


def _list_steps(told: Any, members: str) -> list[Any]:
    if not told:
        return []
    if told["type"] == "Sequence":
        return [step for one in told[members] for step in _list_steps(one, members)]
    return [told]


def rank_pieces(described: Any, added: set[str], where: str) -> dict[str, int]:
    """Return token -> its place in the order of merging, the earliest first.

    Args:
        added: Tokens that are looked for in the text before anything is merged.

    Raises:
        ModelError: no scores would lead to the same tokens.
    """
    model = described["model"]
    pairs: dict[str, set[tuple[str, str]]] = {}
    before = ""
    for merge in model["merges"]:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        joined = left + right
        if joined in added:
            continue
        if joined in pairs and joined != before:
            raise refuse_tokenizer(where, _("its merges have no order of tokens."))
        pairs.setdefault(joined, set()).add((left, right))
        before = joined
    vocabulary = model["vocab"].keys() - added
    for token in vocabulary:
        splits = {
            (token[:cut], token[cut:])
            for cut in range(1, len(token))
            if token[:cut] in vocabulary and token[cut:] in vocabulary
        }
        if splits != pairs.get(token, set()):
            raise refuse_tokenizer(where, _("its merges do not list every pair that makes a token."))
    return {token: rank for rank, token in enumerate(pairs)}
