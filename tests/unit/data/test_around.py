"""The rows around a row, counted in tokens, and the forward pass it would be in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chat_templates import CHATML
from small_tokenizers import byte_level

from tui_tuner.config.load import build_config
from tui_tuner.errors import UsageError
from tui_tuner.tasks.preview.forward_rows import draw_forward_line, lay_forward_rows
from tui_tuner.tasks.preview.mask import mask_row
from tui_tuner.tasks.preview.row_window import RowWindow, tokenise_window


def config(path: Path, **data: Any) -> Any:
    training = {"batch_size": 4, "micro_batch": 2}
    return build_config({"data": {"path": str(path), **data}, "training": training})


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    lines = [{"prompt": "a", "response": "x " * 5 * number} for number in range(1, 9)]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_lengths_are_those_of_whole_rows_and_close(rows: Path, tiny_tokenizer: Any) -> None:
    wide = config(rows, max_length=4096)
    alone = [len(mask_row(wide.model, wide.data, row, tiny_tokenizer).tokens) for row in range(1, 9)]
    limit = alone[4]
    tight = config(rows, max_length=limit)
    found = tokenise_window(tight.model, tight.data, 1, tiny_tokenizer)
    assert found.lengths == alone and found.count_longer == sum(length > limit for length in alone) == 3
    assert sum(found.outcomes.values()) == 8 and found.outcomes["dropped"] == 3
    assert [row for row, _ in found.pieces] == [1, 2, 3, 4, 5]
    assert found.count_tokens == sum(alone[:5])
    bars = found.count_lengths()
    assert sum(count for _low, _high, count in bars) == 8
    assert sum(count for _low, high, count in bars if high <= limit) == 5 and limit in {b[1] for b in bars}


def test_window_ends_with_a_late_row(rows: Path, tiny_tokenizer: Any) -> None:
    wide = config(rows)
    found = tokenise_window(wide.model, wide.data, 7, tiny_tokenizer, count=3)
    assert (found.first, found.rows, [row for row, _ in found.pieces]) == (5, 3, [5, 6, 7])
    with pytest.raises(UsageError):
        tokenise_window(wide.model, wide.data, 9, tiny_tokenizer)


def test_rows_behind_virtual_tokens_lie_below_each_other(rows: Path, tiny_tokenizer: Any) -> None:
    told = config(rows, packing=True)
    told.method.kind = "prompt_tuning"
    laid = lay_forward_rows(tokenise_window(told.model, told.data, 3, tiny_tokenizer), 3, told)
    assert laid is not None and not laid.packing and len(laid.lines) > 1


@pytest.mark.parametrize("packing", [True, False])
def test_forward_pass_holds_every_token_once(rows: Path, tiny_tokenizer: Any, packing: bool) -> None:
    told = config(rows, packing=packing)
    found = tokenise_window(told.model, told.data, 3, tiny_tokenizer)
    laid = lay_forward_rows(found, 3, told)
    assert laid is not None and not laid.assumed
    ones = [one for line in laid.lines for one in line]
    assert 3 in {one.row for one in ones}
    places = laid.width * len(laid.lines)
    assert places - laid.count_padding == sum(len(dict(found.pieces)[one.row]) for one in ones)
    assert (laid.count_padding == 0) is packing and (len(laid.lines) == 1) is packing
    for line in laid.lines:
        parts = draw_forward_line(line, laid.width, 60)
        assert sum(what == "edge" for _text, what in parts) == len(line) + 1
        assert sum(len(text) for text, _what in parts) <= 62


def test_empty_has_no_bars() -> None:
    assert RowWindow(1, 0, 64, {}).count_lengths() == []


def test_what_another_task_does_to_a_tokenizer_does_not_stay(rows: Path, tmp_path: Path) -> None:
    """The data screen looks at every file with one tokenizer; words of a list need a space before each."""
    tokenizer = byte_level(CHATML.specials, None, CHATML.eos)
    tokenizer.chat_template = CHATML.template
    words = tmp_path / "words.jsonl"
    words.write_text(json.dumps({"tokens": ["Ann", "left"], "ner_tags": ["B-PER", "O"]}) + "\n")
    chats, tags = config(rows), config(words)
    before = mask_row(chats.model, chats.data, 1, tokenizer)
    view = mask_row(tags.model, tags.data, 1, tokenizer)
    assert view.tokens and view.notes
    assert mask_row(tags.model, tags.data, 1, tokenizer).notes == view.notes
    around = tokenise_window(tags.model, tags.data, 1, tokenizer)
    assert around.count_tokens == len(view.tokens)
    assert mask_row(chats.model, chats.data, 1, tokenizer) == before
    assert tokenizer.pad_token is None and not tokenizer.backend_tokenizer.pre_tokenizer.add_prefix_space
