"""The section `output`: the run folder, its checkpoints and notifications."""

from __future__ import annotations

from typing import Any

from pydantic import field_validator

from tui_tuner.config import notices
from tui_tuner.config.sections.field_options import Auto, Section, declare_option
from tui_tuner.locales import N_


class OutputSection(Section):
    """The run folder, its checkpoints and notifications."""

    folder: str = declare_option("runs", N_("Folder that contains all runs."), min_length=1)
    name: str = declare_option(
        "auto",
        N_("Name of the run; auto builds one from task, model and time."),
        min_length=1,
        max_length=100,
    )
    save_every: int | float | Auto | None = declare_option(
        "auto",
        N_("Save a checkpoint every this many steps (below 1: a share of the whole run)."),
        N_("auto saves often enough that at most save_minutes of work can be lost."),
        gt=0,
        le=10**9,
    )
    save_minutes: float = declare_option(
        10.0,
        N_("At most this much work can be lost if the run is interrupted."),
        unit=N_("minutes"),
        gt=0,
        le=525_600,
        advanced=True,
    )
    keep: int = declare_option(2, N_("Checkpoints kept in addition to the best one."), ge=1, le=1000)
    notify: list[str] = declare_option(
        [],
        N_("Where to send a message when the run ends, fails, or leaves its GPU idle."),
        N_(
            "bell, desktop, ntfy:TOPIC (to a phone, through ntfy.sh), ntfy:https://server/topic, or the "
            "URL of a webhook; separate several with commas. ${NAME} stands for an environment variable, "
            "which keeps a secret URL out of the config. Empty sends no messages."
        ),
        words=notices.WORDS,
    )

    @field_validator("notify", mode="before")
    @classmethod
    def _split_entries(cls, value: Any) -> Any:
        """Split a line of entries into a list; null is an empty list."""
        if value is None:
            return []
        return notices.split_notify_entries(value) if isinstance(value, str) else value

    @field_validator("notify", mode="after")
    @classmethod
    def _check_places(cls, value: list[str]) -> list[str]:
        """Refuse entries that no message can be sent to, and drop repeated ones."""
        for entry in value:
            problem = notices.find_notify_problem(entry)
            if problem:
                raise ValueError(problem)
        return list(dict.fromkeys(value))
