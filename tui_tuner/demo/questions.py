"""Generate the demo's questions, each with a text that contains its answer, as in SQuAD.

A text is about one person of a made-up country. Its sentences are in any order, so the position of an answer
reveals nothing: a model must see what kind of thing is asked for, and what in the text is of that kind.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from tui_tuner.demo.demo_words import ANIMALS, ATTRIBUTES, DAYS, NAMES, NUMBERS, PLACES
from tui_tuner.demo.tagged_sentences import FAMILIES, TOWNS

TEXTS = 350
QUESTIONS = 2  # about each text
SEED = 20_263

_JOBS = (
    "baker", "sailor", "teacher", "clockmaker", "farmer", "doctor", "singer", "carpenter", "nurse", "painter",
    "gardener", "tailor", "printer", "beekeeper", "glassblower", "librarian",
)  # fmt: skip

# The others have an irregular plural, and sentences only add an s.
_ANIMALS = tuple(animal for animal in ANIMALS if animal not in ("fox", "goose", "sheep", "mouse"))

# Each fact with its sentence and the questions that it answers
_FACTS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "year",
        "{who} was born in {year}.",
        ("When was {who} born?", "In which year was {who} born?", "What is the year of birth of {who}?"),
    ),
    (
        "town",
        "Home is a small house in {town}.",
        ("Where does {who} live?", "In which town is the house of {who}?", "Where is the home of {who}?"),
    ),
    (
        "job",
        "For many years {who} has worked as a {job}.",
        ("What does {who} work as?", "What is the job of {who}?", "Which trade does {who} have?"),
    ),
    (
        "number",
        "Behind the house live {number} {animal}s.",
        ("How many animals does {who} keep?", "How many {animal}s live behind the house?"),
    ),
    (
        "colour",
        "The front door is painted {colour}.",
        ("What colour is the front door?", "Which colour does the door of {who} have?"),
    ),
    (
        "day",
        "Every {day} there is music in the kitchen.",
        ("On which day is there music?", "Which day of the week has music in the kitchen?"),
    ),
    (
        "friend",
        "An old friend, {friend}, often comes to visit.",
        ("Who often comes to visit?", "Who is an old friend of {who}?", "What is the name of the friend?"),
    ),
)

_FILLERS = (
    "The winters there are long.",
    "Nobody in the street remembers it otherwise.",
    "It is a quiet life, and a good one.",
    "From the window one can see the {place}.",
    "Letters arrive late, if at all.",
    "In summer the neighbours eat outside.",
)


def make_question_rows() -> Iterator[dict[str, Any]]:
    """Yield `TEXTS` x `QUESTIONS` rows with question, context and answers, the same on every machine."""
    chance = random.Random(SEED)
    for _number in range(TEXTS):
        yield from _ask_about_someone(chance)


def _ask_about_someone(chance: random.Random) -> Iterator[dict[str, Any]]:
    first, friend = chance.sample(NAMES, 2)
    family, other = chance.sample(FAMILIES, 2)
    values = {
        "who": f"{first} {family}",
        "friend": f"{friend} {other}",
        "year": str(chance.randint(1921, 1979)),
        "town": chance.choice(TOWNS),
        "job": chance.choice(_JOBS),
        "number": chance.choice(NUMBERS),
        "animal": chance.choice(_ANIMALS),
        "colour": chance.choice(ATTRIBUTES["colour"]),
        "day": chance.choice(DAYS),
        "place": chance.choice(PLACES),
    }
    facts = chance.sample(_FACTS, chance.randint(4, 6))
    sentences = [sentence for _name, sentence, _questions in facts]
    for filler in chance.sample(_FILLERS, 1):
        sentences.insert(chance.randint(0, len(sentences)), filler)
    context = " ".join(sentence.format(**values) for sentence in sentences)
    for name, sentence, questions in chance.sample(facts, QUESTIONS):
        # The answer is found by its sentence: a name or number alone may occur earlier in the text.
        told, _place, _rest = sentence.partition(f"{{{name}}}")
        yield {
            "question": chance.choice(questions).format(**values),
            "context": context,
            "answers": {
                "text": [values[name]],
                "answer_start": [context.index(sentence.format(**values)) + len(told.format(**values))],
            },
        }
