"""Small files of each shape that the guide meets, as people have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

COLOURS = ("red", "blue", "green", "black", "white", "brown")
THINGS = ("coat", "scarf", "dress", "glove")


def write_rows(path: Path, rows: list[Any]) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def chats(count: int = 60) -> list[dict[str, Any]]:
    """Questions of a shop, each answered in the same words."""
    found = []
    for number in range(count):
        colour, thing = COLOURS[number % 6], THINGS[number // 6 % 4]
        turns = [
            {"role": "user", "content": f"Have you got a {thing} in {colour}? Number {number}."},
            {"role": "assistant", "content": f"We have: one {colour} {thing}, warm and soft."},
        ]
        found.append({"messages": turns})
    return found


def labelled(count: int = 60) -> list[dict[str, Any]]:
    words = (("The heel broke at once.", "complaint"), ("Best boots ever!", "praise"))
    return [{"text": f"{words[n % 2][0]} Order {n}.", "label": words[n % 2][1]} for n in range(count)]


def tagged(count: int = 60) -> list[dict[str, Any]]:
    tags = ["B-PERSON", "O", "O", "B-PLACE", "O"]
    places = ("Lima", "Oslo", "Rome")
    return [{"tokens": ["Ada", "flew", "to", places[n % 3], f"{n}"], "ner_tags": tags} for n in range(count)]


def questions(count: int = 60) -> list[dict[str, Any]]:
    found = []
    for number in range(count):
        context = f"Museum {number} opens at nine and closes at six."
        answers = {"text": ["nine"], "answer_start": [context.index("nine")]}
        found.append({"question": "When does it open?", "context": context, "answers": answers})
    return found


SHAPES: dict[str, tuple[str, Any]] = {  # the task, and the rows of a file
    "chats.jsonl": ("sft", chats),
    "reviews.jsonl": ("classification", labelled),
    "names.jsonl": ("token_classification", tagged),
    "museum.jsonl": ("question_answering", questions),
}
