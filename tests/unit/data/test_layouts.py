"""The layouts in which people and other trainers keep chats, answers and preferences."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tui_tuner.data.formats import AmbiguousColumns, find_format
from tui_tuner.data.formats.recognise import recognise_format
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import DataError

U, A = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}
NO = {"role": "assistant", "content": "no"}
HI = [("user", "hi"), ("assistant", "hello")]
TOOL = {"type": "function", "function": {"name": "tide", "parameters": {}}}
HH = "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: Bye?\n\nAssistant: "


def read(row: dict[str, Any], wanted: str = "auto", **told: str) -> Any:
    found = recognise_format([row] * 5, wanted, told or None)
    return find_format(found.format).convert_row(row, found.columns)


def said(messages: list[Any]) -> list[tuple[str, str | None]]:
    return [(message.role, message.content) for message in messages]


# row -> format, turns
CHATS: dict[str, tuple[dict[str, Any], str, list[tuple[str, str]]]] = {
    "a list of turns in any column": ({"row": [U, A]}, "messages", HI),
    "sharegpt in any column": (
        {"0": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]},
        "sharegpt",
        HI,
    ),
    "vicuna's items": (
        {"items": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]},
        "sharegpt",
        HI,
    ),
    "dialog": ({"dialog": [U, A], "id": 3}, "messages", HI),
    "dialogue as JSON": ({"dialogue": json.dumps([U, A])}, "messages", HI),
    "speaker and utterance": (
        {"dialog": [{"speaker": "user", "utterance": "hi"}, {"speaker": "assistant", "utterance": "hello"}]},
        "messages",
        HI,
    ),
    "role and value": (
        {"conversations": [{"role": "human", "value": "hi"}, {"role": "gpt", "value": "hello"}]},
        "messages",
        HI,
    ),
    "from and value, with columns that Arrow filled": (
        {
            "conversations": [
                {"from": "human", "value": "hi", "content": None},
                {"from": "gpt", "value": "hello", "content": None},
            ]
        },
        "sharegpt",
        HI,
    ),
    "UltraChat": ({"id": "0", "data": ["hi", "hello"]}, "messages", HI),
    "pairs of texts": (
        {"conversation": [["hi", "hello"], ["a", "b"]]},
        "messages",
        [*HI, ("user", "a"), ("assistant", "b")],
    ),
    "rounds": (
        {
            "conversation": [
                {"system": "Be brief.", "input": "hi", "output": "hello"},
                {"input": "a", "output": "b"},
            ]
        },
        "messages",
        [("system", "Be brief."), *HI, ("user", "a"), ("assistant", "b")],
    ),
    "a chat that is an object": ({"conversation": {"messages": [U, A]}}, "messages", HI),
    "a transcript": ({"text": HH}, "transcript", [*HI, ("user", "Bye?")]),
    "a transcript with hashes": ({"text": "### Human: hi### Assistant: hello"}, "transcript", HI),
    "TRL's prompt and completion": ({"prompt": [U], "completion": [A]}, "prompt_response", HI),
    "a prompt that is a transcript": (
        {"prompt": "\n\nHuman: hi\n\nAssistant:", "completion": " hello"},
        "prompt_response",
        [("user", "hi"), ("assistant", " hello")],
    ),
    "OpenOrca": (
        {"id": "1", "system_prompt": "Be brief.", "question": "hi", "response": "hello"},
        "prompt_response",
        [("system", "Be brief."), *HI],
    ),
    "Dolly": (
        {"instruction": "hi", "context": "there", "response": "hello", "category": "x"},
        "prompt_response",
        [("user", "hi\nthere"), ("assistant", "hello")],
    ),
    "LLaMA-Factory": (
        {
            "instruction": "hi",
            "input": "",
            "output": "hello",
            "system": "S",
            "history": [["a", "b"]],
            "tools": json.dumps([TOOL]),
        },
        "alpaca",
        [("system", "S"), ("user", "a"), ("assistant", "b"), *HI],
    ),
    "a number answers": (
        {"instruction": "hi", "output": 12},
        "alpaca",
        [("user", "hi"), ("assistant", "12")],
    ),
    "a boolean answers": (
        {"question": "hi", "answer": True},
        "prompt_response",
        [("user", "hi"), ("assistant", "True")],
    ),
    "only the input asks": (
        {"instruction": None, "input": "hi", "output": "hello"},
        "alpaca",
        HI,
    ),
    "OASST": (
        {
            "message_tree_id": "1",
            "prompt": {
                "role": "prompter",
                "text": "hi",
                "replies": [
                    {"role": "assistant", "text": "no", "rank": 1, "replies": []},
                    {
                        "role": "assistant",
                        "text": "hello",
                        "rank": 0,
                        "replies": [{"role": "prompter", "text": "?"}],
                    },
                ],
            },
        },
        "tree",
        HI,
    ),
}


@pytest.mark.parametrize("name", CHATS)
def test_a_chat_is_read_in_its_layout(name: str) -> None:
    row, wanted, turns = CHATS[name]
    # an instruction that is missing now and then, beside some that are there
    rows = [{**row, "instruction": "x"}] * 3 + [row] if row.get("instruction", 1) is None else [row] * 5
    found = recognise_format(rows)
    assert found.format == wanted and found.confidence >= 0.9
    assert said(find_format(found.format).convert_row(row, found.columns).messages) == turns


def test_tools_beside_an_instruction() -> None:
    assert read(CHATS["LLaMA-Factory"][0]).tools == [TOOL]


PREFERENCES: dict[str, dict[str, Any]] = {
    "LLaMA-Factory's sharegpt": {"conversations": [U], "chosen": A, "rejected": NO},
    "LLaMA-Factory's alpaca": {"instruction": "hi", "input": "", "chosen": "hello", "rejected": "no"},
    "two chats": {"chosen": [U, A], "rejected": [U, NO]},
    "two chats as JSON": {"chosen": json.dumps([U, A]), "rejected": json.dumps([U, NO])},
    "two chats and the prompt": {"prompt": "hi", "chosen": [U, A], "rejected": [U, NO]},
    "two message columns": {"messages_chosen": [U, A], "messages_rejected": [U, NO]},
    "named the other way round": {"chosen_messages": [U, A], "rejected_messages": [U, NO]},
    "UltraFeedback": {"prompt": "hi", "messages": [U, A], "chosen": [U, A], "rejected": [U, NO]},
    "a chat that ends with the chosen answer": {"messages": [U, A], "chosen": "hello", "rejected": "no"},
    "TRL": {"prompt": [U], "chosen": [A], "rejected": [NO]},
    "OpenAI": {
        "input": {"messages": [U], "tools": [TOOL]},
        "preferred_output": [A],
        "non_preferred_output": [NO],
    },
    "HH-RLHF": {
        "chosen": "\n\nHuman: hi\n\nAssistant: hello",
        "rejected": "\n\nHuman: hi\n\nAssistant: no",
    },
    "HH-RLHF with its prompt apart": {
        "prompt": "\n\nHuman: hi\n\nAssistant:",
        "chosen": "hello",
        "rejected": "no",
    },
}


@pytest.mark.parametrize("name", PREFERENCES)
def test_a_preference_is_read_in_its_layout(name: str) -> None:
    found = read(PREFERENCES[name])
    assert found.kind == "preference" and said(found.messages) == [("user", "hi")]
    assert said(found.chosen) == [("assistant", "hello")] and said(found.rejected) == [("assistant", "no")]
    assert bool(found.tools) == (name == "OpenAI")


def test_a_system_message_that_only_the_answers_repeat_is_of_the_prompt() -> None:
    system = {"role": "system", "content": "Be brief."}
    found = read({"prompt": "hi", "chosen": [system, U, A], "rejected": [system, U, NO]})
    assert said(found.messages) == [("system", "Be brief."), ("user", "hi")] and len(found.chosen) == 1


def test_kto_of_an_instruction_with_input() -> None:
    found = read({"instruction": "hi", "input": "there", "output": "hello", "kto_tag": True})
    number = read({"instruction": "hi", "input": "there", "output": "hello", "kto_tag": 1})
    assert number == found
    assert found.kind == "judged" and said(found.messages) == [("user", "hi\nthere"), ("assistant", "hello")]


def test_an_answer_among_classes_is_asked_about() -> None:
    rows = [{"input": f"text {number}", "output": number % 2} for number in range(40)]
    with pytest.raises(AmbiguousColumns, match="answers or classes"):
        recognise_format(rows)
    assert recognise_format(rows, "prompt_response").format == "prompt_response"
    assert recognise_format(rows, columns={"text": "input", "label": "output"}).format == "text_label"


def test_labels_stay_labels() -> None:
    for label in (1, 0.5, True, "good", float("nan")):
        rows = [{"text": "a", "label": label}, *[{"text": "b", "label": 1}] * 9]
        assert recognise_format(rows).format == "text_label"
    found = recognise_format(rows)
    with pytest.raises(RowProblem, match="the label is missing"):
        find_format(found.format).convert_row({"text": "a", "label": float("nan")}, found.columns)


def test_a_guess_is_asked_about_and_what_is_asked_for_is_taken() -> None:
    rows = [{"name": f"n {number}", "body": "words", "place": "x"} for number in range(5)]
    with pytest.raises(AmbiguousColumns, match=r"not certain: text.*--set data\.format=text"):
        recognise_format(rows)
    assert recognise_format(rows, "text").columns == {"text": "body"}
    long = [{"text": "a", "target": f"a sentence of its own, and quite a long one: {n}"} for n in range(40)]
    with pytest.raises(AmbiguousColumns, match="not certain"):
        recognise_format(long)


def test_what_is_missing_is_never_a_bare_exception() -> None:
    with pytest.raises(DataError, match="kto also needs: prompt, response"):
        recognise_format([{"a": "x", "label": True}], "kto", {"good": "label"})
    with pytest.raises(AmbiguousColumns, match="several columns could be the prompt: input, Input"):
        recognise_format([{"input": "a", "Input": "b", "output": "c"}])
    deep: Any = []
    for _unused in range(5000):
        deep = [deep]
    assert recognise_format([{"prompt": "a", "response": "b", "x": deep}]).format == "prompt_response"


def test_squads_answers_are_answers_to_learn_too() -> None:
    row = {"question": "q", "context": "the cat", "answers": {"text": ["cat"], "answer_start": [4]}}
    roles = {"prompt": "question", "input": "context", "response": "answers"}
    assert said(read(row, **roles).messages) == [("user", "q\nthe cat"), ("assistant", "cat")]
    listed = {**row, "answers": [{"text": "cat", "answer_start": 4}]}
    assert read(listed, **roles).messages[-1].content == "cat"
    for none in ([], {"text": [], "answer_start": []}):
        with pytest.raises(RowProblem, match="no answer in its context"):
            read({**row, "answers": none}, **roles)
    given = {**row, "answers": {"text": ["NOT_GIVEN"], "answer_start": [-1]}}
    assert read(given).answers == [] and read(given, **roles).messages[-1].content == "NOT_GIVEN"


def test_an_answer_that_is_a_list_is_not_cut_to_its_first_item() -> None:
    with pytest.raises(RowProblem, match="not text"):
        read({"prompt": "a", "response": ["x", "y"]}, prompt="prompt", response="response")


def test_an_answer_of_nothing_at_no_place_is_no_answer() -> None:
    values = {"question": "Who?", "context": "It rains.", "answers": {"text": [""], "answer_start": [-1]}}
    record: Any = find_format("qa").convert_row(values, {name: name for name in values})
    assert record.answers == []


def test_texts_that_may_all_be_questions_are_asked_about() -> None:
    row = {"question_id": 81, "category": "writing", "turns": ["Write a post.", "Now make it rhyme."]}
    with pytest.raises(AmbiguousColumns, match="60% sure") as error:
        read(row)
    assert "question_id" not in (error.value.hint or "")
    assert said(read(row, "messages").messages) == [
        ("user", "Write a post."),
        ("assistant", "Now make it rhyme."),
    ]


def test_the_reason_of_a_transcript_whose_chosen_answer_is_empty_names_it() -> None:
    row = {"chosen": "\n\nHuman: hi\n\nAssistant: ", "rejected": "\n\nHuman: hi\n\nAssistant: hello"}
    with pytest.raises(RowProblem, match="the chosen answer is missing"):
        find_format("preference").convert_row(row, {"chosen": "chosen", "rejected": "rejected"})


def test_what_tells_rows_apart_is_not_offered_as_a_text() -> None:
    with pytest.raises(DataError) as error:
        recognise_format([{"id": f"a_{n}", "calls": [[{"a": 1}]]} for n in range(5)])
    assert "id" not in (error.value.hint or "").replace("Write each row", "")


def test_translations_go_from_the_first_language_to_the_second_unless_the_user_says() -> None:
    row = {"id": "1", "translation": {"en": "A cat.", "de": "Eine Katze."}}
    assert recognise_format([row] * 5).why == "from en to de"
    assert said(read(row).messages) == [("user", "A cat."), ("assistant", "Eine Katze.")]
    turned = [("user", "Eine Katze."), ("assistant", "A cat.")]
    assert said(read(row, translation="translation", prompt="de").messages) == turned
    three = {"translation": {**row["translation"], "fr": "Un chat."}}  # type: ignore[dict-item]
    with pytest.raises(AmbiguousColumns, match="texts in 3 languages: en, de, fr"):
        read(three)
    assert said(read(three, translation="translation", prompt="de", response="en").messages) == turned
    with pytest.raises(DataError, match="no column 'it'"):
        read(three, translation="translation", prompt="it", response="en")
    with pytest.raises(RowProblem):
        find_format("translation").convert_row(
            {"translation": {"en": "A cat."}},
            {"translation": "translation", "prompt": "en", "response": "de"},
        )
