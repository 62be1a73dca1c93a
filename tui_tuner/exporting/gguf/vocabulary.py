"""The vocabulary of a GGUF file, from a tokenizer: tokens, their kinds, scores or merges, special ones."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.data.chat.template import render_chat
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import ModelError
from tui_tuner.exporting.gguf.pre_tokenizers import find_splitting, refuse_tokenizer
from tui_tuner.exporting.gguf.sentence_pieces import choose_prefix, rank_pieces, read_space_prefix
from tui_tuner.locales import _
from tui_tuner.text import one_line

# The numbers of llama.cpp for kinds of tokens
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_SPACE = "▁"
_PIECES_MODEL, _BYTES_MODEL = "llama", "gpt2"
# llama.cpp looks these up in the vocabulary of models that are called Phi-3
PHI3_TOKENS = {"</s>", "<unk>", "<s>", "<|endoftext|>"}
# What llama.cpp takes for the end of an answer by its text alone
KNOWN_ENDS = {
    *("<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<end_of_turn>"),
    *("<|endoftext|>", "<|end_of_text|>", "<EOT>", "<｜end▁of▁sentence｜>", "<end_of_utterance>"),
}


@dataclass
class Vocabulary:
    """What a GGUF file says about a tokenizer.

    Args:
        model: `gpt2` for bytes that are merged, `llama` for pieces with scores.
        splitting: llama.cpp's name for how text is split first.
        tokens: The text of each token, by its number.
        kinds: The kind of each token, as llama.cpp numbers them.
        scores: How early each token is merged, the larger the earlier; empty with merges.
        merges: Pairs of tokens, the earliest first; empty with scores.
        special: Name of a role (bos, eos, eot, eom, unknown, padding) -> number of its token.
        flags: `add_bos_token` and others -> whether.
        template: The chat template; empty if there is none.
        trims: Special tokens after which spaces and line ends are dropped.
        remarks: What programs made of llama.cpp do differently with some texts.
    """

    model: str
    splitting: str
    tokens: list[str]
    kinds: list[int]
    scores: list[float] = field(default_factory=list)
    merges: list[str] = field(default_factory=list)
    special: dict[str, int] = field(default_factory=dict)
    flags: dict[str, bool] = field(default_factory=dict)
    template: str = ""
    trims: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def read_vocabulary(tokenizer: Any, size: int, ends: Sequence[int], where: str) -> Vocabulary:
    """Read what a GGUF file needs from a loaded tokenizer.

    Args:
        size: The number of rows of the model's embeddings.
        ends: The tokens that end generation, the most usual first.

    Raises:
        ModelError: llama.cpp has no way to tokenize as it does.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise refuse_tokenizer(where, _("it has no tokenizer.json."))
    described = json.loads(backend.to_str())
    _check_model(described, where)
    numbered = {number: token for token, number in tokenizer.get_vocab().items()}
    if numbered and max(numbered) >= size:
        raise ModelError(
            _(
                "the tokenizer has {tokens} tokens, and the model embeds only {rows}.",
                tokens=max(numbered) + 1,
                rows=size,
            ),
            where=one_line(where),
        )
    added = {token["id"]: token for token in described.get("added_tokens", ())}
    if described["model"].get("byte_fallback"):
        found = _read_pieces(tokenizer, described, numbered, added, size, where)
    else:
        found = _read_byte_level(described, numbered, added, size, where)
    found.template = read_template(tokenizer)
    found.special = _find_special(tokenizer, ends)
    found.flags |= _find_flags(tokenizer)
    _settle_first_token(found, tokenizer)
    _add_remarks(found, described, added, ends)
    return found


def _check_model(described: Any, where: str) -> None:
    model = described["model"]
    if model.get("type") != "BPE":
        raise refuse_tokenizer(where, _("it is of kind {kind}.", kind=one_line(model.get("type"), 40)))
    if model.get("dropout") or model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise refuse_tokenizer(where, _("it marks the parts of words, or merges them at random."))


def _read_byte_level(
    described: Any, numbered: Mapping[int, str], added: Mapping[int, Any], size: int, where: str
) -> Vocabulary:
    normalizers = _list_kinds(described.get("normalizer"), "normalizers")
    if not set(normalizers) <= {"NFC"}:
        raise refuse_tokenizer(where, _("it changes text first: {steps}.", steps=", ".join(normalizers)))
    splitting = find_splitting(described, where)
    tokens, kinds = _number_tokens(numbered, added, size)
    merges = [one if isinstance(one, str) else " ".join(one) for one in described["model"]["merges"]]
    found = Vocabulary(_BYTES_MODEL, splitting.name, tokens, kinds, merges=merges)
    if normalizers:
        found.remarks.append(
            _("llama.cpp does not compose Unicode (NFC): text with separate accents gets other tokens.")
        )
    return found


def _read_pieces(
    tokenizer: Any,
    described: Any,
    numbered: Mapping[int, str],
    added: Mapping[int, Any],
    size: int,
    where: str,
) -> Vocabulary:
    prefix, exact = read_space_prefix(described, where)
    tokens, kinds = _number_tokens(numbered, added, size)
    unknown = described["model"].get("unk_token")
    for number, token in numbered.items():
        if _BYTE.fullmatch(token):
            kinds[number] = BYTE
        elif token == unknown:
            kinds[number] = UNKNOWN
    fixed = {token["content"] for token in added.values()} | {
        token for token in numbered.values() if _BYTE.fullmatch(token)
    }
    ranks = rank_pieces(described, fixed, where)
    # what no merge leads to comes after all others
    scores = [-float(ranks.get(token, len(ranks))) for token in tokens]
    found = Vocabulary(_PIECES_MODEL, "default", tokens, kinds, scores=scores)
    found.flags["add_space_prefix"] = prefix
    if not exact:
        found.flags["add_space_prefix"] = choose_prefix(tokenizer, _list_samples(tokenizer))
        found.remarks.append(
            _("llama.cpp sets a space before every text, also after special tokens.")
            if found.flags["add_space_prefix"]
            else _("llama.cpp sets no space before a text that begins without a special token.")
        )
    return found


