"""Exports of this app: each runs in a helper process and keeps running while other screens are open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tui_tuner.launch.helper import Helper
from tui_tuner.ui.screens.using.helper_jobs import HelperJob, JobBook, JobState


class RunningExport(HelperJob):
    """An export; if it is stopped, what is half written is removed."""

    def __init__(
        self, helper: Helper, values: Mapping[str, Any], ended: Callable[[RunningExport], None]
    ) -> None:
        super().__init__("export", helper, values, JobState(), ended)


_exports: JobBook[RunningExport] = JobBook()
find_export = _exports.find_job


def begin_export(
    app: object, helper: Helper, values: Mapping[str, Any], ended: Callable[[RunningExport], None]
) -> RunningExport:
    """Start an export of `values["model"]`."""
    return _exports.keep_job(app, RunningExport(helper, values, ended))
