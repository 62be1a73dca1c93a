"""Where the settings begin, from a preset or the defaults, and where they end: in a run of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from textual.content import Content

from tui_tuner.config.advice import words_of
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import with_values
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.text import one_line
from tui_tuner.ui.hosting import Tuner
from tui_tuner.ui.presets import preset_rows, preset_values
from tui_tuner.ui.screens.base import TunerScreen
from tui_tuner.ui.screens.dialogs import Choose
from tui_tuner.ui.words import column

Begin = Callable[[Mapping[str, Any], str], Awaitable[None]]  # values, and the name of what they are


def ask_where_to_begin(screen: TunerScreen, begin: Begin) -> None:
    """Let one choose what the form begins with."""

    async def answered(name: str | None) -> None:
        if name is None:
            return
        try:
            chosen = [preset for preset in preset_rows() if preset.name == name]
            values = preset_values(chosen[0]) if chosen else {}
        except TunerError as error:
            screen.tuner.say(words_of(error), "error")
            return
        await begin(values, name)

    answers = [(p.name, column(p.name, 20).rstrip(), one_line(p.description, 120)) for p in preset_rows()]
    answers.append(("", _("defaults"), _("every value at its default")))
    screen.app.push_screen(Choose(_("Preset"), Content(_("Begin again from")), answers), answered)


def make_run(tuner: Tuner, values: Mapping[str, Any], config: RunConfig) -> RunFolder:
    """A new run folder, in the folder that a draft names or among the other runs.

    Raises:
        TunerError, OSError: it cannot be made.
    """
    own_folder = isinstance(values.get("output"), dict) and values["output"].get("folder")
    store = RunStore(config.output.folder) if own_folder else tuner.store
    return store.create(with_values(config, {"output.folder": str(store.root)}))
