"""Generate pretraining text for the demo model, in which what is named early is repeated later.

Inventories, guest lists, orders, diaries, little stories, questions about what was just said. A model that is
trained on this learns to look back and copy, which the advertising task requires. The form of that task
(`type: coat | colour: red`, and its sentences) does not occur here, so that fine-tuning must teach it.

Changing any sentence or the order of random draws changes the text, whose SHA-256 is in `model/README.md`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from tui_tuner.demo.demo_words import ANIMALS, ATTRIBUTES, DAYS, KEYS, NAMES, NUMBERS, PLACES, THINGS, VALUES

DOCUMENTS = 120_000
SEED = 19_970

_ADJECTIVES = ("colour", "pattern", "style", "quality")
_DEEDS = ("bought", "mended", "lost", "painted", "sold", "cleaned")
_WORDS = tuple(dict.fromkeys((*VALUES, *THINGS, *PLACES, *ANIMALS, *NUMBERS)))


def make_demo_documents(count: int = DOCUMENTS, seed: int = SEED) -> Iterator[dict[str, str]]:
    """Yield `count` documents as rows with the column text, the same on every machine."""
    chance = random.Random(seed)
    kinds, weights = zip(*_KINDS, strict=True)
    for kind in chance.choices(kinds, weights, k=count):
        yield {"text": kind(chance)}


def join_demo_items(items: Sequence[str], last: str = "and") -> str:
    """Join items as in `a`, `a and b`, `a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}"


def _add_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _pick_object(chance: random.Random) -> str:
    """Return a thing with one or two adjectives, such as `soft red coat`."""
    keys = chance.sample(_ADJECTIVES, chance.randint(1, 2))
    return " ".join([*(chance.choice(ATTRIBUTES[key]) for key in keys), _pick_thing(chance)])


def _pick_thing(chance: random.Random) -> str:
    return chance.choice(ATTRIBUTES["type"] if chance.random() < 0.6 else THINGS)


def _pick_facts(chance: random.Random, low: int, high: int) -> list[tuple[str, str]]:
    """Return some attributes except the type, each with a value, in any order."""
    keys = chance.sample([key for key in KEYS if key != "type"], chance.randint(low, high))
    return [(key, chance.choice(ATTRIBUTES[key])) for key in keys]


def _write_inventory(chance: random.Random) -> str:
    name, place = chance.choice(NAMES), chance.choice(PLACES)
    items = [_add_article(_pick_object(chance)) for _ in range(chance.randint(3, 6))]
    first = chance.choice(
        (f"{name} looked around the {place} and found", f"In the {place} {name} keeps", f"{name} packed")
    )
    again = chance.choice(
        ("Then everything was counted again:", f"So the list of {name} reads:", "Nothing is missing:")
    )
    return f"{first} {join_demo_items(items)}. {again} {join_demo_items(items)}."


def _write_guests(chance: random.Random) -> str:
    names = chance.sample(NAMES, chance.randint(4, 8))
    place, day = chance.choice(PLACES), chance.choice(DAYS)
    missing = chance.choice(names)
    came = [name for name in names if name != missing]
    text = f"Invited to the {place} on {day} were {join_demo_items(names)}."
    if chance.random() < 0.5:
        return f"{text} On {day} in the {place} the host greeted {join_demo_items(names)}."
    return f"{text} Everybody came but {missing}: {join_demo_items(came)}."


def _write_repeat(chance: random.Random) -> str:
    words = [chance.choice(_WORDS) for _ in range(chance.randint(5, 14))]
    said = chance.choice((", ", " ", " and ", ", then ", "; ")).join(words)
    heard = chance.choice((", ", " ", " and ", ", then ", "; ")).join(words)
    name = chance.choice(NAMES)
    first, then = chance.choice(
        (("Remember", "You said"), (f"{name} wrote", f"{name} read"), ("The echo of", "is"), ("Say", "Again"))
    )
    more = f" Once more: {said}." if chance.random() < 0.4 else ""
    return f"{first}: {said}. {then}: {heard}.{more}"


def _write_chant(chance: random.Random) -> str:
    """Repeat a few words literally, which is the simplest thing to copy."""
    words = [chance.choice((*_WORDS, *NAMES)) for _ in range(chance.randint(3, 12))]
    # Fewer repeats of longer chants, so that a document stays short.
    times = chance.randint(2, 2 + 16 // len(words))
    return " ".join(words * times)


def _write_song(chance: random.Random) -> str:
    """Write verses with a line that is repeated."""
    first = f"{_pick_object(chance)} for {chance.choice(NAMES)}"
    refrain = f"{first} and {_pick_object(chance)} for {chance.choice(NAMES)}"
    verses = [
        f"{chance.choice(NAMES)} saw {_add_article(_pick_object(chance))} in the {chance.choice(PLACES)}"
        for _ in range(chance.randint(2, 3))
    ]
    return " ".join(f"{verse}, {refrain}." for verse in verses)


def _write_likings(chance: random.Random) -> str:
    names = chance.sample(NAMES, chance.randint(3, 6))
    verb, question = chance.choice(
        (("wants", "want"), ("likes", "like"), ("carries", "carry"), ("sells", "sell"))
    )
    pairs = {name: _add_article(_pick_object(chance)) for name in names}
    text = " ".join(f"{name} {verb} {thing}." for name, thing in pairs.items())
    asked = chance.sample(names, chance.randint(2, len(names)))
    return f"{text} " + " ".join(
        f"What does {name} {question}? {name} {verb} {pairs[name]}." for name in asked
    )


def _write_places(chance: random.Random) -> str:
    things = chance.sample(THINGS, chance.randint(3, 6))
    where = dict(zip(things, chance.sample(PLACES, len(things)), strict=True))
    text = " ".join(f"The {thing} is in the {place}." for thing, place in where.items())
    asked = chance.sample(things, chance.randint(2, len(things)))
    return f"{text} " + " ".join(
        f"Where is the {thing}? In the {where[thing]}."
        if chance.random() < 0.5
        else f"What is in the {where[thing]}? The {thing}."
        for thing in asked
    )


def _write_questions(chance: random.Random) -> str:
    """Write facts about one thing in any order, and then questions about them in another order."""
    kind = chance.choice(ATTRIBUTES["type"])
    facts = _pick_facts(chance, 3, 6)
    asked = chance.sample(facts, chance.randint(2, len(facts)))
    name = chance.choice(NAMES)
    tells = chance.choice(
        ("The {key} of the {kind} is {value}.", "Its {key} is {value}.", "The {key} is {value}.")
    )
    text = " ".join(tells.format(key=key, kind=kind, value=value) for key, value in facts)
    start = chance.choice(
        (f"There is a {kind} in the shop.", f"{name} asks about the {kind}.", f"A {kind} stands here.")
    )
    return f"{start} {text} " + " ".join(
        f"What is the {key} of the {kind}? The {key} is {value}." for key, value in asked
    )


def _write_tag(chance: random.Random) -> str:
    """Write the words on a price tag, and then what each of them means."""
    kind = chance.choice(ATTRIBUTES["type"])
    facts = _pick_facts(chance, 3, 6)
    words = ", ".join([kind, *(value for _, value in facts)])
    meaning = [f"its {key} is {value}" for key, value in facts]
    name = chance.choice(NAMES)
    start = chance.choice(("The tag says", f"{name} noted", "On the card stands", "In the book we read"))
    return f"{start} {words}. That means: this is {_add_article(kind)}, {join_demo_items(meaning)}."


def _write_notes(chance: random.Random) -> str:
    """Write facts as separate sentences, and then in one sentence."""
    kind = chance.choice(ATTRIBUTES["type"])
    facts = _pick_facts(chance, 3, 5)
    name, other = chance.sample(NAMES, 2)
    told = " ".join(f"The {key} is {value}." for key, value in facts)
    summed = join_demo_items([f"{value} for the {key}" for key, value in facts])
    if chance.random() < 0.5:
        summed = join_demo_items([f"the {key} {value}" for key, value in facts])
    return f"{name} ordered {_add_article(kind)}. {told} {other} repeats: {_add_article(kind)}, {summed}."


def _write_order(chance: random.Random) -> str:
    names = chance.sample(NAMES, chance.randint(2, 3))
    orders = {
        name: [f"{chance.choice(NUMBERS)} {_pick_object(chance)}s" for _ in range(chance.randint(1, 3))]
        for name in names
    }
    asked = " ".join(f"{name} ordered {join_demo_items(items)}." for name, items in orders.items())
    chance.shuffle(names)
    sent = " ".join(f"For {name} there are {join_demo_items(orders[name])}." for name in names)
    return f"{asked} The parcels are ready. {sent}"


def _write_diary(chance: random.Random) -> str:
    name = chance.choice(NAMES)
    days = chance.sample(DAYS, chance.randint(3, 5))
    deeds = {day: f"{chance.choice(_DEEDS)} {_add_article(_pick_object(chance))}" for day in days}
    text = " ".join(f"On {day} {name} {deed}." for day, deed in deeds.items())
    asked = chance.sample(days, 2)
    return f"{text} " + " ".join(f"What happened on {day}? On {day} {name} {deeds[day]}." for day in asked)


def _write_story(chance: random.Random) -> str:
    name, friend = chance.sample(NAMES, 2)
    place, other = chance.sample(PLACES, 2)
    animal, thing, gift = chance.choice(ANIMALS), _pick_object(chance), _pick_object(chance)
    return (
        f"One morning {name} went to the {place}. There sat {_add_article(animal)} "
        f"with {_add_article(thing)}. "
        f'"Take it," said the {animal}, "and bring it to {friend}." So {name} took the {thing} and left the '
        f"{place}. In the {other} {friend} was waiting. {name} gave {friend} the {thing}, and {friend} gave "
        f"{name} {_add_article(gift)}. "
        f"In the evening {name} told everybody about the {animal} in the {place}, "
        f"about {friend} in the {other}, and about the {thing} and the {gift}."
    )


def _write_market(chance: random.Random) -> str:
    """Write everyday sentences with the words that advertisements use, in an order that none of them has."""
    name, other = chance.sample(NAMES, 2)
    thing = _pick_thing(chance)
    kind, material, detail, audience, occasion = (
        chance.choice(ATTRIBUTES[key]) for key in ("type", "material", "detail", "audience", "occasion")
    )
    sentences = [
        f"Meet {name} and {other}: they keep a new shop by the {chance.choice(PLACES)}.",
        f"The sun shines in the {chance.choice(PLACES)} and it feels good.",
        f"It looks lovely today, says {name}, you will love the walk to the {chance.choice(PLACES)}.",
        f"Here is your {thing}, says {other}, treat it well!",
        f"The best {thing} was made in the {chance.choice(PLACES)} by {name}, a truly fine maker.",
        f"Say hello to {other}! This is the next season, and stocks are low.",
        f"It is a joy to see the {chance.choice(ANIMALS)}: it delights all of us and it was born today.",
        f"A {thing} is crafted from pure {material}, neat and tiny and wonderful.",
        f"The {kind} is finished, and it is right for us, only it comes late.",
        f"It carries our {thing} and shows off its {detail}.",
        f"It brings charm, it adds some flair, it surprises {name} while it may last.",
        f"Come and see it now, or order yours: get the {kind} from {other}!",
        f"They chose the look of the {kind}, wonderfully made for {audience}.",
        f"It goes well with {occasion}, with {detail} too.",
    ]
    told = chance.sample(sentences, chance.randint(3, 5))
    return " ".join([*told, f"That is what {name} says about {thing} and {kind}, and {other} too."])


# The first four teach what the advertising task needs: finding facts again, and plain copying. In the others,
# a word is found by the two or three words before it; with more of those, the model changes from guessing to
# copying much later.
_KINDS: tuple[tuple[Callable[[random.Random], str], float], ...] = (
    (_write_tag, 4),
    (_write_notes, 3),
    (_write_questions, 3),
    (_write_chant, 4),
    (_write_market, 1.5),
    (_write_repeat, 1),
    (_write_inventory, 1),
    (_write_likings, 1),
    (_write_places, 1),
    (_write_guests, 0.5),
    (_write_order, 0.5),
    (_write_diary, 0.5),
    (_write_story, 0.5),
    (_write_song, 0.5),
)
