"""Tags of words: schemes such as BIO, what breaks their rules, and which number a tag has.

A tag of a scheme is a prefix and a type, `B-PER`; `O` is no part of anything. `evaluation.tagging` counts what
such tags stand for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

OUTSIDE = "O"
_PREFIXED = re.compile(r"([A-Z])-(.+)", re.S)
_BARE = frozenset("BIESLUM")  # a tag without a type: there is but one kind
PREFIXES = {"IOB1": "IB", "IOB2": "BI", "IOE2": "IE", "IOBES": "BIES", "BILOU": "BILU", "BMES": "BMES"}
NAMES = {"IOB2": "BIO", "IOBES": "BIOES"}  # what people call them
_NO_NAME = re.compile(r"LABEL_\d+")


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
    """Whether an entity begins with `I`, and whether one begins with a `B` that does not part two of a type."""
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


def find_faults(tags: Sequence[str], scheme: str) -> Iterator[tuple[str, int]]:
    """What breaks the rules of a scheme, with the place of the word, from 0.

    `prefix`: a tag that is none of the scheme; `beginning`: it goes on with what has not begun; `end`: what
    has begun does not end.
    """
    allowed = set(PREFIXES.get(scheme, ""))
    if not allowed:
        return
    ends = scheme in ("IOBES", "BILOU", "BMES")
    needs_beginning = allowed - {"B", "S", "U"} if scheme in ("IOB2", "IOBES", "BILOU", "BMES") else set()
    before, opened = ("", ""), False  # `opened`: it may, or in some schemes has to, go on
    for place, tag in enumerate([*tags, OUTSIDE]):
        now = ("", "") if tag == OUTSIDE else split_tag(tag)
        if tag != OUTSIDE and now[0] not in allowed:
            yield "prefix", place
        goes_on = opened and now[0] in needs_beginning and now[1] == before[1]
        if now[0] in needs_beginning and not goes_on:
            yield "beginning", place
        if ends and opened and not goes_on:
            yield "end", place - 1
        opened = now[0] in "BIM" and bool(now[0])
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


def number_of(tag: str) -> int:
    """A number for a tag that does not depend on other tags: 31 bits of a hash of its name."""
    return int.from_bytes(hashlib.blake2b(tag.encode(), digest_size=4).digest(), "little") & 0x7FFFFFFF


def names_in(values: Mapping[str, Any]) -> list[str]:
    """The tags that a model with this `config.json` knows; none if it does not tag words or they are unnamed."""
    kinds = values.get("architectures")
    if not isinstance(kinds, list) or not any(str(kind).endswith("ForTokenClassification") for kind in kinds):
        return []
    named = values.get("id2label")
    if not isinstance(named, dict) or not all(str(key).isdigit() for key in named):
        return []
    found = [str(named[key]) for key in sorted(named, key=int)]
    if sorted(map(int, named)) != list(range(len(found))) or len(set(found)) < len(found):
        return []
    return [] if all(map(_NO_NAME.fullmatch, found)) else found
