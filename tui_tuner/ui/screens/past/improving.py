"""From a verdict to the next run: its own settings, with what is advised set in them, as one step to undo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textual.content import Content

from tui_tuner.config.advice import words_of, written
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.runs.events import Verdict
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import one_line
from tui_tuner.ui.overview import run_values
from tui_tuner.ui.screens.base import TunerScreen
from tui_tuner.ui.widgets.judged.verdict_pane import values_words
from tui_tuner.verdicts.told import headline, ways_of
from tui_tuner.verdicts.words import Advice


def can_improve(verdict: Verdict | None) -> bool:
    """Whether something is advised that settings can do."""
    return verdict is not None and bool(ways_of(verdict))


def improve(screen: TunerScreen, folder: RunFolder, verdict: Verdict) -> None:
    """Make a new config of a run's own and what is advised; of several ways, one is chosen."""
    ways = ways_of(verdict)
    if len(ways) == 1:
        _take(screen, folder, ways[0])
        return
    from tui_tuner.ui.screens.dialogs import Choose

    answers = [(str(place), item.words, values_words(item)) for place, item in enumerate(ways)]

    def chosen(answer: str | None) -> None:
        if answer is not None:
            _take(screen, folder, ways[int(answer)])

    screen.app.push_screen(Choose(_("What to change"), Content(headline(verdict)), answers), chosen)


def _take(screen: TunerScreen, folder: RunFolder, way: Advice) -> None:
    from tui_tuner.ui.form import at, options, put

    tuner = screen.tuner
    try:
        values = run_values(folder)
    except TunerError as error:
        tuner.say(words_of(error), "error")
        return
    known = {path: value for path, value in way.values.items() if path in options()}
    if not known:
        tuner.say(
            _("This version has no settings with these names: {names}.", names=values_words(way)), "error"
        )
        return
    told = _changes(values, known, at)
    first = next(iter(known))
    tuner.drafts.begin(values, folder.name, section=first.partition(".")[0], at=first)
    for path, value in known.items():
        put(tuner.draft, path, value)
    tuner.drafts.touch(_("what the verdict on {run} advises", run=one_line(folder.name, 40)))
    tuner.open_settings(folder.name)
    tuner.say(_("Changed: {changes}. ^z takes it back.", changes=told), timeout=15)


def _changes(values: Mapping[str, Any], new: Mapping[str, Any], at: Any) -> str:
    """Each field with what it becomes, and what it was."""
    return ", ".join(
        _(
            "{field} = {value} (was {before})",
            field=path,
            value=one_line(written(value), 60),
            before=one_line(written(at(values, path)), 60),
        )
        for path, value in new.items()
    )
