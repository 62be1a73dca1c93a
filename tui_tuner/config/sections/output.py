"""Where a run lives, and what it keeps."""

from __future__ import annotations

from typing import Any

from pydantic import field_validator

from tui_tuner.config import notices
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
    notify: list[str] = option(
        [],
        N_("Where a message goes when the run ends, fails, or leaves its GPU idle."),
        N_(
            "bell, desktop, ntfy:TOPIC (to a phone, by ntfy.sh), ntfy:https://server/topic, or the address "
            "of a webhook; several with commas between them. ${NAME} stands for a variable of the "
            "environment, which keeps an address out of the config. Empty: nobody is told."
        ),
        words=notices.WORDS,
    )

    @field_validator("notify", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        """One entry, or several on a line, are a list of them; null is an empty one."""
        if value is None:
            return []
        return notices.entries_in(value) if isinstance(value, str) else value

    @field_validator("notify", mode="after")
    @classmethod
    def _places(cls, value: list[str]) -> list[str]:
        """Each is a place that a message can be sent to, and is named once."""
        for entry in value:
            problem = notices.problem_of(entry)
            if problem:
                raise ValueError(problem)
        return list(dict.fromkeys(value))
