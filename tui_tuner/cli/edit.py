"""`tui-tuner edit`: the form over any config."""

from __future__ import annotations

from typing import Annotated

import typer

from tui_tuner.cli.options import Runs
from tui_tuner.locales import N_, _


def edit(
    config: Annotated[
        str,
        typer.Argument(
            help=N_("A YAML file, the name or folder of a run, or the name of a preset."), metavar="CONFIG"
        ),
    ],
    runs: Runs = "runs",
) -> None:
    """Open a config in the form, to change, save and start it."""
    from tui_tuner.cli.screen import require_screen, show
    from tui_tuner.runs.store import RunStore
    from tui_tuner.ui.editing.opening import open_config

    store = RunStore(runs)
    opened = open_config(config, store)
    require_screen(
        _("editing a config needs a terminal."),
        _("Change the file in an editor, and check it with `tui-tuner estimate CONFIG`."),
    )
    raise typer.Exit(show(store, opened=opened))
