"""The table of methods as lines of text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tui_tuner.locales import _
from tui_tuner.planning.comparing.method_rows import Figures, MethodRow
from tui_tuner.planning.row_counting import RowCount
from tui_tuner.text import format_bytes, format_rough_seconds, format_share_percentage, one_line

NONE = "–"
_WIDTHS = (16, 15, 11, 12, 6, 10, 12, 8, 7)  # cells of the columns


def method_lines(rows: Sequence[MethodRow], counted: RowCount) -> list[str]:
    """Format the table of methods; below it what its numbers are, and what methods lack that have none."""
    heads = (
        _("method"),
        _("trained"),
        _("share"),
        _("memory"),
        _("fits"),
        _("time"),
        _("file"),
        _("merges"),
        _("4-bit"),
    )
    lines = ["", _set_columns(heads)]
    shown = [row for row in rows if row.figures is not None]
    lines += [_set_columns((row.kind.name, *_describe_figures(row))) for row in shown]
    note = _(
        "memory, time and file are predictions: the peak on the device, the whole run, the saved weights. "
        "4-bit: can be trained on quantised weights."
    )
    lines += [f"  {note}"]
    figures = [row.figures for row in shown if row.figures is not None]
    if any(found.parameters.doubt for found in figures):
        lines.append(f"  {_('~ before a count: the model itself was not counted')}")
    reasons = dict.fromkeys(explain_missing_time(found, counted) for found in figures)
    lines += [
        f"  {_('{none} for the time: {why}', none=NONE, why=one_line(why, 200))}" for why in reasons if why
    ]
    for row in shown:
        if describe_values(row):
            lines.append(f"  {_('{name} with {values}', name=row.kind.name, values=describe_values(row))}")
    lines += [
        f"  {_('{name}: {why}', name=row.kind.name, why=one_line(row.refusal, 300))}"
        for row in rows
        if row.refusal is not None
    ]
    return lines


def _set_columns(cells: Sequence[str]) -> str:
    first, *others = cells
    widths = iter(_WIDTHS[1:])
    return f"  {first:{_WIDTHS[0]}}" + "".join(f"{cell:>{next(widths)}}" for cell in others)


def _describe_figures(row: MethodRow) -> tuple[str, ...]:
    """Return the cells of a row behind its name."""
    found = row.figures
    assert found is not None
    count = f"{found.parameters.trained:,}"
    return (
        f"~{count}" if found.parameters.doubt else count,
        format_share_percentage(found.parameters.trained_share),
        f"{found.estimate.device:.2f} GiB",
        NONE if found.fits is None else write_yes(found.fits),
        NONE if found.seconds is None else f"~{format_rough_seconds(found.seconds)}",
        format_bytes(found.file_bytes),
        write_yes(row.merges),
        write_yes(row.takes_quantised),
    )


def write_yes(held: bool) -> str:
    return _("yes") if held else _("no")


def describe_values(row: MethodRow) -> str:
    """Return the fields that a row sets besides the method, as arguments of `--set` without that word."""
    return ", ".join(
        f"{path}={'null' if value is None else one_line(value)}"
        for path, value in row.values.items()
        if path != "method.kind"
    )


def explain_missing_time(found: Figures, counted: RowCount) -> str:
    """Explain why no time is predicted; empty if one is."""
    if found.seconds is not None:
        return ""
    return found.duration.basis if found.duration is not None else counted.basis


def methods_json(rows: Sequence[MethodRow], counted: RowCount) -> list[dict[str, Any]]:
    """Return the JSON of the table; a method without figures has a `refused` with the reason."""
    return [_row_json(row, counted) for row in rows]


def _row_json(row: MethodRow, counted: RowCount) -> dict[str, Any]:
    found = row.figures
    told: dict[str, Any] = {
        "name": row.kind.name,
        "values": row.values,
        "mergeable": row.merges,
        "quantised_base": row.takes_quantised,
        "refused": str(row.refusal) if row.refusal is not None else None,
        "missing": list(row.missing),
    }
    if found is None:
        return told
    return {
        **told,
        **found.parameters.to_json(),
        "file_bytes": found.file_bytes,
        "allocated_gib": found.estimate.allocated,
        "device_gib": found.estimate.device,
        "wanted_gib": found.estimate.safe_limit,
        "fits": found.fits,
        "seconds": found.seconds,
        "step_seconds": found.step_seconds,
        "time_unknown": explain_missing_time(found, counted) or None,
    }
