"""Read the sources of prompts, held-out rows and rows to predict, as training reads them."""

from __future__ import annotations

from itertools import islice
from typing import Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.held_out import HeldOutPrompt, walk_held_out_rows
from tui_tuner.data.examples.store import TokenizedRows
from tui_tuner.data.records import Chat, Message, Record, Text
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.locales import N_, _
from tui_tuner.tasks.rewriting.pair_encoder import SOURCE, join_turns, split_sides


def read_source(record: Record) -> str:
    """Return the source of a row without a target: a text, or the turns of a chat one after another.

    Raises:
        RowProblem: it is empty.
    """
    source = record.text if isinstance(record, Text) else ""
    if isinstance(record, Chat):
        source = join_turns(record.messages)
    if not source.strip():
        raise RowProblem(N_("the source is empty"))
    return source


def encode_source(config: RunConfig, tokenizer: Any, text: str) -> tuple[list[int], int]:
    """Return the token ids of a source with its prefix, at most `data.max_source`, and how many it has
    by itself.
    """
    whole = (config.data.prefix or "") + text
    count = len(tokenizer(whole, return_attention_mask=False)["input_ids"])
    # The tokenizer cuts by itself, because it keeps the special tokens at both ends
    cut = tokenizer(whole, return_attention_mask=False, truncation=True, max_length=config.data.max_source)[
        "input_ids"
    ]
    return list(cut), count


def describe_cut_sources(config: RunConfig) -> str:
    """Say what becomes of sources that are too long."""
    return _(
        "sources longer than {most:,} tokens (data.max_source) are cut at their end, as in training",
        most=config.data.max_source,
    )


def list_held_out_sources(rows: TokenizedRows | None, count: int, config: RunConfig) -> list[HeldOutPrompt]:
    """Select up to `count` different held-out rows in a seeded order, each with its source and target."""
    if rows is None or count <= 0:
        return []
    found = []
    for index, record in islice(walk_held_out_rows(rows, config.data.seed), count):
        example = rows[index]
        ids = example.ids[: int(example.columns[SOURCE])]
        chat = Chat([Message(**message) for message in record["messages"]], record.get("tools"))
        source, target = split_sides(chat)
        found.append(
            HeldOutPrompt([int(token) for token in ids], source, target, origin=rows.example_origin(index))
        )
    return found
