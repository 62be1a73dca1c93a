"""Whether a run can be started from a draft: the check that is made before there is a run folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tui_tuner.config.advice import fixes_of, on_screen
from tui_tuner.config.load import build_config
from tui_tuner.config.options import field_of, known_field
from tui_tuner.errors import DataError, TunerError
from tui_tuner.runs.view import RunView

_BY_CODE = {DataError.exit_code: "data.path"}  # of runs that an older version ended


@dataclass(frozen=True)
class Refusal:
    """Why nothing can be started.

    Args:
        field: The dotted name of the field that it comes from; empty where nobody knows.
        sentence: What is wrong.
        advice: What to do, in words for a screen.
        fixes: The ways that these tell: values by the dotted names of their fields.
    """

    field: str
    sentence: str
    advice: str = ""
    fixes: tuple[Mapping[str, Any], ...] = ()

    @property
    def of_data(self) -> bool:
        """Whether it may help to say what the rows are."""
        return self.field in ("data.path", "data.columns", "data.format", "task")

    @property
    def mendable(self) -> bool:
        """Whether there is something to choose from."""
        return bool(self.fixes) or self.of_data


def check_start(values: Mapping[str, Any]) -> Refusal | None:
    """Look at what a draft speaks of; None if a run can be started. Reads files, so it has its time."""
    from tui_tuner.launch.beforehand import check_beforehand

    try:
        check_beforehand(build_config(values))
    except (TunerError, OSError) as error:
        return refusal_of(error)
    return None


def refusal_of(error: TunerError | OSError) -> Refusal:
    """What an error says to a form."""
    if not isinstance(error, TunerError):
        return Refusal("", str(error))
    field = field_of(error)
    named = known_field(error.where) or not error.where
    place = os.path.basename(error.where) if os.path.isabs(error.where) else error.where
    sentence = error.what if named else f"{place}: {error.what}"
    return Refusal(field, sentence, on_screen(error.hint), fixes_of(error.hint))


def refusal_of_run(view: RunView) -> Refusal:
    """What the end of a run says to a form. A journal may be anybody's: what it names has to be there."""
    field = known_field(view.field) or _BY_CODE.get(view.exit_code or 0, "")
    fixes = [fix for fix in view.fixes if all(known_field(str(path)) == path for path in fix)]
    return Refusal(field, view.message, view.advice, tuple(fixes))
