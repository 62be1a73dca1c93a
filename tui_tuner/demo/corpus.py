"""Pretraining text for the demo model, written by a program: what is named early comes back later.

Inventories, guest lists, orders, diaries, little stories, questions about what was just said. A model that
reads this learns to look back and copy, which is what the advertising task asks of it; that task's own
form (`type: coat | colour: red`, and its sentences) is not in here: fine-tuning has to teach it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from tui_tuner.demo.words import ANIMALS, ATTRIBUTES, DAYS, KEYS, NAMES, NUMBERS, PLACES, THINGS, VALUES

DOCUMENTS = 120_000
SEED = 19_970

_ADJECTIVES = ("colour", "pattern", "style", "quality")
_DEEDS = ("bought", "mended", "lost", "painted", "sold", "cleaned")
_WORDS = tuple(dict.fromkeys((*VALUES, *THINGS, *PLACES, *ANIMALS, *NUMBERS)))


def documents(count: int = DOCUMENTS, seed: int = SEED) -> Iterator[dict[str, str]]:
    """`count` documents as rows with the column text, the same on every machine."""
    chance = random.Random(seed)
    kinds, weights = zip(*_KINDS, strict=True)
    for kind in chance.choices(kinds, weights, k=count):
        yield {"text": kind(chance)}


def listing(items: Sequence[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}"


def _article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _object(chance: random.Random) -> str:
    """A thing with one or two words in front, such as `soft red coat`."""
    keys = chance.sample(_ADJECTIVES, chance.randint(1, 2))
    return " ".join([*(chance.choice(ATTRIBUTES[key]) for key in keys), _thing(chance)])


def _thing(chance: random.Random) -> str:
    return chance.choice(ATTRIBUTES["type"] if chance.random() < 0.6 else THINGS)


def _facts(chance: random.Random, low: int, high: int) -> list[tuple[str, str]]:
    """Some attributes with a value each, in any order, without the type."""
    keys = chance.sample([key for key in KEYS if key != "type"], chance.randint(low, high))
    return [(key, chance.choice(ATTRIBUTES[key])) for key in keys]


def _inventory(chance: random.Random) -> str:
    name, place = chance.choice(NAMES), chance.choice(PLACES)
    items = [_article(_object(chance)) for _ in range(chance.randint(3, 6))]
    first = chance.choice(
        (f"{name} looked around the {place} and found", f"In the {place} {name} keeps", f"{name} packed")
    )
    again = chance.choice(
        ("Then everything was counted again:", f"So the list of {name} reads:", "Nothing is missing:")
    )
    return f"{first} {listing(items)}. {again} {listing(items)}."


def _guests(chance: random.Random) -> str:
    names = chance.sample(NAMES, chance.randint(4, 8))
    place, day = chance.choice(PLACES), chance.choice(DAYS)
    missing = chance.choice(names)
    came = [name for name in names if name != missing]
    text = f"Invited to the {place} on {day} were {listing(names)}."
    if chance.random() < 0.5:
        return f"{text} On {day} in the {place} the host greeted {listing(names)}."
    return f"{text} Everybody came but {missing}: {listing(came)}."


def _repeat(chance: random.Random) -> str:
    words = [chance.choice(_WORDS) for _ in range(chance.randint(5, 14))]
    said = chance.choice((", ", " ", " and ", ", then ", "; ")).join(words)
    heard = chance.choice((", ", " ", " and ", ", then ", "; ")).join(words)
    name = chance.choice(NAMES)
    first, then = chance.choice(
        (("Remember", "You said"), (f"{name} wrote", f"{name} read"), ("The echo of", "is"), ("Say", "Again"))
    )
    more = f" Once more: {said}." if chance.random() < 0.4 else ""
    return f"{first}: {said}. {then}: {heard}.{more}"


def _chant(chance: random.Random) -> str:
    """A few words, word for word again and again: the plainest thing to copy."""
    words = [chance.choice((*_WORDS, *NAMES)) for _ in range(chance.randint(3, 12))]
    times = chance.randint(2, 2 + 16 // len(words))
    return " ".join(words * times)


def _song(chance: random.Random) -> str:
    """Verses with a line that comes back."""
    refrain = f"{_object(chance)} for {chance.choice(NAMES)} and {_object(chance)} for {chance.choice(NAMES)}"
    verses = [
        f"{chance.choice(NAMES)} saw {_article(_object(chance))} in the {chance.choice(PLACES)}"
        for _ in range(chance.randint(2, 3))
    ]
    return " ".join(f"{verse}, {refrain}." for verse in verses)


def _likings(chance: random.Random) -> str:
    names = chance.sample(NAMES, chance.randint(3, 6))
    verb, question = chance.choice(
        (("wants", "want"), ("likes", "like"), ("carries", "carry"), ("sells", "sell"))
    )
    pairs = {name: _article(_object(chance)) for name in names}
    text = " ".join(f"{name} {verb} {thing}." for name, thing in pairs.items())
    asked = chance.sample(names, chance.randint(2, len(names)))
    return f"{text} " + " ".join(
        f"What does {name} {question}? {name} {verb} {pairs[name]}." for name in asked
    )


def _places(chance: random.Random) -> str:
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


def _questions(chance: random.Random) -> str:
    """Facts about one thing in any order, then asked for in another order."""
    kind = chance.choice(ATTRIBUTES["type"])
    facts = _facts(chance, 3, 6)
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


def _tag(chance: random.Random) -> str:
    """Bare words on a price tag, then what each of them is."""
    kind = chance.choice(ATTRIBUTES["type"])
    facts = _facts(chance, 3, 6)
    words = ", ".join([kind, *(value for _, value in facts)])
    meaning = [f"its {key} is {value}" for key, value in facts]
    name = chance.choice(NAMES)
    start = chance.choice(("The tag says", f"{name} noted", "On the card stands", "In the book we read"))
    return f"{start} {words}. That means: this is {_article(kind)}, {listing(meaning)}."


def _notes(chance: random.Random) -> str:
    """Facts as separate sentences, then the same as one."""
    kind = chance.choice(ATTRIBUTES["type"])
    facts = _facts(chance, 3, 5)
    name, other = chance.sample(NAMES, 2)
    told = " ".join(f"The {key} is {value}." for key, value in facts)
    summed = listing([f"{value} for the {key}" for key, value in facts])
    if chance.random() < 0.5:
        summed = listing([f"the {key} {value}" for key, value in facts])
    return f"{name} ordered {_article(kind)}. {told} {other} repeats: {_article(kind)}, {summed}."


def _order(chance: random.Random) -> str:
    names = chance.sample(NAMES, chance.randint(2, 3))
    orders = {
        name: [f"{chance.choice(NUMBERS)} {_object(chance)}s" for _ in range(chance.randint(1, 3))]
        for name in names
    }
    asked = " ".join(f"{name} ordered {listing(items)}." for name, items in orders.items())
    chance.shuffle(names)
    sent = " ".join(f"For {name} there are {listing(orders[name])}." for name in names)
    return f"{asked} The parcels are ready. {sent}"


def _diary(chance: random.Random) -> str:
    name = chance.choice(NAMES)
    days = chance.sample(DAYS, chance.randint(3, 5))
    deeds = {day: f"{chance.choice(_DEEDS)} {_article(_object(chance))}" for day in days}
    text = " ".join(f"On {day} {name} {deed}." for day, deed in deeds.items())
    asked = chance.sample(days, 2)
    return f"{text} " + " ".join(f"What happened on {day}? On {day} {name} {deeds[day]}." for day in asked)


def _story(chance: random.Random) -> str:
    name, friend = chance.sample(NAMES, 2)
    place, other = chance.sample(PLACES, 2)
    animal, thing, gift = chance.choice(ANIMALS), _object(chance), _object(chance)
    return (
        f"One morning {name} went to the {place}. There sat {_article(animal)} with {_article(thing)}. "
        f'"Take it," said the {animal}, "and bring it to {friend}." So {name} took the {thing} and left the '
        f"{place}. In the {other} {friend} was waiting. {name} gave {friend} the {thing}, and {friend} gave "
        f"{name} {_article(gift)}. In the evening {name} told everybody about the {animal} in the {place}, "
        f"about {friend} in the {other}, and about the {thing} and the {gift}."
    )


def _market(chance: random.Random) -> str:
    """Everyday sentences with the words that an advertisement needs, in no advertisement's order."""
    name, other = chance.sample(NAMES, 2)
    thing = _thing(chance)
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


# The first four teach what the advertising task needs: facts to find again, and plain copying. In the others
# a word is found by what stood two or three words before it; more of them, and the turn from guessing to
# copying comes much later.
_KINDS: tuple[tuple[Callable[[random.Random], str], float], ...] = (
    (_tag, 4),
    (_notes, 3),
    (_questions, 3),
    (_chant, 4),
    (_market, 1.5),
    (_repeat, 1),
    (_inventory, 1),
    (_likings, 1),
    (_places, 1),
    (_guests, 0.5),
    (_order, 0.5),
    (_diary, 0.5),
    (_story, 0.5),
    (_song, 0.5),
)
