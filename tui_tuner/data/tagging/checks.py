"""Check the tags of all rows together for errors and doubtful cases."""

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
    """List the problems with the tags of the rows.

    Args:
        head: The classes of the base model's head; empty for most models.
        names: All allowed tags in their order (`data.names`); empty if any tag is allowed.
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
                "The tokenizer gives no tokens for {count:,} word: it is neither trained nor evaluated, and "
                "its tag is not used.",
                "The tokenizer gives no tokens for {count:,} words: they are neither trained nor evaluated, "
                "and their tags are not used.",
                facts.count("silent"),
                count=facts.count("silent"),
            ),
            _("Remove invisible characters, such as control characters, or leave them: they do no harm."),
        ),
    ]


def _check_count(facts: Facts, tags: Mapping[str, int]) -> list[Problem]:
    """Check the number of tags: a single one teaches nothing, and very many are not tags."""
    hint = _("Does data.columns name the right column for the tags?")
    if len(tags) == 1:
        tag = one_line(next(iter(tags)), 40)
        said = _("Every word has the tag {tag}, so there is nothing to learn.", tag=tag)
        return [Problem("one_tag", "error", said, hint)]
    if len(tags) <= MOST:
        return []
    # A rare one is shown: it is the most likely to be recognised as a word.
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
                "The tags are {count} numbers without names, so their meaning is unknown and entities cannot "
                "be recognised.",
                count=len(tags),
            ),
            advise(
                N_(
                    "Name them in their order, beginning with 0, such as {command} for {example}.",
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
    """Check whether the base model's head has other tags than the rows."""
    # Names such as LABEL_0 say nothing, so they decide no order.
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
                "The model's own head has other tags ({own}) than the rows ({wanted}): it gets new outputs "
                "with random weights.",
                own=_listed(head),
                wanted=_listed(wanted),
            ),
            _("To continue training that head, name the tags as it does."),
            facts.count(other),
            facts.rows(other),
        )
    ]


def _listed(tags: Sequence[str]) -> str:
    return ", ".join(some_of(tags, _SHOWN))


def _check_scheme(facts: Facts, tags: Mapping[str, int], scheme: str) -> list[Problem]:
    """Check the tags against the rules of their scheme. Nothing is repaired: they are trained as they are."""
    if not scheme:
        return []
    name = NAMES.get(scheme, scheme)
    left = _("It is trained as it is. The usual F1 tolerates it, the strict one does not.")
    found: list[Problem] = []
    # In IOB1 and IOE2 an entity may begin with I.
    if scheme not in _ALLOW_INSIDE:
        words = _n(
            "{count:,} tag continues an entity that has not begun, against the scheme {scheme}.",
            "{count:,} tags continue an entity that has not begun, against the scheme {scheme}.",
            facts.count("beginning"),
            count=facts.count("beginning"),
            scheme=name,
        )
        found += noted(facts, "beginning", "tags_without_beginning", "warning", words, left)
    if scheme in MARKED:
        words = _n(
            "{count:,} tag begins an entity that has no end, against the scheme {scheme}.",
            "{count:,} tags begin an entity that has no end, against the scheme {scheme}.",
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
            "{count:,} word has a tag that is not in the scheme {scheme}: {tags}.",
            "{count:,} words have tags that are not in the scheme {scheme}: {tags}.",
            count,
            count=count,
            scheme=name,
            tags=shown,
        )
        found.append(Problem("unknown_prefix", "warning", words, left, count, places))
    return found


def _check_rare(facts: Facts, tags: Mapping[str, int], scheme: str) -> list[Problem]:
    """Check for classes with too few words to learn or to evaluate."""
    words: Counter[str] = Counter()
    for tag, count in tags.items():
        words[split_tag(tag)[1] if scheme else tag] += count if tag != OUTSIDE else 0
    few = sorted(((count, name) for name, count in words.items() if 0 < count < FEW))
    # In a handful of rows every class is rare.
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
            _("Add rows with them, or expect low scores; training.class_weights gives them more weight."),
            sum(count for count, _unused in few),
            facts.rows(f"{SEEN}{first}"),
        )
    ]
