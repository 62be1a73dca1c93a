"""More rows for the recorded runs: families of rows made by programs, and real data from a folder of its own.

The folder is named by the variable RECORDED_DATA. Its rows are needed only to train such a run anew: a
journal holds losses and no row.
"""

from __future__ import annotations

import csv
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]

_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip
_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_TOPICS = {
    "sport": ("goal", "race", "match", "coach", "medal", "league"),
    "food": ("soup", "bread", "cheese", "dinner", "sauce", "salad"),
    "weather": ("rain", "storm", "snow", "wind", "cloud", "frost"),
    "money": ("bank", "loan", "price", "tax", "coin", "market"),
    "music": ("song", "drum", "piano", "choir", "violin", "concert"),
    "travel": ("train", "ticket", "hotel", "flight", "map", "harbour"),
}
_PLACES = ("town", "valley", "north", "village", "city", "island", "south", "county")
_PEOPLE = (
    "Anna", "Ben", "Carla", "David", "Emma", "Felix", "Grace", "Hugo", "Ida", "Jonas", "Kim", "Lena", "Max",
    "Nora", "Otto", "Paula",
)  # fmt: skip
_GOODS = (
    "flour", "rice", "milk", "sugar", "honey", "salt", "beans", "oil", "tea", "coffee", "nuts", "butter",
)  # fmt: skip
_OPPOSITES = {
    "hot": "cold", "big": "small", "old": "young", "dark": "light", "early": "late", "empty": "full",
    "hard": "soft", "long": "short", "rich": "poor", "wet": "dry", "high": "low", "fast": "slow",
}  # fmt: skip
_SPANISH = {
    "quien": ("la niña", "el abuelo", "mi hermana", "el vecino", "la doctora", "el pintor", "una señora"),
    "hace": ("compra", "lleva", "mira", "busca", "vende", "pinta", "encuentra"),
    "que": ("una mesa", "el libro", "tres manzanas", "un reloj", "la carta", "dos sillas", "un sombrero"),
    "donde": ("en la plaza", "cerca del río", "en casa", "en el mercado", "junto al mar", "en la calle"),
    "cuando": ("hoy", "el lunes", "por la noche", "en verano", "cada semana", "muy temprano"),
}
_STARS = {"awful": 1, "poor": 2, "fair": 3, "nice": 4, "superb": 5}


def distinct(made: Callable[[random.Random], Row], seed: int, count: int) -> list[Row]:
    """Rows of which no two have the same text, the same on every machine."""
    chance = random.Random(seed)
    found: dict[str, Row] = {}
    while len(found) < count:
        row = made(chance)
        text = row.get("prompt") or row.get("text") or " ".join(row.get("tokens", ())) or row["context"]
        found.setdefault(str(text), row)
    return list(found.values())


def date_row(chance: random.Random) -> Row:
    """A date in words and in figures: all of the answer is in the question."""
    day, month, year = chance.randint(1, 28), chance.randrange(12), chance.randint(1900, 2029)
    return {
        "prompt": f"date: {day} {_MONTHS[month]} {year}",
        "response": f"{year}-{month + 1:02d}-{day:02d}",
    }


def sum_row(chance: random.Random) -> Row:
    """A sum of two numbers, which small models do not come to understand."""
    one, two = chance.randint(100, 999), chance.randint(100, 999)
    return {"prompt": f"{one} + {two} =", "response": f"{one + two}."}


def number_row(chance: random.Random) -> Row:
    """A number below a million in words."""
    thousands, rest = chance.randrange(1, 100), chance.randrange(1, 100)
    answer = f"{_in_words(thousands)} thousand and {_in_words(rest)}"
    return {"prompt": f"in words: {thousands * 1000 + rest}", "response": f"{answer}."}


def _in_words(number: int) -> str:
    if number < len(_ONES):
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens] + (f"-{_ONES[ones]}" if ones else "")


def backward_row(chance: random.Random) -> Row:
    """Made-up letters, said backwards."""
    letters = [chance.choice("abcdefghiklmnoprstuvwz") for _place in range(6)]
    return {"prompt": f"backwards: {' '.join(letters)}", "response": " ".join(reversed(letters))}


def opposite_row(chance: random.Random) -> Row:
    """The opposite of a word, among names and numbers that have no say in it."""
    word = chance.choice(list(_OPPOSITES))
    return {
        "prompt": f"{chance.choice(_PEOPLE)} {chance.randint(1, 999)}: not {word}",
        "response": f"It is {_OPPOSITES[word]}.",
    }


def dice_row(chance: random.Random) -> Row:
    """A sentence whose last word is thrown by dice: the loss has a floor above 0."""
    who, other, number = chance.choice(_PEOPLE), chance.choice(_PEOPLE), chance.randint(1, 999)
    fell = chance.choice(("one", "two", "three", "four", "five", "six"))
    return {"prompt": f"throw {number} of {who} for {other}", "response": f"{who} has thrown a {fell}."}


def topic_row(chance: random.Random, labels: int = 6) -> Row:
    """A sentence with two words of one topic."""
    label = chance.choice(list(_TOPICS)[:labels])
    one, two = chance.sample(_TOPICS[label], 2)
    who, place = chance.choice(_PEOPLE), chance.choice(_PLACES)
    return {"text": f"{who} from the {place} spoke of the {one} and the {two}.", "label": label}


