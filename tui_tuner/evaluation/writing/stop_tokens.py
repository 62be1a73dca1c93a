"""Find the tokens that end an answer, and the longest sequence of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tui_tuner.data.chat.template import render_chat

# Marks the end of an assistant turn in a rendered template; no tokenizer merges it with the next text.
_PROBE = "\u2042\u2042"


def count_ended_answers(written: Any, stops: Sequence[int]) -> int:
    """Count the answers [answers, tokens] that have reached a stop token."""
    import torch

    if not stops:
        return 0
    return int(torch.isin(written, torch.tensor(stops, device=written.device)).any(1).sum())


def find_stop_tokens(model: Any, tokenizer: Any) -> set[int]:
    """Return the ids of all tokens that end an answer.

    These are the stop tokens of the model's generation config and config, the tokenizer's eos token, and the
    special token that the chat template writes after an assistant's text (`<|im_end|>`, `<|eot_id|>`,
    `<end_of_turn>`…).
    """
    found: set[int] = set()
    configs = (getattr(model, "generation_config", None), getattr(model, "config", None), tokenizer)
    for holder in configs:
        found.update(read_token_ids(getattr(holder, "eos_token_id", None)))
    turn_end = find_template_stop_token(tokenizer)
    return found if turn_end is None else found | {turn_end}


def read_token_ids(value: Any) -> list[int]:
    """Return the ids of a setting that holds one, several or none."""
    return [value] if isinstance(value, int) else list(value or [])


def find_template_stop_token(tokenizer: Any) -> int | None:
    """Return the id of the special token right after an assistant's text in the chat template, or None."""
    if not getattr(tokenizer, "chat_template", None):
        return None
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _PROBE}]
    try:
        rendered = render_chat(tokenizer, messages)
    # A template is a program: it may reject these two turns with any exception, and then names no stop token.
    except Exception:
        return None
    _unused, probe, after = rendered.rpartition(_PROBE)
    if not probe:
        return None
    ids = tokenizer.encode(after.lstrip(), add_special_tokens=False)
    special = set(tokenizer.all_special_ids) | set(getattr(tokenizer, "added_tokens_decoder", {}))
    return ids[0] if ids and ids[0] in special else None


def find_context_length(model: Any) -> int | None:
    """Return the longest sequence of the model in tokens, as its config states it, or None."""
    config: Any = getattr(model, "config", None)
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    for name in ("max_position_embeddings", "n_positions"):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return None
