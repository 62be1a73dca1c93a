"""What is wrong or doubtful about the tags of all rows together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tui_tuner.config.advice import advise, setting
from tui_tuner.data.examples.encoder import Facts
from tui_tuner.data.preflight import Problem, noted
from tui_tuner.data.tagging.facts import SEEN, counts_of, scheme_in
from tui_tuner.data.tagging.tags import (
    MARKED,
    NAMES,
    OUTSIDE,
    PREFIXES,
    has_other_tags,
    order_tags,
    split_tag,
)
from tui_tuner.locales import N_, _, _n
from tui_tuner.models.heads import are_unnamed
from tui_tuner.text import one_line, some_of

MOST = 2000  # tags
FEW = 10  # words: a class with fewer is rare
_SHOWN = 5
_ALLOW_INSIDE = ("IOB1", "IOE2")


def check_tags(facts: Facts, head: Sequence[str] = (), names: Sequence[str] = ()) -> list[Problem]:
    """Problems with the tags of the rows.

    Args:
        head: The classes of the base model's own head; none for most models.
        names: All tags there may be, in their order (`data.names`); empty if any may be.
    """
    tags, scheme = counts_of(facts), scheme_in(facts)
    return [
        *_check_count(facts, tags),
        *_check_numbers(facts, tags),
        *_check_head(facts, tags, head, names),
        *_check_scheme(facts, tags, scheme),
        *_check_rare(facts, tags, scheme),
        *noted(
            facts,
            "silent",
            "silent_words",
            "warning",
            _n(
                "The tokenizer makes nothing of {count:,} word: it is neither trained nor judged, and no "
                "other word has its tag.",
                "The tokenizer makes nothing of {count:,} words: they are neither trained nor judged, and no "
                "other words have their tags.",
                facts.count("silent"),
                count=facts.count("silent"),
            ),
            _("Take out what no reader sees, such as control characters, or leave it: it does no harm."),
        ),
    ]


def _check_count(facts: Facts, tags: Mapping[str, int]) -> list[Problem]:
    """One tag teaches nothing, and very many are no tags."""
    hint = _("Does data.columns name the right column for the tags?")
    if len(tags) == 1:
        tag = one_line(next(iter(tags)), 40)
        said = _("Every word has the tag {tag}: there is nothing to tell apart.", tag=tag)
        return [Problem("one_tag", "error", said, hint)]
    if len(tags) <= MOST:
        return []
    rare = min(tags, key=lambda tag: tags[tag])
    said = _("The rows have {count:,} different tags: these look like words, not tags.", count=len(tags))
    return [
        Problem(
            "too_many_tags", "error", said, hint, facts.count(f"{SEEN}{rare}"), facts.rows(f"{SEEN}{rare}")
        )
    ]


def _check_numbers(facts: Facts, tags: Mapping[str, int]) -> list[Problem]:
    count = facts.count("unnamed")
    if not count:
        return []
    example = ", ".join(["O", "B-PER", "I-PER"])
    names = setting({"data.names": ["O", "B-PER", "I-PER"]})
    return [
        Problem(
            "unnamed_tags",
            "error",
            _(
                "The tags are numbers, {count} of them, and nothing says what they stand for. Entities "
                "cannot be told by them.",
                count=len(tags),
            ),
            advise(
                N_(
                    "Name them in their order, beginning with that of 0, such as {command} for {example}.",
                    command=names,
                    example=example,
                )
            ),
            count,
            facts.rows("unnamed"),
        )
    ]


def _check_head(
    facts: Facts, tags: Mapping[str, int], head: Sequence[str], names: Sequence[str]
) -> list[Problem]:
    """Whether the head that the base model has tells other tags apart."""
    known = [] if are_unnamed(list(head)) else head
    wanted = order_tags(tags, names, known)
    if not has_other_tags(head, wanted):
        return []
    other = next((f"{SEEN}{tag}" for tag in wanted if tag not in head and tag in tags), "")
    return [
        Problem(
            "new_head",
            "warning",
            _(
                "The model's own head tells other tags apart ({own}) than those of the rows ({wanted}): it "
                "gets new outputs with random weights.",
                own=_listed(head),
                wanted=_listed(wanted),
            ),
            _("To train that head on, name the tags as it does."),
            facts.count(other),
            facts.rows(other),
        )
    ]


def _listed(tags: Sequence[str]) -> str:
    return ", ".join(some_of(tags, _SHOWN))


def _check_scheme(facts: Facts, tags: Mapping[str, int], scheme: str) -> list[Problem]:
    """What breaks the rules of the scheme. It is learnt as it stands: nothing is repaired."""
    if not scheme:
        return []
    name = NAMES.get(scheme, scheme)
    left = _("It is learnt as it stands. The usual F1 forgives it, the strict one does not.")
    found: list[Problem] = []
    if scheme not in _ALLOW_INSIDE:
        words = _n(
            "{count:,} tag goes on with what has not begun, against the scheme {scheme}.",
            "{count:,} tags go on with what has not begun, against the scheme {scheme}.",
            facts.count("beginning"),
            count=facts.count("beginning"),
            scheme=name,
        )
        found += noted(facts, "beginning", "tags_without_beginning", "warning", words, left)
    if scheme in MARKED:
        words = _n(
            "{count:,} tag begins what has no end, against the scheme {scheme}.",
            "{count:,} tags begin what has no end, against the scheme {scheme}.",
            facts.count("end"),
            count=facts.count("end"),
            scheme=name,
        )
        found += noted(facts, "end", "tags_without_end", "warning", words, left)
    strange = [tag for tag in tags if tag != OUTSIDE and (split_tag(tag)[0] or "?") not in PREFIXES[scheme]]
    if strange:
        count = sum(tags[tag] for tag in strange)
        shown = _listed(strange)
        places = [place for tag in strange for place in facts.rows(f"{SEEN}{tag}")][:_SHOWN]
        words = _n(
            "{count:,} word has a tag that the scheme {scheme} does not know: {tags}.",
            "{count:,} words have tags that the scheme {scheme} does not know: {tags}.",
            count,
            count=count,
            scheme=name,
            tags=shown,
        )
        found.append(Problem("unknown_prefix", "warning", words, left, count, places))
    return found


def _check_rare(facts: Facts, tags: Mapping[str, int], scheme: str) -> list[Problem]:
    """Classes with so few words that little can be learnt, or said, of them."""
    words: Counter[str] = Counter()
    for tag, count in tags.items():
        words[split_tag(tag)[1] if scheme else tag] += count if tag != OUTSIDE else 0
    few = sorted(((count, name) for name, count in words.items() if 0 < count < FEW))
    if not few or facts.count("words") < 100:
        return []
    named = ", ".join(f"{one_line(name, 40) or '-'} ({count})" for count, name in few[:_SHOWN])
    first = next(tag for tag in tags if (split_tag(tag)[1] if scheme else tag) == few[0][1])
    return [
        Problem(
            "rare_tags",
            "warning",
            _n(
                "{count} class has fewer than {least} words: {names}.",
                "{count} classes have fewer than {least} words each: {names}.",
                len(few),
                count=len(few),
                least=FEW,
                names=named,
            ),
            _("Add rows with them, or expect little of them; training.class_weights makes them count more."),
            sum(count for count, _unused in few),
            facts.rows(f"{SEEN}{first}"),
        )
    ]
