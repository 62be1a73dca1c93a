"""The verdict on a run's curves as a line of its live pane, drawn only when it changes."""

from __future__ import annotations

from rich.cells import cell_len
from textual.content import Content

from tui_tuner.locales import _
from tui_tuner.runs.view import RunView
from tui_tuner.ui.screen_words import (
    describe_run_state,
    fit_screen_column,
    mark_placeholder_value,
    render_marked_sentence,
)
from tui_tuner.verdicts.verdict_lines import (
    format_verdict_headline,
    format_verdict_line,
    list_settings_advice,
)

LEADS_TO_STOP = ("overfit", "unstable", "memorised")  # verdicts that more steps do not improve


def draw_verdict_line(view: RunView, live: bool, width: int) -> Content | None:
    """Return the newest verdict with its best evidence and the key that acts on it, if there is one."""
    found = view.verdict
    if found is None:
        return None
    sign, _word, colour = describe_run_state("completed", found.verdict)
    # While the run lasts, overfitting is no result yet: it can still be stopped at the best checkpoint.
    if live and found.verdict == "overfit":
        sign, colour = "!", "$warning"
    words, key = _format_words(view, live), _format_key(view, live)
    room = width - 2
    # The key matters most while there is time to act, so the words are cut first.
    if key.plain and (live or cell_len(words) + 2 + key.cell_length <= room):
        room -= 2 + key.cell_length
    else:  # the footer shows the key, too
        key = Content("")
    words = fit_screen_column(words, room).rstrip()
    head, colon, rest = words.partition(":")
    parts = [Content.assemble((f"{sign} {head}{colon}", f"bold {colour}"), rest)]
    return Content("  ").join([*parts, key] if key.plain else parts)


def _format_key(view: RunView, live: bool) -> Content:
    """Return the key that acts on the verdict; empty if there is none."""
    found = view.verdict
    if found is None:
        return Content("")
    if live:
        stops = found.verdict in LEADS_TO_STOP
        return (
            render_marked_sentence(_("{key} stop here", key=mark_placeholder_value("x")))
            if stops
            else Content("")
        )
    return (
        render_marked_sentence(_("{key} what to change", key=mark_placeholder_value("F4")))
        if list_settings_advice(found)
        else Content("")
    )


def _format_words(view: RunView, live: bool) -> str:
    found = view.verdict
    assert found is not None
    best = view.best_step()
    if live and found.verdict == "overfit" and best is not None:
        if best == found.since_step:
            return _("{headline}: that is the best checkpoint", headline=format_verdict_headline(found))
        return _(
            "{headline}: best checkpoint at step {best:,}", headline=format_verdict_headline(found), best=best
        )
    return format_verdict_line(found)


def format_stop_question(view: RunView) -> str:
    """Return the question before stopping a run that overfits; empty if it does not."""
    best = view.best_step()
    if view.verdict_name != "overfit" or best is None or view.has_ended:
        return ""
    return _(
        "Stop here? Held-out rows were best at step {best:,}: that model is in the folder `best` and stays "
        "there. A checkpoint is saved first, and the run can be resumed.",
        best=best,
    )
