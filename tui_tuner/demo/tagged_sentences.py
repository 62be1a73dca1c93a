"""Generate the demo's tagged sentences: persons, places and organisations, as in news.

Words and tags are as in CoNLL-2003, in the BIO scheme: `B-PER` begins the name of a person, `I-PER` continues
it, and likewise for LOC and ORG. Some family names are also places, and some places are part of the name of
an organisation: only the words around them show which.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tui_tuner.demo.demo_words import DAYS, NAMES, NUMBERS, THINGS

ROWS = 500
SEED = 20_262

FAMILIES = (
    "Marsh", "Holm", "Bell", "Aldous", "Berg", "Castell", "Dorn", "Ferrant", "Garland", "Hollis", "Ivers",
    "Keller", "Lund", "Moreno", "Norwood", "Okafor", "Perrin", "Rossi", "Sandor", "Tanaka", "Vance", "Weston",
)  # fmt: skip

TOWNS = (
    "Marsh", "Norwood", "Weston", "Port Ellis", "Ravenna", "Harlow", "Stonebridge", "New Aldbury",
    "Kingsford", "Lake Orin", "Millhaven", "Oakridge", "Saint Clare", "Thornby", "Velden", "Winterfield",
    "Eastmoor", "Fairholm", "Greystone", "Linden",
)  # fmt: skip

_KINDS = ("Bank", "Railway", "Museum", "University", "Dairy Company", "Theatre", "Football Club", "Council")
_HEADS = ("Northern", "United", "Royal", "Golden Key", "Blue Anchor", "First National", "Red Fox", "Old Mill")

_SENTENCES = (
    "{PER} moved from {LOC} to {LOC} on {day} .",
    "{PER} works for {ORG} in {LOC} .",
    "{title} {FAMILY} spoke to {PER} about {ORG} .",
    "{ORG} sent {number} letters to {ORG} .",
    "The {thing} was found near {LOC} , said {PER} .",
    "On {day} {ORG} opened a new house in {LOC} .",
    "{PER} and {PER} met at the station of {LOC} .",
    "It rained in {LOC} , and nobody bought a {thing} .",
    "{ORG} named {PER} as its new head .",
    "“ We will stay in {LOC} , ” said {PER} of {ORG} .",
    "{number} people from {LOC} wrote to {ORG} about a {thing} .",
    "The match between {LOC} and {LOC} ended {number} to {number} .",
    "Nobody knows who sold the {thing} on {day} .",
    "{PER} , who was born in {LOC} , paid {number} coins for the {thing} .",
    "In {LOC} {title} {FAMILY} was asked for {number} coins .",
    "Prices at {ORG} rose again on {day} .",
)


def make_tag_rows() -> Iterator[dict[str, list[str]]]:
    """Yield `ROWS` rows with the columns tokens and ner_tags, the same on every machine."""
    chance = random.Random(SEED)
    taken: set[str] = set()
    while len(taken) < ROWS:
        tokens: list[str] = []
        tags: list[str] = []
        for word in chance.choice(_SENTENCES).split():
            found, kind = _fill_word(chance, word)
            tokens += found
            tags += [f"{'I' if place else 'B'}-{kind}" if kind else "O" for place in range(len(found))]
        tokens[0] = tokens[0][0].upper() + tokens[0][1:]
        if " ".join(tokens) not in taken:
            taken.add(" ".join(tokens))
            yield {"tokens": tokens, "ner_tags": tags}


def _fill_word(chance: random.Random, word: str) -> tuple[list[str], str]:
    """Return the words that replace a word of a sentence, and the kind of name they are; "" for none."""
    if word == "{PER}":
        first = chance.choice(NAMES)
        return [first] if chance.random() < 0.2 else [first, chance.choice(FAMILIES)], "PER"
    if word == "{FAMILY}":
        return [chance.choice(FAMILIES)], "PER"
    if word == "{LOC}":
        return chance.choice(TOWNS).split(), "LOC"
    if word == "{ORG}":
        head = chance.choice(_HEADS) if chance.random() < 0.6 else chance.choice(TOWNS)
        return f"{head} {chance.choice(_KINDS)}".split(), "ORG"
    plain = word.format(
        # As in CoNLL-2003, a title is not part of the name.
        title=chance.choice(("Mr", "Mrs", "Dr")),
        day=chance.choice(DAYS),
        number=chance.choice(NUMBERS),
        thing=chance.choice(THINGS),
    )
    return [plain], ""
