"""Rules that turn counts of the data into concerns, each with its figures and fixes.

Shares below the limits here are shown as figures, not as concerns: nearly all real data has some of
everything.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from tui_tuner.config.advice import format_screen_hint, list_hint_fixes
from tui_tuner.config.kinds.formats import RECORD_FORMATS
from tui_tuner.config.kinds.tasks import TASKS
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.labels.problem import REGRESSION, SINGLE, decide_problem
from tui_tuner.errors import DataError, TunerError
from tui_tuner.guiding.amounts import (
    OF_CLASS,
    OF_TAG,
    TOKENS,
    describe_example_numbers,
    find_example_need,
    judge_example_count,
)
from tui_tuner.guiding.example_rows import can_annotate
from tui_tuner.guiding.goals import find_goal_of_task
from tui_tuner.guiding.looking.noise import find_noise
from tui_tuner.guiding.looking.tally import Spread, Tally
from tui_tuner.guiding.proposal import Concern
from tui_tuner.locales import N_, _, _n
from tui_tuner.text import join_first_names, one_line

# Limits from which on something is a concern, each with its reason
TOO_LONG = 0.05
ONE_LABEL = 0.9  # always predicting it is right 9 times in 10, so accuracy shows nothing
TIMES_RAREST = (
    100  # Google's AutoML: the most frequent class should have at most 100 times the rows of the rarest
)
OWN_LABELS = 0.5  # of the labels occur once: they are answers, not classes


UNLABELLED = N_("the label is missing")  # the same words as in the record formats, which count rows by them

_Fix = tuple[str, Mapping[str, Any]]


def describe_refusal(error: TunerError | OSError, config: RunConfig) -> Concern:
    """Turn an error about reading the rows into a concern that blocks the start."""
    if not isinstance(error, TunerError):
        where = one_line(error.filename or config.data.path, 200)
        words = _("{path} cannot be read: {problem}.", path=where, problem=error.strerror or str(error))
        return Concern("unreadable", words, stops=True)
    where = f"{error.where}: " if error.where else ""
    fixes = tuple((word_concern_fix(fix), fix) for fix in list_hint_fixes(error.hint))
    code = "unreadable"
    # The user can solve this on the spot by naming columns, so it has a code of its own
    if isinstance(error, DataError) and error.field in ("data.columns", "data.format"):
        code = "name_columns"
    elif any("task" in fix for fix in list_hint_fixes(error.hint)):
        code = "wrong_shape"
    return Concern(code, where + error.what, format_screen_hint(error.hint), stops=True, fixes=fixes)


def describe_wrong_shape(error: DataError, config: RunConfig, bare: int) -> Concern:
    """Report that no row has the shape that the task needs, with ways to use the rows.

    Args:
        bare: How many are texts without a label, which can be annotated here.
    """
    fixes: tuple[_Fix, ...] = tuple((word_concern_fix(fix), fix) for fix in list_hint_fixes(error.hint))
    kind = config.task_kind
    if bare:
        fixes += offer_annotation(config)
    words = _(
        "{what} This goal needs {rows}.", what=_capitalise_first(error.what), rows=_(kind.rows or kind.label)
    )
    return Concern("wrong_shape", words, format_screen_hint(error.hint), stops=True, fixes=fixes)


def offer_annotation(config: RunConfig) -> tuple[_Fix, ...]:
    """Offer to annotate bare texts by hand, if rows of the task can be annotated."""
    if not can_annotate(config.task):
        return ()
    return (((_("Mark these texts here") if config.task_kind.decides else _("Write the answers here")), {}),)


def word_concern_fix(fix: Mapping[str, Any]) -> str:
    """Word a fix as an entry in a list of choices."""
    columns = fix.get("data.columns")
    # Column names come from the file and may contain anything
    named = ", ".join(f"{role} = {one_line(name, 40)}" for role, name in dict(columns or {}).items())
    task = TASKS.get(str(fix.get("task", "")))
    if task is not None and named:
        return _("{goal}, with {columns}", goal=_(find_goal_of_task(task.name).words), columns=named)
    if task is not None:
        goal = _(find_goal_of_task(task.name).words)
        return _("{goal}: these rows are {rows}", goal=goal, rows=_(task.rows or task.label))
    if named:
        return _("Read the columns as {columns}", columns=named)
    format = RECORD_FORMATS.get(str(fix.get("data.format", "")))
    if format is not None and len(fix) == 1:
        return _("Read the rows as {format}", format=_(format))
    return ", ".join(f"{name} = {one_line(value, 60)}" for name, value in fix.items())


def find_concerns(
    tally: Tally,
    config: RunConfig,
    read: int,
    refused: Mapping[str, int],
    tokens: Spread | None,
    total: int,
    limit: int,
) -> Iterator[Concern]:
    """Yield all concerns that the rules find, the most important first.

    Args:
        read: Rows that were read; `refused`: those that cannot be used, by reason.
        total: Tokens of all rows; 0 if unknown.
        limit: The model's limit in tokens; 0 if unknown.
    """
    yield from find_refused_rows(config, read, refused)
    yield from find_few_rows(tally, config, total)
    yield from _find_label_concerns(tally, config)
    yield from find_noise(tally, config)
    yield from find_long_rows(config, tokens, tally, limit)


def find_refused_rows(config: RunConfig, read: int, refused: Mapping[str, int]) -> Iterator[Concern]:
    """Warn if more rows are unusable than a run may drop (`data.max_dropped`)."""
    count = sum(refused.values())
    if not count or count / read <= config.data.max_dropped:
        return
    reasons = "; ".join(f"{number:,} {_(reason)}" for reason, number in list(refused.items())[:3])
    # Rounded up, so that the same rows stay within the limit
    accepted = min(1.0, math.ceil(1000 * count / read) / 1000)
    yield Concern(
        "refused_rows",
        _(
            "{count:,} of {rows:,} rows ({share:.1%}) cannot be used: {reasons}. A run accepts at most "
            "{most:.0%}.",
            count=count,
            rows=read,
            share=count / read,
            reasons=one_line(reasons, 300),
            most=config.data.max_dropped,
        ),
        _("Fix these rows in the file, or train without them."),
        stops=True,
        fixes=(
            (_("Train without them"), {"data.max_dropped": accepted}),
            *(offer_annotation(config) if UNLABELLED in refused else ()),
        ),
    )


# ---- too small ------------------------------------------------------------------------------------------


def find_few_rows(tally: Tally, config: RunConfig, tokens: int) -> Iterator[Concern]:
    """Warn of fewer examples than have a clear effect."""
    need = find_example_need(config.task)
    # Copies teach nothing new
    different = tally.rows - tally.duplicates
    if need.unit == OF_CLASS and tally.labels and find_row_label_problem(tally, config) != REGRESSION:
        # A single class has a concern of its own (one_class)
        if len(tally.labels) > 1:
            yield from _find_small_classes(tally.labels, config)
    elif need.unit == OF_TAG and tally.tags:
        yield from _find_small_classes(tally.tags, config)
    elif need.unit == TOKENS:
        if tokens and judge_example_count(need, tokens) == "too_few":
            words = _n(
                "{count:,} token is very little.", "{count:,} tokens are very few.", tokens, count=tokens
            )
            yield _describe_too_few(words, config)
    else:
        # Without labels to count per class, the rule for examples in general applies
        rows = need if need.unit not in (OF_CLASS, OF_TAG) else find_example_need("sft")
        if judge_example_count(rows, different) in ("few", "too_few"):
            words = _n(
                "There is only {count:,} different example.",
                "There are only {count:,} different examples.",
                different,
                count=different,
            )
            yield _describe_too_few(words, config)


def _find_small_classes(counts: Mapping[str, int], config: RunConfig) -> Iterator[Concern]:
    """Warn of classes or kinds of tags with too few examples; a few rare ones among many are acceptable."""
    need = find_example_need(config.task)
    found = sorted(counts.items(), key=lambda item: item[1])
    rare = [name for name, count in found if count < need.begins]
    # The median class decides: a long tail of rare ones is normal
    if judge_example_count(need, found[(len(found) - 1) // 2][1]) in ("few", "too_few"):
        name, count = found[0]
        words = _("{name} has only {count:,}.", name=one_line(name, 30), count=count)
        if len(found) > 1:
            words = _(
                "{names}{more}; the rarest, {name}, has only {count:,}.",
                names=", ".join(f"{one_line(one, 30)} {number:,}" for one, number in found[::-1][:5]),
                more=", …" if len(found) > 5 else "",
                name=one_line(name, 30),
                count=count,
            )
        yield _describe_too_few(words, config)
    elif rare:
        words = _n(
            "{count:,} of {all:,} has fewer than {least} examples: {names}.",
            "{count:,} of {all:,} have fewer than {least} examples: {names}.",
            len(rare),
            count=len(rare),
            all=len(found),
            least=need.begins,
            names=", ".join(join_first_names(rare, 5)),
        )
        yield Concern(
            "few_in_class",
            words,
            _("Collect more of these, or merge rare ones; what occurs once or twice is not learned."),
        )


def _describe_too_few(words: str, config: RunConfig) -> Concern:
    kind = config.task_kind
    ways: list[_Fix] = [(_("Collect more examples"), {})]
    if can_annotate(config.task):
        ways.append((_("Write more of them here"), {}))
    ways.append((_("Choose another goal"), {}))
    if kind.plain_text:
        way_out = _("Collect more text of the kind that the model should learn.")
    elif kind.decides:
        way_out = _("Collect more, or annotate more texts here.")
    else:
        way_out = _(
            "Collect more, write some here, or first try a prompt that contains a few of these examples."
        )
    return Concern("few_rows", f"{words} {describe_example_numbers(config.task)}", way_out, fixes=tuple(ways))


# ---- labels ---------------------------------------------------------------------------------------------


def find_row_label_problem(tally: Tally, config: RunConfig) -> str:
    """Return the kind of labels: one class, several classes, or a number; empty without labels."""
    counted = tally.outputs.tally
    return decide_problem(config.data.problem, counted)[0] if counted.rows else ""


def _find_label_concerns(tally: Tally, config: RunConfig) -> Iterator[Concern]:
    decides = config.task_kind.decides
    if decides == "token" and tally.rows and not tally.tags:
        yield Concern(
            "no_tags",
            _("No word in {rows:,} rows has a tag: there is nothing to learn.", rows=tally.rows),
            _("Tag some words here, or name the column with the tags (data.columns)."),
            stops=True,
        )
    if decides != "text" or not tally.labels or find_row_label_problem(tally, config) != SINGLE:
        return
    rows, different = tally.outputs.tally.rows, len(tally.labels)
    common, count = tally.labels.most_common(1)[0]
    said = {"label": one_line(common, 30), "count": count, "rows": rows}
    if different == 1:
        yield Concern(
            "one_class",
            _(
                "All {rows:,} rows have the label {label}: there is nothing to tell apart.",
                **said,
            ),
            _("Add rows of another class, or name another column as the label (data.columns)."),
            stops=True,
        )
        return
    once = sum(number == 1 for number in tally.labels.values())
    # In a tiny file, labels that occur once are normal
    if rows >= 20 and once > OWN_LABELS * rows:
        yield Concern(
            "own_labels",
            _(
                "{once:,} of {rows:,} rows have a label that no other row has: these look like answers, not "
                "classes.",
                once=once,
                rows=rows,
            ),
            _("Name another column as the label (data.columns), or let the model learn to write them."),
        )
        return
    rarest = min(tally.labels.values())
    if count >= ONE_LABEL * rows or count > TIMES_RAREST * rarest:
        yield Concern(
            "mostly_one_label",
            _(
                "{count:,} of {rows:,} rows are labelled {label}: always predicting it is right for "
                "{share:.0%} "
                "of them.",
                share=count / rows,
                **said,
            ),
            _("Collect more of the others, or give rare classes more weight; judge by macro F1."),
            fixes=(
                (_("Give rare classes more weight"), {"training.class_weights": "balanced"}),
                (_("Judge by macro F1"), {"evaluation.best": "f1_macro"}),
            ),
        )


# ---- too long, and held out ------------------------------------------------------------------------------


def find_long_rows(config: RunConfig, tokens: Spread | None, tally: Tally, limit: int) -> Iterator[Concern]:
    """Warn of rows that are cut at `data.max_length`, and offer a length that is enough for most.

    Plain text, tags and answers inside a text are read in windows and lose nothing.
    """
    kind, most = config.task_kind, config.data.max_length
    over = sum(length > most for length in tally.tokens)
    if tokens is None or kind.plain_text or kind.decides in ("token", "span"):
        return
    # Of a source and a target each has a limit of its own: the task counts what it cuts
    if kind.encoder_decoder:
        return
    if not over or over < TOO_LONG * len(tally.tokens):
        return
    # A power of two that 95 of 100 rows fit in
    enough = 1 << math.ceil(math.log2(tokens.most_are_below))
    enough = min(enough, limit) if limit else enough
    said = {"share": over / len(tally.tokens), "most": most, "longest": tokens.longest}
    if kind.decides:
        words = _(
            "{share:.0%} of the rows are longer than {most:,} tokens (the longest {longest:,}) and lose "
            "their end.",
            **said,
        )
    else:
        words = _(
            "{share:.0%} of the rows are longer than {most:,} tokens (the longest {longest:,}): chats are "
            "split between turns, and an answer that is too long by itself is dropped.",
            **said,
        )
    if enough <= most:
        yield Concern("too_long", words, _("The model cannot read longer ones: shorten the rows."))
        return
    yield Concern(
        "too_long",
        words,
        _("Raise the limit, which takes memory, or shorten the rows."),
        fixes=(
            (
                _("Read up to {count:,} tokens at once", count=enough),
                dict([config.limit_sequences(enough)]),
            ),
        ),
    )


def describe_copies(copies: int, held: int) -> Iterator[Concern]:
    """Warn of held-out rows that are also training rows."""
    if copies:
        yield Concern(
            "held_out_copies",
            _(
                "{copies:,} of {held:,} held-out rows are also trained on: results would look better than "
                "they are.",
                copies=copies,
                held=held,
            ),
            _("Remove them from one of the two files, or hold out rows of the training file."),
            # A few copies distort a result a little; if most rows are copies, it means nothing
            stops=copies > held / 2,
            fixes=((_("Hold out 5 % of the training rows instead"), {"data.validation": 0.05}),),
        )


def _capitalise_first(words: str) -> str:
    words = words.strip()
    return words[:1].upper() + words[1:]
