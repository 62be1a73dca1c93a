"""What the settings begin with, a file, a preset, a run or the defaults, and where they end: in a run."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textual.content import Content

from tui_tuner.config.advice import words_of
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import with_values
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import one_line
from tui_tuner.ui.checking import store_for
from tui_tuner.ui.editing.check import Reading
from tui_tuner.ui.editing.opening import Opened, open_config
from tui_tuner.ui.hosting import Tuner
from tui_tuner.ui.presets import preset_rows
from tui_tuner.ui.recent import note_recent, recent
from tui_tuner.ui.screens.base import TunerScreen
from tui_tuner.ui.screens.dialogs import Choose
from tui_tuner.ui.words import age, column, safe

_RECENT = 5  # files that were opened before are offered
_MOST_RUNS = 100
_FILE, _RUN, _DEFAULTS, _PRESET, _PATH = "file", "run", "defaults", "preset ", "path "


async def ask_where_to_begin(screen: TunerScreen) -> Opened | None:
    """Let one choose what the form begins with; None where nothing is to begin."""
    paths = (await asyncio.to_thread(recent, "config"))[:_RECENT]
    question = Content(_("Start again from"))
    answer = await screen.app.push_screen_wait(Choose(_("Open"), question, _answers(paths)))
    if answer == _DEFAULTS:
        return Opened("", Reading({}))
    name = ""
    if answer == _FILE:
        name = await _ask_file(screen)
    elif answer == _RUN:
        name = await _ask_run(screen)
    elif answer is not None:
        name = answer.removeprefix(_PRESET).removeprefix(_PATH)
    return await _open(screen, name) if name else None


def _answers(paths: list[str]) -> list[tuple[str, str, str]]:
    answers = [(_FILE, _("a file …"), _("a config of your own; those of other trainers are explained"))]
    for path in paths:
        short = os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path
        answers.append((_PATH + path, f"↺ {safe(short, 200).plain}", ""))
    answers.append((_RUN, _("an earlier run …"), _("its settings, to change and start again")))
    answers.append((_DEFAULTS, _("defaults"), _("every value at its default")))
    answers += [
        (_PRESET + preset.name, column(preset.name, 20).rstrip(), one_line(preset.description, 120))
        for preset in preset_rows()
    ]
    return answers


async def _ask_file(screen: TunerScreen) -> str:
    from tui_tuner.ui.screens.choosing import ChooseFile

    file = screen.tuner.drafts.draft.file
    start = f"{os.path.dirname(file)}/" if file else ""
    return (
        await screen.app.push_screen_wait(
            ChooseFile(_("Open a config"), start, (".yaml", ".yml"), recent="config")
        )
        or ""
    )


async def _ask_run(screen: TunerScreen) -> str:
    def look() -> list[tuple[str, str, str]]:
        found = list(screen.tuner.store.runs())[:_MOST_RUNS]
        return [(str(run.path), one_line(run.name, 70), _when(run)) for run in found]

    runs = await asyncio.to_thread(look)
    if not runs:
        screen.tuner.say(_("There are no runs yet."))
        return ""
    dialog = Choose(_("Open"), Content(_("Start again from the settings of")), runs)
    return await screen.app.push_screen_wait(dialog) or ""


def _when(run: RunFolder) -> str:
    try:
        return age((run.path / "config.yaml").stat().st_mtime)
    except OSError:
        return ""


async def _open(screen: TunerScreen, name: str) -> Opened | None:
    try:
        opened = await asyncio.to_thread(open_config, name, screen.tuner.store)
    except (TunerError, OSError) as error:
        screen.tuner.say(words_of(error), "error", 12)
        return None
    if opened.file:
        await asyncio.to_thread(note_recent, "config", opened.file)
    return opened


def make_run(tuner: Tuner, values: Mapping[str, Any], config: RunConfig) -> RunFolder:
    """A new run folder, in the folder that a draft names or among the other runs.

    Raises:
        TunerError, OSError: it cannot be made.
    """
    store = store_for(values, config, tuner.store)
    return store.create(with_values(config, {"output.folder": str(store.root)}))
