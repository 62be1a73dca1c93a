"""A hint can be followed: what each refusal says to type is typed, and the rows are read and trained on."""

from __future__ import annotations

import json
import pickle
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from chat_templates import CHATML
from small_tokenizers import byte_level

from tui_tuner.config.advice import format_screen_hint, list_hint_fixes
from tui_tuner.config.kinds.formats import ROLES
from tui_tuner.config.load import apply_config_sets, build_config
from tui_tuner.config.options import list_options
from tui_tuner.config.values import set_config_path
from tui_tuner.data.examples.prepare import PreparedRows, prepare_examples
from tui_tuner.data.formats import find_format, list_format_names
from tui_tuner.errors import DataError
from tui_tuner.tasks import find_task

U, A, NO = (
    {"role": role, "content": text} for role, text in (("user", "hi"), ("assistant", "a"), ("assistant", "b"))
)
SQUAD = {"question": "What?", "context": "the cat", "answers": {"text": ["cat"], "answer_start": [4]}}
HH = "\n\nHuman: hi\n\nAssistant: hello"
_COMMAND = re.compile(r"(?:--set (?:'(?:[^']|'\\'')*'|[^\s']+) ?)+")


def rows_of(row: dict[str, Any], count: int = 4) -> list[dict[str, Any]]:
    return [row] * count


# rows, and what the user has said of them
REFUSED: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "unknown columns": (rows_of({"a": "x", "b": "y"}), []),
    "names that YAML and the shell would misread": (
        rows_of({"what's: it, {or}": "x", "no": "y", "\u554f\u984c": 1}),
        [],
    ),
    "only numbers": (rows_of({"x": 1}), []),
    "many columns": (rows_of({f"c {number}": "x" for number in range(30)}), []),
    "another format": (rows_of({"prompt": "a", "response": "b"}), ["data.format=sharegpt"]),
    "another format, and none fits": (rows_of({"a": "x", "b": "y"}), ["data.format=sharegpt"]),
    "a role too few": (
        rows_of({"q": "x", "b": "y"}),
        ["data.columns={prompt: q}", "data.format=prompt_response"],
    ),
    "roles that make nothing": (rows_of({"q": "x", "b": "y"}), ["data.columns={prompt: q}"]),
    "a role too many": (
        rows_of({"q": "x", "a": "y", "l": "z"}),
        ["data.columns={prompt: q, response: a, label: l}", "data.format=prompt_response"],
    ),
    "an unknown role": (rows_of({"q": "x", "a": "y"}), ["data.columns={ask: q, response: a}"]),
    "an unknown column": (rows_of({"q": "x", "a": "y"}), ["data.columns={prompt: Q, response: a}"]),
    "two prompts": (rows_of({"prompt": "a", "question": "b", "answer": "c"}), []),
    "two prompts and two answers": (
        rows_of({"prompt": "a", "question": "b", "answer": "c", "response": "d"}),
        [],
    ),
    "two chats": (rows_of({"messages": [U, A], "conversations": [U, A]}), []),
    "two chosen": (rows_of({"prompt": "p", "chosen": "a", "preferred": "b", "rejected": "c"}), []),
    "classes or answers": ([{"input": f"t {n}", "output": n % 2} for n in range(40)], []),
    "an unsure text": (rows_of({"name": "n", "body": "words", "place": "x"}), []),
    "turns": ([U, A], []),
    "messages of a tree": (
        [{**U, "message_id": 1, "parent_id": None}, {**A, "message_id": 2, "parent_id": 1}],
        [],
    ),
    "segments": (rows_of({"segments": [{"text": "a", "label": False}, {"text": "b", "label": True}]}), []),
    "a preference": (rows_of({"prompt": "a", "chosen": "b", "rejected": "c"}), []),
    "a preference, named": (
        rows_of({"prompt": "a", "chosen": "b", "rejected": "c"}),
        ["data.format=preference"],
    ),
    "a preference of chats": (rows_of({"chosen": [U, A], "rejected": [U, NO]}), []),
    "a preference of turns": (rows_of({"conversations": [U], "chosen": A, "rejected": NO}), []),
    "HH-RLHF": (rows_of({"chosen": HH, "rejected": HH + "!"}), []),
    "OpenAI's preference": (
        rows_of({"input": {"messages": [U]}, "preferred_output": [A], "non_preferred_output": [NO]}),
        [],
    ),
    "kto": (rows_of({"prompt": "a", "completion": "b", "label": True}), []),
    "kto of a chat": (rows_of({"messages": [U, A], "label": True}), []),
    "kto without its columns": (
        rows_of({"x": "a", "y": "b", "ok": True}),
        ["data.columns={good: ok}", "data.format=kto"],
    ),
    "a class": (rows_of({"text": "a", "label": 1}), []),
    "a pair": (rows_of({"sentence1": "a", "sentence2": "b", "label": "yes"}), []),
    "a pair without a class": (rows_of({"sentence1": "a", "sentence2": "b"}), []),
    "tags": (rows_of({"tokens": ["a", "b"], "ner_tags": [0, 1]}), []),
    "questions": (rows_of(SQUAD), []),
    "questions in pretraining": (rows_of(SQUAD), ["task=pretraining"]),
    "questions without an answer": (
        [*rows_of(SQUAD, 2), {**SQUAD, "answers": {"text": [], "answer_start": []}}],
        [],
    ),
    "text": (rows_of({"text": "words and more words"}), []),
    "a chat in pretraining": (rows_of({"messages": [U, A]}), ["task=pretraining"]),
    "pictures": (rows_of({"messages": [U, A], "images": ["x.png"]}), []),
    "some pictures": ([*rows_of({"messages": [U, A]}), {"messages": [U, A], "images": ["x.png"]}], []),
}


