"""What to do about rows that no format fits: settings with this file's own columns, which can be followed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from tui_tuner.config.advice import Hint, Setting, advise, hints, setting
from tui_tuner.config.kinds import RECORD_FORMATS
from tui_tuner.data.formats.base import Ambiguous, Format, Match, set_columns
from tui_tuner.data.formats.parts.columns import Column, Sample, plain_name
from tui_tuner.data.formats.parts.values import Columns
from tui_tuner.errors import DataError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

SHOWN = 12


def columns_seen(sample: Sample) -> str:
    """The columns with what they hold."""
    names = [
        f"{one_line(column.name, 40)} ({', '.join(column.kinds) or _('empty')})"
        for column in itertools.islice(sample.columns.values(), SHOWN + 1)
    ]
    if not names:
        return _("Columns: none.")
    return _("Columns: {names}.", names=", ".join([*names[:SHOWN], *(["…"] if len(names) > SHOWN else [])]))


def not_recognised(sample: Sample) -> DataError:
    """No format fits these rows by itself."""
    segments = next((column for column in sample.of_kind("objects") if _are_segments(column)), None)
    if segments:
        return DataError(
            _(
                "{name} holds segments of text, each with a label that says whether it is trained: such "
                "labels cannot be followed.",
                name=one_line(segments.name, 40),
            ),
            where=sample.where,
            hint=advise(N_("To learn every segment: {command}.", command=_text_alone(segments))),
            field="data.columns",
        )
    value = _row_as_names(sample)
    if value is not None:
        return DataError(
            _(
                "its first line is taken for the names of its columns, and looks like a row: {name} is a "
                "value of other rows too.",
                name=one_line(value, 40),
            ),
            where=sample.where,
            hint=advise(N_("Write a line of names above it, such as text,label or prompt,response.")),
            field="data.columns",
        )
    return DataError(
        _("the record format is not recognised. {columns}", columns=columns_seen(sample)),
        where=sample.where,
        hint=by_columns(sample),
        field="data.columns",
    )


def _row_as_names(sample: Sample) -> str | None:
    """A name in a table's first line that is a value of its own column: a row, in a file without names."""
    if not sample.where.lower().endswith((".csv", ".tsv", ".tab")):
        return None
    return next((column.name for column in sample.columns.values() if column.name in column.values), None)


def too_unsure(sample: Sample, found: Sequence[tuple[Format, Match]]) -> Ambiguous:
    """Formats that may be meant, none of them surely."""
    names = "; ".join(
        _("{format} ({why}, {share:.0%} sure)", format=format.name, why=match.why, share=match.confidence)
        for format, match in found
    )
    return Ambiguous(
        _("the record format is not sure: {formats}. {columns}", formats=names, columns=columns_seen(sample)),
        where=sample.where,
        hint=hints(
            advise(N_("Say so with {command}.", command=setting({"data.format": found[0][0].name}))),
            by_columns(sample),
        ),
        field="data.format",
    )


def does_not_fit(sample: Sample, wanted: str, recognised: Callable[[], str]) -> DataError:
    """The format that was asked for is not theirs; `recognised` finds out the name of what is."""
    try:
        name = recognised()
        fix = setting({"data.format": name})
        said: str = advise(N_("They look like {format}: {command}.", format=name, command=fix))
    except DataError as error:
        said = error.hint
    return DataError(
        _(
            "the rows do not look like {format} ({words}). {columns}",
            format=wanted,
            words=_(RECORD_FORMATS[wanted]),
            columns=columns_seen(sample),
        ),
        where=sample.where,
        hint=said,
        field="data.format",
    )


def by_columns(sample: Sample) -> Hint:
    """A setting that says which column is what, with columns of this file; words where none holds text."""
    written = [column for column in sample.columns.values() if column.written and not _numbers_rows(column)]
    worded = [column for column in written if column.worded and column.plain != "source"]
    best = worded if len(worded) > 1 else written
    if len(best) > 1:
        asks = _first(best, sample.named("prompt"), best[0])
        others = [column for column in best if column is not asks]
        roles = {"prompt": asks.name, "response": _first(others, _answering(others), others[0]).name}
        command = set_columns(roles, format="prompt_response")
        return advise(N_("Say which column is what, such as {command}.", command=command))
    if best:
        return advise(N_("To learn the text alone: {command}.", command=_text_alone(best[0])))
    return advise(N_("Write each row with prompt and response, or as messages with role and content."))


def _numbers_rows(column: Column) -> bool:
    """Whether a column's name says that it tells rows apart: nobody wants to learn to write that."""
    return column.plain in ("id", "uuid", "index") or column.plain.endswith(("_id", "_hash"))


def _first(columns: Sequence[Column], wanted: Sequence[Column], otherwise: Column) -> Column:
    return next((column for column in wanted if column in columns), otherwise)


def _answering(columns: Sequence[Column]) -> list[Column]:
    """Columns whose names sound as if they answered."""
    words = ("answer", "response", "output", "completion", "reply", "summary", "target")
    return [column for column in columns if any(word in column.plain for word in words)]


def with_more(sample: Sample, format: Format, told: Columns, missing: Sequence[str]) -> Hint:
    """What the user said, without roles that the format has not and with columns for those it lacks."""
    roles = {role: name for role, name in told.items() if role in format.needed + format.more}
    left = [c for c in sample.columns.values() if c.filled and c.name not in roles.values()]
    for role in missing:
        best = (
            [c for c in left if plain_name(role) in c.plain] or [c for c in left if _may_be(role, c)] or left
        )
        if not best:
            return by_columns(sample)
        roles[role] = best[0].name
        left.remove(best[0])
    return advise(N_("Name the columns, such as {command}.", command=set_columns(roles)))


def _may_be(role: str, column: Column) -> bool:
    if role == "good":
        return column.mostly("bool")
    if role in ("tokens", "tags", "messages", "history", "answers"):
        return not column.written
    return column.worded


def _text_alone(column: Column) -> Setting:
    return setting({"task": "pretraining", "data.format": "text", "data.columns": {"text": column.name}})


def _are_segments(column: Column) -> bool:
    """axolotl's `input_output`: texts, each with a label of its own."""
    found = column.example
    return isinstance(found, list) and isinstance(found[0], dict) and {"text", "label"} <= set(found[0])
