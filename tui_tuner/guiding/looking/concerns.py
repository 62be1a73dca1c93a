"""What should be known of the data before a run, by rules: each with its figures and its ways out.

A share that is smaller than the one named here is told as a figure, and not as a concern: nearly all real
data has some of everything.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from tui_tuner.config.advice import fixes_of, on_screen
from tui_tuner.config.kinds import RECORD_FORMATS, TASKS
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.labels.problem import REGRESSION, SINGLE, settle_problem
from tui_tuner.errors import DataError, TunerError
from tui_tuner.guiding.amounts import OF_CLASS, OF_TAG, TOKENS, need_of, say_numbers, size_word
from tui_tuner.guiding.examples import can_annotate
from tui_tuner.guiding.goals import goal_of
from tui_tuner.guiding.looking.noise import noise
from tui_tuner.guiding.looking.tally import Spread, Tally
from tui_tuner.guiding.proposal import Concern
from tui_tuner.locales import N_, _, _n
from tui_tuner.text import one_line, some_of

# From where on something is a concern, each with its reason
TOO_LONG = 0.05
ONE_LABEL = 0.9  # always saying it is right in 9 of 10 already, so accuracy tells nothing
TIMES_RAREST = 100  # Google's AutoML: best where the commonest class has at most 100 times the rarest's rows
OWN_LABELS = 0.5  # of the labels stand once: they are answers, not classes


UNLABELLED = N_("the label is missing")  # as the record formats say it

_Fix = tuple[str, Mapping[str, Any]]


def refusal_concern(error: TunerError | OSError, config: RunConfig) -> Concern:
    """Why nothing can be trained on the rows as they are: they cannot be read, or are of another shape."""
    if not isinstance(error, TunerError):
        where = one_line(error.filename or config.data.path, 200)
        words = _("{path} cannot be read: {problem}.", path=where, problem=error.strerror or str(error))
        return Concern("unreadable", words, stops=True)
    where = f"{error.where}: " if error.where else ""
    fixes = tuple((words_of_fix(fix), fix) for fix in fixes_of(error.hint))
    code = "unreadable"
    if isinstance(error, DataError) and error.field in ("data.columns", "data.format"):
        code = "name_columns"
    elif any("task" in fix for fix in fixes_of(error.hint)):
        code = "wrong_shape"
    return Concern(code, where + error.what, on_screen(error.hint), stops=True, fixes=fixes)


def wrong_shape(error: DataError, config: RunConfig, bare: int) -> Concern:
    """No row is of the shape that the task needs; what can be done with them.

    Args:
        bare: How many are texts with nothing said of them, which can be said here.
    """
    fixes: tuple[_Fix, ...] = tuple((words_of_fix(fix), fix) for fix in fixes_of(error.hint))
    kind = config.task_kind
    if bare:
        fixes += by_hand(config)
    words = _("{what} This goal needs {rows}.", what=_sentence(error.what), rows=_(kind.rows or kind.label))
    return Concern("wrong_shape", words, on_screen(error.hint), stops=True, fixes=fixes)


def by_hand(config: RunConfig) -> tuple[_Fix, ...]:
    """Texts with nothing said of them can be marked here, where the task has rows that are made by hand."""
    if not can_annotate(config.task):
        return ()
    return (((_("Mark these texts here") if config.task_kind.decides else _("Write the answers here")), {}),)


def words_of_fix(fix: Mapping[str, Any]) -> str:
    """A way out as a choice in a list."""
    columns = fix.get("data.columns")
    named = ", ".join(f"{role} = {one_line(name, 40)}" for role, name in dict(columns or {}).items())
    task = TASKS.get(str(fix.get("task", "")))
    if task is not None and named:
        return _("{goal}, with {columns}", goal=_(goal_of(task.name).words), columns=named)
    if task is not None:
        goal = _(goal_of(task.name).words)
        return _("{goal}: these rows are {rows}", goal=goal, rows=_(task.rows or task.label))
    if named:
        return _("Read the columns as {columns}", columns=named)
    format = RECORD_FORMATS.get(str(fix.get("data.format", "")))
    if format is not None and len(fix) == 1:
        return _("Read the rows as {format}", format=_(format))
    return ", ".join(f"{name} = {one_line(value, 60)}" for name, value in fix.items())


def concerns_of(
    tally: Tally,
    config: RunConfig,
    read: int,
    refused: Mapping[str, int],
    tokens: Spread | None,
    total: int,
    limit: int,
) -> Iterator[Concern]:
    """All that the rules find, what matters most first.

    Args:
        read: Rows that were read; `refused`: those that cannot be used, by reason.
        total: Tokens of all rows, 0 where nobody can tell.
        limit: Tokens that the model takes at most, 0 where nobody can tell.
    """
    yield from refused_rows(config, read, refused)
    yield from few_rows(tally, config, total)
    yield from _labels(tally, config)
    yield from noise(tally, config)
    yield from too_long(config, tokens, tally, limit)


def refused_rows(config: RunConfig, read: int, refused: Mapping[str, int]) -> Iterator[Concern]:
    """More rows cannot be used than a run drops without asking."""
    count = sum(refused.values())
    if not count or count / read <= config.data.max_dropped:
        return
    reasons = "; ".join(f"{number:,} {_(reason)}" for reason, number in list(refused.items())[:3])
    accepted = min(1.0, math.ceil(1000 * count / read) / 1000)
    yield Concern(
        "refused_rows",
        _(
            "{count:,} of {rows:,} rows ({share:.1%}) cannot be used: {reasons}. A run stops at more than "
            "{most:.0%}.",
            count=count,
            rows=read,
            share=count / read,
            reasons=one_line(reasons, 300),
            most=config.data.max_dropped,
        ),
        _("Mend these rows in the file, or train without them."),
        stops=True,
        fixes=(
            (_("Train without them"), {"data.max_dropped": accepted}),
            *(by_hand(config) if UNLABELLED in refused else ()),
        ),
    )


# ---- too small ------------------------------------------------------------------------------------------


def few_rows(tally: Tally, config: RunConfig, tokens: int) -> Iterator[Concern]:
    """Fewer examples than begin to show something, or than show it clearly."""
    need = need_of(config.task)
    different = tally.rows - tally.duplicates
    if need.unit == OF_CLASS and tally.labels and problem_of(tally, config) != REGRESSION:
        if len(tally.labels) > 1:  # of one class alone, more is said than that there are few
            yield from _few_of(tally.labels, config)
    elif need.unit == OF_TAG and tally.tags:
        yield from _few_of(tally.tags, config)
    elif need.unit == TOKENS:
        if tokens and size_word(need, tokens) == "too_few":
            words = _n("{count:,} token is little.", "{count:,} tokens are little.", tokens, count=tokens)
            yield _too_small(words, config)
    else:
        rows = need if need.unit not in (OF_CLASS, OF_TAG) else need_of("sft")
        if size_word(rows, different) in ("few", "too_few"):
            words = _n(
                "{count:,} different example is little.",
                "{count:,} different examples are little.",
                different,
                count=different,
            )
            yield _too_small(words, config)


def _few_of(counts: Mapping[str, int], config: RunConfig) -> Iterator[Concern]:
    """Classes, or kinds of tags, with too few examples; a long tail of rare ones is no reason to worry."""
    need = need_of(config.task)
    found = sorted(counts.items(), key=lambda item: item[1])
    rare = [name for name, count in found if count < need.begins]
    if size_word(need, found[(len(found) - 1) // 2][1]) in ("few", "too_few"):
        name, count = found[0]
        words = _("{name} has {count:,}: that is little.", name=one_line(name, 30), count=count)
        if len(found) > 1:
            words = _(
                "{names}{more}; the rarest, {name}, has {count:,}: that is little.",
                names=", ".join(f"{one_line(one, 30)} {number:,}" for one, number in found[::-1][:5]),
                more=", …" if len(found) > 5 else "",
                name=one_line(name, 30),
                count=count,
            )
        yield _too_small(words, config)
    elif rare:
        words = _n(
            "{count:,} of {all:,} has fewer than {least} examples: {names}.",
            "{count:,} of {all:,} have fewer than {least} examples: {names}.",
            len(rare),
            count=len(rare),
            all=len(found),
            least=need.begins,
            names=", ".join(some_of(rare, 5)),
        )
        yield Concern(
            "few_in_class",
            words,
            _("Collect more of these, or put rare ones together; what stands once or twice is not learnt."),
        )


def _too_small(words: str, config: RunConfig) -> Concern:
    kind = config.task_kind
    ways: list[_Fix] = [(_("Collect more examples"), {})]
    if can_annotate(config.task):
        ways.append((_("Write more of them here"), {}))
    ways.append((_("Choose another goal"), {}))
    if kind.plain_text:
        way_out = _("Collect more text of the kind that it should learn.")
    elif kind.decides:
        way_out = _("Collect more, or mark more texts here.")
    else:
        way_out = _(
            "Collect more, write some here, or try a prompt with a few of these examples in it first."
        )
    return Concern("few_rows", f"{words} {say_numbers(config.task)}", way_out, fixes=tuple(ways))


# ---- labels ---------------------------------------------------------------------------------------------


def problem_of(tally: Tally, config: RunConfig) -> str:
    """What the labels are: one class, several, or a number; empty without labels."""
    counted = tally.outputs.tally
    return settle_problem(config.data.problem, counted)[0] if counted.rows else ""


def _labels(tally: Tally, config: RunConfig) -> Iterator[Concern]:
    decides = config.task_kind.decides
    if decides == "token" and tally.rows and not tally.tags:
        yield Concern(
            "no_tags",
            _("No word of {rows:,} rows has a tag: there is nothing to learn.", rows=tally.rows),
            _("Tag some words here, or name the column with the tags (data.columns)."),
            stops=True,
        )
    if decides != "text" or not tally.labels or problem_of(tally, config) != SINGLE:
        return
    rows, different = tally.outputs.tally.rows, len(tally.labels)
    common, count = tally.labels.most_common(1)[0]
    said = {"label": one_line(common, 30), "count": count, "rows": rows}
    if different == 1:
        yield Concern(
            "one_class",
            _(
                "No row of {rows:,} has another label than {label}: nothing is to be told apart.",
                **said,
            ),
            _("Add rows of another class, or name another column as the label (data.columns)."),
            stops=True,
        )
        return
    once = sum(number == 1 for number in tally.labels.values())
    if rows >= 20 and once > OWN_LABELS * rows:
        yield Concern(
            "own_labels",
            _(
                "{once:,} of {rows:,} rows have a label that no other row has: these look like answers, not "
                "like classes.",
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
                "{count:,} of {rows:,} rows are labelled {label}: always saying that is right in {share:.0%} "
                "already.",
                share=count / rows,
                **said,
            ),
            _("Collect more of the others, or let rare classes count more; judge by macro F1."),
            fixes=(
                (_("Rare classes count more"), {"training.class_weights": "balanced"}),
                (_("Judge by macro F1"), {"evaluation.best": "f1_macro"}),
            ),
        )


# ---- too long, and held out ------------------------------------------------------------------------------


def too_long(config: RunConfig, tokens: Spread | None, tally: Tally, limit: int) -> Iterator[Concern]:
    """Rows that lose something for being longer than the model is to read, and how many tokens are enough.

    Plain text, tags and answers inside a text are read in windows, and lose nothing.
    """
    kind, most = config.task_kind, config.data.max_length
    over = sum(length > most for length in tally.tokens)
    if tokens is None or kind.plain_text or kind.decides in ("token", "span"):
        return
    if not over or over < TOO_LONG * len(tally.tokens):
        return
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
        yield Concern("too_long", words, _("The model reads no more at once: shorten the rows."))
        return
    yield Concern(
        "too_long",
        words,
        _("Let the model read more at once, which takes memory, or shorten the rows."),
        fixes=((_("Read up to {count:,} tokens at once", count=enough), {"data.max_length": enough}),),
    )


def held_out_copies(copies: int, held: int) -> Iterator[Concern]:
    """Rows of the file that is to judge stand among those that are trained."""
    if copies:
        yield Concern(
            "held_out_copies",
            _(
                "{copies:,} of {held:,} held-out rows are also trained on: they would flatter the model.",
                copies=copies,
                held=held,
            ),
            _("Take them out of one of the two files, or hold out rows of the training file."),
            stops=copies > held / 2,
            fixes=((_("Hold out 5 % of the training rows instead"), {"data.validation": 0.05}),),
        )


def _sentence(words: str) -> str:
    words = words.strip()
    return words[:1].upper() + words[1:]
