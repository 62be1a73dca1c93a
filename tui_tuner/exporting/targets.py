"""The registry of targets: from a name to the object that writes it."""

from __future__ import annotations

import importlib

from tui_tuner.errors import UsageError
from tui_tuner.exporting.kinds import TARGETS
from tui_tuner.exporting.target import Target
from tui_tuner.locales import _
from tui_tuner.text import one_line


def find_target(name: str) -> Target:
    """Return a target by the name that `--to` gives.

    Raises:
        UsageError: there is none of this name.
    """
    kind = TARGETS.get(name)
    if kind is None:
        raise UsageError(
            _("{name!r} is not a target of an export.", name=one_line(name, 40)),
            where="--to",
            hint=_("Known are {names}.", names=", ".join(TARGETS)),
        )
    found: Target = importlib.import_module(f"tui_tuner.exporting.{kind.module}").TARGET
    return found
