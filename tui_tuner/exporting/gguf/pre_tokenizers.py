"""How a byte-level tokenizer splits text before it merges bytes, and llama.cpp's name for that way.

llama.cpp has the ways of known models in its own code, by name, and a file says only the name. A wrong name
gives other tokens without a word. So the name follows from the tokenizer's own steps, which are compared with
what llama.cpp does under each name; steps that it has under no name are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tui_tuner.errors import ModelError
from tui_tuner.locales import _
from tui_tuner.text import one_line

Steps = tuple[tuple[str, ...], ...]

_BYTES: tuple[str, ...] = ("bytes",)  # from bytes to letters, no splitting
_GPT2: tuple[str, ...] = ("bytes and words",)  # GPT-2's pattern, built into the library
_DIGITS: tuple[str, ...] = ("digits",)

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_REST_SLASH = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_REST}"
_QWEN2 = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_REST}"
_QWEN35 = (
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{{ending}}|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{{ending}}"
)
_TEKKEN = _CASED.replace("{ending}", "") + rf"|\p{{N}}|{_REST_SLASH}"
_GPT4O = _CASED.replace("{ending}", f"{_CONTRACTIONS}?") + rf"|\p{{N}}{{1,3}}|{_REST_SLASH}"
_DEEPSEEK3 = (
    r"\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)


@dataclass(frozen=True)
class Splitting:
    """A way to split text that llama.cpp knows.

    Args:
        name: Its name there, `tokenizer.ggml.pre`.
        steps: What a tokenizer does step by step.
        whole_words: Whether a piece that is a token as a whole is one, whatever the merges say.
    """

    name: str
    steps: Steps
    whole_words: bool = False


def _split_by(*patterns: str) -> Steps:
    return (*(("split", pattern) for pattern in patterns), _BYTES)


SPLITTINGS = (
    Splitting("gpt-2", (_GPT2,)),
    Splitting("smollm", (_DIGITS, _GPT2)),
    Splitting("llama-bpe", _split_by(_LLAMA3), whole_words=True),
    Splitting("smaug-bpe", _split_by(_LLAMA3)),
    Splitting("qwen2", _split_by(_QWEN2)),
    Splitting("qwen35", _split_by(_QWEN35)),
    Splitting("tekken", _split_by(_TEKKEN), whole_words=True),
    Splitting("gpt-4o", _split_by(_GPT4O)),
    Splitting("deepseek-v3", _split_by(*_DEEPSEEK3)),
)


def find_splitting(described: Any, where: str) -> Splitting:
    """Return how llama.cpp is told to split text as this tokenizer does.

    Args:
        described: The JSON of `tokenizer.json`.

    Raises:
        ModelError: it has no name there for these steps.
    """
    steps = tuple(_list_steps(described.get("pre_tokenizer"), where))
    whole = bool(described["model"].get("ignore_merges"))
    known = [one for one in SPLITTINGS if one.steps == steps]
    for one in sorted(known, key=lambda one: one.whole_words != whole):
        if one.whole_words == whole or _reach_all(described):
            return one
    raise refuse_tokenizer(
        where, _("it splits text in a way of its own: {steps}.", steps=one_line(_describe(steps), 160))
    )


def _list_steps(told: Any, where: str) -> Iterator[tuple[str, ...]]:
    """Yield what a pre-tokenizer does, in a form that does not depend on how it is written down."""
    kind = (told or {}).get("type")
    if kind == "Sequence":
        for one in told["pretokenizers"]:
            yield from _list_steps(one, where)
    elif kind == "ByteLevel":
        if told.get("add_prefix_space"):
            raise refuse_tokenizer(where, _("it puts a space before the first word."))
        yield _GPT2 if told.get("use_regex", True) else _BYTES
    elif kind == "Digits" and told.get("individual_digits"):
        yield _DIGITS
    elif kind == "Split":
        # pieces that match and what lies between; a pattern that takes in all text leaves nothing between
        isolated = told.get("behavior") == "Isolated" and not told.get("invert")
        kept = told.get("behavior") == "Removed" and told.get("invert")
        pattern = told["pattern"].get("Regex")
        if pattern is None or not (isolated or kept):
            raise refuse_tokenizer(where, _("it splits text at a fixed word."))
        yield "split", pattern.replace("\r", r"\r").replace("\n", r"\n")
    else:
        yield (str(kind),)


def _describe(steps: Steps) -> str:
    return " + ".join(" ".join(step) for step in steps) or "-"


def _reach_all(described: Any) -> bool:
    """Return whether merging alone makes every token, so that looking whole words up changes nothing."""
    from tokenizers import models

    model = described["model"]
    added = {token["content"] for token in described.get("added_tokens", ())}
    pairs = [one.split(" ") if isinstance(one, str) else one for one in model["merges"]]
    merging = models.BPE(vocab=model["vocab"], merges=[(left, right) for left, right in pairs])
    return all(len(merging.tokenize(token)) == 1 for token in model["vocab"] if token not in added)


def refuse_tokenizer(where: str, problem: str) -> ModelError:
    """Return the error for a tokenizer that a GGUF file cannot describe."""
    return ModelError(
        _("llama.cpp cannot tokenize as this model does: {problem}", problem=problem),
        where=one_line(where),
        hint=_("Export it with `--to merged`; transformers and vLLM read its tokenizer as it is."),
    )
