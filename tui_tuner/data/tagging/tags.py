"""Tags of words: schemes such as BIO, what breaks their rules, and which number a tag has.

A tag of a scheme is a prefix and a type, `B-PER`; `O` is no part of anything. `evaluation.tagging` counts
what such tags stand for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache

from tui_tuner.config.schema import ModelSection
from tui_tuner.models.heads import are_unnamed, head_classes

HEAD = "ForTokenClassification"  # how classes of transformers that tag words are called
OUTSIDE = "O"
_PREFIXED = re.compile(r"([A-Z])-(.+)", re.S)
_BARE = frozenset("BIESLUM")  # a tag without a type: there is but one kind
PREFIXES = {"IOB1": "IB", "IOB2": "BI", "IOE2": "IE", "IOBES": "BIES", "BILOU": "BILU", "BMES": "BMES"}
MARKED = ("IOBES", "BILOU", "BMES")  # schemes in which an entity ends with a letter of its own
_INSIDE, _OPEN = frozenset("IELM"), frozenset("BIM")
NAMES = {"IOB2": "BIO", "IOBES": "BIOES"}  # what people call them


@lru_cache(maxsize=4096)
def split_tag(tag: str) -> tuple[str, str]:
    """Prefix and type of a tag; an empty prefix for one that has none, such as a part of speech."""
    if tag in _BARE:
        return tag, ""
    found = _PREFIXED.fullmatch(tag)
    return (found[1], found[2]) if found else ("", tag)


def known_scheme(tags: Mapping[str, int], begins_inside: bool = False, begins: bool = True) -> str:
    """The scheme of these tags: a key of `PREFIXES`, or an empty name for tags without one.

    A few tags that are in no scheme are mistakes among many that are.

    Args:
        tags: How often each occurs.
        begins_inside: Whether any entity begins with `I`.
        begins: Whether any begins with `B` that has no need to: the words before are none of its type.
    """
    of_words = {tag: count for tag, count in tags.items() if tag != OUTSIDE}
    in_scheme = {tag: count for tag, count in of_words.items() if split_tag(tag)[0] in _BARE}
    if not in_scheme or 2 * sum(in_scheme.values()) <= sum(of_words.values()):
        return ""
    letters = {split_tag(tag)[0] for tag in in_scheme}
    if letters <= {"B", "I"}:
        return "IOB1" if begins_inside and not begins else "IOB2"
    if letters == {"I", "E"}:
        return "IOE2"
    usual = next((name for name in ("IOBES", "BILOU", "BMES") if letters <= set(PREFIXES[name])), "")
    return usual or _nearest(in_scheme)


def _nearest(tags: Mapping[str, int]) -> str:
    """The scheme that most of these tags belong to."""

    def share(name: str) -> int:
        return sum(count for tag, count in tags.items() if split_tag(tag)[0] in PREFIXES[name])

    return max(("IOB2", "IOBES", "BILOU", "BMES"), key=share)


def find_beginnings(tags: Sequence[str]) -> tuple[bool, bool]:
    """Whether an entity begins with `I`, and whether one has a `B` that does not part two of a type."""
    inside = needless = False
    before = ("", "")
    for tag in tags:
        now = split_tag(tag)
        if now[0] == "I" and (before[0] not in _BARE or before[1] != now[1]):
            inside = True
        if now[0] == "B" and (before[0] not in _BARE or before[1] != now[1]):
            needless = True
        before = now
    return inside, needless


def find_faults(tags: Sequence[str]) -> Iterator[tuple[str, int]]:
    """What may break the rules of a scheme, with the place of the word, from 0.

    `beginning`: `I` or an end, and nothing of its type before it, which IOB1 and IOE2 allow; `end`: `B` or
    `I` without an end after it, which only schemes with ends forbid (`MARKED`).
    """
    before, opened = ("", ""), False
    for place, tag in enumerate([*tags, OUTSIDE]):
        now = ("", "") if tag == OUTSIDE else split_tag(tag)
        inside = now[0] in _INSIDE
        goes_on = opened and inside and now[1] == before[1]
        if inside and not goes_on:
            yield "beginning", place
        if opened and not goes_on:
            yield "end", place - 1
        opened = now[0] in _OPEN
        before = now


def order_tags(tags: Collection[str], numbered: Sequence[str] = (), known: Sequence[str] = ()) -> list[str]:
    """The tag of each class.

    As the model that is trained has them, where its head knows all of them; as the data numbers them; or
    else sorted, with `O` first.

    Args:
        numbered: The names of the numbers that the rows hold.
        known: The classes of a base model that tags words already.
    """
    for given in (known, numbered):
        if given and set(tags) <= set(given):
            return list(given)
    return sorted(tags, key=lambda tag: (tag != OUTSIDE, tag))


@lru_cache(maxsize=4096)
def number_of(tag: str) -> int:
    """A number for a tag that does not depend on other tags: 31 bits of a hash of its name."""
    return int.from_bytes(hashlib.blake2b(tag.encode(), digest_size=4).digest(), "little") & 0x7FFFFFFF


def known_tags(model: ModelSection) -> list[str]:
    """The tags that the head of a base model tells apart by name already; none for most models."""
    found = head_classes(model, HEAD)
    return [] if are_unnamed(found) or len(set(found)) < len(found) else found


def has_other_tags(head: Sequence[str], tags: Sequence[str]) -> bool:
    """Whether the head in a model's files is one for other tags than those of a run, in their order.

    One without names is taken for the run's own where it has as many classes.
    """
    if not head or list(head) == list(tags):
        return False
    return not (are_unnamed(list(head)) and len(head) == len(tags))
