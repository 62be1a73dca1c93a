"""From a verdict to the next run: the run's settings with the advised changes, as one step to undo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textual.content import Content

from tui_tuner.config.advice import format_error_words, write_shell_value
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.runs.events import Verdict
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import one_line
from tui_tuner.ui.run_overview import read_run_values
from tui_tuner.ui.screens.screen_base import TunerScreen
from tui_tuner.ui.widgets.judged.verdict_pane import format_advice_values
from tui_tuner.verdicts.verdict_lines import format_verdict_headline, list_settings_advice
from tui_tuner.verdicts.verdict_words import Advice


def can_improve(verdict: Verdict | None) -> bool:
    """Return whether the verdict advises changes of settings."""
    return verdict is not None and bool(list_settings_advice(verdict))


def open_improved_settings(screen: TunerScreen, folder: RunFolder, verdict: Verdict) -> None:
    """Open a run's settings with the advised changes; if there are several ways, ask for one."""
    ways = list_settings_advice(verdict)
    if len(ways) == 1:
        _open_with_advice(screen, folder, ways[0])
        return
    from tui_tuner.ui.screens.dialogs import ChoiceDialog

    answers = [(str(place), item.words, format_advice_values(item)) for place, item in enumerate(ways)]

    def take_choice(answer: str | None) -> None:
        if answer is not None:
            _open_with_advice(screen, folder, ways[int(answer)])

    screen.app.push_screen(
        ChoiceDialog(_("What to change"), Content(format_verdict_headline(verdict)), answers), take_choice
    )


def _open_with_advice(screen: TunerScreen, folder: RunFolder, way: Advice) -> None:
    from tui_tuner.ui.form_values import find_draft_value, list_options, set_draft_value

    tuner = screen.tuner_app
    try:
        values = read_run_values(folder)
    except TunerError as error:
        tuner.show_notice(format_error_words(error), "error")
        return
    # The journal may be of another version, whose verdict names fields that do not exist here.
    known = {path: value for path, value in way.values.items() if path in list_options()}
    if not known:
        tuner.show_notice(
            _("This version has no settings with these names: {names}.", names=format_advice_values(way)),
            "error",
        )
        return
    # Before the draft changes: the sentence names the old values, too
    told = _describe_changes(values, known, find_draft_value)
    first = next(iter(known))
    tuner.drafts.begin_draft(values, folder.name, section=first.partition(".")[0], at=first)
    # After `begin_draft`, so that undoing once gives the run's own settings back.
    for path, value in known.items():
        set_draft_value(tuner.draft, path, value)
    tuner.drafts.note_change(_("what the verdict on {run} advises", run=one_line(folder.name, 40)))
    tuner.open_settings(folder.name)
    tuner.show_notice(_("Changed: {changes}. Press ^z to undo.", changes=told), timeout=15)


def _describe_changes(values: Mapping[str, Any], new: Mapping[str, Any], at: Any) -> str:
    """Return each field with its new and its old value."""
    return ", ".join(
        _(
            "{field} = {value} (was {before})",
            field=path,
            value=one_line(write_shell_value(value), 60),
            before=one_line(write_shell_value(at(values, path)), 60),
        )
        for path, value in new.items()
    )
