"""Compute precision, recall and F1 of entities, as seqeval 1.2.2 does, and of tags without a scheme.

Its default mode is lenient: `I-PER` after `O` begins an entity. Its strict mode knows the scheme, and tags
that violate it form no entity. seqeval itself is not imported, because it downloads and warns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tui_tuner.data.tagging.tag_schemes import OUTSIDE, find_entity_beginnings, recognise_tag_scheme

Tags = Sequence[str]


class Entity(NamedTuple):
    """Words `start` to `end`, from 0, the last one not included."""

    type: str
    start: int
    end: int


def find_lenient_entities(tags: Tags) -> list[Entity]:
    """Return the entities of tags in the lenient mode."""
    found: list[Entity] = []
    begin, before, kind = 0, OUTSIDE, ""
    for place, tag in enumerate([*tags, OUTSIDE]):
        letter, now = tag[:1], tag[1:].split("-", 1)[-1] or "_"
        other = now != kind
        if _is_end(before, letter) or (before not in "O." and other):
            found.append(Entity(kind, begin, place))
        if _is_beginning(before, letter) or (letter not in "O." and other):
            begin = place
        before, kind = letter, now
    return found


def join_row_tags(rows: Sequence[Tags]) -> list[str]:
    """Join the tags of all rows, with `O` between them, as seqeval reads them."""
    return [tag for row in rows for tag in (*row, OUTSIDE)]


def _is_end(before: str, letter: str) -> bool:
    return before in "ES" or (before in "BI" and letter in "BSO")


def _is_beginning(before: str, letter: str) -> bool:
    return letter in "BS" or (letter in "IE" and before in "OES")


class SchemeRule(NamedTuple):
    """How a scheme reads two neighbouring tags: their prefixes, and whether their types are equal."""

    begins: Callable[[str, str, bool], bool]  # whether the second tag begins an entity
    goes_on: Callable[[str, str, bool], bool]  # whether it continues the entity of the first
    closes: Callable[[str, str, bool], bool]  # if not, whether the entity of the first is complete


def _marked_ends(single: str, last: str) -> SchemeRule:
    """Return the rule of a scheme with marked ends, where a single word has its own prefix."""
    return SchemeRule(
        lambda a, b, same: b in ("B", single),
        lambda a, b, same: same and a in ("B", "I") and b in ("I", last),
        lambda a, b, same: a in (single, last),
    )


RULES = {
    "IOB2": SchemeRule(
        lambda a, b, same: b == "B",
        lambda a, b, same: same and a in ("B", "I") and b == "I",
        lambda a, b, same: True,
    ),
    "IOB1": SchemeRule(
        lambda a, b, same: (
            (b == "I" and (a in ("O", "B") or not same)) or (b == "B" and same and a in ("B", "I"))
        ),
        lambda a, b, same: same and a in ("B", "I") and b == "I",
        lambda a, b, same: not (a == "B" and b == "B" and not same),
    ),
    "IOE2": SchemeRule(
        lambda a, b, same: b in ("I", "E") and (a in ("O", "E") or not same),
        lambda a, b, same: same and a == "I" and b in ("I", "E"),
        lambda a, b, same: a == "E",
    ),
    "IOBES": _marked_ends("S", "E"),
    "BILOU": _marked_ends("U", "L"),
}


def find_strict_entities(tags: Tags, scheme: str) -> list[Entity]:
    """Return the entities of tags by the rules of a scheme, one of `RULES`."""
    rule = RULES[scheme]
    # An O on both sides, so that the rules see a neighbour for the first and the last tag too.
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
        while place < len(parts) and _holds_for_pair(rule.goes_on, parts, place):
            place += 1
        if place < len(parts) and _holds_for_pair(rule.closes, parts, place):
            found.append(Entity(now[1], begin - 1, place - 1))
    return found


def _holds_for_pair(
    holds: Callable[[str, str, bool], bool], parts: Sequence[tuple[str, str]], place: int
) -> bool:
    before, now = parts[place - 1], parts[place]
    return holds(before[0], now[0], before[1] == now[1])


@dataclass
class EntityCounts:
    """For each type: the entities found correctly, all entities found, and all entities in the data."""

    right: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    wanted: Counter[str] = field(default_factory=Counter)

    def add_row(self, wanted: Sequence[Entity], found: Sequence[Entity]) -> None:
        """Count the entities of one row."""
        self.wanted.update(entity.type for entity in set(wanted))
        self.found.update(entity.type for entity in set(found))
        self.right.update(entity.type for entity in set(wanted) & set(found))

    def total_figures(self) -> tuple[float, float, float]:
        """Return precision, recall and F1 over all types together."""
        return compute_entity_figures(self.right.total(), self.found.total(), self.wanted.total())

    def list_types(self) -> list[str]:
        """Return all types, sorted."""
        return sorted({*self.found, *self.wanted})

    def type_figures(self, type: str) -> tuple[float, float, float]:
        """Return precision, recall and F1 of one type."""
        return compute_entity_figures(self.right[type], self.found[type], self.wanted[type])


def compute_entity_figures(right: int, found: int, wanted: int) -> tuple[float, float, float]:
    """Return precision, recall and F1; 0 if nothing was found or nothing is there."""
    precision = right / found if found else 0.0
    recall = right / wanted if wanted else 0.0
    both = precision + recall
    return precision, recall, 2 * precision * recall / both if both else 0.0


@dataclass
class Judgement:
    """The evaluation of predicted tags.

    Args:
        scheme: Its name in `data.tagging.tag_schemes.recognise_tag_scheme`; empty for tags without a scheme,
            each of which is then a class, except `O`.
        strict: None if the scheme is unknown.
    """

    accuracy: float
    counts: EntityCounts
    scheme: str
    strict: EntityCounts | None = None
    f1_macro: float = 0.0


def score_tags(wanted: Sequence[Tags], found: Sequence[Tags]) -> Judgement:
    """Compare the tags that a model found with the correct ones.

    Args:
        wanted, found: Rows of tags, one for each word; both have the same number of words.
    """
    scheme = find_rows_scheme(wanted)
    right = words = 0
    counts, strict = EntityCounts(), EntityCounts() if scheme in RULES else None
    read = find_lenient_entities if scheme else _word_entities
    # seqeval's lenient mode reads all rows as one, its strict mode row by row; the O between rows makes
    # up for it.
    counts.add_row(read(join_row_tags(wanted)), read(join_row_tags(found)))
    for row, guess in zip(wanted, found, strict=True):
        words += len(row)
        right += sum(one == other for one, other in zip(row, guess, strict=True))
        if strict is not None:
            strict.add_row(find_strict_entities(row, scheme), find_strict_entities(guess, scheme))
    accuracy = right / words if words else 0.0
    return Judgement(accuracy, counts, scheme, strict, _macro_f1(wanted, found))


def find_rows_scheme(rows: Sequence[Tags]) -> str:
    """Return the scheme of the tags of all rows."""
    pairs = [find_entity_beginnings(row) for row in rows]
    occurrences = Counter(tag for row in rows for tag in row)
    return recognise_tag_scheme(
        occurrences, any(inside for inside, _b in pairs), any(needless for _i, needless in pairs)
    )


def _word_entities(tags: Tags) -> list[Entity]:
    """Return each tagged word as an entity of its own, for tags without a scheme."""
    return [Entity(tag, place, place + 1) for place, tag in enumerate(tags) if tag != OUTSIDE]


def _macro_f1(wanted: Sequence[Tags], found: Sequence[Tags]) -> float:
    """Return the mean F1 of all tags, including `O`."""
    counts = EntityCounts()
    for row, guess in zip(wanted, found, strict=True):
        for one, other in zip(row, guess, strict=True):
            counts.wanted[one] += 1
            counts.found[other] += 1
            counts.right[one] += one == other
    each = [counts.type_figures(tag)[2] for tag in counts.list_types()]
    return sum(each) / len(each) if each else 0.0
