"""The target `onnx`: a graph for ONNX Runtime, of models that read texts and do not write."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_tuner.errors import ModelError, UsageError
from tui_tuner.exporting.merged import SMALL_FILES, get_result, name_stored_type, write_whole_model
from tui_tuner.exporting.merged import TARGET as MERGED
from tui_tuner.exporting.onnx.loading_lines import describe_onnx_loading
from tui_tuner.exporting.onnx.runtime_side import FILE
from tui_tuner.exporting.parity.answers import Answers, read_answers
from tui_tuner.exporting.parity.compare import BOUNDS, Bounds
from tui_tuner.exporting.parity.fresh_process import call_in_fresh_process
from tui_tuner.exporting.parity.proving import choose_dtype, prove_with
from tui_tuner.exporting.parity.report import ParityReport
from tui_tuner.exporting.source import Source
from tui_tuner.exporting.target import SHARD_BYTES, ExportJob, Target
from tui_tuner.exporting.tensors import count_bytes
from tui_tuner.locales import _
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from torch import Tensor

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_TRACE = "tui_tuner.exporting.onnx.tracing:trace_model"
_ANSWER = "tui_tuner.exporting.onnx.runtime_side:answer_with_onnxruntime"
_WHOLE = "whole-model"  # a folder inside the unfinished export, for the merged model
_BYTES = 4  # of a float32


class Onnx(Target):
    """A graph in float32 with any number of texts of any length, beside the tokenizer and the labels."""

    def expect_bytes(self, job: ExportJob) -> int:
        return _BYTES * _count_numbers(job) + SMALL_FILES

    def needs_bytes(self, job: ExportJob) -> int:
        written = count_bytes(get_result(job).tensors) if _needs_merging(job.source) else 0
        return self.expect_bytes(job) + written

    def check(self, job: ExportJob) -> None:
        source = job.source
        if source.writes:
            raise _refuse_writing(source)
        require_packages()
        MERGED.check(job)
        if any(form.dtype != "F32" for form in get_result(job).tensors.forms.values()):
            job.note(_("Its weights become float32, in which ONNX Runtime computes on every processor."))

    def write(self, job: ExportJob, folder: Path) -> None:
        source, whole = job.source, job.source.weights
        if _needs_merging(source):
            whole = folder / _WHOLE
            whole.mkdir()
            write_whole_model(job, whole, SHARD_BYTES)
        get_result(job).write_small_files(folder)
        job.stop_if_asked()
        job.say(_("tracing the model into {file}", file=FILE), 0, 0, "")
        found = call_in_fresh_process(
            _TRACE,
            {
                "model": str(whole),
                "export": str(folder),
                "auto_class": source.task.auto_class,
                "pairs": source.config.task_kind.question,
                "compare": job.options.parity,
                "trust_remote_code": source.config.model.trust_remote_code,
            },
            job.cancelled,
        )
        job.facts["_batches"] = found.pop("batches")
        job.facts.update(found)
        shutil.rmtree(folder / _WHOLE, ignore_errors=True)

    def prove(self, job: ExportJob, folder: Path) -> ParityReport:
        dtype = choose_dtype(job, _count_numbers(job))
        # A merge rounds to the type of the base's files; float32 takes in what is merged as it is
        stored = name_stored_type(get_result(job).tensors) if _needs_merging(job.source) else "float32"
        bounds = replace(max((BOUNDS[stored], BOUNDS[dtype]), key=lambda one: one.logits), least=1.0)
        told: list[int] = []

        def ask(answers: Path, mine: Path) -> dict[str, Any]:
            given = {
                "export": str(folder),
                "follow": str(answers),
                "folder": str(mine),
                "trust_remote_code": job.source.config.model.trust_remote_code,
            }
            found: dict[str, Any] = call_in_fresh_process(_ANSWER, given, job.cancelled)
            told.extend(count_other_choices(read_answers(answers), read_answers(mine), bounds))
            return found

        report = prove_with(job, ask, bounds, dtype)
        report = _add_choices(report, *told)
        return _add_batches(report, job.facts.get("_batches") or [], bounds)

    def describe_loading(self, job: ExportJob) -> tuple[str, str]:
        kind = job.source.config.task_kind
        return "python", describe_onnx_loading(kind, str(get_result(job).config.get("problem_type") or ""))


def require_packages() -> None:
    """Raise `UsageError` unless all that writes and runs ONNX files is installed."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            _("ONNX files need {names}, which are not installed.", names=", ".join(missing)),
            where="--to onnx",
            hint=_("`pip install 'tui-tuner[onnx]'`"),
        )
    if importlib.util.find_spec("transformers.exporters") is None:
        raise UsageError(
            _("This version of transformers writes no ONNX files."),
            where="--to onnx",
            hint=_("`pip install 'transformers>=5.15,<6'`"),
        )


