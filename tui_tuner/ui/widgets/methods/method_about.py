"""What stands below the table about the method under the cursor: its figures in full, and what it is."""

from __future__ import annotations

from textual.content import Content

from tui_tuner.config.advice import format_error_words
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.config.sections.word_help import explain_word
from tui_tuner.locales import _
from tui_tuner.planning.comparing.method_rows import Figures, MethodRow
from tui_tuner.planning.comparing.method_words import describe_values, explain_missing_time
from tui_tuner.planning.row_counting import RowCount
from tui_tuner.planning.speed.speed_rates import format_step_time
from tui_tuner.text import format_bytes, one_line
from tui_tuner.ui.screen_words import make_safe_block, rough


def describe_method(name: str, row: MethodRow | None, counted: RowCount | None) -> Content:
    """Return the text below the table.

    Args:
        row: None while it is being computed.
        counted: The rows that times are based on.
    """
    lines: list[Content] = []
    if row is not None and row.refusal is not None:
        lines.append(Content.assemble(("✗ ", "$error"), make_safe_block(format_error_words(row.refusal))))
    elif row is not None and row.figures is not None and counted is not None:
        lines += _describe_figures(row, row.figures, counted)
    lines.append(Content(_(METHODS[name].help)))
    return Content("\n").join([*lines, Content(explain_word("method.kind", name))])


def _describe_figures(row: MethodRow, found: Figures, counted: RowCount) -> list[Content]:
    lines = [Content(found.parameters.describe_counts())]
    told = _(
        "predicted: {gib:.2f} GiB at the peak (± {band:.0%}), {size} of saved weights",
        gib=found.estimate.device,
        band=found.estimate.band,
        size=format_bytes(found.file_bytes),
    )
    step, seconds = found.step_seconds, found.seconds
    if step is not None and seconds is not None:
        told += _(", {step} a step, {time} in all", step=format_step_time(step), time=rough(seconds))
    else:
        told += ". " + _(
            "No time: {why}.", why=one_line(explain_missing_time(found, counted), 200).rstrip(".")
        )
    lines.append(Content(told))
    values = describe_values(row)
    if values:
        lines.append(Content(_("with {values}", values=values)).stylize("$warning"))
    return lines
