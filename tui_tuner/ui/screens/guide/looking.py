"""What the guide finds out about data: their first rows in words, whether the goal can use them, what is odd.

Threads call `see`; nothing here draws on the screen.
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
from tui_tuner.ui.checking import Refusal, refusal_of
from tui_tuner.ui.form import put
from tui_tuner.ui.words import block

if TYPE_CHECKING:
    from tui_tuner.guiding.data import DataLook
    from tui_tuner.ui.datalook import Look

_SHOWN = 6  # rows


@dataclass(frozen=True)
class Seen:
    """What is known of some data so far.

    Args:
        look: The first rows; None where there are none to be seen.
        refusal: Why the goal cannot use them.
        better: That another goal fits them better.
        busy: What is still being found out.
        facts: How much it is, in sentences.
        concerns: What is to be known of it.
        counted: All that was counted of the rows.
    """

    look: Look | None = None
    refusal: Refusal | None = None
    better: Refusal | None = None
    busy: str = ""
    facts: tuple[str, ...] = ()
    concerns: tuple[Concern, ...] = ()
    counted: DataLook | None = None

    @property
    def stops(self) -> bool:
        """Whether nothing can be trained on them as they are."""
        return self.refusal is not None or any(concern.stops for concern in self.concerns)

    @property
    def ways(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Ways out of what is wrong or odd that are settings: words, and values of fields."""
        return [fix for concern in self.concerns for fix in concern.fixes if fix[1]]

    def told(self, width: int, height: int) -> Content:
        """What is wrong, how much it is, and the rows."""
        from tui_tuner.ui.widgets.data.told import brief, lines_of

        lines: list[Content] = []
        if self.refusal is not None:
            lines += refusal_lines(self.refusal)
        rows = [
            [
                Content.assemble(("› " if not place else "  ", "$dim"), line)
                for place, line in enumerate(brief(row, width - 2, lines_of(row.read.record)))
            ]
            for row in (self.look.rows[:_SHOWN] if self.look is not None else ())
        ]
        for concern in self.concerns:
            lines += concern_lines(concern) if concern.stops else ()
        lines += rows[0] if rows else ()  # what is to be known of them may be long, and nobody scrolls
        for concern in self.concerns:
            lines += concern_lines(concern) if not concern.stops else ()
        if self.better is not None and self.refusal is None:
            lines.append(block(self.better.sentence).stylize("$warning"))
        if self.facts:
            lines.append(block(" · ".join(self.facts)).stylize("$dim" if self.concerns else "$success"))
        for row in rows[1:]:
            lines += row
        return Content("\n").join(lines)


def refusal_lines(refusal: Refusal) -> list[Content]:
    """Why something cannot be used, and what to do."""
    lines = [Content.assemble(("✗ ", "$error"), block(refusal.sentence).stylize("$error"))]
    if refusal.advice:
        lines.append(block("  " + refusal.advice).stylize("$dim"))
    return lines


def concern_lines(concern: Concern) -> list[Content]:
    """A concern, and what can be done about it."""
    mark, colour = ("✗ ", "$error") if concern.stops else ("! ", "$warning")
    lines = [Content.assemble((mark, colour), block(concern.message))]
    if concern.way_out:
        lines.append(block("  " + concern.way_out).stylize("$dim"))
    return lines


def see(
    path: str, task: str, more: Mapping[str, Any], tell: Callable[[Seen], None], cancelled: Callable[[], bool]
) -> None:
    """Look at data, and tell what is known after each step; raises nothing."""
    values: dict[str, Any] = {}
    for field, value in {**more, "task": task, "data.path": path}.items():
        put(values, field, value)
    seen = Seen(busy=_("looking whether the goal can use these rows"))
    try:
        seen = replace(seen, look=datalook.look(values, path))
    except (TunerError, OSError) as problem:
        tell(replace(seen, refusal=refusal_of(problem), busy=""))
        return
    tell(seen)
    if cancelled():
        return
    refusal = datalook.refusal(values, path)
    better = datalook.better(values, path) if refusal is None else None
    seen = replace(seen, refusal=refusal, better=better)
    if refusal is None:
        seen = _count(seen, path, task, more, tell, cancelled)
    tell(replace(seen, busy=""))


def _count(
    seen: Seen,
    path: str,
    task: str,
    more: Mapping[str, Any],
    tell: Callable[[Seen], None],
    cancelled: Callable[[], bool],
) -> Seen:
    """Read all rows, for as long as one waits, and judge how many and how good they are."""
    from tui_tuner.guiding.data import look_at_data, say_look

    tell(replace(seen, busy=_("reading the rows")))

    def said(rows: int) -> None:
        tell(replace(seen, busy=_("reading the rows: {rows:,}", rows=rows)))

    columns = more.get("data.columns")
    found = look_at_data(path, task, columns, cancelled, more=more, said=said)
    concerns = tuple(one for one in found.concerns if one.code != "better_task" or seen.better is None)
    return replace(seen, facts=tuple(say_look(found)), concerns=concerns, counted=found)
