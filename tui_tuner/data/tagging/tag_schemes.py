"""Understand tags of words: schemes such as BIO, what breaks their rules, and the number of a tag.

A tag of a scheme is a prefix and a type, such as `B-PER`; `O` is outside of everything. `evaluation.tagging`
counts the entities of such tags.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache

from tui_tuner.config.schema import ModelSection
from tui_tuner.models.head_classes import are_classes_unnamed, read_head_classes

HEAD = "ForTokenClassification"  # the suffix of transformers' classes that tag words
OUTSIDE = "O"
_PREFIXED = re.compile(r"([A-Z])-(.+)", re.S)
_BARE = frozenset("BIESLUM")  # tags without a type, if there is only one kind of entity
PREFIXES = {"IOB1": "IB", "IOB2": "BI", "IOE2": "IE", "IOBES": "BIES", "BILOU": "BILU", "BMES": "BMES"}
MARKED = ("IOBES", "BILOU", "BMES")  # schemes with a letter for the end of an entity
_INSIDE, _OPEN = frozenset("IELM"), frozenset("BIM")
NAMES = {"IOB2": "BIO", "IOBES": "BIOES"}  # their common names


@lru_cache(maxsize=4096)
def split_tag(tag: str) -> tuple[str, str]:
    """Split a tag into prefix and type; the prefix is empty for tags such as parts of speech."""
    if tag in _BARE:
        return tag, ""
    found = _PREFIXED.fullmatch(tag)
    return (found[1], found[2]) if found else ("", tag)


def recognise_tag_scheme(tags: Mapping[str, int], begins_inside: bool = False, begins: bool = True) -> str:
    """Recognise the scheme of these tags: a key of `PREFIXES`, or empty if they have none.

    Args:
        tags: How often each occurs.
        begins_inside: Whether any entity begins with `I`.
        begins: Whether any begins with `B` without need: no entity of its type is directly before it.
    """
    # A few tags in no scheme are taken for mistakes if most tags are in one.
    of_words = {tag: count for tag, count in tags.items() if tag != OUTSIDE}
    in_scheme = {tag: count for tag, count in of_words.items() if split_tag(tag)[0] in _BARE}
    if not in_scheme or 2 * sum(in_scheme.values()) <= sum(of_words.values()):
        return ""
    letters = {split_tag(tag)[0] for tag in in_scheme}
    # IOB1 uses B only between two entities of one type; data with both habits is read as IOB2.
    if letters <= {"B", "I"}:
        return "IOB1" if begins_inside and not begins else "IOB2"
    if letters == {"I", "E"}:
        return "IOE2"
    usual = next((name for name in ("IOBES", "BILOU", "BMES") if letters <= set(PREFIXES[name])), "")
    return usual or _find_nearest_scheme(in_scheme)


def _find_nearest_scheme(tags: Mapping[str, int]) -> str:
    """Return the scheme that most of these tags belong to."""

    def count_in_scheme(name: str) -> int:
        return sum(count for tag, count in tags.items() if split_tag(tag)[0] in PREFIXES[name])

    return max(("IOB2", "IOBES", "BILOU", "BMES"), key=count_in_scheme)


def find_entity_beginnings(tags: Sequence[str]) -> tuple[bool, bool]:
    """Return whether an entity begins with `I`, and whether one has a `B` that separates nothing."""
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


def find_scheme_faults(tags: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Yield what may break the rules of a scheme, with the place of the word, from 0.

    `beginning`: `I` or an end with nothing of its type before it, which IOB1 and IOE2 allow; `end`: `B` or
    `I` without an end after it, which only schemes with ends forbid (`MARKED`).
    """
    before, opened = ("", ""), False
    # One more tag, so that an entity at the end of the text is closed too.
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
    """Return the tags in the order of their classes.

    The order is that of the base model's head if it has all of them, else that of the numbers in the data,
    else sorted with `O` first.

    Args:
        numbered: The names of the numbers in the rows.
        known: The classes of a base model that already tags words.
    """
    for given in (known, numbered):
        if given and set(tags) <= set(given):
            return list(given)
    return sorted(tags, key=lambda tag: (tag != OUTSIDE, tag))


@lru_cache(maxsize=4096)
def hash_tag(tag: str) -> int:
    """Number a tag independently of other tags, by 31 bits of a hash of its name."""
    # Positive int32, so that it never equals IGNORE.
    return int.from_bytes(hashlib.blake2b(tag.encode(), digest_size=4).digest(), "little") & 0x7FFFFFFF


def read_head_tags(model: ModelSection) -> list[str]:
    """Return the named tags of a base model's head; empty for most models."""
    found = read_head_classes(model, HEAD)
    return [] if are_classes_unnamed(found) or len(set(found)) < len(found) else found


def has_other_head_tags(head: Sequence[str], tags: Sequence[str]) -> bool:
    """Return whether the head in a model's files has other tags than the run, or another order of them."""
    # A head without names is taken for the run's own if it has the same number of classes.
    if not head or list(head) == list(tags):
        return False
    return not (are_classes_unnamed(list(head)) and len(head) == len(tags))
