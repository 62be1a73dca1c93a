"""What the curves of a run say, on one line of its live pane; it is drawn when it changes, and only then."""

from __future__ import annotations

from rich.cells import cell_len
from textual.content import Content

from tui_tuner.locales import _
from tui_tuner.runs.view import RunView
from tui_tuner.ui.words import column, mark, marked, state_words
from tui_tuner.verdicts.told import headline, verdict_line, ways_of

LEADS_TO_STOP = ("overfit", "unstable", "memorised")  # more steps of these make nothing better


def verdict_content(view: RunView, live: bool, width: int) -> Content | None:
    """The newest verdict with its best evidence, and the key that acts on it; None where there is none."""
    found = view.verdict
    if found is None:
        return None
    sign, _word, colour = state_words("completed", found.verdict)
    if live and found.verdict == "overfit":
        sign, colour = "!", "$warning"
    words, key = _words(view, live), _key(view, live)
    room = width - 2
    if key.plain and (live or cell_len(words) + 2 + key.cell_length <= room):
        room -= 2 + key.cell_length
    else:  # the footer has it, too
        key = Content("")
    words = column(words, room).rstrip()
    head, colon, rest = words.partition(":")
    parts = [Content.assemble((f"{sign} {head}{colon}", f"bold {colour}"), rest)]
    return Content("  ").join([*parts, key] if key.plain else parts)


def _key(view: RunView, live: bool) -> Content:
    """What a key does about it; empty where there is nothing to be done."""
    found = view.verdict
    if found is None:
        return Content("")
    if live:
        stops = found.verdict in LEADS_TO_STOP
        return marked(_("{key} stop here", key=mark("x"))) if stops else Content("")
    return marked(_("{key} what to change", key=mark("F4"))) if ways_of(found) else Content("")


def _words(view: RunView, live: bool) -> str:
    found = view.verdict
    assert found is not None
    best = view.best_step()
    if live and found.verdict == "overfit" and best is not None:
        if best == found.since_step:
            return _("{headline}: that is the best checkpoint", headline=headline(found))
        return _("{headline}: best checkpoint at step {best:,}", headline=headline(found), best=best)
    return verdict_line(found)


def stop_question(view: RunView) -> str:
    """Asked of who stops a run that overfits; empty where it does not."""
    best = view.best_step()
    if view.verdict_name != "overfit" or best is None or view.ended:
        return ""
    return _(
        "Stop here? Held-out rows were best at step {best:,}: that model is in the folder `best`, and stays "
        "there. A checkpoint is saved first, and the run can be resumed.",
        best=best,
    )
