"""Generate the demo's notices of a village, each with a summary of one line.

A summary names the place, the day or the person that the notice is about, among others that it mentions only
in passing, and says the reason in other words. So a model must find what counts, copy some words and replace
others.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tui_tuner.demo.demo_words import ANIMALS, DAYS, NAMES, NUMBERS, PLACES, THINGS

ROWS = 800
SEED = 20_265

_PLACES = PLACES[:16]
_THINGS = THINGS[:20]
_ANIMALS = ANIMALS[:10]
_NAMES = NAMES[:16]
_EVENTS = ("concert", "lecture", "dance", "market", "meeting", "play")

# Why a place is closed: how a notice says it, and how a summary does
_REASONS = (
    ("Two workers are mending the roof there .", "roof repairs"),
    ("The pipes have frozen and there is no water .", "no water"),
    ("A storm broke most of the windows .", "storm damage"),
    ("All who work there are at a wedding .", "a wedding"),
    ("The walls are getting a new coat of paint .", "painting"),
    ("Nobody can find the keys .", "lost keys"),
)
_CLOSED = (
    "The {place} will be closed on {day} .",
    "On {day} the doors of the {place} will stay closed .",
    "Please do not come to the {place} on {day} , because it is closed .",
)
_MOVED = (
    "The {event} will not be in the {other} but in the {place} .",
    "This year the {event} moves from the {other} to the {place} .",
    "Who wants to see the {event} should come to the {place} and not to the {other} .",
)
_LOST = (
    "{name} has lost a {thing} near the {other} .",
    "A {thing} is missing , and {name} thinks it was left at the {other} .",
    "Has anybody seen the {thing} of {name} ?",
)
_ASIDES = (
    "The {other} is open as always .",
    "{someone} will answer questions at the {other} .",
    "Tea costs {number} coins .",
    "Please keep your {animal} at home .",
    "{someone} thanks everybody for the help last {weekday} .",
    "It may rain on {weekday} .",
)
_GREETINGS = ("Dear neighbours ,", "Good morning .", "A word to all .", "News from the council .")


def make_summary_rows() -> Iterator[dict[str, str]]:
    """Yield `ROWS` rows with the columns document and summary, the same on every machine."""
    chance = random.Random(SEED)
    taken: set[str] = set()
    while len(taken) < ROWS:
        document, summary = _write_notice(chance)
        if document not in taken:
            taken.add(document)
            yield {"document": document, "summary": summary}


def _write_notice(chance: random.Random) -> tuple[str, str]:
    place, other = chance.sample(_PLACES, 2)
    name, someone = chance.sample(_NAMES, 2)
    day, weekday = chance.sample(DAYS, 2)
    words = {
        "place": place,
        "other": other,
        "name": name,
        "someone": someone,
        "day": day,
        "weekday": weekday,
        "thing": chance.choice(_THINGS),
        "event": chance.choice(_EVENTS),
        "animal": chance.choice(_ANIMALS),
        "number": chance.choice(NUMBERS),
    }
    news, summary = _choose_news(chance)
    asides = chance.sample(_ASIDES, chance.choice((1, 2)))
    # What counts comes first or after an aside, so its place alone does not tell it.
    parts = [*asides[:1], *news, *asides[1:]] if chance.random() < 0.5 else [*news, *asides]
    text = " ".join([chance.choice(_GREETINGS), *parts]).format(**words)
    return text, summary.format(**words)


def _choose_news(chance: random.Random) -> tuple[list[str], str]:
    """Return the sentences of a piece of news, and its summary."""
    kind = chance.choice(("closed", "moved", "lost"))
    if kind == "closed":
        said, short = chance.choice(_REASONS)
        return [chance.choice(_CLOSED), said], f"The {{place}} is closed on {{day}} : {short} ."
    if kind == "moved":
        return [chance.choice(_MOVED)], "The {event} will be in the {place} ."
    return [chance.choice(_LOST)], "{name} is looking for a {thing} ."
