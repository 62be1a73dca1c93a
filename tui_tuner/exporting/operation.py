"""Operations `export` and `export_look` of a helper process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tui_tuner.errors import TunerError
from tui_tuner.exporting.checkpoints import is_checkpoint
from tui_tuner.exporting.exporting import export_model
from tui_tuner.exporting.kinds import TARGETS
from tui_tuner.exporting.source import open_source
from tui_tuner.exporting.target import ExportCancelled, ExportJob, ExportOptions, read_options
from tui_tuner.exporting.targets import find_target
from tui_tuner.inference.base_download import list_missing_bases
from tui_tuner.inference.origin import Origin
from tui_tuner.locales import _
from tui_tuner.text import one_line


def run_export_operation(
    arguments: Mapping[str, Any], progress: Callable[[Any], None], cancelled: Callable[[], bool]
) -> dict[str, Any] | None:
    """Run the operation `export`.

    Args:
        arguments: `model` (an `Origin` in plain values) and the fields of `ExportOptions`.
        progress: Called as `exporting.export_model` says.

    Returns:
        An `ExportOutcome` in plain values; None if it was cancelled.
    """
    origin, options = Origin.from_values(arguments["model"]), read_options(arguments)
    try:
        return export_model(origin, options, progress, cancelled).list_outcome_values()
    except ExportCancelled:
        return None


def run_look_operation(
    arguments: Mapping[str, Any], progress: Callable[[Any], None], cancelled: Callable[[], bool]
) -> dict[str, Any]:
    """Run the operation `export_look`: what each target would take, and whether it can be written.

    Args:
        arguments: `model` (an `Origin` in plain values).
        progress: Called with each target's values as soon as they are known.

    Returns:
        By the name of a target: `bytes`, `notes`, and the `problem` where it cannot be written.
    """
    origin = Origin.from_values(arguments["model"])
    found: dict[str, Any] = {}
    problem, source = "", None
    try:
        missing = list_missing_bases([origin])
        if missing:
            problem = _("its base model {name} is fetched first", name=one_line(missing[0].name, 80))
        # A checkpoint becomes the files of a model when it is exported; those of `best` have the same size
        source = open_source(_use_final(origin)) if not missing else None
    except TunerError as error:
        problem = str(error)
    job: ExportJob | None = None
    for name in TARGETS:
        if cancelled():
            break
        if source is not None:
            options = ExportOptions(name, output="-")
            kept = {key: value for key, value in job.facts.items() if key.startswith("_")} if job else {}
            job = ExportJob(source, options, facts=kept)
            found[name] = _look_at_target(name, job)
        else:
            found[name] = {"bytes": 0, "notes": [], "problem": problem}
        progress({name: found[name]})
    return found


def _use_final(origin: Origin) -> Origin:
    return replace(origin, checkpoint="best") if is_checkpoint(origin) else origin


def _look_at_target(name: str, job: ExportJob) -> dict[str, Any]:
    try:
        target = find_target(name)
        # A hub is asked when something is sent to it, not while somebody looks around
        if name != "hub":
            target.check(job)
        return {"bytes": target.expect_bytes(job), "notes": list(job.notes), "problem": ""}
    except TunerError as error:
        return {"bytes": 0, "notes": [], "problem": str(error)}
