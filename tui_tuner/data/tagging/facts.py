"""What is noted of the tags of each row, and what that says of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tui_tuner.data.examples.encoder import Facts
from tui_tuner.data.tagging.tags import NAMES, find_beginnings, find_faults, known_scheme
from tui_tuner.locales import _
from tui_tuner.text import one_line

COUNTED, SEEN = "tag ", "seen "  # names of facts: how often a tag is there, and in which rows first


@dataclass(frozen=True)
class Place:
    """Where a word stands, for people: written out for the few that are shown."""

    origin: object
    word: int
    text: str

    def __str__(self) -> str:
        shown = one_line(self.text, 30)
        return _("{origin}, word {place} ({text})", origin=self.origin, place=self.word + 1, text=shown)


def note_tags(tags: Sequence[str], origin: object, facts: Facts) -> None:
    """Count the tags of a row, and note where each is first and what may break the rules of their scheme."""
    facts.add("words", len(tags))
    first = {tag: place for place, tag in reversed(list(enumerate(tags)))}
    for tag, count in Counter(tags).items():
        facts.add(f"{COUNTED}{tag}", count)
        facts.note(f"{SEEN}{tag}", Place(origin, first[tag], tag))
    inside, needless = find_beginnings(tags)
    facts.add("begins inside", inside)
    facts.add("begins", needless)
    for fault, place in find_faults(tags):
        facts.note(fault, Place(origin, place, tags[place]))


def counts_of(facts: Facts) -> dict[str, int]:
    """How often each tag is there."""
    found = {name: count for name, count in facts.counts.items() if name.startswith(COUNTED)}
    return {name.removeprefix(COUNTED): count for name, count in sorted(found.items())}


def scheme_in(facts: Facts) -> str:
    """The scheme of the tags, as `data.tagging.tags.known_scheme` names it."""
    begins_inside, begins = facts.count("begins inside") > 0, facts.count("begins") > 0
    return known_scheme(counts_of(facts), begins_inside, begins)


def baseline(facts: Facts) -> str:
    """How many words there are, of how many tags, and what a model scores that finds nothing."""
    tags, scheme, words = counts_of(facts), scheme_in(facts), facts.count("words")
    if not words:
        return ""
    name = NAMES.get(scheme, scheme)
    most = max(tags, key=lambda tag: tags[tag])
    values: dict[str, Any] = {
        "words": words,
        "count": len(tags),
        "tag": one_line(most, 40),
        "share": tags[most] / words,
    }
    if scheme:
        return _(
            "{words:,} words with {count} tags in the scheme {scheme}. {share:.1%} have the tag {tag}, so "
            "much is the accuracy of a model that knows no other: F1 of entities says more.",
            scheme=name,
            **values,
        )
    return _(
        "{words:,} words with {count} tags without a scheme such as BIO. {share:.1%} have the tag {tag}, so "
        "much is the accuracy of a model that knows no other.",
        **values,
    )
