"""Precision, recall and F1 of entities, counted as seqeval 1.2.2 counts them, and of tags without a scheme.

Its usual count forgives: `I-PER` after `O` begins an entity. Its strict count knows the scheme, and what does
not follow it is no entity. Nothing is imported that fetches or warns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tui_tuner.data.tagging.tags import OUTSIDE, find_beginnings, known_scheme

Tags = Sequence[str]


class Entity(NamedTuple):
    """Words `start` to `end`, from 0, the last one not included."""

    type: str
    start: int
    end: int


def entities_of(tags: Tags) -> list[Entity]:
    """What tags stand for by the count that forgives."""
    found: list[Entity] = []
    begin, before, kind = 0, OUTSIDE, ""
    for place, tag in enumerate([*tags, OUTSIDE]):
        letter, now = tag[:1], tag[1:].split("-", 1)[-1] or "_"
        other = now != kind
        if _ends(before, letter) or (before not in "O." and other):
            found.append(Entity(kind, begin, place))
        if _begins(before, letter) or (letter not in "O." and other):
            begin = place
        before, kind = letter, now
    return found


def one_text(rows: Sequence[Tags]) -> list[str]:
    """The tags of all rows behind each other, with `O` between them, as seqeval reads them."""
    return [tag for row in rows for tag in (*row, OUTSIDE)]


def _ends(before: str, letter: str) -> bool:
    return before in "ES" or (before in "BI" and letter in "BSO")


def _begins(before: str, letter: str) -> bool:
    return letter in "BS" or (letter in "IE" and before in "OES")


class Rule(NamedTuple):
    """How a scheme reads two neighbours: their prefixes, and whether their type is the same."""

    begins: Callable[[str, str, bool], bool]  # the second begins an entity
    goes_on: Callable[[str, str, bool], bool]  # it belongs to the entity of the first
    closes: Callable[[str, str, bool], bool]  # where it does not, the entity of the first is whole


def _marked_ends(single: str, last: str) -> Rule:
    """A beginning, and an end that has to come; one word alone has a prefix of its own."""
    return Rule(
        lambda a, b, same: b in ("B", single),
        lambda a, b, same: same and a in ("B", "I") and b in ("I", last),
        lambda a, b, same: a in (single, last),
    )


RULES = {
    "IOB2": Rule(
        lambda a, b, same: b == "B",
        lambda a, b, same: same and a in ("B", "I") and b == "I",
        lambda a, b, same: True,
    ),
    "IOB1": Rule(
        lambda a, b, same: (
            (b == "I" and (a in ("O", "B") or not same)) or (b == "B" and same and a in ("B", "I"))
        ),
        lambda a, b, same: same and a in ("B", "I") and b == "I",
        lambda a, b, same: not (a == "B" and b == "B" and not same),
    ),
    "IOE2": Rule(
        lambda a, b, same: b in ("I", "E") and (a in ("O", "E") or not same),
        lambda a, b, same: same and a == "I" and b in ("I", "E"),
        lambda a, b, same: a == "E",
    ),
    "IOBES": _marked_ends("S", "E"),
    "BILOU": _marked_ends("U", "L"),
}


def strict_entities(tags: Tags, scheme: str) -> list[Entity]:
    """What tags stand for by the rules of a scheme, one of `RULES`."""
    rule = RULES[scheme]
    parts = [("O", "_"), *((tag[:1], tag[1:].strip("-") or "_") for tag in tags), ("O", "_")]
    found: list[Entity] = []
    place = 1
    while place < len(parts):
        before, now = parts[place - 1], parts[place]
        if not rule.begins(before[0], now[0], before[1] == now[1]):
            place += 1
            continue
        begin = place
        place += 1
        while place < len(parts) and _pair(rule.goes_on, parts, place):
            place += 1
        if place < len(parts) and _pair(rule.closes, parts, place):
            found.append(Entity(now[1], begin - 1, place - 1))
    return found


def _pair(holds: Callable[[str, str, bool], bool], parts: Sequence[tuple[str, str]], place: int) -> bool:
    before, now = parts[place - 1], parts[place]
    return holds(before[0], now[0], before[1] == now[1])


@dataclass
class Counts:
    """Of each type: how many were found and are right, how many were found, and how many there are."""

    right: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    wanted: Counter[str] = field(default_factory=Counter)

    def add(self, wanted: Sequence[Entity], found: Sequence[Entity]) -> None:
        """Count the entities of one row."""
        self.wanted.update(entity.type for entity in set(wanted))
        self.found.update(entity.type for entity in set(found))
        self.right.update(entity.type for entity in set(wanted) & set(found))

    def total(self) -> tuple[float, float, float]:
        """Precision, recall and F1 over all types together."""
        return scores(self.right.total(), self.found.total(), self.wanted.total())

    def types(self) -> list[str]:
        """All types, sorted."""
        return sorted({*self.found, *self.wanted})

    def of(self, type: str) -> tuple[float, float, float]:
        """Precision, recall and F1 of one type."""
        return scores(self.right[type], self.found[type], self.wanted[type])


def scores(right: int, found: int, wanted: int) -> tuple[float, float, float]:
    """Precision, recall and F1; 0 where nothing was found, or nothing is there."""
    precision = right / found if found else 0.0
    recall = right / wanted if wanted else 0.0
    both = precision + recall
    return precision, recall, 2 * precision * recall / both if both else 0.0


@dataclass
class Judgement:
    """What tags are worth.

    Args:
        scheme: As `data.tagging.tags.known_scheme` names it; empty for tags without one, each of which is
            then a class, `O` aside.
        strict: None where the scheme is not known.
    """

    accuracy: float
    counts: Counts
    scheme: str
    strict: Counts | None = None
    f1_macro: float = 0.0


def judge_tags(wanted: Sequence[Tags], found: Sequence[Tags]) -> Judgement:
    """Hold the tags that a model found against those that are right.

    Args:
        wanted, found: A row each, with a tag for each word; the same number of words in both.
    """
    scheme = scheme_of(wanted)
    right = words = 0
    counts, strict = Counts(), Counts() if scheme in RULES else None
    read = entities_of if scheme else _words
    counts.add(read(one_text(wanted)), read(one_text(found)))
    for row, guess in zip(wanted, found, strict=True):
        words += len(row)
        right += sum(one == other for one, other in zip(row, guess, strict=True))
        if strict is not None:
            strict.add(strict_entities(row, scheme), strict_entities(guess, scheme))
    accuracy = right / words if words else 0.0
    return Judgement(accuracy, counts, scheme, strict, _macro(wanted, found))


def scheme_of(rows: Sequence[Tags]) -> str:
    """The scheme of the tags of all rows."""
    pairs = [find_beginnings(row) for row in rows]
    occurrences = Counter(tag for row in rows for tag in row)
    return known_scheme(
        occurrences, any(inside for inside, _b in pairs), any(needless for _i, needless in pairs)
    )


def _words(tags: Tags) -> list[Entity]:
    """Each word with a tag as an entity of its own, for tags without a scheme."""
    return [Entity(tag, place, place + 1) for place, tag in enumerate(tags) if tag != OUTSIDE]


def _macro(wanted: Sequence[Tags], found: Sequence[Tags]) -> float:
    """The mean of the F1 of each tag, `O` among them."""
    counts = Counts()
    for row, guess in zip(wanted, found, strict=True):
        for one, other in zip(row, guess, strict=True):
            counts.wanted[one] += 1
            counts.found[other] += 1
            counts.right[one] += one == other
    each = [counts.of(tag)[2] for tag in counts.types()]
    return sum(each) / len(each) if each else 0.0
