"""Select held-out rows to show: their records, or prompts with a reference answer for generation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.chat.chat_encoder import ChatEncoder
from tui_tuner.data.examples.store import TokenizedRows
from tui_tuner.data.records import Chat, Message, Origin
from tui_tuner.data.row_problem import RowProblem

_CONTINUATION = 64


@dataclass
class HeldOutPrompt:
    """A prompt including the generation prompt, and the answer of the row."""

    prompt_ids: list[int]
    prompt_text: str
    reference: str
    messages: list[dict[str, Any]] = field(default_factory=list)
    origin: Origin = field(default_factory=lambda: Origin("", 0))


def make_held_out_prompts(
    rows: TokenizedRows | None, count: int, config: RunConfig, tokenizer: Any
) -> list[HeldOutPrompt]:
    """Select up to `count` different validation rows in a seeded order; of a chat, its last answer."""
    if rows is None or not len(rows) or count <= 0:
        return []
    encoder = ChatEncoder.from_config(config, tokenizer)
    encoder.train_on = "all_answers"
    found: list[HeldOutPrompt] = []
    for index, record in walk_held_out_rows(rows, config.data.seed):
        item = (
            _prompt_from_chat(record, encoder)
            if record["kind"] == "chat"
            else _prompt_from_text(rows, index, tokenizer)
        )
        if item is not None:
            item.origin = rows.example_origin(index)
            found.append(item)
        if len(found) >= count:
            break
    return found


def walk_held_out_rows(rows: TokenizedRows, seed: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number of an example and the record of each row, in a seeded order, always the same one."""
    seen: set[int] = set()
    for index in np.random.default_rng(seed).permutation(len(rows)):
        number = rows.row_of_example(int(index))
        # Several examples may come from one row.
        if number not in seen:
            seen.add(number)
            yield int(index), rows.store.read_record(number)


def pick_held_out_records(rows: TokenizedRows | None, count: int, seed: int) -> list[dict[str, Any]]:
    """Return the records of up to `count` different rows in a seeded order, always the same ones."""
    if rows is None or count <= 0:
        return []
    order = np.random.default_rng(seed).permutation(len(rows))
    chosen = list(dict.fromkeys(rows.row_of_example(int(index)) for index in order))[:count]
    return [rows.store.read_record(row) for row in chosen]


def _prompt_from_chat(record: dict[str, Any], encoder: ChatEncoder) -> HeldOutPrompt | None:
    """Make a prompt and a reference from a chat's last answer; None if it has none."""
    # The prompt is cut out of the tokens that training would see, so that both agree to the token.
    messages = [Message(**message) for message in record["messages"]]
    try:
        encoded = encoder.encode_chat(Chat(messages, record.get("tools")))
    except RowProblem:
        return None
    turns = encoder.prepare_messages(Chat(messages))
    for start, end, index in reversed(encoded.answers):
        reference = turns[index].content
        if not reference or turns[index].reasoning:
            reference = encoder.tokenizer.decode(encoded.ids[start:end], skip_special_tokens=True)
        asked = [turn.content or "" for turn in turns[:index] if turn.role == "user"]
        return HeldOutPrompt(
            prompt_ids=[int(token) for token in encoded.ids[:start]],
            prompt_text=asked[-1] if asked else "",
            reference=reference,
            messages=[turn.to_plain_turn() for turn in turns[:index]],
        )
    return None


def _prompt_from_text(rows: TokenizedRows, index: int, tokenizer: Any) -> HeldOutPrompt | None:
    """Make a prompt of the first half of a document (at most 64 tokens); the reference is what follows."""
    ids = rows[index].ids
    if len(ids) < 4:
        return None
    cut = min(len(ids) // 2, _CONTINUATION)
    return HeldOutPrompt(
        prompt_ids=[int(token) for token in ids[:cut]],
        prompt_text=tokenizer.decode(ids[:cut], skip_special_tokens=True),
        reference=tokenizer.decode(ids[cut : cut + 2 * _CONTINUATION], skip_special_tokens=True),
    )
