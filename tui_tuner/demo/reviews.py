"""Generate the demo's film reviews: a text, and whether its writer liked the film.

What is praised or criticised changes from sentence to sentence, and about every fourth review concedes
something to the other side before its verdict, so that no single word decides.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from tui_tuner.demo.demo_words import DAYS, NAMES, PLACES, THINGS

ROWS = 600
SEED = 20_261
LABELS = ("negative", "positive")

_TITLES = tuple(
    f"The {first} {second}"
    for first in ("Last", "Silent", "Other")
    for second in ("Lighthouse", "Train", "Winter", "Garden", "Letter", "River", "Visitor", "Neighbour")
)

_OPENINGS = (
    "I saw {title} on {day} with {name}.",
    "{title} tells of a {job} who finds a {thing} in the {place}.",
    "On {day} we watched {title} at the cinema near the {place}.",
    "{name} had told me about {title} for weeks.",
    "In {title} a {job} and a {other} meet in the {place} and lose a {thing}.",
    "{title} runs for two hours and plays almost only in a {place}.",
)

_JOBS = ("baker", "sailor", "teacher", "detective", "farmer", "doctor", "singer", "pilot", "nurse", "painter")

_PARTS = (
    "The acting", "The music", "The story", "The ending", "The camera work", "The script", "The first half",
    "The second half", "The dialogue", "Every scene with the {job}", "The cast", "The editing", "The pace",
)  # fmt: skip

_PRAISE = (
    "wonderful", "moving", "brilliant", "charming", "superb", "funny", "touching", "clever", "beautiful",
    "gripping", "excellent", "delightful", "warm", "convincing", "fresh", "perfect",
)  # fmt: skip

_BLAME = (
    "dull", "awful", "boring", "clumsy", "terrible", "silly", "lifeless", "tedious", "ugly", "weak",
    "dreadful", "annoying", "cold", "hollow", "stale", "painful",
)  # fmt: skip

_LIKED = (
    "I laughed a lot and left with a smile.",
    "I would gladly see this again.",
    "{name} loved it too.",
    "Do not miss it.",
    "It is one of the best films of the year.",
    "The whole room applauded.",
)

_DISLIKED = (
    "I looked at my watch again and again.",
    "I nearly left before the end.",
    "{name} hated it too.",
    "It is not worth the money.",
    "It is one of the worst films of the year.",
    "What a waste of an evening.",
)


def make_review_rows() -> Iterator[dict[str, str]]:
    """Yield `ROWS` rows with text and label, in a random order, the same on every machine."""
    chance = random.Random(SEED)
    taken: set[str] = set()
    while len(taken) < ROWS:
        label = chance.choice(LABELS)
        text = _write_review(chance, label == "positive")
        if text not in taken:
            taken.add(text)
            yield {"text": text, "label": label}


def _write_review(chance: random.Random, liked: bool) -> str:
    words, others = (_PRAISE, _BLAME) if liked else (_BLAME, _PRAISE)
    opinions = [_write_opinion(chance, words) for _number in range(chance.randint(2, 3))]
    if chance.random() < 0.25:
        part = _fill_sentence(chance, chance.choice(_PARTS))
        granted = f"{part} may be {chance.choice(others)}, but that changes nothing."
        # Before the last opinion, so that the side of the verdict has the last word.
        opinions.insert(chance.randrange(len(opinions)), granted)
    verdict = _fill_sentence(chance, chance.choice(_LIKED if liked else _DISLIKED))
    return " ".join([_fill_sentence(chance, chance.choice(_OPENINGS)), *opinions, verdict])


def _write_opinion(chance: random.Random, words: Sequence[str]) -> str:
    """Write a sentence about one or two parts of the film."""
    first, second = chance.sample(words, 2)
    one, other = (_fill_sentence(chance, part) for part in chance.sample(_PARTS, 2))
    other = other[0].lower() + other[1:]
    return chance.choice(
        (
            f"{one} is {first} and {second}.",
            f"{one} is {first}, and {other} is {second}.",
            f"I found {other} {first}.",
            f"{one} is simply {first}.",
        )
    )


def _fill_sentence(chance: random.Random, words: str) -> str:
    """Fill the placeholders of a sentence at random."""
    job, other = chance.sample(_JOBS, 2)
    return words.format(
        title=chance.choice(_TITLES),
        day=chance.choice(DAYS),
        name=chance.choice(NAMES),
        thing=chance.choice(THINGS),
        place=chance.choice(PLACES),
        job=job,
        other=other,
    )
