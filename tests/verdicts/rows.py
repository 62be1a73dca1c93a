"""Rows for the recorded runs: drawn from the demo's data, as they are or spoilt in a known way."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.verdicts.families import FAMILIES, FAMILY_ANSWERS
from tui_tuner import demo
from tui_tuner.demo.demo_words import ATTRIBUTES, DAYS, NAMES

Row = dict[str, Any]

POOLS: dict[str, Callable[[], list[Row]]] = {
    "ads": lambda: list(demo.rows()),
    "other ads": lambda: list(demo.held_out_rows()),  # with values that no training row names
    "corpus": lambda: list(itertools.islice(demo.corpus_rows(), 6000)),
    "reviews": lambda: list(demo.review_rows()),
    "tags": lambda: list(demo.tag_rows()),
    "questions": lambda: list(demo.question_rows()),
    "brief ads": lambda: brief_rows(demo.rows()),
    "other brief ads": lambda: brief_rows(demo.held_out_rows()),
    "brief ads as text": lambda: [as_text(row) for row in brief_rows(demo.rows())],
    "ads as text": lambda: [as_text(row) for row in demo.rows()],
    "copying": lambda: copying_rows(3000),
    "tails": lambda: tail_rows(3000),
    "tails as text": lambda: [as_text(row) for row in tail_rows(3000)],
    "verdicts": lambda: verdict_rows(2400),
    **FAMILIES,
}
ANSWERS = {
    "ads": "response",
    "brief ads": "response",
    "reviews": "label",
    "tags": "ner_tags",
    "copying": "response",
    "tails": "response",
    "verdicts": "label",
    **FAMILY_ANSWERS,
}


@dataclass(frozen=True)
class Rows:
    """What a run is trained on, and held out.

    Args:
        pool: One of `POOLS`.
        train: Training rows.
        held_out: Held-out rows: of the same pool, but equal to no training row. 0 holds none out.
        twist: "" leaves rows as they are. "shuffled" gives each row the answer of another (in both parts),
            "noisy" does so with every third training row, "noisy alike" with every third of both parts,
            "random" makes answers of any words, "copies" holds training rows out.
        others: Another pool that the held-out rows come from.
        seed: Of the choice of rows.
    """

    pool: str
    train: int
    held_out: int = 0
    twist: str = ""
    others: str = ""
    seed: int = 0


def made_rows(wanted: Rows) -> tuple[list[Row], list[Row]]:
    """Training rows and held-out rows."""
    chance = random.Random(f"{wanted.pool} {wanted.seed}")
    pool = [dict(row) for row in POOLS[wanted.pool]()]
    chance.shuffle(pool)
    train, rest = pool[: wanted.train], pool[wanted.train :]
    assert len(train) == wanted.train, wanted
    if wanted.others:
        rest = POOLS[wanted.others]()
        chance.shuffle(rest)
    trained = {json.dumps(row) for row in train}
    rest = [row for row in rest if json.dumps(row) not in trained]
    held_out = train[: wanted.held_out] if wanted.twist == "copies" else rest[: wanted.held_out]
    assert len(held_out) == wanted.held_out, wanted
    if wanted.twist in ("shuffled", "random"):
        for part in (train, held_out):
            spoil_answers(part, ANSWERS[wanted.pool], wanted.twist, chance)
    for part in (train, held_out):
        if wanted.twist == "noisy alike" or (wanted.twist == "noisy" and part is train):
            spoil_answers(part[::3], ANSWERS[wanted.pool], "shuffled", chance)
    return train, held_out


def spoil_answers(rows: Sequence[Row], key: str, twist: str, chance: random.Random) -> None:
    """Take the answers from other rows, or make them of any words."""
    if twist == "shuffled" and key == "ner_tags":  # tags go with their number of words
        for row in rows:
            row[key] = chance.sample(row[key], len(row[key]))
        return
    if twist == "shuffled":
        answers = [row[key] for row in rows]
        chance.shuffle(answers)
    else:
        words = sorted({word for row in rows for word in str(row[key]).split()})
        answers = [" ".join(chance.choices(words, k=12)) for _row in rows]
    for row, answer in zip(rows, answers, strict=True):
        row[key] = answer


def brief_rows(rows: Iterable[Row]) -> list[Row]:
    """The demo's advertisements with two attributes instead of up to six: a third of their tokens."""
    found = []
    for row in rows:
        first, *others = row["prompt"].split(" | ")
        thing, (one, two) = first.removeprefix("type: "), [other.split(": ") for other in others[:2]]
        opening = row["response"].split(thing)[0]
        closing = row["response"].split(". ")[-1]
        answer = f"{opening}{thing}, {one[1]} and {two[1]}. {closing}"
        found.append({"prompt": " | ".join((first, *others[:2])), "response": answer})
    return found


def copying_rows(count: int) -> list[Row]:
    """An easy task that soon holds nothing more to learn: the colour of the thing is said again."""
    chance = random.Random(11)
    colours, things = demo_words("colour"), demo_words("type")
    rows = []
    for _number in range(count):
        colour, thing = chance.choice(colours), chance.choice(things)
        rows.append({"prompt": f"type: {thing} | colour: {colour}", "response": f"The {thing} is {colour}."})
    return rows


def tail_rows(count: int) -> list[Row]:
    """A form that is learnt at once, and an end that nobody can foresee: the loss has a floor above 0."""
    chance = random.Random(13)
    things, days = demo_words("type"), ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
    rows = []
    for _number in range(count):
        thing = chance.choice(things)
        day, number = chance.choice(days), chance.randrange(10)
        rows.append({"prompt": f"type: {thing}", "response": f"The {thing} comes on {day} at {number}."})
    return rows


def as_text(row: Row) -> Row:
    """Prompt and answer as one text."""
    return {"text": f"{row['prompt']}\n{row['response']}"}


def verdict_rows(count: int) -> list[Row]:
    """Short opinions whose class one word tells: learnt within few steps."""
    chance = random.Random(12)
    good, bad = ("brilliant", "wonderful", "excellent"), ("dull", "clumsy", "tiresome")
    rows = []
    for _number in range(count):
        liked = chance.random() < 0.5
        part = chance.choice(("music", "story", "ending", "cast", "pace", "script"))
        word = chance.choice(good if liked else bad)
        name, day = chance.choice(NAMES), chance.choice(DAYS)
        rows.append(
            {
                "text": f"On {day} {name} found: the {part} is {word}.",
                "label": "positive" if liked else "negative",
            }
        )
    return rows


def demo_words(key: str) -> tuple[str, ...]:
    """Values of an attribute of the demo's advertisements."""
    return ATTRIBUTES[key]


def write_rows(path: Path, rows: Sequence[Row]) -> str:
    """One row a line; the path as a text."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)
