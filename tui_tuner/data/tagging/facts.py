"""Note facts about the tags of each row, and sum them up for all rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tui_tuner.data.examples.record_encoder import RowFacts
from tui_tuner.data.tagging.tag_schemes import (
    NAMES,
    find_entity_beginnings,
    find_scheme_faults,
    recognise_tag_scheme,
)
from tui_tuner.locales import _
from tui_tuner.text import one_line

COUNTED, SEEN = "tag ", "seen "  # prefixes of facts: how often a tag occurs, and in which rows first


@dataclass(frozen=True)
class WordPlace:
    """The place of a word, formatted only for the few that are shown."""

    origin: object
    word: int
    text: str

    def __str__(self) -> str:
        shown = one_line(self.text, 30)
        return _("{origin}, word {place} ({text})", origin=self.origin, place=self.word + 1, text=shown)


def note_tags(tags: Sequence[str], origin: object, facts: RowFacts) -> None:
    """Count the tags of a row, and note the first place of each and what may break their scheme."""
    facts.add_count("words", len(tags))
    # Reversed, so that the first place of a tag is the one that stays.
    first = {tag: place for place, tag in reversed(list(enumerate(tags)))}
    for tag, count in Counter(tags).items():
        facts.add_count(f"{COUNTED}{tag}", count)
        # Kept as an object: formatting a place for each word would take longer than counting it.
        facts.note_origin(f"{SEEN}{tag}", WordPlace(origin, first[tag], tag))
    inside, needless = find_entity_beginnings(tags)
    facts.add_count("begins inside", inside)
    facts.add_count("begins", needless)
    # Whether a fault counts depends on the scheme, which is known only after all rows.
    for fault, place in find_scheme_faults(tags):
        facts.note_origin(fault, WordPlace(origin, place, tags[place]))


def count_tags(facts: RowFacts) -> dict[str, int]:
    """Return how often each tag occurs."""
    found = {name: count for name, count in facts.counts.items() if name.startswith(COUNTED)}
    return {name.removeprefix(COUNTED): count for name, count in sorted(found.items())}


def find_noted_scheme(facts: RowFacts) -> str:
    """Return the scheme of the tags, as named by `data.tagging.tag_schemes.recognise_tag_scheme`."""
    begins_inside, begins = facts.get_count("begins inside") > 0, facts.get_count("begins") > 0
    return recognise_tag_scheme(count_tags(facts), begins_inside, begins)


def describe_tag_baseline(facts: RowFacts) -> str:
    """Describe the words and tags, and the accuracy of a model that knows only the commonest tag."""
    tags, scheme, words = count_tags(facts), find_noted_scheme(facts), facts.get_count("words")
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
