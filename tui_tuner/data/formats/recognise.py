"""Recognise the record format of rows: formats are tried in turn, and the first that fits is used.

Columns that look alike are never guessed: a format raises `AmbiguousColumns` with the candidates and the
`--set` that decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tui_tuner.data.formats import find_format, format_advice, list_format_names
from tui_tuner.data.formats.labelled import name_label_roles
from tui_tuner.data.formats.parts.columns import NAMES, SELDOM, ColumnSample, normalise_column_name
from tui_tuner.data.formats.parts.values import Columns
from tui_tuner.data.formats.record_format import FormatMatch, RecordFormat
from tui_tuner.errors import DataError
from tui_tuner.locales import _
from tui_tuner.text import one_line

SURE = 0.75  # least confidence of a format that is used without asking
SURER = 0.95  # the same if another format fits too


@dataclass
class Detection:
    """A format with the column for each role, the confidence (0 to 1), and the reason.

    `weight` is the column that `data.loss_weight` names, if these rows have it.
    """

    format: str
    columns: dict[str, str]
    confidence: float
    why: str
    unused: list[str] = field(default_factory=list)
    chosen: bool = False
    weight: str = ""

    @property
    def names(self) -> set[str]:
        """The names of all columns that were there."""
        return {*self.columns.values(), *self.unused, *([self.weight] if self.weight else ())}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


# Other names of roles in data.columns
_ALIASES = {
    "instruction": "prompt",
    "output": "response",
    "completion": "response",
    "conversations": "messages",
}


def recognise_format(
    rows: Sequence[dict[str, Any]],
    wanted: str = "auto",
    columns: dict[str, str] | None = None,
    where: str = "",
) -> Detection:
    """Recognise the format of rows. `wanted` and `columns` are `data.format` and `data.columns`.

    Raises:
        AmbiguousColumns: columns look alike.
        DataError: no format fits, or the one asked for does not.
    """
    sample = ColumnSample(rows, where)
    if columns:
        return _apply_columns(sample, wanted, columns)
    formats = _rank_formats() if wanted == "auto" else [find_format(wanted)]
    unsure: list[tuple[RecordFormat, FormatMatch]] = []
    for format in formats:
        match = format.recognise_rows(sample, asked=wanted != "auto")
        if match and wanted == "auto" and match.confidence < (SURER if unsure else SURE):
            unsure.append((format, match))
        elif match:
            unused = _list_unused(sample, match.columns)
            chosen = wanted != "auto"
            return Detection(format.name, match.columns, match.confidence, match.why, unused, chosen)
    if unsure:
        raise format_advice.make_unsure_format_error(sample, unsure)
    if wanted == "auto":
        raise format_advice.make_unrecognised_error(sample)
    # Recognising again is slow, so it is done only if the error needs it.
    raise format_advice.make_misfit_error(sample, wanted, lambda: recognise_format(rows, where=where).format)


def _rank_formats() -> list[RecordFormat]:
    """List all formats in the order in which they are tried."""
    return sorted(map(find_format, list_format_names()), key=lambda format: format.rank)


def _list_unused(sample: ColumnSample, columns: Columns) -> list[str]:
    return [name for name in sample.columns if name not in columns.values()]


def _apply_columns(sample: ColumnSample, wanted: str, columns: Columns) -> Detection:
    """Check the columns that the user has named against the rows."""
    told = _split_labels(sample, {_ALIASES.get(role, role): name for role, name in columns.items()})
    _check_told(sample, told)
    format = find_format(wanted) if wanted != "auto" else _find_format_for(told, sample)
    told = format.complete_roles(told, sample)
    missing = format.list_missing_roles(told)
    if missing:
        raise DataError(
            _("{format} also needs: {roles}.", format=format.name, roles=", ".join(missing)),
            where="data.columns",
            field="data.columns",
            hint=format_advice.suggest_roles(sample, format, told, missing),
        )
    stray = [role for role in told if role.partition(" ")[0] not in format.needed + format.more]
    if stray:
        raise DataError(
            _("{format} has no {roles}.", format=format.name, roles=", ".join(stray)),
            where="data.columns",
            field="data.columns",
            hint=format_advice.suggest_roles(sample, format, told, missing),
        )
    unused = _list_unused(sample, told)
    return Detection(format.name, told, 1.0, _("as set in data.columns"), unused, chosen=True)


def _check_told(sample: ColumnSample, told: Columns) -> None:
    """Raise `DataError` for a role that no format has, or a column that is not there."""
    known = {role for format in _rank_formats() for role in format.needed + format.more}
    for role, name in told.items():
        # Columns of flags have the roles "label 2" and so on, made from one setting.
        if role not in known and not role.startswith("label "):
            raise DataError(
                _(
                    "unknown role {role!r}; the roles are {known}.",
                    role=one_line(role),
                    known=", ".join(sorted(known)),
                ),
                where="data.columns",
                field="data.columns",
                hint=format_advice.suggest_columns(sample),
            )
        if name not in sample.columns and not _is_inside(sample, told, role):
            raise DataError(
                _(
                    "no column {name!r}. {columns}",
                    name=one_line(name),
                    columns=format_advice.describe_columns(sample),
                ),
                where=sample.where or "data.columns",
                field="data.columns",
                hint=format_advice.suggest_columns(sample),
            )


def _is_inside(sample: ColumnSample, told: Columns, role: str) -> bool:
    """Return whether a role names a key of the object in another column that the user has named."""
    holders = {told.get(format.inside.get(role, "")) for format in _rank_formats()} - {None}
    examples = (sample.columns[name].example for name in holders if name in sample.columns)
    return any(isinstance(one, dict) and told[role] in one for one in examples)


def _split_labels(sample: ColumnSample, told: Columns) -> Columns:
    """Split a `label` of several columns, one for each class, into a role for each."""
    names = [name.strip() for name in told.get("label", "").split(",")]
    # A column may have a comma in its own name.
    if len(names) < 2 or told["label"] in sample.columns or not all(name in sample.columns for name in names):
        return told
    return {**{role: name for role, name in told.items() if role != "label"}, **name_label_roles(names)}


def _find_format_for(told: Columns, sample: ColumnSample) -> RecordFormat:
    """Return the format that these roles make."""
    for format in sorted(_rank_formats(), key=lambda format: format.rank_told or format.rank):
        if format.fits_told(told, sample):
            return format
    raise DataError(
        _("these roles make no record format: {roles}.", roles=", ".join(told)),
        where=sample.where or "data.columns",
        field="data.columns",
        hint=format_advice.suggest_columns(sample),
    )


def add_late_columns(detection: Detection, names: Sequence[str]) -> list[str]:
    """Add columns of rows after the sample to a detection; returns a sentence about each."""
    more = find_format(detection.format).more
    said = []
    for name in names:
        plain = normalise_column_name(name)
        # A role that the user or an earlier row has filled stays as it is.
        roles = [
            role for role in more if role in SELDOM and role not in detection.columns and plain in NAMES[role]
        ]
        if roles and not detection.chosen:
            detection.columns[roles[0]] = name
            said.append(_("column {name} is the {role}", name=one_line(name, 40), role=roles[0]))
        else:
            detection.unused.append(name)
            shown = one_line(name, 40)
            # A file without column names has columns that are already called "column 1" and so on.
            bare = shown.startswith("column ")
            said.append(
                _("{name} is not used", name=shown) if bare else _("column {name} is not used", name=shown)
            )
    return said
