"""Advise on rows that no format fits, with settings that name this file's own columns."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from tui_tuner.config.advice import Hint, Setting, build_hint, join_hints, write_setting
from tui_tuner.config.kinds.formats import RECORD_FORMATS
from tui_tuner.data.formats.parts.columns import Column, ColumnSample, normalise_column_name
from tui_tuner.data.formats.parts.values import Columns
from tui_tuner.data.formats.record_format import (
    AmbiguousColumns,
    FormatMatch,
    RecordFormat,
    make_columns_setting,
)
from tui_tuner.errors import DataError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

SHOWN = 12


def describe_columns(sample: ColumnSample) -> str:
    """List the columns with the kinds of their values."""
    names = [
        f"{one_line(column.name, 40)} ({', '.join(column.kinds) or _('empty')})"
        for column in itertools.islice(sample.columns.values(), SHOWN + 1)
    ]
    if not names:
        return _("Columns: none.")
    return _("Columns: {names}.", names=", ".join([*names[:SHOWN], *(["…"] if len(names) > SHOWN else [])]))


def make_unrecognised_error(sample: ColumnSample) -> DataError:
    """Make the error for rows that no format fits."""
    segments = next((column for column in sample.find_by_kind("objects") if _are_segments(column)), None)
    if segments:
        return DataError(
            _(
                "{name} contains segments of text, each with a label whether it is trained: such labels are "
                "not supported.",
                name=one_line(segments.name, 40),
            ),
            where=sample.where,
            hint=build_hint(N_("To train on every segment: {command}.", command=_text_alone(segments))),
            field="data.columns",
        )
    # Checked before the general error, whose advice would name the "columns" of a row.
    value = _find_row_as_names(sample)
    if value is not None:
        return DataError(
            _(
                "its first line is read as column names, but looks like a row: {name} is also a value of "
                "other rows.",
                name=one_line(value, 40),
            ),
            where=sample.where,
            hint=build_hint(N_("Add a line of names above it, such as text,label or prompt,response.")),
            field="data.columns",
        )
    return DataError(
        _("the record format is not recognised. {columns}", columns=describe_columns(sample)),
        where=sample.where,
        hint=suggest_columns(sample),
        field="data.columns",
    )


def _find_row_as_names(sample: ColumnSample) -> str | None:
    """Find a name in a table's first line that is also a value of its column."""
    # Only tables have a line of names; elsewhere a name that is also a value is a coincidence.
    if not sample.where.lower().endswith((".csv", ".tsv", ".tab")):
        return None
    return next((column.name for column in sample.columns.values() if column.name in column.values), None)


def make_unsure_format_error(
    sample: ColumnSample, found: Sequence[tuple[RecordFormat, FormatMatch]]
) -> AmbiguousColumns:
    """Make the error for formats of which none fits with enough confidence."""
    names = "; ".join(
        _("{format} ({why}, {share:.0%} sure)", format=format.name, why=match.why, share=match.confidence)
        for format, match in found
    )
    return AmbiguousColumns(
        _(
            "the record format is not certain: {formats}. {columns}",
            formats=names,
            columns=describe_columns(sample),
        ),
        where=sample.where,
        hint=join_hints(
            build_hint(
                N_("Choose it with {command}.", command=write_setting({"data.format": found[0][0].name}))
            ),
            suggest_columns(sample),
        ),
        field="data.format",
    )


def make_misfit_error(sample: ColumnSample, wanted: str, recognised: Callable[[], str]) -> DataError:
    """Make the error for a format that does not fit; `recognised` finds the name of the one that does."""
    try:
        name = recognised()
        fix = write_setting({"data.format": name})
        said: str = build_hint(N_("They look like {format}: {command}.", format=name, command=fix))
    # No format fits at all; that error already has the best advice.
    except DataError as error:
        said = error.hint
    return DataError(
        _(
            "the rows do not look like {format} ({words}). {columns}",
            format=wanted,
            words=_(RECORD_FORMATS[wanted]),
            columns=describe_columns(sample),
        ),
        where=sample.where,
        hint=said,
        field="data.format",
    )


def suggest_columns(sample: ColumnSample) -> Hint:
    """Suggest a setting that names this file's columns; words only, if none holds text."""
    written = [
        column for column in sample.columns.values() if column.is_written and not _identifies_rows(column)
    ]
    # "source" names the origin of a row in many data sets.
    worded = [column for column in written if column.is_worded and column.normalised_name != "source"]
    # Columns of words first: numbers are rarely what a model should be asked.
    best = worded if len(worded) > 1 else written
    if len(best) > 1:
        asks = _pick_first(best, sample.find_named("prompt"), best[0])
        others = [column for column in best if column is not asks]
        roles = {
            "prompt": asks.name,
            "response": _pick_first(others, _list_answer_columns(others), others[0]).name,
        }
        command = make_columns_setting(roles, format="prompt_response")
        return build_hint(N_("Name the columns, such as {command}.", command=command))
    if best:
        return build_hint(N_("To train on the text alone: {command}.", command=_text_alone(best[0])))
    return build_hint(N_("Write each row with prompt and response, or as messages with role and content."))


def _identifies_rows(column: Column) -> bool:
    """Return whether a column only identifies rows, judging by its name."""
    return column.normalised_name in ("id", "uuid", "index") or column.normalised_name.endswith(
        ("_id", "_hash")
    )


def _pick_first(columns: Sequence[Column], wanted: Sequence[Column], otherwise: Column) -> Column:
    return next((column for column in wanted if column in columns), otherwise)


def _list_answer_columns(columns: Sequence[Column]) -> list[Column]:
    """List the columns whose names suggest an answer."""
    words = ("answer", "response", "output", "completion", "reply", "summary", "target")
    return [column for column in columns if any(word in column.normalised_name for word in words)]


def suggest_roles(sample: ColumnSample, format: RecordFormat, told: Columns, missing: Sequence[str]) -> Hint:
    """Suggest the user's columns without roles that the format does not have, and with the missing ones."""
    roles = {role: name for role, name in told.items() if role in format.needed + format.more}
    left = [c for c in sample.columns.values() if c.filled and c.name not in roles.values()]
    for role in missing:
        best = (
            [c for c in left if normalise_column_name(role) in c.normalised_name]
            or [c for c in left if _may_be(role, c)]
            or left
        )
        # No column is left for this role, so another format must be chosen.
        if not best:
            return suggest_columns(sample)
        roles[role] = best[0].name
        left.remove(best[0])
    return build_hint(N_("Name the columns, such as {command}.", command=make_columns_setting(roles)))


def _may_be(role: str, column: Column) -> bool:
    if role == "good":
        return column.is_mostly("bool")
    if role in ("tokens", "tags", "messages", "history", "answers"):
        return not column.is_written
    return column.is_worded


def _text_alone(column: Column) -> Setting:
    return write_setting(
        {"task": "pretraining", "data.format": "text", "data.columns": {"text": column.name}}
    )


def _are_segments(column: Column) -> bool:
    """Return whether a column holds axolotl's `input_output`: texts, each with its own label."""
    found = column.example
    return isinstance(found, list) and isinstance(found[0], dict) and {"text", "label"} <= set(found[0])
