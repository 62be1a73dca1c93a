"""Check the tags of all rows together for errors and doubtful cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tui_tuner.config.advice import build_hint, write_setting
from tui_tuner.data.examples.record_encoder import RowFacts
from tui_tuner.data.preflight import Problem, make_noted_problems
from tui_tuner.data.tagging.facts import SEEN, count_tags, find_noted_scheme
from tui_tuner.data.tagging.tag_schemes import (
    MARKED,
    NAMES,
    OUTSIDE,
    PREFIXES,
    has_other_head_tags,
    order_tags,
    split_tag,
)
from tui_tuner.locales import N_, _, _n
from tui_tuner.models.head_classes import are_classes_unnamed
from tui_tuner.text import join_first_names, one_line

MOST = 2000  # tags
FEW = 10  # words: a class with fewer is rare
_SHOWN = 5
_ALLOW_INSIDE = ("IOB1", "IOE2")


def check_tags(facts: RowFacts, head: Sequence[str] = (), names: Sequence[str] = ()) -> list[Problem]:
    """List the problems with the tags of the rows.

    Args:
        head: The classes of the base model's head; empty for most models.
        names: All allowed tags in their order (`data.names`); empty if any tag is allowed.
    """
    tags, scheme = count_tags(facts), find_noted_scheme(facts)
    return [
        *_check_count(facts, tags),
        *_check_numbers(facts, tags),
        *_check_head(facts, tags, head, names),
        *_check_scheme(facts, tags, scheme),
        *_check_rare(facts, tags, scheme),
        *make_noted_problems(
            facts,
            "silent",
            "silent_words",
            "warning",
            _n(
                "The tokenizer gives no tokens for {count:,} word: it is neither trained nor evaluated, and "
                "its tag is not used.",
                "The tokenizer gives no tokens for {count:,} words: they are neither trained nor evaluated, "
                "and their tags are not used.",
                facts.get_count("silent"),
                count=facts.get_count("silent"),
            ),
            _("Remove invisible characters, such as control characters, or leave them: they do no harm."),
        ),
    ]


def _check_count(facts: RowFacts, tags: Mapping[str, int]) -> list[Problem]:
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
            "too_many_tags",
            "error",
            said,
            hint,
            facts.get_count(f"{SEEN}{rare}"),
            facts.noted_rows(f"{SEEN}{rare}"),
        )
    ]


def _check_numbers(facts: RowFacts, tags: Mapping[str, int]) -> list[Problem]:
    count = facts.get_count("unnamed")
    if not count:
        return []
    example = ", ".join(["O", "B-PER", "I-PER"])
    names = write_setting({"data.names": ["O", "B-PER", "I-PER"]})
    return [
        Problem(
            "unnamed_tags",
            "error",
            _(
                "The tags are {count} numbers without names, so their meaning is unknown and entities cannot "
                "be recognised.",
                count=len(tags),
            ),
            build_hint(
                N_(
                    "Name them in their order, beginning with 0, such as {command} for {example}.",
                    command=names,
                    example=example,
                )
            ),
            count,
            facts.noted_rows("unnamed"),
        )
    ]


def _check_head(
    facts: RowFacts, tags: Mapping[str, int], head: Sequence[str], names: Sequence[str]
) -> list[Problem]:
    """Check whether the base model's head has other tags than the rows."""
    # Names such as LABEL_0 say nothing, so they decide no order.
    known = [] if are_classes_unnamed(list(head)) else head
    wanted = order_tags(tags, names, known)
    if not has_other_head_tags(head, wanted):
        return []
    other = next((f"{SEEN}{tag}" for tag in wanted if tag not in head and tag in tags), "")
    return [
        Problem(
            "new_head",
            "warning",
            _(
                "The model's own head has other tags ({own}) than the rows ({wanted}): it gets new outputs "
                "with random weights.",
                own=_list_some_tags(head),
                wanted=_list_some_tags(wanted),
            ),
            _("To continue training that head, name the tags as it does."),
            facts.get_count(other),
            facts.noted_rows(other),
        )
    ]


def _list_some_tags(tags: Sequence[str]) -> str:
    return ", ".join(join_first_names(tags, _SHOWN))


def _check_scheme(facts: RowFacts, tags: Mapping[str, int], scheme: str) -> list[Problem]:
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
            facts.get_count("beginning"),
            count=facts.get_count("beginning"),
            scheme=name,
        )
        found += make_noted_problems(facts, "beginning", "tags_without_beginning", "warning", words, left)
    if scheme in MARKED:
        words = _n(
            "{count:,} tag begins an entity that has no end, against the scheme {scheme}.",
            "{count:,} tags begin an entity that has no end, against the scheme {scheme}.",
            facts.get_count("end"),
            count=facts.get_count("end"),
            scheme=name,
        )
        found += make_noted_problems(facts, "end", "tags_without_end", "warning", words, left)
    strange = [tag for tag in tags if tag != OUTSIDE and (split_tag(tag)[0] or "?") not in PREFIXES[scheme]]
    if strange:
        count = sum(tags[tag] for tag in strange)
        shown = _list_some_tags(strange)
        places = [place for tag in strange for place in facts.noted_rows(f"{SEEN}{tag}")][:_SHOWN]
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


def _check_rare(facts: RowFacts, tags: Mapping[str, int], scheme: str) -> list[Problem]:
    """Check for classes with too few words to learn or to evaluate."""
    words: Counter[str] = Counter()
    for tag, count in tags.items():
        words[split_tag(tag)[1] if scheme else tag] += count if tag != OUTSIDE else 0
    few = sorted(((count, name) for name, count in words.items() if 0 < count < FEW))
    # In a handful of rows every class is rare.
    if not few or facts.get_count("words") < 100:
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
            facts.noted_rows(f"{SEEN}{first}"),
        )
    ]