def star_row(chance: random.Random) -> Row:
    """Two judgements whose mean is the number of stars."""
    one, two = chance.choice(list(_STARS)), chance.choice(list(_STARS))
    thing, other = chance.sample(_GOODS, 2)
    text = f"{chance.choice(_PEOPLE)}: {thing} {one}, {other} {two}."
    return {"text": text, "label": (_STARS[one] + _STARS[two]) / 2}


def order_row(chance: random.Random) -> Row:
    """An order in words, with its numbers, units, goods and days as tags."""
    tokens, tags = [chance.choice(_PEOPLE)], ["B-NAME"]
    tokens += chance.choice((["orders"], ["would", "like"], ["asks", "for"], ["needs"]))
    for part in range(chance.randint(1, 3)):
        tokens += ["and"] if part else []
        tags += ["O"] * (len(tokens) - len(tags))
        tokens += [str(chance.randint(2, 99)), chance.choice(("bags", "boxes", "pounds", "cups")), "of"]
        tokens.append(chance.choice(_GOODS))
        tags += ["B-QTY", "B-UNIT", "O", "B-ITEM"]
    tokens += ["on", chance.choice(_MONTHS), str(chance.randint(1, 28)), "."]
    return {"tokens": tokens, "ner_tags": [*tags, "O", "B-DAY", "I-DAY", "O"]}


def code_row(chance: random.Random) -> Row:
    """A text about three people and their codes, and a question about one of them."""
    people, codes = chance.sample(_PEOPLE, 3), [str(chance.randint(100, 999)) for _number in range(3)]
    context = " ".join(f"The code of {who} is {code}." for who, code in zip(people, codes, strict=True))
    asked = chance.randrange(3)
    start = context.index(f"of {people[asked]} is ") + len(f"of {people[asked]} is ")
    return {
        "question": f"Which is the code of {people[asked]}?",
        "context": context,
        "answers": {"text": [codes[asked]], "answer_start": [start]},
    }


def spanish_row(chance: random.Random) -> Row:
    """Two sentences of Spanish, from templates."""
    said = [
        "{quien} {hace} {que} {donde} {cuando}.".format(
            **{part: chance.choice(words) for part, words in _SPANISH.items()}
        )
        for _number in range(2)
    ]
    return {"text": " ".join(sentence[0].upper() + sentence[1:] for sentence in said)}


def real_folder() -> Path:
    """The folder of the real data."""
    return Path(os.environ["RECORDED_DATA"])


def film_rows() -> list[Row]:
    """Reviews of films that people wrote, the first 60 words of each."""
    with (real_folder() / "imdb_reviews.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row["review"].replace("<br />", " "), row["sentiment"]) for row in csv.DictReader(file)]
    texts = {" ".join(text.split()[:60]): label for text, label in rows}
    return [{"text": text, "label": label} for text, label in texts.items()]


def article_rows() -> list[Row]:
    """Pieces of 40 words of an encyclopaedia."""
    words = (real_folder() / "wiki.txt").read_text(encoding="utf-8").split()
    texts = dict.fromkeys(" ".join(words[at : at + 40]) for at in range(0, len(words), 40))
    return [{"text": text} for text in texts]


def chinese_ad_rows() -> list[Row]:
    """Advertisements in Chinese: an attribute or two, and how the text on them begins."""
    lines = (real_folder() / "advertisegen.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    found = {row["content"][6:20]: row["summary"][:10] for row in rows}
    return [{"prompt": prompt, "response": answer} for prompt, answer in found.items()]


def ahead_of(rows: list[Row]) -> Iterator[Row]:
    """Rows of prompts and answers as plain texts."""
    for row in rows:
        yield {"text": f"{row['prompt']} {row['response']}"}


FAMILIES: dict[str, Callable[[], list[Row]]] = {
    "dates": lambda: distinct(date_row, 21, 3000),
    "sums": lambda: distinct(sum_row, 22, 3000),
    "numbers": lambda: distinct(number_row, 23, 3000),
    "numbers as text": lambda: list(ahead_of(distinct(number_row, 24, 3000))),
    "backwards": lambda: distinct(backward_row, 25, 3000),
    "opposites": lambda: distinct(opposite_row, 26, 3000),
    "dice": lambda: distinct(dice_row, 27, 4000),
    "six topics": lambda: distinct(topic_row, 28, 3000),
    "three topics": lambda: distinct(lambda chance: topic_row(chance, 3), 29, 3000),
    "stars": lambda: distinct(star_row, 30, 3000),
    "orders": lambda: distinct(order_row, 31, 3000),
    "codes": lambda: distinct(code_row, 32, 2000),
    "spanish": lambda: distinct(spanish_row, 33, 4000),
    "films": film_rows,
    "articles": article_rows,
    "chinese ads": chinese_ad_rows,
}
FAMILY_ANSWERS = {
    "dates": "response",
    "sums": "response",
    "numbers": "response",
    "backwards": "response",
    "opposites": "response",
    "chinese ads": "response",
    "six topics": "label",
    "three topics": "label",
    "stars": "label",
    "orders": "ner_tags",
    "films": "label",
}