def _list_samples(tokenizer: Any) -> list[str]:
    """Return texts as the model is given them: chats where it has a template."""
    if not read_template(tokenizer):
        return ["Hello, it is 12 o'clock."]
    turns = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi!"},
        {"role": "user", "content": "What is 2 + 2?"},
    ]
    with contextlib.suppress(RowProblem):
        return [render_chat(tokenizer, turns, generation=True)]
    return ["Hello"]


def _number_tokens(
    numbered: Mapping[int, str], added: Mapping[int, Any], size: int
) -> tuple[list[str], list[int]]:
    """Return text and kind of each row of the embeddings; rows without a token get a made-up name."""
    tokens, kinds = [], []
    for number in range(size):
        token = numbered.get(number)
        if token is None:
            tokens.append(f"[PAD{number}]")
            kinds.append(UNUSED)
        elif number in added:
            plain = not added[number].get("special")
            # llama.cpp looks for these in the text itself, where a space is a space
            tokens.append(token.replace(_SPACE, " ") if plain else token)
            kinds.append(USER_DEFINED if plain else CONTROL)
        else:
            tokens.append(token)
            kinds.append(NORMAL)
    return tokens, kinds


def _list_kinds(told: Any, members: str) -> list[str]:
    if not told:
        return []
    if told["type"] == "Sequence":
        return [kind for one in told[members] for kind in _list_kinds(one, members)]
    return [str(told["type"])]


def read_template(tokenizer: Any) -> str:
    """Return the chat template; the one called `default` where a tokenizer has several."""
    template = getattr(tokenizer, "chat_template", None)
    if isinstance(template, Mapping):
        template = template.get("default")
    return template if isinstance(template, str) else ""


def _find_special(tokenizer: Any, ends: Sequence[int]) -> dict[str, int]:
    found = {}
    for role, number in (
        ("bos", tokenizer.bos_token_id),
        ("unknown", tokenizer.unk_token_id),
        ("padding", tokenizer.pad_token_id),
    ):
        if number is not None:
            found[role] = int(number)
    eos = tokenizer.eos_token_id
    # the tokenizer's own end comes first, so that programs that read one only stop where training did
    ordered = list(dict.fromkeys([*([eos] if eos is not None and (eos in ends or not ends) else []), *ends]))
    # GGUF has three places for ends of generation
    found |= dict(zip(("eos", "eot", "eom"), map(int, ordered), strict=False))
    return found


def _find_flags(tokenizer: Any) -> dict[str, bool]:
    """Return whether it puts special tokens before and after a text, found by trying."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    extra = len(whole) - len(bare)
    begins = extra > 0 and whole[0] == tokenizer.bos_token_id and whole[1 : 1 + len(bare)] == bare
    ends = extra > 0 and whole[-1] == tokenizer.eos_token_id and whole[-1 - len(bare) : -1] == bare
    return {"add_bos_token": bool(begins), "add_eos_token": bool(ends)}


def _settle_first_token(found: Vocabulary, tokenizer: Any) -> None:
    """Let programs begin chats as training did: with the first token where the chat template writes it.

    llama.cpp puts the token there itself, by this flag, and takes care that it does not stand there twice.
    """
    begin = tokenizer.bos_token
    if not found.template or begin is None:
        return
    try:
        writes = render_chat(tokenizer, [{"role": "user", "content": "a"}], generation=True).startswith(begin)
    except RowProblem:
        return
    if writes != found.flags["add_bos_token"]:
        found.remarks.append(
            _("Chats begin with the first token ({token}), and texts do, too.", token=one_line(begin, 40))
            if writes
            else _(
                "Chats begin without the first token ({token}), and so do texts.", token=one_line(begin, 40)
            )
        )
        found.flags["add_bos_token"] = writes


def _trims_as_phi3(found: Vocabulary, added: Mapping[int, Any]) -> bool:
    """Return whether spaces are dropped after special tokens as llama.cpp does it, for Phi-3 alone."""
    ends = {token["content"] for token in added.values() if token.get("rstrip")}
    starts = {token["content"] for token in added.values() if token.get("lstrip")}
    special = {
        token
        for token, kind in zip(found.tokens, found.kinds, strict=True)
        if kind in (UNKNOWN, CONTROL, USER_DEFINED)
    }
    return special >= PHI3_TOKENS and not starts and ends == special - PHI3_TOKENS | {"</s>"}


def _add_remarks(found: Vocabulary, described: Any, added: Mapping[int, Any], ends: Sequence[int]) -> None:
    told = set(found.special.values())
    lost = [found.tokens[end] for end in ends if end not in told and found.tokens[end] not in KNOWN_ENDS]
    if lost:
        found.remarks.append(
            _("GGUF has no place for these stop tokens: {tokens}.", tokens=one_line(", ".join(lost), 120))
        )
    trimming = [token["content"] for token in added.values() if token.get("lstrip") or token.get("rstrip")]
    if _trims_as_phi3(found, added):
        found.trims = trimming
    elif trimming:
        found.remarks.append(
            _(
                "llama.cpp keeps spaces beside these tokens, which the tokenizer drops: {tokens}.",
                tokens=one_line(", ".join(trimming[:5]), 120),
            )
        )
