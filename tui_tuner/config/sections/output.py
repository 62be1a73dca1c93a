"""The section `output`: run folder, checkpoints and notifications."""

from __future__ import annotations

from typing import Any

from pydantic import field_validator

from tui_tuner.config import notices
from tui_tuner.config.sections.field_options import Auto, Section, declare_option
from tui_tuner.locales import N_


class OutputSection(Section):
    """Where the run is stored, and what it keeps."""

    folder: str = declare_option("runs", N_("Folder that contains all runs."), min_length=1)
    name: str = declare_option(
        "auto",
        N_("Name of the run; auto builds one from time, model and task."),
        min_length=1,
        max_length=100,
    )
    save_every: int | float | Auto | None = declare_option(
        "auto",
        N_("Save a checkpoint every this many steps, or this share of the run (below 1)."),
        N_("auto saves often enough that at most save_minutes of work can be lost."),
        gt=0,
        le=10**9,
    )
    save_minutes: float = declare_option(
        10.0,
        N_("Save at least this often, so that no more work can be lost."),
        unit=N_("minutes"),
        gt=0,
        le=525_600,
        advanced=True,
    )
    keep: int = declare_option(2, N_("Checkpoints to keep in addition to the best one."), ge=1, le=1000)
    notify: list[str] = declare_option(
        [],
        N_("Where to send a message when the run ends, fails or leaves its GPU idle."),
        N_(
            "bell, desktop, ntfy:TOPIC (to a phone, through ntfy.sh), ntfy:https://server/topic, or the "
            "URL of a webhook; separate several with commas. ${NAME} is replaced by an environment "
            "variable, which keeps a URL out of the config. Empty: no messages."
        ),
        words=notices.WORDS,
    )

    @field_validator("notify", mode="before")
    @classmethod
    def _split_entries(cls, value: Any) -> Any:
        """Turn one line into a list of entries; null becomes an empty list."""
        if value is None:
            return []
        return notices.entries_in(value) if isinstance(value, str) else value

    @field_validator("notify", mode="after")
    @classmethod
    def _check_places(cls, value: list[str]) -> list[str]:
        """Reject entries that no message can be sent to, and drop duplicates."""
        for entry in value:
            problem = notices.problem_of(entry)
            if problem:
                raise ValueError(problem)
        return list(dict.fromkeys(value))
