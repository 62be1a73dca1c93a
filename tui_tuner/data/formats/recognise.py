"""Which record format rows are in: each format is asked in turn, and the first that fits is taken.

Columns that look alike are asked about, never guessed: a format raises `Ambiguous` with the candidates and
the `--set` that settles it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tui_tuner.data.formats import advice, find_format, format_names
from tui_tuner.data.formats.base import Format, Match
from tui_tuner.data.formats.labelled import label_roles
from tui_tuner.data.formats.parts.columns import NAMES, SELDOM, Sample, plain_name
from tui_tuner.data.formats.parts.values import Columns
from tui_tuner.errors import DataError
from tui_tuner.locales import _
from tui_tuner.text import one_line

SURE = 0.75  # below it a format is asked about, never taken
SURER = 0.95  # the same where another format fits, too


@dataclass
class Detection:
    """A format, the column for each role, how sure it is (0 to 1), and why."""

    format: str
    columns: dict[str, str]
    confidence: float
    why: str
    unused: list[str] = field(default_factory=list)
    chosen: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


# What data.columns may also call a role
_ALIASES = {
    "instruction": "prompt",
    "output": "response",
    "completion": "response",
    "conversations": "messages",
}


def recognise(
    rows: Sequence[dict[str, Any]],
    wanted: str = "auto",
    columns: dict[str, str] | None = None,
    where: str = "",
) -> Detection:
    """The format of these rows. `wanted` and `columns` are `data.format` and `data.columns`.

    Raises:
        Ambiguous: columns look alike.
        DataError: nothing fits, or the format asked for does not.
    """
    sample = Sample(rows, where)
    if columns:
        return _as_told(sample, wanted, columns)
    formats = _ranked() if wanted == "auto" else [find_format(wanted)]
    unsure: list[tuple[Format, Match]] = []
    for format in formats:
        match = format.recognise(sample, asked=wanted != "auto")
        if match and wanted == "auto" and match.confidence < (SURER if unsure else SURE):
            unsure.append((format, match))
        elif match:
            unused = _unused(sample, match.columns)
            chosen = wanted != "auto"
            return Detection(format.name, match.columns, match.confidence, match.why, unused, chosen)
    if unsure:
        raise advice.too_unsure(sample, unsure)
    if wanted == "auto":
        raise advice.not_recognised(sample)
    raise advice.does_not_fit(sample, wanted, lambda: recognise(rows, where=where).format)


def _ranked() -> list[Format]:
    """Every format, in the order in which they are asked."""
    return sorted(map(find_format, format_names()), key=lambda format: format.rank)


def _unused(sample: Sample, columns: Columns) -> list[str]:
    return [name for name in sample.columns if name not in columns.values()]


def _as_told(sample: Sample, wanted: str, columns: Columns) -> Detection:
    """What the user said, checked against the rows."""
    told = _each_label(sample, {_ALIASES.get(role, role): name for role, name in columns.items()})
    _check_told(sample, told)
    format = find_format(wanted) if wanted != "auto" else _format_of(told, sample)
    told = format.complete(told, sample)
    missing = format.lacking(told)
    if missing:
        raise DataError(
            _("{format} also needs: {roles}.", format=format.name, roles=", ".join(missing)),
            where="data.columns",
            field="data.columns",
            hint=advice.with_more(sample, format, told, missing),
        )
    stray = [role for role in told if role.partition(" ")[0] not in format.needed + format.more]
    if stray:
        raise DataError(
            _("{format} has no {roles}.", format=format.name, roles=", ".join(stray)),
            where="data.columns",
            field="data.columns",
            hint=advice.with_more(sample, format, told, missing),
        )
    unused = _unused(sample, told)
    return Detection(format.name, told, 1.0, _("as told in data.columns"), unused, chosen=True)


def _check_told(sample: Sample, told: Columns) -> None:
    """Roles that some format has, and columns that are there."""
    known = {role for format in _ranked() for role in format.needed + format.more}
    for role, name in told.items():
        if role not in known and not role.startswith("label "):
            raise DataError(
                _(
                    "unknown role {role!r}; known are {known}.",
                    role=one_line(role),
                    known=", ".join(sorted(known)),
                ),
                where="data.columns",
                field="data.columns",
                hint=advice.by_columns(sample),
            )
        if name not in sample.columns:
            raise DataError(
                _(
                    "no column {name!r}. {columns}",
                    name=one_line(name),
                    columns=advice.columns_seen(sample),
                ),
                where=sample.where or "data.columns",
                field="data.columns",
                hint=advice.by_columns(sample),
            )


def _each_label(sample: Sample, told: Columns) -> Columns:
    """The same where `label` names several columns, one for each class: they are roles of their own."""
    names = [name.strip() for name in told.get("label", "").split(",")]
    if len(names) < 2 or told["label"] in sample.columns or not all(name in sample.columns for name in names):
        return told
    return {**{role: name for role, name in told.items() if role != "label"}, **label_roles(names)}


def _format_of(told: Columns, sample: Sample) -> Format:
    """The format that these roles make."""
    for format in sorted(_ranked(), key=lambda format: format.rank_told or format.rank):
        if format.fits_told(told, sample):
            return format
    raise DataError(
        _("these roles make no record format: {roles}.", roles=", ".join(told)),
        where=sample.where or "data.columns",
        field="data.columns",
        hint=advice.by_columns(sample),
    )


def take_late(detection: Detection, names: Sequence[str]) -> list[str]:
    """Take in columns that rows after the sample have, in place; what became of each, in words."""
    more = find_format(detection.format).more
    said = []
    for name in names:
        plain = plain_name(name)
        roles = [
            role for role in more if role in SELDOM and role not in detection.columns and plain in NAMES[role]
        ]
        if roles and not detection.chosen:
            detection.columns[roles[0]] = name
            said.append(_("column {name} is the {role}", name=one_line(name, 40), role=roles[0]))
        else:
            detection.unused.append(name)
            shown = one_line(name, 40)
            bare = shown.startswith("column ")  # of a file that names none
            said.append(
                _("{name} is not used", name=shown) if bare else _("column {name} is not used", name=shown)
            )
    return said
