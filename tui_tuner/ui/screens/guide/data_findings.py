"""The guide's findings about data: first rows, whether the goal can use them, and problems.

`examine_data` is called in threads; nothing here touches the screen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from textual.content import Content

from tui_tuner.errors import TunerError
from tui_tuner.guiding.proposal import Concern
from tui_tuner.locales import _
from tui_tuner.ui import datalook
from tui_tuner.ui.form_values import set_draft_value
from tui_tuner.ui.screen_words import make_safe_block
from tui_tuner.ui.start_checking import Refusal, convert_error_to_refusal

if TYPE_CHECKING:
    from tui_tuner.guiding.data_look import DataLook
    from tui_tuner.ui.datalook import DataPreview

_SHOWN = 6  # rows that are shown


@dataclass(frozen=True)
class DataFindings:
    """The findings about some data so far.

    Args:
        look: The first rows; None if they cannot be read.
        refusal: The reason why the goal cannot use them.
        better: The suggestion of another goal that fits them better.
        busy: The check that is still running, as words; empty at the end.
        facts: The amounts, as sentences.
        concerns: Problems and remarks.
        counted: The counts of all rows.
    """

    look: DataPreview | None = None
    refusal: Refusal | None = None
    better: Refusal | None = None
    busy: str = ""
    facts: tuple[str, ...] = ()
    concerns: tuple[Concern, ...] = ()
    counted: DataLook | None = None

    @property
    def is_unusable(self) -> bool:
        """Return whether these data cannot be trained on as they are."""
        return self.refusal is not None or any(concern.stops for concern in self.concerns)

    @property
    def setting_fixes(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Return the fixes that are settings: a label, and values by field."""
        return [fix for concern in self.concerns for fix in concern.fixes if fix[1]]

    def render_findings(self, width: int, height: int) -> Content:
        """Return the findings as lines: what stops the run, the first row, remarks, amounts, more rows."""
        from tui_tuner.ui.widgets.data.row_text import count_row_lines, format_row_briefly

        lines: list[Content] = []
        if self.refusal is not None:
            lines += format_refusal_lines(self.refusal)
        rows = [
            [
                Content.assemble(("› " if not place else "  ", "$dim"), line)
                for place, line in enumerate(
                    format_row_briefly(row, width - 2, count_row_lines(row.read.record))
                )
            ]
            for row in (self.look.rows[:_SHOWN] if self.look is not None else ())
        ]
        for concern in self.concerns:
            lines += format_concern_lines(concern) if concern.stops else ()
        # Before the remarks, which may be long: the first row should be visible without scrolling.
        lines += rows[0] if rows else ()
        for concern in self.concerns:
            lines += format_concern_lines(concern) if not concern.stops else ()
        if self.better is not None and self.refusal is None:
            lines.append(make_safe_block(self.better.sentence).stylize("$warning"))
        if self.facts:
            lines.append(
                make_safe_block(" · ".join(self.facts)).stylize("$dim" if self.concerns else "$success")
            )
        for row in rows[1:]:
            lines += row
        return Content("\n").join(lines)


def format_refusal_lines(refusal: Refusal) -> list[Content]:
    """Return a refusal and its advice as lines."""
    lines = [Content.assemble(("✗ ", "$error"), make_safe_block(refusal.sentence).stylize("$error"))]
    if refusal.advice:
        lines.append(make_safe_block("  " + refusal.advice).stylize("$dim"))
    return lines


def format_concern_lines(concern: Concern) -> list[Content]:
    """Return a concern and its way out as lines."""
    mark, colour = ("✗ ", "$error") if concern.stops else ("! ", "$warning")
    lines = [Content.assemble((mark, colour), make_safe_block(concern.message))]
    if concern.way_out:
        lines.append(make_safe_block("  " + concern.way_out).stylize("$dim"))
    return lines


def examine_data(
    path: str,
    task: str,
    more: Mapping[str, Any],
    tell: Callable[[DataFindings], None],
    cancelled: Callable[[], bool],
) -> None:
    """Look at data in steps, and call `tell` with the findings after each; raises nothing."""
    values: dict[str, Any] = {}
    for field, value in {**more, "task": task, "data.path": path}.items():
        set_draft_value(values, field, value)
    seen = DataFindings(busy=_("checking whether the goal can use these rows"))
    try:
        seen = replace(seen, look=datalook.read_draft_rows(values, path))
    except (TunerError, OSError) as problem:
        tell(replace(seen, refusal=convert_error_to_refusal(problem), busy=""))
        return
    tell(seen)
    if cancelled():
        return
    refusal = datalook.find_draft_refusal(values, path)
    better = datalook.find_better_draft_task(values, path) if refusal is None else None
    seen = replace(seen, refusal=refusal, better=better)
    if refusal is None:
        seen = _count_all_rows(seen, path, task, more, tell, cancelled)
    tell(replace(seen, busy=""))


def _count_all_rows(
    seen: DataFindings,
    path: str,
    task: str,
    more: Mapping[str, Any],
    tell: Callable[[DataFindings], None],
    cancelled: Callable[[], bool],
) -> DataFindings:
    """Read all rows until cancelled, and judge their amount and quality."""
    from tui_tuner.guiding.data_look import describe_look, look_at_data

    tell(replace(seen, busy=_("reading the rows")))

    def tell_rows(rows: int) -> None:
        tell(replace(seen, busy=_("reading the rows: {rows:,}", rows=rows)))

    columns = more.get("data.columns")
    found = look_at_data(path, task, columns, cancelled, more=more, said=tell_rows)
    # The better goal was found in the first rows already; saying it twice would look like two problems.
    concerns = tuple(one for one in found.concerns if one.code != "better_task" or seen.better is None)
    return replace(seen, facts=tuple(describe_look(found)), concerns=concerns, counted=found)
