"""Weights of rows and of messages: read, checked, multiplied, kept with the labels, and shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_templates import CHATML, KINDS, Kind
from small_tokenizers import byte_level
from test_masks import CHATS, TOKENIZERS, tokenizer_for

from tui_tuner.config.load import build_config
from tui_tuner.config.schema import DataSection, ModelSection
from tui_tuner.data.chat.chat_encoder import ChatEncoder
from tui_tuner.data.examples.identity import digest_rows
from tui_tuner.data.examples.prepare import PreparedRows, prepare_examples
from tui_tuner.data.read_data import DataReading
from tui_tuner.data.records import IGNORE
from tui_tuner.data.report import format_mask
from tui_tuner.errors import DataError
from tui_tuner.tasks import find_task
from tui_tuner.tasks.preview.mask import mask_row
from tui_tuner.ui.datalook import Token
from tui_tuner.ui.widgets.data.mask_view import draw_mask_tokens


@pytest.fixture
def tokenizer() -> Any:
    found = byte_level(CHATML.specials, None, CHATML.eos)
    found.chat_template = CHATML.template
    return found


def chat(*answers: Any, **more: Any) -> dict[str, Any]:
    """A row with these answers: a text, or a text with the weight of its message."""
    turns: list[dict[str, Any]] = []
    for answer in answers:
        text, weight = answer if isinstance(answer, tuple) else (answer, None)
        said = {"role": "assistant", "content": text, **({} if weight is None else {"weight": weight})}
        turns += [{"role": "user", "content": f"Why {text}?"}, said]
    return {"messages": turns, **more}


def made(tmp_path: Path, tokenizer: Any, rows: list[dict[str, Any]], **data: Any) -> PreparedRows:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    task = data.pop("task", "sft")
    settings = {"path": str(path), "workers": 1, "validation": None, "max_dropped": 1, **data}
    config = build_config({"task": task, "data": settings})
    return prepare_examples(config, tokenizer, find_task(task), cache_dir=tmp_path / "cache")


def weigh_words(found: PreparedRows, tokenizer: Any) -> dict[str, float]:
    """The weight of each stretch of trained tokens that count alike."""
    words: dict[str, float] = {}
    for example in (found.train[row] for row in range(len(found.train))):
        places = np.flatnonzero(example.labels != IGNORE)
        counts = np.ones(len(example)) if example.weights is None else example.weights
        for part in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1):
            (weight,) = set(counts[part].tolist())
            words[tokenizer.decode(example.labels[part]).replace("<|im_end|>", "")] = weight
    return words


ROWS = [
    chat("one", ("two", 0.5), ("three", 0), score=4),
    chat("four", score="0.25"),
    chat(("five", 8.0), score=None),
    chat("six", score=0),
    chat("seven", score=1),
]


def test_the_weight_of_a_token_is_that_of_its_row_times_that_of_its_message(
    tmp_path: Path, tokenizer: Any
) -> None:
    found = made(tmp_path, tokenizer, ROWS, loss_weight="score")
    weights = {"one": 4.0, "two": 2.0, "four": 0.25, "five": 8.0, "seven": 1.0}
    assert weigh_words(found, tokenizer) == weights
    ledger = found.ledger
    assert ledger.is_consistent and ledger.outcomes["unused"] == 1 and ledger.dropped_share == 0
    assert ledger.list_reasons("unused")[0].samples[0]["line"] == 4
    assert [step.reason for step in ledger.list_steps()] == ["no value in score: its weight is 1"]
    assert any("Losses are weighted" in note for note in found.notes)
    rows = found.train
    assert rows.label_weights is not None
    for row in range(len(rows)):
        example = rows[row]
        assert example.weights is not None
        assert (
            rows.label_weights[row] == example.weights[example.labels != IGNORE].sum() == example.label_weight
        )
    # Without the column, only the weights of messages count.
    alone = weigh_words(made(tmp_path, tokenizer, ROWS), tokenizer)
    assert alone == {"one": 1.0, "two": 0.5, "four": 1.0, "five": 8.0, "six": 1.0, "seven": 1.0}


def test_weights_of_1_leave_no_trace(tmp_path: Path, tokenizer: Any) -> None:
    rows = [chat(str(place), ("more", 1), score=1) for place in range(9)]
    plain = made(tmp_path, tokenizer, rows)
    found = made(tmp_path, tokenizer, rows, loss_weight="score")
    assert found.train.label_weights is None and found.train[0].weights is None
    assert not list(found.train.store.folder.glob("weights*"))
    assert digest_rows(found.train) == digest_rows(plain.train)
    other = made(tmp_path, tokenizer, [*rows[:8], {**rows[8], "score": 2}], loss_weight="score")
    assert digest_rows(other.train) != digest_rows(plain.train)


def test_documents_have_the_weight_of_their_row(tmp_path: Path, tokenizer: Any) -> None:
    rows = [{"text": "A long story. " * 20, "score": 0.5}, {"text": "Another one.", "score": 3}]
    found = made(tmp_path, tokenizer, rows, task="pretraining", loss_weight="score", max_length=64)
    each = [(found.train[row], found.train.row_of_example(row)) for row in range(len(found.train))]
    assert len(each) > 2
    for example, row in each:
        assert example.weights is not None and set(example.weights.tolist()) == {(0.5, 3.0)[row]}


@pytest.mark.parametrize("overlong", ["split", "truncate"])
def test_weights_stay_with_their_tokens_in_rows_that_do_not_fit(
    tmp_path: Path, tokenizer: Any, overlong: str
) -> None:
    answers = [("alpha", 2), ("beta", 1), ("gamma", 4), ("delta", 0.5)]
    found = made(
        tmp_path, tokenizer, [chat(*answers, w=0.5)], loss_weight="w", max_length=110, overlong=overlong
    )
    words = weigh_words(found, tokenizer)
    wanted = {word: weight / 2 for word, weight in answers}
    assert (
        words == (wanted if overlong == "split" else {word: wanted[word] for word in words})
        and len(words) > 1
    )


@pytest.mark.parametrize("value", ["much", -1, "nan", 1e9, 1e-9, [1], "inf"])
def test_what_is_no_weight_is_dropped_with_its_place(tmp_path: Path, tokenizer: Any, value: Any) -> None:
    rows = [chat("one", score=1), chat("two", score=value)]
    found = made(tmp_path, tokenizer, rows, loss_weight="score")
    (reason,) = found.ledger.list_reasons("dropped")
    assert "not a number from 0 to 1,000,000" in reason.reason
    assert reason.samples[0]["line"] == 2 and reason.samples[0]["text"].startswith("score: ")
    with pytest.raises(DataError, match=r"would be dropped.*score") as caught:
        made(tmp_path, tokenizer, rows, loss_weight="score", max_dropped=0.1)
    assert caught.value.where.endswith(":2") and "0 or more" in caught.value.hint


def test_columns_that_cannot_be_weights_are_refused(tmp_path: Path, tokenizer: Any) -> None:
    with pytest.raises(DataError, match=r"no column 'scor'.*Did you mean score\?") as caught:
        made(tmp_path, tokenizer, ROWS, loss_weight="scor")
    assert caught.value.field == "data.loss_weight" and "rows.jsonl" in caught.value.where
    with pytest.raises(DataError, match="is the messages of the rows"):
        made(tmp_path, tokenizer, ROWS, loss_weight="messages")
    with pytest.raises(DataError, match="holds no weights in the first rows"):
        made(tmp_path, tokenizer, [chat("one", score="much"), chat("two", score=-1)], loss_weight="score")
    turns = [
        {"role": role, "content": "hello", "conversation_id": row, "weight": 0.5}
        for row in range(3)
        for role in ("user", "assistant")
    ]
    with pytest.raises(DataError, match="each row is one turn"):
        made(tmp_path, tokenizer, turns, loss_weight="weight")
    assert weigh_words(made(tmp_path, tokenizer, turns), tokenizer) == {"hello": 0.5}
    with pytest.raises(DataError, match=r"no row can be trained on: 2 of 2 rows: its weight is 0") as caught:
        made(tmp_path, tokenizer, [chat("one", w=0), chat("two", w=0.0)], loss_weight="w")
    assert caught.value.field == "data.loss_weight"


def test_a_weight_that_changes_nothing_is_said(tmp_path: Path, tokenizer: Any) -> None:
    row = chat("one")
    row["messages"][0]["weight"] = 2
    found = made(tmp_path, tokenizer, [row, chat("two")])
    assert [(one.code, one.count) for one in found.report.problems] == [("weight_unused", 1)]
    row["messages"][0]["weight"] = 0  # holds anyway
    assert not made(tmp_path, tokenizer, [row, chat("two")]).report.problems
    assert made(tmp_path, tokenizer, [row, chat("two")], train_on="everything").report.problems


@pytest.mark.parametrize("sort", TOKENIZERS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_everything_is_every_token_but_the_first(kind: Kind, sort: str) -> None:
    encoder = ChatEncoder(tokenizer_for(kind, sort), "everything")
    for name in ("three", "spaces", "chinese"):
        trained = encoder.encode_chat(CHATS[name]).mask_of_trained
        assert not trained[0] and trained[1:].all()


def test_weights_are_shown_with_the_tokens(tmp_path: Path, tokenizer: Any) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    data = DataSection(path=str(path), loss_weight="score")
    view = mask_row(ModelSection(), data, 1, tokenizer)
    assert {token.weight for token in view.tokens if token.trained} == {4.0, 2.0}
    assert {token.weight for token in view.tokens if not token.trained} == {1.0}
    text = "\n".join(line.plain for line in format_mask(view))
    assert "‹×4 one" in text and "‹×2 two" in text and "three" in text and "×0" not in text
    assert mask_row(ModelSection(), data, 4, tokenizer).outcome == "unused"
    tokens = (Token("a", True, False), Token("b", True, False, weight=0.5), Token("c", False, False))
    assert draw_mask_tokens(tokens, False).plain == "▸a◂▸×0.5 b◂c"
    reading = DataReading(data)
    assert len(list(reading)) == len(ROWS)
    found = reading.detections[0].detection
    assert found.weight == "score" and "score" not in found.unused
