"""Where the settings come from (a file, a preset, a run, the defaults), and the run that they become."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textual.content import Content

from tui_tuner.config.advice import format_error_words
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import edit_values
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import one_line
from tui_tuner.ui.editing.config_opening import OpenedConfig, open_config
from tui_tuner.ui.editing.text_check import CheckedText
from tui_tuner.ui.hosting import Tuner
from tui_tuner.ui.preset_rows import list_preset_rows
from tui_tuner.ui.recent_paths import list_recent_paths, note_recent_path
from tui_tuner.ui.screen_words import fit_screen_column, format_age, make_safe_line
from tui_tuner.ui.screens.dialogs import ChoiceDialog
from tui_tuner.ui.screens.screen_base import TunerScreen
from tui_tuner.ui.start_checking import find_draft_store

_RECENT = 5  # recently opened files in the list
_MOST_RUNS = 100
_FILE, _RUN, _DEFAULTS, _PRESET, _PATH = "file", "run", "defaults", "preset ", "path "


async def ask_where_to_begin(screen: TunerScreen) -> OpenedConfig | None:
    """Ask where the form's values come from; None if the user cancels."""
    paths = (await asyncio.to_thread(list_recent_paths, "config"))[:_RECENT]
    question = Content(_("Start again from"))
    answer = await screen.app.push_screen_wait(ChoiceDialog(_("Open"), question, _list_answers(paths)))
    if answer == _DEFAULTS:
        return OpenedConfig("", CheckedText({}))
    name = ""
    if answer == _FILE:
        name = await _ask_file(screen)
    elif answer == _RUN:
        name = await _ask_run(screen)
    elif answer is not None:
        name = answer.removeprefix(_PRESET).removeprefix(_PATH)
    return await _open_named(screen, name) if name else None


def _list_answers(paths: list[str]) -> list[tuple[str, str, str]]:
    answers = [(_FILE, _("a file …"), _("your own config; keys of other trainers are explained"))]
    for path in paths:
        # A path outside of the working folder would become a row of "../", which is harder to read than the
        # whole path.
        short = os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path
        answers.append((_PATH + path, f"↺ {make_safe_line(short, 200).plain}", ""))
    answers.append((_RUN, _("an earlier run …"), _("its settings, to change and start again")))
    answers.append((_DEFAULTS, _("defaults"), _("every value at its default")))
    answers += [
        (
            _PRESET + preset.name,
            fit_screen_column(preset.name, 20).rstrip(),
            one_line(preset.description, 120),
        )
        for preset in list_preset_rows()
    ]
    return answers


async def _ask_file(screen: TunerScreen) -> str:
    from tui_tuner.ui.screens.file_dialog import FileDialog

    file = screen.tuner_app.drafts.draft.file
    start = f"{os.path.dirname(file)}/" if file else ""
    return (
        await screen.app.push_screen_wait(
            FileDialog(_("Open a config"), start, (".yaml", ".yml"), recent="config")
        )
        or ""
    )


async def _ask_run(screen: TunerScreen) -> str:
    def list_earlier_runs() -> list[tuple[str, str, str]]:
        found = list(screen.tuner_app.store.list_runs())[:_MOST_RUNS]
        return [(str(run.path), one_line(run.name, 70), _describe_age(run)) for run in found]

    # In a thread: a folder of many runs on a network disk takes seconds to list.
    runs = await asyncio.to_thread(list_earlier_runs)
    if not runs:
        screen.tuner_app.show_notice(_("There are no runs yet."))
        return ""
    dialog = ChoiceDialog(_("Open"), Content(_("Start again from the settings of")), runs)
    return await screen.app.push_screen_wait(dialog) or ""


def _describe_age(run: RunFolder) -> str:
    try:
        return format_age((run.path / "config.yaml").stat().st_mtime)
    except OSError:
        return ""


async def _open_named(screen: TunerScreen, name: str) -> OpenedConfig | None:
    try:
        opened = await asyncio.to_thread(open_config, name, screen.tuner_app.store)
    except (TunerError, OSError) as error:
        screen.tuner_app.show_notice(format_error_words(error), "error", 12)
        return None
    if opened.file:
        await asyncio.to_thread(note_recent_path, "config", opened.file)
    return opened


def create_draft_run(tuner: Tuner, values: Mapping[str, Any], config: RunConfig) -> RunFolder:
    """Create a run folder, in the folder that the draft names or among the other runs.

    Raises:
        TunerError, OSError: it cannot be created.
    """
    store = find_draft_store(values, config, tuner.store)
    return store.create_run(edit_values(config, {"output.folder": str(store.root)}))
