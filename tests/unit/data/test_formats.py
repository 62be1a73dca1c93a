"""Which format rows are in, and what each becomes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tui_tuner.config.advice import list_hint_fixes
from tui_tuner.data.formats import AmbiguousColumns, find_format, list_format_names
from tui_tuner.data.formats.recognise import Detection, recognise_format
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import DataError

TURNS = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]
CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]

CASES: dict[str, tuple[dict[str, Any], str]] = {
    "alpaca": ({"instruction": "a", "input": "", "output": "b"}, "alpaca"),
    "sharegpt": ({"id": "1", "conversations": TURNS}, "sharegpt"),
    "messages": ({"messages": CHAT}, "messages"),
    "messages as text": ({"messages": json.dumps(CHAT)}, "messages"),
    "question and answer": ({"question": "a", "answer": "b"}, "prompt_response"),
    "dolly": ({"instruction": "a", "context": "c", "response": "b", "category": "x"}, "prompt_response"),
    "AdvertiseGen": ({"content": "a", "summary": "b"}, "prompt_response"),
    "input and output": ({"input": "a", "output": "b"}, "prompt_response"),
    "chatglm": ({"prompt": "a", "response": "b", "history": [["c", "d"]]}, "chatglm"),
    "preference texts": ({"prompt": "a", "chosen": "b", "rejected": "c"}, "preference"),
    "preference chats": ({"chosen": CHAT, "rejected": [CHAT[0], {**CHAT[1], "content": "no"}]}, "preference"),
    "preference sharegpt": (
        {"conversations": TURNS[:1], "chosen": TURNS[1], "rejected": {"from": "gpt", "value": "no"}},
        "preference",
    ),
    "kto": ({"prompt": "a", "completion": "b", "label": True}, "kto"),
    "kto chat": ({"messages": CHAT, "kto_tag": False}, "kto"),
    "text": ({"id": 3, "text": "a"}, "text"),
    "text and label": ({"text": "a", "label": 1}, "text_label"),
    "review": ({"review": "a", "sentiment": "positive"}, "text_label"),
    "pair": ({"sentence1": "a", "sentence2": "b", "label": 0}, "sentence_pair"),
    "nli": ({"premise": "a", "hypothesis": "b", "label": "neutral"}, "sentence_pair"),
    "tags": ({"tokens": ["a", "b"], "ner_tags": [0, 1]}, "token_tags"),
    "squad": (
        {"question": "q", "context": "the cat", "answers": {"text": ["cat"], "answer_start": [4]}},
        "qa",
    ),
}


def converted(row: dict[str, Any], found: Detection) -> Any:
    return find_format(found.format).convert_row(row, found.columns)


@pytest.mark.parametrize("name", CASES)
def test_format_is_recognised_and_converts(name: str) -> None:
    row, wanted = CASES[name]
    found = recognise_format([row] * 5)
    assert found.format == wanted and found.confidence > 0.5 and found.why
    assert set(found.columns.values()) | set(found.unused) == set(row)
    converted(row, found)


def test_every_name_has_its_format_and_nothing_else_is_imported() -> None:
    for name in list_format_names():
        assert find_format(name).name == name and find_format(name).needed
    for name in ("auto", "base", "recognise", "labelled"):
        with pytest.raises(KeyError):
            find_format(name)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a", "question": "b", "answer": "c"},
        {"question": "a", "answer": "b", "response": "c"},
        {"instruction": "a", "prompt": "p", "output": "b"},
        {"messages": CHAT, "conversations": TURNS},
        {"tokens": ["a"], "ner_tags": [1], "pos_tags": [2]},
    ],
)
def test_columns_that_look_alike_are_asked_about(row: dict[str, Any]) -> None:
    with pytest.raises(AmbiguousColumns, match=r"several columns could be.*data\.columns=\{") as caught:
        recognise_format([row], where="a.jsonl")
    suggestion = caught.value.hint.split("data.columns=")[1].rstrip("'.")
    names = dict(part.split(": ") for part in suggestion.strip("{}").split(", "))
    assert set(names.values()) <= set(row)


@pytest.mark.parametrize(
    "row", [{"a": "x", "b": "y"}, {"x": 1}, {"source": "m", "model": "n", "targets": "o"}]
)
def test_unknown_columns_are_not_guessed(row: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"not recognised.*Columns: "):
        recognise_format([row] * 3)


def test_a_table_without_names_of_columns_is_told_apart() -> None:
    rows = [
        {"It is nice.": f"It was bad {number}.", "good": label}
        for number, label in enumerate(["bad", "good"])
    ]
    with pytest.raises(DataError, match="looks like a row: good") as caught:
        recognise_format(rows, where="a.csv")
    assert "a line of names above it" in caught.value.hint and not list_hint_fixes(caught.value.hint)
    for where, other in (("a.jsonl", rows), ("a.csv", [{**row, "good": "x"} for row in rows])):
        with pytest.raises(DataError, match="not recognised"):
            recognise_format(other, where=where)


def test_columns_as_told() -> None:
    rows = [{"frage": "a", "antwort": "b", "prompt": "c", "output": "d"}]
    found = recognise_format(rows, columns={"prompt": "frage", "response": "antwort"})
    assert found.format == "prompt_response" and found.chosen and found.unused == ["prompt", "output"]
    aliases = recognise_format(rows, columns={"instruction": "frage", "output": "antwort"})
    assert aliases.columns == {"prompt": "frage", "response": "antwort"}
    with pytest.raises(DataError, match="no column 'nothing'"):
        recognise_format(rows, columns={"prompt": "nothing", "response": "antwort"})
    with pytest.raises(DataError, match="unknown role"):
        recognise_format(rows, columns={"sprache": "frage"})
    with pytest.raises(DataError, match="also needs: response"):
        recognise_format(rows, "prompt_response", {"prompt": "frage"})


def test_a_format_that_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="do not look like sharegpt"):
        recognise_format([{"prompt": "a", "response": "b"}], "sharegpt")


def record(row: dict[str, Any]) -> Any:
    return converted(row, recognise_format([row]))


def test_alpaca_and_history_become_turns() -> None:
    chat = record({"instruction": "do", "input": "this", "output": "done"})
    assert [(m.role, m.content) for m in chat.messages] == [("user", "do\nthis"), ("assistant", "done")]
    chat = record({"prompt": "now", "response": "yes", "history": [["then", "no"]], "system": "Be brief."})
    assert [m.content for m in chat.messages] == ["Be brief.", "then", "no", "now", "yes"]


def test_messages_in_every_spelling() -> None:
    row = {
        "messages": [
            {"role": "developer", "content": "rules"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": '{"x": 1}'}}]},
            {"role": "tool", "content": {"y": 2}},
            {"role": "assistant", "content": "c", "weight": 0},
            {"role": "user", "content": "d"},
            {"role": "assistant", "content": "e", "train": True},
        ],
        "tools": '[{"name": "f", "description": "does"}]',
    }
    chat = record(row)
    assert [m.role for m in chat.messages] == [
        "system", "user", "assistant", "tool", "assistant", "user", "assistant",
    ]  # fmt: skip
    assert chat.messages[1].content == "ab"
    assert chat.messages[2].tool_calls[0]["function"] == {"name": "f", "arguments": {"x": 1}}
    assert [m.train for m in chat.messages[4:]] == [False, None, True]
    assert chat.tools == [{"type": "function", "function": {"name": "f", "description": "does"}}]


def test_function_calls_of_sharegpt() -> None:
    row = {
        "conversations": [
            {"from": "human", "value": "w?"},
            {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Rome"}}'},
            {"from": "observation", "value": "20"},
            {"from": "gpt", "value": "20 degrees"},
        ]
    }
    chat = record(row)
    assert [m.role for m in chat.messages] == ["user", "assistant", "tool", "assistant"]
    assert chat.messages[1].tool_calls[0]["function"]["name"] == "weather"


def test_preference_in_its_layouts() -> None:
    for name in ("preference texts", "preference chats", "preference sharegpt"):
        found = record(CASES[name][0])
        assert found.kind == "preference" and found.messages[-1].role == "user"
        assert len(found.chosen) == len(found.rejected) == 1
        assert found.chosen[0].content != found.rejected[0].content


GOOD = {"messages": CHAT}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": [{"role": "martian", "content": "x"}, CHAT[1]]}, "unknown role"),
        ({"messages": [{"role": "user", "content": 1.5}, {"role": "user", "content": "x"}]}, "no answer"),
        ({"messages": []}, "the chat is empty"),
        ({"messages": "not a chat"}, "not a list of turns"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}, CHAT[1]]}, "needs a picture"),
        ({"messages": [{"role": "user"}, CHAT[1]]}, "no content"),
        ({"messages": [CHAT[0], {**CHAT[1], "weight": "much"}]}, "not a number from 0"),
        ({"messages": [CHAT[0], {**CHAT[1], "weight": -1}]}, "not a number from 0"),
        ({"messages": [CHAT[0], {**CHAT[1], "loss_scale": 1e-9}]}, "not a number from 0"),
        ({"messages": [CHAT[0], {**CHAT[1], "weight": 2, "loss_scale": 3}]}, "two different weights"),
        ({"messages": [CHAT[0], {**CHAT[1], "weight": 2, "train": False}]}, "both as trained and as not"),
        ({"messages": [CHAT[0], {**CHAT[1], "train": 0.3}]}, "neither true nor false"),
        ({"messages": [CHAT[0], {"role": "assistant", "content": None, "tool_calls": [{}]}]}, "no name"),
    ],
)
def test_rows_that_are_wrong_say_why(row: dict[str, Any], reason: str) -> None:
    found = recognise_format([GOOD] * 9 + [row])
    with pytest.raises(RowProblem, match=reason):
        converted(row, found)


def test_a_format_that_was_asked_for_takes_columns_of_mixed_types() -> None:
    rows = [{"instruction": "a", "output": 1}, {"instruction": 2, "output": ["x"]}, {"instruction": "b"}]
    with pytest.raises(DataError, match="not recognised"):
        recognise_format(rows)
    found = recognise_format(rows, "alpaca")
    assert found.format == "alpaca" and found.columns == {"prompt": "instruction", "response": "output"}
    with pytest.raises(RowProblem, match="not text"):
        converted(rows[1], found)


def test_lists_of_a_table_may_be_written_as_json() -> None:
    rows = [
        {"tokens": '["EU", "says"]', "ner_tags": '["B-ORG", "O"]'},
        {"tokens": '["x"]', "ner_tags": "[1.0]"},
    ]
    found = recognise_format(rows)
    assert found.format == "token_tags"
    first, second = (find_format("token_tags").convert_row(row, found.columns) for row in rows)
    assert (first.tokens, first.tags) == (["EU", "says"], ["B-ORG", "O"])
    assert second.tags == [1] and isinstance(second.tags[0], int)
    for tags, place in (("[true]", "True at word 1, column ner_tags"), ("[0.5]", "0.5 at word 1")):
        with pytest.raises(RowProblem, match="neither text nor a number") as error:
            find_format("token_tags").convert_row({"tokens": '["x"]', "ner_tags": tags}, found.columns)
        assert error.value.detail.startswith(place)
