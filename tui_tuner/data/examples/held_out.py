"""Held-out rows to be shown: their records, or prompts with a reference answer for generation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.chat.encoder import ChatEncoder
from tui_tuner.data.examples.store import TokenizedRows
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import Chat, Message, Origin

_CONTINUATION = 64


@dataclass
class HeldOut:
    """A prompt up to and including the generation prompt, and the answer that the row holds."""

    prompt_ids: list[int]
    prompt_text: str
    reference: str
    messages: list[dict[str, Any]] = field(default_factory=list)
    origin: Origin = field(default_factory=lambda: Origin("", 0))


def prompts_of(rows: TokenizedRows | None, count: int, config: RunConfig, tokenizer: Any) -> list[HeldOut]:
    """Up to `count` different validation rows in a seeded order; of a chat, the prompt of its last answer."""
    if rows is None or not len(rows) or count <= 0:
        return []
    encoder = ChatEncoder.of(config, tokenizer)
    encoder.train_on = "all_answers"
    order = np.random.default_rng(config.data.seed).permutation(len(rows))
    found: list[HeldOut] = []
    seen: set[int] = set()
    for index in order:
        number = rows.row(int(index))
        if number in seen:
            continue
        seen.add(number)
        record = rows.store.record(number)
        item = (
            _of_chat(record, encoder) if record["kind"] == "chat" else _of_text(rows, int(index), tokenizer)
        )
        if item is not None:
            item.origin = rows.origin(int(index))
            found.append(item)
        if len(found) >= count:
            break
    return found


def some_records(rows: TokenizedRows | None, count: int, seed: int) -> list[dict[str, Any]]:
    """The records of up to `count` different rows in a seeded order: always the same ones."""
    if rows is None or count <= 0:
        return []
    order = np.random.default_rng(seed).permutation(len(rows))
    chosen = list(dict.fromkeys(rows.row(int(index)) for index in order))[:count]
    return [rows.store.record(row) for row in chosen]


def _of_chat(record: dict[str, Any], encoder: ChatEncoder) -> HeldOut | None:
    """The prompt is cut out of the very tokens that training would see, so both agree to the token."""
    messages = [Message(**message) for message in record["messages"]]
    try:
        encoded = encoder.encode(Chat(messages, record.get("tools")))
    except RowProblem:
        return None
    turns = encoder.messages(Chat(messages))
    for start, end, index in reversed(encoded.answers):
        reference = turns[index].content
        if not reference or turns[index].reasoning:
            reference = encoder.tokenizer.decode(encoded.ids[start:end], skip_special_tokens=True)
        asked = [turn.content or "" for turn in turns[:index] if turn.role == "user"]
        return HeldOut(
            prompt_ids=[int(token) for token in encoded.ids[:start]],
            prompt_text=asked[-1] if asked else "",
            reference=reference,
            messages=[turn.plain() for turn in turns[:index]],
        )
    return None


def _of_text(rows: TokenizedRows, index: int, tokenizer: Any) -> HeldOut | None:
    """The first half of a document (64 tokens at most), to be continued; the reference is what follows."""
    ids = rows[index].ids
    if len(ids) < 4:
        return None
    cut = min(len(ids) // 2, _CONTINUATION)
    return HeldOut(
        prompt_ids=[int(token) for token in ids[:cut]],
        prompt_text=tokenizer.decode(ids[:cut], skip_special_tokens=True),
        reference=tokenizer.decode(ids[cut : cut + 2 * _CONTINUATION], skip_special_tokens=True),
    )
