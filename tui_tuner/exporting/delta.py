"""The target `delta`: the difference of a result's weights from its base model's, with hashes of both."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

from tui_tuner.errors import ModelError
from tui_tuner.exporting.deltas.applying import apply_delta, find_base_folder
from tui_tuner.exporting.deltas.making import FILES, can_add, make_delta
from tui_tuner.exporting.merged import SMALL_FILES, get_result, name_stored_type
from tui_tuner.exporting.merging.result import check_mergeable
from tui_tuner.exporting.merging.weight_files import WeightFiles
from tui_tuner.exporting.parity.proving import prove_with_transformers
from tui_tuner.exporting.parity.report import ParityReport
from tui_tuner.exporting.target import ExportJob, Target
from tui_tuner.locales import _
from tui_tuner.models.loading import check_weight_files
from tui_tuner.text import one_line
from tui_tuner.training.origin import find_model_sources


class Delta(Target):
    """Differences from a base model, tensor by tensor."""

    def expect_bytes(self, job: ExportJob) -> int:
        base, result = _open_base(job), get_result(job).tensors
        touched = getattr(result, "touched", None)
        # Corrections are few: at most one number in 16 with its place
        return SMALL_FILES + int(1.1 * sum(
            form.bytes for name, form in result.forms.items()
            if touched is None or name in touched or not can_add(base.forms.get(name), form)
        ))  # fmt: skip

    def needs_bytes(self, job: ExportJob) -> int:
        # To prove it, it is applied
        whole = (
            sum(form.bytes for form in get_result(job).tensors.forms.values()) if job.options.parity else 0
        )
        return 2 * self.expect_bytes(job) + whole

    def check(self, job: ExportJob) -> None:
        check_mergeable(job.source)
        base = _open_base(job)
        forms = get_result(job).tensors.forms
        if not any(can_add(base.forms.get(name), form) for name, form in forms.items()):
            raise ModelError(
                _("no tensor of the result is one of this base model."),
                where=one_line(base.folder, 300),
                hint=_("Name the model that it was trained from with --base."),
            )
        rows = [
            name
            for name, form in forms.items()
            if name in base.forms and base.forms[name].shape != form.shape
        ]
        if rows:
            job.note(
                _(
                    "New rows of {names} are stored whole.",
                    names=", ".join(one_line(one, 80) for one in rows[:3]),
                )
            )

    def write(self, job: ExportJob, folder: Path) -> None:
        result, base = get_result(job), _open_base(job)
        said = _("writing differences")
        plan = make_delta(
            base,
            result.tensors,
            folder,
            job.facts["_base_names"],
            job.options.shard_bytes,
            lambda done, total: job.say(said, done, total, "bytes"),
            job.stop_if_asked,
        )
        (folder / FILES).mkdir()
        result.write_small_files(folder / FILES)
        job.facts["delta"] = {
            "same": len(plan.same), "added": len(plan.added), "whole": len(plan.whole),
            "dropped": len(plan.dropped),
        }  # fmt: skip

    def prove(self, job: ExportJob, folder: Path) -> ParityReport:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as place:
            applied = Path(place) / "applied"
            found = apply_delta(str(_open_base(job).folder), str(folder), applied, cancelled=job.cancelled)
            files = WeightFiles(applied)
            weights = sum(form.numbers for form in files.forms.values())
            report = prove_with_transformers(job, applied, name_stored_type(files), weights)
        hashes = {"base_sha256": found["base_sha256"], "result_sha256": found["sha256"]}
        return replace(report, details={**report.details, **hashes})

    def describe_loading(self, job: ExportJob) -> tuple[str, str]:
        name = job.facts["_base_names"]["name"]
        return "bash", f"tui-tuner export --apply-delta {name} . --output RESULT\n"


def _open_base(job: ExportJob) -> WeightFiles:
    """Open the base model that a delta is made against, once.

    Raises:
        ModelError: it is not known, or not on this machine.
    """
    kept = job.facts.get("_base_files")
    if isinstance(kept, WeightFiles):
        return kept
    source = job.source
    names = {"name": source.base_name, "revision": source.base_revision}
    if source.adapter is not None:
        folder = source.weights
    elif job.options.base:
        folder, names = find_base_folder(job.options.base), {"name": job.options.base, "revision": ""}
    elif source.origin.kind == "run" and source.config.model.architecture is None:
        found = find_model_sources(source.config.model)[0]
        names = {"name": source.config.model.name, "revision": found.revision or ""}
        if not found.path:
            raise _refuse_base(job)
        folder = Path(found.path)
    else:
        raise _refuse_base(job)
    check_weight_files(folder)
    if os.path.isabs(names["name"]):
        names["name"] = os.path.basename(names["name"].rstrip("/"))
    job.facts["_base_names"] = names
    files = job.facts["_base_files"] = WeightFiles(folder)
    return files


def _refuse_base(job: ExportJob) -> ModelError:
    return ModelError(
        _("a delta needs the base model, which is not known or not on this machine."),
        where=one_line(job.source.name),
        hint=_("Name its folder with --base."),
    )


TARGET = Delta("delta")
