"""What of a row does not reach training: keys that are not used, and what it needs beside its text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chat_templates import CHATML
from small_tokenizers import byte_level

from tui_tuner.config.load import build_config
from tui_tuner.data.cleaning.cleaner import Cleaner
from tui_tuner.data.examples.prepare import prepare_examples
from tui_tuner.data.formats.recognise import recognise_format
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.preview import inspect_data
from tui_tuner.data.read_data import DataReading
from tui_tuner.data.report import format_inspection
from tui_tuner.data.writing import write_converted_file
from tui_tuner.errors import DataError
from tui_tuner.tasks import find_task
from tui_tuner.tasks.preview.mask import mask_row

U, A = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def section(path: Path, **data: Any) -> Any:
    return build_config({"data": {"path": str(path), **data}}).data


def counted(path: Path, **data: Any) -> tuple[Ledger, dict[str, int], list[Any]]:
    """The ledger, its steps by name, and the records."""
    ledger = inspect_data(section(path, **data)).ledger
    assert ledger.is_consistent
    records = [read.record for read in DataReading(section(path, **data)) if read.record is not None]
    return ledger, {str(step.reason): step.count for step in ledger.list_steps()}, records


def test_keys_that_are_not_used_are_counted_by_name(tmp_path: Path) -> None:
    rows = [
        {"messages": [U, {**A, "mood": "glad", "id": 1}], "source": "web", "score": None},
        {"messages": [{**U, "mood": "sad"}, {**A, "mood": "glad"}], "source": "web", "score": 3},
        {"messages": [U, A], "source": "", "score": float("nan")},
    ]
    dropped = {"messages": [{**U, "mood": "sad"}, {**A, "weight": -0.5}], "source": "web"}
    path = write(tmp_path / "a.jsonl", rows[:2])
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(rows[2]).replace("NaN", "null") + "\n" + json.dumps(dropped) + "\n")
    ledger, steps, _unused = counted(path)
    assert steps == {
        "column source is not used": 3,
        "column score is not used": 1,
        "key mood of a turn is not used": 3,
        "key id of a turn is not used": 1,
    }
    assert ledger.outcomes["kept"] == 3 and ledger.read == 4
    step = next(step for step in ledger.list_steps() if "source" in step.reason)
    assert (step.samples[0]["line"], step.samples[0]["text"]) == (1, "web")
    again = Ledger.from_json(json.loads(json.dumps(ledger.to_json())))
    assert again.to_json() == ledger.to_json()
    lines = format_inspection(inspect_data(section(path)))
    assert any("key mood of a turn is not used" in line and "3" in line for line in lines)


def test_processes_and_the_cache_lose_no_count(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"a {n}", "response": f"b {n}", **({"mood": "glad"} if n % 3 == 0 else {})}
        for n in range(300)
    ]
    path = write(tmp_path / "a.jsonl", rows)
    tokenizer = byte_level(CHATML.specials, None, CHATML.eos)
    tokenizer.chat_template = CHATML.template
    for workers, cache in ((1, "1"), (2, "2"), (2, "2")):
        config = build_config({"data": {"path": str(path), "validation": 0, "workers": workers}})
        prepared = prepare_examples(config, tokenizer, find_task("sft"), cache_dir=tmp_path / cache)
        (step,) = prepared.ledger.list_steps()
        assert (step.reason, step.count, len(step.samples)) == ("column mood is not used", 100, 5)
        assert prepared.ledger.outcomes["kept"] == 300


def test_rows_whose_keys_never_repeat_do_not_fill_the_ledger(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "response": "b", f"key {number}": 1} for number in range(1000)]
    _ledger, steps, _records = counted(write(tmp_path / "a.jsonl", rows))
    assert len(steps) == 201 and steps["more columns and keys are not used"] == 800


def test_a_value_that_is_nested_too_deeply_is_counted_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "deep.jsonl"
    deep = "[" * 900 + "]" * 900
    path.write_text(f'{{"prompt": "a", "response": "b", "x": {deep}}}\n' * 3, encoding="utf-8")
    ledger, _steps, _records = counted(path)
    assert ledger.read == 3


PART = {"type": "image_url", "image_url": {"url": "x.png"}}
MEDIA: dict[str, tuple[dict[str, Any], str]] = {
    "a column": ({"messages": [U, A], "images": ["x.png"]}, "needs a picture"),
    "alpaca": ({"instruction": "What?", "output": "b", "image": "x.png"}, "needs a picture"),
    "a film": ({"messages": [U, A], "videos": ["x.mp4"]}, "needs a film"),
    "sound": ({"messages": [U, A], "audio": {"path": "x.wav"}}, "needs sound"),
    "tensors": ({"messages": [U, A], "pixel_values": [[0.5]]}, "needs a picture"),
    "a part": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}, PART]}, A]},
        "needs a picture",
    ),
    "Qwen's part": (
        {"messages": [{"role": "user", "content": [{"image": "x.png"}, {"text": "hi"}]}, A]},
        "needs a picture",
    ),
    "a part of sound": (
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}, A]},
        "needs sound",
    ),
    "a file": (
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}, A]},
        "needs a file",
    ),
    "a placeholder": ({"messages": [{**U, "content": "<image>\nWhat is it?"}, A]}, "needs a picture"),
    "a placeholder at the end": ({"messages": [{**U, "content": "What is it?<video>"}, A]}, "needs a film"),
    "Qwen-VL's picture": (
        {"query": "Look: <img>https://example.org/a.jpeg</img> What is it?", "response": "A cat."},
        "needs a picture",
    ),
    "Qwen-Audio's sound": ({"query": "1: <audio>a/b.wav</audio> Who?", "response": "Ann."}, "needs sound"),
    "a placeholder beside an empty column": (
        {
            "conversations": [
                {"from": "human", "value": "Is <image> a cat?"},
                {"from": "gpt", "value": "Yes."},
            ],
            "image": "",
        },
        "needs a picture",
    ),
    "a part in JSON": (
        {"messages": json.dumps([{"role": "user", "content": [PART, {"type": "text", "text": "hi"}]}, A])},
        "needs a picture",
    ),
    "a preference": ({"prompt": "a", "chosen": "b", "rejected": "c", "images": ["x.png"]}, "needs a picture"),
}


@pytest.mark.parametrize("name", MEDIA)
def test_a_row_that_needs_more_than_text_is_dropped_or_read_without(tmp_path: Path, name: str) -> None:
    row, reason = MEDIA[name]
    path = write(tmp_path / "a.jsonl", [row] * 3)
    ledger, _unused, records = counted(path)
    assert not records and ledger.outcomes["dropped"] == 3
    assert ledger.list_reasons("dropped")[0].reason.startswith(reason)
    ledger, steps, records = counted(path, media="ignore")
    assert ledger.outcomes["kept"] == len(records) == 3
    assert steps[f"read without the {reason.split()[-1]} it needs"] == 3
    assert not any("<" in (message.content or "") for message in records[0].messages)


def test_rows_beside_them_that_need_nothing_are_kept(tmp_path: Path) -> None:
    rows = [{"messages": [U, A], "images": images} for images in ([], None, [None], False, ["x.png"])]
    ledger, _unused, records = counted(write(tmp_path / "a.jsonl", rows))
    assert len(records) == 4 and ledger.outcomes["dropped"] == 1


@pytest.mark.parametrize(
    "text",
    [
        "What does the <image> tag do?",
        "<video>\n<source src='a.mp4'>\n</video>\nWhy does it not play?",
        "Is `<audio>` valid in HTML 5?",
        "Why is <image>no path</image> wrong?",
    ],
)
def test_a_text_about_tags_is_text(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "a.jsonl", [{"messages": [{**U, "content": text}, A]}])
    for media in ("drop", "ignore"):
        _ledger, steps, records = counted(path, media=media)
        assert records[0].messages[0].content == text
        assert any("read as text" in step for step in steps)


def test_a_class_of_a_text_beside_a_picture_needs_it_and_a_text_does_not(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"text": "a", "label": 1, "image": "x.png"}])
    assert counted(path)[0].outcomes["dropped"] == 1
    path = write(tmp_path / "b.jsonl", [{"text": "An article.", "image_url": "x.png"}])
    _ledger, steps, records = counted(path)
    assert records[0].text == "An article." and steps == {"column image_url is not used": 1}


def test_reasoning_alone_is_an_answer_and_is_cleaned_too(tmp_path: Path) -> None:
    rows = [{"messages": [U, {"role": "assistant", "content": "", "reasoning": "<b>2</b>+2"}]}]
    path = write(tmp_path / "a.jsonl", rows)
    ledger = Ledger()
    (read,) = DataReading(section(path))
    record = read.count_start(ledger)
    assert record is not None
    cleaner = Cleaner(build_config({"data": {"cleaning": {"html": "text"}}}).data.cleaning)
    cleaned = cleaner.clean_record(record, read.row.origin, ledger)
    assert cleaned is not None and cleaned.changed
    assert cleaned.record.messages[-1].reasoning == "2+2"  # type: ignore[union-attr]
    assert record.messages[-1].reasoning == "<b>2</b>+2"  # type: ignore[union-attr]


def test_the_mask_of_a_row_says_what_of_it_is_not_used(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"messages": [U, {**A, "mood": "glad"}], "id": 1}])
    tokenizer = byte_level(CHATML.specials, None, CHATML.eos)
    tokenizer.chat_template = CHATML.template
    view = mask_row(build_config({}).model, section(path), 1, tokenizer)
    assert {"column id is not used", "key mood of a turn is not used"} <= set(view.all_notes)
    path = write(tmp_path / "b.jsonl", TURNS)
    view = mask_row(build_config({}).model, section(path), 2, tokenizer)
    assert (view.outcome, view.reason) == ("merged", "a turn of the chat that begins above")


# ---- a turn in each row -----------------------------------------------------------------------------------

TURNS = [
    {"chat_id": 1, "role": "user", "content": "hi", "time": "06:12"},
    {"chat_id": 1, "role": "assistant", "content": "hello", "time": "06:13"},
    {"chat_id": 2, "role": "user", "content": "a", "time": "07:00"},
    {"chat_id": 2, "role": "assistant", "content": "b", "time": "07:01"},
    {"chat_id": 2, "role": "user", "content": "c", "time": "07:02"},
    {"chat_id": 2, "role": "assistant", "content": "d", "time": "07:03"},
]


def test_turns_of_a_chat_that_has_a_number_are_joined(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", TURNS)
    ledger, steps, records = counted(path)
    assert [[m.content for m in chat.messages] for chat in records] == [["hi", "hello"], ["a", "b", "c", "d"]]
    assert (ledger.read, ledger.outcomes["kept"], ledger.outcomes["merged"]) == (6, 2, 4)
    assert steps == {"column time is not used": 6}
    out = tmp_path / "out.jsonl"
    write_converted_file(section(path), str(out))
    assert len(out.read_text().splitlines()) == 2 and not Path(f"{out}.dropped.jsonl").read_text()


def test_turns_without_a_number_are_asked_about(tmp_path: Path) -> None:
    rows = [{"role": turn["role"], "content": turn["content"]} for turn in TURNS]
    path = write(tmp_path / "a.jsonl", rows)
    with pytest.raises(DataError, match=r"no column identifies its chat.*--set data\.format=turns"):
        counted(path)
    _ledger, _steps, records = counted(path, format="turns")
    assert len(records) == 1 and len(records[0].messages) == 6
    system = {"role": "system", "content": "Be brief."}
    path = write(tmp_path / "b.jsonl", [system, *rows[:2], system, *rows[2:]])
    _ledger, _steps, records = counted(path, format="turns")
    assert [len(chat.messages) for chat in records] == [3, 5]


def test_a_broken_row_ends_a_chat(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", TURNS)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:4], "{broken", *lines[4:]]) + "\n")
    ledger, _steps, records = counted(path)
    assert (ledger.read, len(records), ledger.outcomes["dropped"]) == (7, 3, 1)


def test_messages_of_a_tree_are_no_chat() -> None:
    rows = [
        {"message_id": "a", "parent_id": None, "message_tree_id": "a", "text": "hi", "role": "prompter"},
        {"message_id": "b", "parent_id": "a", "message_tree_id": "a", "text": "hello", "role": "assistant"},
    ]
    with pytest.raises(DataError, match="one message of a tree"):
        recognise_format(rows)
