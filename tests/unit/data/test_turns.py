"""One turn in every spelling: what is said, thought and called, if it is trained, and what is left over."""

from __future__ import annotations

from typing import Any

import pytest

from tui_tuner.data.formats.parts.message import FLAGS, WEIGHTS, list_unused_keys, read_messages
from tui_tuner.data.records import Message
from tui_tuner.data.row_problem import RowProblem


def turn(**keys: Any) -> Message:
    (found,) = read_messages({"role": "assistant", **keys})
    return found


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_is_kept_with_its_key(key: str) -> None:
    found = turn(content="Four.", **{key: "2+2"})
    assert (found.content, found.reasoning, found.reasoning_key) == ("Four.", "2+2", key)
    assert found.to_plain_turn()[key] == "2+2"
    listed = turn(content="Four.", **{key: ["2", {"type": "text", "text": "+2"}, {"thinking": "!"}]})
    assert listed.reasoning == "2+2!" and listed.reasoning_key == key
    assert turn(content="Four.", **{key: None}).reasoning is None
    assert turn(content=None, **{key: "2+2"}).reasoning == "2+2"
    with pytest.raises(RowProblem, match="reasoning is not text"):
        turn(content="Four.", **{key: [{"image": 1}]})


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
        ([{"type": "text", "value": "a"}], "a"),
        ([{"type": "text", "content": "a"}], "a"),
        ([{"type": "text", "text": {"value": "a", "annotations": []}}], "a"),
        ([{"type": "output_text", "text": "a"}, {"type": "input_text", "text": "b"}], "ab"),
        ([{"type": "text", "text": "a", "image_url": None}], "a"),
        ([{"text": "a"}], "a"),
        (["a", "b"], "ab"),
        ([{"type": "refusal", "refusal": "I cannot."}], "I cannot."),
        (12, "12"),
        ({"y": 2}, '{"y":2}'),
        ([], ""),
    ],
)
def test_content_in_every_shape(content: Any, text: str) -> None:
    assert turn(content=content).content == text


def test_thoughts_among_the_parts_are_reasoning() -> None:
    found = turn(content=[{"type": "thinking", "thinking": "2+2"}, {"type": "text", "text": "Four."}])
    assert (found.content, found.reasoning, found.reasoning_key) == ("Four.", "2+2", "reasoning_content")
    assert turn(content=[{"type": "reasoning", "text": "2+2"}]).content is None


def test_calls_in_every_spelling() -> None:
    wanted = {"name": "tide", "arguments": {"port": "Tarn"}}
    for keys in (
        {"tool_calls": [{"function": {"name": "tide", "arguments": '{"port": "Tarn"}'}}]},
        {"tool_calls": [{"name": "tide", "arguments": {"port": "Tarn"}}]},
        {"tool_calls": {"name": "tide", "parameters": {"port": "Tarn"}}},
        {"content": None, "function_call": {"name": "tide", "arguments": '{"port": "Tarn"}'}},
        {"content": [{"type": "tool_use", "id": "c", "name": "tide", "input": {"port": "Tarn"}}]},
        {"content": [{"type": "tool_call", "value": '{"name": "tide", "arguments": {"port": "Tarn"}}'}]},
    ):
        found: Any = turn(**keys)
        assert found.tool_calls[0]["function"] == wanted and found.content is None
    spoken: Any = read_messages(
        {"from": "function_call", "value": '{"name": "tide", "arguments": {"port": "Tarn"}}'}
    )
    assert spoken[0].tool_calls[0]["function"] == wanted
    text: Any = turn(tool_calls=[{"name": "tide", "arguments": "port=Tarn"}])
    assert text.tool_calls[0]["function"]["arguments"] == "port=Tarn"  # text that is no JSON stays text
    (result,) = read_messages({"role": "function", "name": "tide", "content": "06:12"})
    assert (result.role, result.name, result.content) == ("tool", "tide", "06:12")


def test_results_of_tools_in_a_users_turn_are_turns_of_their_own() -> None:
    parts = [
        {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "06:12"}]},
        {"type": "text", "text": "And the next?"},
    ]
    found = read_messages({"role": "user", "content": parts})
    assert [(m.role, m.content, m.tool_call_id) for m in found] == [
        ("tool", "06:12", "c"),
        ("user", "And the next?", None),
    ]


@pytest.mark.parametrize("key", FLAGS)
def test_whether_a_turn_is_trained(key: str) -> None:
    for value in (True, 1, 1.0, "1", "true", "True", "1.0"):
        assert turn(content="a", **{key: value}).train is True
    for value in (False, 0, 0.0, "0", "false", "0.0"):
        assert turn(content="a", **{key: value}).train is False
    for value in (None, float("nan"), ""):
        assert turn(content="a", **{key: value}).train is None
    assert key not in list_unused_keys({"role": "assistant", "content": "a", key: 1})
    if key == "loss":  # a number that somebody measured
        assert turn(content="a", loss=2.31).train is None
        assert list(list_unused_keys({"role": "user", "content": "a", "loss": 2.31})) == ["loss"]
        return
    if key in WEIGHTS:
        for value, weight in ((0.5, 0.5), ("2.5", 2.5), (3, 3.0), (1, 1.0), (0, 1.0)):
            found = turn(content="a", **{key: value})
            assert (found.train, found.weight) == (value != 0, weight)
        return
    with pytest.raises(RowProblem, match="trained as a whole or not at all"):
        turn(content="a", **{key: 0.5})


def test_flags_that_say_both_are_refused() -> None:
    assert turn(content="a", train=True, weight=1).train is True
    with pytest.raises(RowProblem, match="both as trained and as not trained"):
        turn(content="a", train=True, weight=0)
    spans = [
        {"begin_offset": 0, "end_offset": 1, "train": False},
        {"begin_offset": 2, "end_offset": 3, "train": False},
    ]
    assert turn(content="abcd", train_detail=spans).train is False
    with pytest.raises(RowProblem, match="only some characters"):
        turn(content="abcd", train_detail=[spans[0], {**spans[1], "train": True}])


def test_keys_that_nothing_is_made_of() -> None:
    item = {
        "role": "assistant",
        "content": "a",
        "reasoning": "r",
        "thinking": "t",
        "name": "n",
        "id": 7,
        "tool_calls": [],
        "score": None,
        "tags": [],
        "weight": 1,
        "text": "other",
    }
    assert sorted(list_unused_keys(item)) == ["id", "text", "thinking"]
    assert sorted(list_unused_keys({**item, "role": "user"})) == ["id", "reasoning", "text", "thinking"]
