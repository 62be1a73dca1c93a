"""Where a run lives, and what it keeps."""

from __future__ import annotations

from tui_tuner.config.sections.base import Auto, Section, option
from tui_tuner.locales import N_


class OutputSection(Section):
    """Where the run lives, and what it keeps."""

    folder: str = option("runs", N_("Folder that holds all runs."), min_length=1)
    name: str = option(
        "auto", N_("Name of the run; auto makes one from task, model and time."), min_length=1, max_length=100
    )
    save_every: int | float | Auto | None = option(
        "auto",
        N_("Checkpoint every so many steps (a share below 1 means of the whole run)."),
        N_("auto saves often enough that at most save_minutes of work can be lost."),
        gt=0,
        le=10**9,
    )
    save_minutes: float = option(
        10.0, N_("At most this much work can be lost."), unit=N_("minutes"), gt=0, le=525_600, advanced=True
    )
    keep: int = option(2, N_("Checkpoints kept beside the best."), ge=1, le=1000)
