"""`tui-tuner edit`: opens any config in the form."""

from __future__ import annotations

from typing import Annotated

import typer

from tui_tuner.cli.options import Runs
from tui_tuner.locales import N_, _


def edit_config(
    config: Annotated[
        str,
        typer.Argument(
            help=N_("A YAML file, the name or folder of a run, or the name of a preset."), metavar="CONFIG"
        ),
    ],
    runs: Runs = "runs",
) -> None:
    """Open a config in the form, to change, save and start it."""
    from tui_tuner.cli.screen import require_screen, show_screen
    from tui_tuner.runs.store import RunStore
    from tui_tuner.ui.editing.config_opening import open_config

    store = RunStore(runs)
    # A config that cannot be opened is reported even without a terminal
    opened = open_config(config, store)
    require_screen(
        _("editing a config needs a terminal."),
        _("Edit the file with a text editor, and check it with `tui-tuner estimate CONFIG`."),
    )
    raise typer.Exit(show_screen(store, opened=opened))