def run(path: Path, sets: list[str]) -> PreparedRows:
    values: dict[str, Any] = {"data": {"path": str(path), "validation": 0, "max_length": 256}}
    apply_config_sets(values, sets)
    tokenizer = byte_level(CHATML.specials, None, CHATML.eos)
    tokenizer.chat_template = CHATML.template
    config = build_config(values)
    return prepare_examples(config, tokenizer, find_task(config.task), cache_dir=path.parent / "cache")


def follow(path: Path, sets: list[str], hint: str, times: int = 3) -> None:
    """Type each command of a hint; what still stands in the way then has a hint of its own."""
    commands = _COMMAND.findall(hint)
    assert commands and times, hint
    for command in commands:
        said = [part.rstrip(".;,") for part in shlex.split(command) if part != "--set"]
        try:
            assert len(run(path, [*sets, *said]).train), command
        except DataError as error:
            follow(path, [*sets, *said], error.hint, times - 1)


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_refusal_says_to_type_works(tmp_path: Path, name: str) -> None:
    rows, sets = REFUSED[name]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        run(path, sets)
    offers_the_same(caught.value)
    follow(path, sets, caught.value.hint)


def offers_the_same(error: DataError) -> None:
    """What a screen can set is what a command line is told to type, and the error names a field."""
    told = []
    for command in _COMMAND.findall(error.hint):
        values: dict[str, Any] = {}
        apply_config_sets(values, [part.rstrip(".;,") for part in shlex.split(command) if part != "--set"])
        told.append(values)
    offered = []
    for fix in list_hint_fixes(error.hint):
        offered.append({})
        for field, value in fix.items():
            set_config_path(offered[-1], field, value)
    assert offered == told and told
    assert "--set" not in format_screen_hint(error.hint)
    assert error.field in list_options()
    assert format_screen_hint(pickle.loads(pickle.dumps(error)).hint) == format_screen_hint(error.hint)


def test_every_role_that_a_column_may_have_is_explained() -> None:
    roles = {
        role for name in list_format_names() for role in (*find_format(name).needed, *find_format(name).more)
    }
    assert roles == set(ROLES)
