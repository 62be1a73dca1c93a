"""Note facts about the tags of each row, and sum them up for all rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tui_tuner.data.examples.encoder import Facts
from tui_tuner.data.tagging.tags import NAMES, find_beginnings, find_faults, known_scheme
from tui_tuner.locales import _
from tui_tuner.text import one_line

COUNTED, SEEN = "tag ", "seen "  # prefixes of facts: how often a tag occurs, and in which rows first


@dataclass(frozen=True)
class Place:
    """The place of a word, formatted only for the few that are shown."""

    origin: object
    word: int
    text: str

    def __str__(self) -> str:
        shown = one_line(self.text, 30)
        return _("{origin}, word {place} ({text})", origin=self.origin, place=self.word + 1, text=shown)


def note_tags(tags: Sequence[str], origin: object, facts: Facts) -> None:
    """Count the tags of a row, and note the first place of each and what may break their scheme."""
    facts.add("words", len(tags))
    # Reversed, so that the first place of a tag is the one that stays.
    first = {tag: place for place, tag in reversed(list(enumerate(tags)))}
    for tag, count in Counter(tags).items():
        facts.add(f"{COUNTED}{tag}", count)
        # Kept as an object: formatting a place for each word would take longer than counting it.
        facts.note(f"{SEEN}{tag}", Place(origin, first[tag], tag))
    inside, needless = find_beginnings(tags)
    facts.add("begins inside", inside)
    facts.add("begins", needless)
    # Whether a fault counts depends on the scheme, which is known only after all rows.
    for fault, place in find_faults(tags):
        facts.note(fault, Place(origin, place, tags[place]))


def counts_of(facts: Facts) -> dict[str, int]:
    """Return how often each tag occurs."""
    found = {name: count for name, count in facts.counts.items() if name.startswith(COUNTED)}
    return {name.removeprefix(COUNTED): count for name, count in sorted(found.items())}


def scheme_in(facts: Facts) -> str:
    """Return the scheme of the tags, as named by `data.tagging.tags.known_scheme`."""
    begins_inside, begins = facts.count("begins inside") > 0, facts.count("begins") > 0
    return known_scheme(counts_of(facts), begins_inside, begins)


def baseline(facts: Facts) -> str:
    """Describe the words and tags, and the accuracy of a model that knows only the commonest tag."""
    tags, scheme, words = counts_of(facts), scheme_in(facts), facts.count("words")
    if not words:
        return ""
    # The commonest tag is nearly always O, which is why accuracy looks good for any model.
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
            "{words:,} words with {count} tags in the scheme {scheme}. {share:.1%} have the tag {tag}, which "
            "is the accuracy of a model that gives only this tag: look at the F1 of entities instead.",
            scheme=name,
            **values,
        )
    return _(
        "{words:,} words with {count} tags without a scheme such as BIO. {share:.1%} have the tag {tag}, "
        "which is the accuracy of a model that gives only this tag.",
        **values,
    )