def _refuse_writing(source: Source) -> ModelError:
    hint = _("`--to merged` and `--to gguf` export models that write text.")
    if source.config.task_kind.encoder_decoder:
        hint = _("`--to merged` exports every model.")
    return ModelError(
        _("ONNX files are written of models that classify, tag, find answers or fill masks, and this one is "
          "for the task {task}.", task=source.config.task),
        where=one_line(source.name),
        hint=hint,
    )  # fmt: skip


def _needs_merging(source: Source) -> bool:
    """Return whether the files of the source are not yet those of a whole model in ordinary numbers."""
    return source.adapter is not None or bool(source.read_base_config().get("quantization_config"))


def _count_numbers(job: ExportJob) -> int:
    return sum(form.numbers for form in get_result(job).tensors.forms.values())


def count_other_choices(result: Answers, export: Answers, bounds: Bounds) -> tuple[int, int, int]:
    """Count what is chosen by logits (a class, a tag, the ends of a span, a token), and how it differs.

    Returns:
        How many choices there are, how many differ, and how many of those no near tie explains.
    """
    choices = other = wrong = 0
    for one, mine in zip(result.answers, export.answers, strict=True):
        if one.logits is None or mine.logits is None or one.logits.shape != mine.logits.shape:
            continue
        differs = one.logits.argmax(-1) != mine.logits.argmax(-1)
        choices += differs.numel()
        other += int(differs.sum())
        if one.logits.shape[-1] > 1:
            gaps = measure_gaps(one.logits)
            wrong += int((differs & (gaps > 2 * bounds.allow_difference(one.logits))).sum())
    return choices, other, wrong


def measure_gaps(logits: Tensor) -> Tensor:
    """Return [rows]: how far the best of each row is before the second best."""
    best = logits.topk(2, -1).values
    return best[..., 0] - best[..., 1]


def _add_choices(report: ParityReport, choices: int, other: int, wrong: int) -> ParityReport:
    told = {"choices": choices, "other_choices": other, "other_choices_without_tie": wrong}
    report = replace(report, details={**report.details, **told})
    if not wrong:
        return report
    problem = _(
        "{count} of {choices} choices (classes, tags, spans, tokens) differ.", count=wrong, choices=choices
    )
    return replace(report, passed=False, problems=(*report.problems, problem))


def _add_batches(report: ParityReport, batches: list[dict[str, Any]], bounds: Bounds) -> ParityReport:
    """Add how batches of several lengths compare: they have padding, which single prompts do not."""
    report = replace(report, details={**report.details, "batches": batches, "least_range": bounds.least})
    # Tracing compares in float32 on both sides, whatever the result is computed in
    share = BOUNDS["float32"].logits
    far = [one for one in batches if not one["difference"] <= share * max(one["range"], bounds.least)]
    if not far:
        return report
    first = far[0]
    problem = _(
        "a batch of {rows} texts of {length} tokens differs by {difference:.3g} from the traced model.",
        rows=first["rows"], length=first["length"], difference=first["difference"],
    )  # fmt: skip
    return replace(report, passed=False, problems=(*report.problems, problem))


TARGET = Onnx("onnx")
