"""An export from beginning to end: found, checked, written beside, proved, and given its name."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tui_tuner import __version__
from tui_tuner.errors import DiskFullError, RunError, UsageError
from tui_tuner.exporting import room
from tui_tuner.exporting.card import write_export_card
from tui_tuner.exporting.checkpoints import is_checkpoint, write_checkpoint_model
from tui_tuner.exporting.parity.report import ParityReport, skip_parity
from tui_tuner.exporting.source import open_source
from tui_tuner.exporting.target import ExportCancelled, ExportJob, ExportOptions, Target
from tui_tuner.exporting.targets import find_target
from tui_tuner.inference.base_download import fetch_missing_bases
from tui_tuner.inference.origin import Origin
from tui_tuner.locales import _
from tui_tuner.models.hub.kinds import FetchCancelled, Progress
from tui_tuner.text import one_line
from tui_tuner.training.keeping.checkpoints import is_disk_full, measure_folder_bytes

Say = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class ExportOutcome:
    """What an export came to.

    Args:
        folder: Where it is; empty if it was sent to a hub alone.
        address: Where it can be found on a hub.
        notes: Sentences for the user.
    """

    to: str
    folder: str
    bytes: int
    seconds: float
    parity: ParityReport
    address: str = ""
    notes: tuple[str, ...] = ()

    def list_outcome_values(self) -> dict[str, Any]:
        """Return plain values, for JSON and for another process."""
        values = {name: value for name, value in asdict(self).items() if name != "parity"}
        return {**values, "notes": list(self.notes), "parity": self.parity.list_report_values()}


def export_model(
    origin: Origin,
    options: ExportOptions,
    say: Say = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> ExportOutcome:
    """Export a model to a target, prove it, and return what came of it.

    Args:
        say: Called with `doing` (a sentence), `done`, `total` and `unit`, or with a `note` for the user.

    Raises:
        UsageError, ModelError, HubError, ConfigError: it cannot be exported; nothing was written.
        DiskFullError: the disk has no room, which is found before the work wherever it can be.
        RunError: parity failed; the export is kept under a name that says so.
        ExportCancelled: it was stopped; nothing is left.
    """
    began = time.monotonic()
    target = find_target(options.to)
    _check_options(target, options)
    output = _find_output(options)
    if options.output:
        room.check_output(output)
    _fetch_bases(origin, say, cancelled)
    with _open_job(origin, options, say, cancelled, output) as job:
        target.check(job)
        room.check_room(output, target.needs_bytes(job))
        for note in job.notes:
            say({"note": note})
        told = len(job.notes)
        report, folder = _write_and_prove(target, job, output)
        for note in job.notes[told:]:
            say({"note": note})
        size = measure_folder_bytes(folder)
        address = ""
        if not report.passed:
            raise _refuse_failed(report, folder)
        target.publish(job, folder)
        address = str(job.facts.get("address") or "")
        if not options.output:
            shutil.rmtree(folder.parent, ignore_errors=True)
        return ExportOutcome(
            options.to, str(folder) if options.output else "", size, time.monotonic() - began, report,
            address, tuple(job.notes),
        )  # fmt: skip


def _check_options(target: Target, options: ExportOptions) -> None:
    if options.quantize and options.quantize not in target.kind.quantizations:
        known = ", ".join(target.kind.quantizations)
        raise UsageError(
            _("{word!r} is not a form of {target}.", word=one_line(options.quantize, 40), target=target.name),
            where="--quantize",
            hint=_("Known are {names}.", names=known)
            if known
            else _("Leave it out: this target has one form."),
        )
    if options.to == "hub" and not options.repo:
        raise UsageError(
            _("needs the name of a repository."),
            where="--to hub",
            hint=_("Give --repo NAME or --repo OWNER/NAME."),
        )
    if options.to != "hub" and not options.output:
        raise UsageError(
            _("is missing."), where="--output", hint=_("Name the folder to write: --output FOLDER.")
        )
    if options.shard_bytes < 1:
        raise UsageError(
            _("must be at least one byte."), where="--shard-size", hint=_("Write it as 5GB or 500MB.")
        )


def _find_output(options: ExportOptions) -> Path:
    if options.output:
        return Path(options.output).expanduser().absolute()
    return Path(tempfile.mkdtemp(prefix="tui-tuner-export-")) / "export"


def _fetch_bases(origin: Origin, say: Say, cancelled: Callable[[], bool]) -> None:
    def tell(name: str, at: Progress) -> None:
        say({"doing": _("fetching {name}", name=one_line(name, 60)), "done": at.done, "total": at.total,
             "unit": "bytes"})  # fmt: skip

    try:
        fetch_missing_bases([origin], tell, cancelled)
    except FetchCancelled:
        raise ExportCancelled from None


@contextmanager
def _open_job(
    origin: Origin, options: ExportOptions, say: Say, cancelled: Callable[[], bool], output: Path
) -> Iterator[ExportJob]:
    """Open what is exported; a checkpoint is made into the files of a model first, beside the export."""

    def tell(doing: str, done: int, total: int, unit: str) -> None:
        say({"doing": doing, "done": done, "total": total, "unit": unit})

    if not is_checkpoint(origin):
        yield ExportJob(open_source(origin), options, tell, cancelled)
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as folder:
        tell(_("reading the checkpoint"), 0, 0, "")
        place = Path(folder) / "model"
        write_checkpoint_model(origin, place)
        yield ExportJob(open_source(origin, place), options, tell, cancelled)


def _write_and_prove(target: Target, job: ExportJob, output: Path) -> tuple[ParityReport, Path]:
    """Write and prove an export; return the report, and the folder that holds the export."""
    partial = room.begin_folder(output)
    try:
        target.write(job, partial)
        job.stop_if_asked()
        report = target.prove(job, partial) if job.options.parity else skip_parity(_("it was asked not to."))
        report.write_report(partial)
        write_export_card(job, target, partial, report)
        room.write_facts(partial, _list_facts(job, report))
    except BaseException as error:
        # What is there is of no use, and the reason may be a full disk
        full = isinstance(error, Exception) and is_disk_full(error)
        shutil.rmtree(partial, ignore_errors=True)
        if full:
            raise DiskFullError(
                _("no room left on the disk."), where=one_line(output, 300), hint=_("Make room.")
            ) from error
        raise
    folder = output if report.passed else room.name_failed(output)
    room.finish_folder(partial, folder)
    return report, folder


def _list_facts(job: ExportJob, report: ParityReport) -> dict[str, Any]:
    source, options = job.source, job.options
    return {
        "program": f"tui-tuner {__version__}",
        "to": options.to,
        "quantize": options.quantize,
        "source": {
            "name": _hide_folder(source.origin.name),
            "kind": source.origin.kind,
            "checkpoint": source.origin.checkpoint,
        },
        "base": {"name": _hide_folder(source.base_name), "revision": source.base_revision},
        "task": source.config.task,
        "parity": {"checked": report.checked, "passed": report.passed, "outcome": report.describe()},
        "notes": list(job.notes),
        **{name: value for name, value in job.facts.items() if not name.startswith("_")},
    }  # fmt: skip


def _hide_folder(name: str) -> str:
    """Return the last part of a path: a folder of this machine is nobody else's concern."""
    return os.path.basename(name.rstrip("/")) if os.path.isabs(name) else name


def _refuse_failed(report: ParityReport, folder: Path) -> RunError:
    return RunError(
        _("the export does not answer as the result does: {problems}", problems=" ".join(report.problems)),
        where=one_line(folder, 300),
        hint=_("It is kept there with its parity.json, to be looked at. Do not use it."),
    )
