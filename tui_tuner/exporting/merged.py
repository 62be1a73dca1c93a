"""The target `merged`: one folder of safetensors, written shard by shard."""

from __future__ import annotations

from pathlib import Path

from tui_tuner.exporting.merging.result import Result, check_mergeable, open_result
from tui_tuner.exporting.merging.shard_writer import write_shards
from tui_tuner.exporting.merging.weight_files import WeightFiles
from tui_tuner.exporting.parity.proving import prove_with_transformers
from tui_tuner.exporting.parity.report import ParityReport
from tui_tuner.exporting.target import ExportJob, Target
from tui_tuner.exporting.tensors import TensorReader, count_bytes
from tui_tuner.locales import _

SMALL_FILES = 32 << 20  # bytes of a tokenizer, configs and a card
_TYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class Merged(Target):
    """A whole model that transformers loads by itself."""

    def expect_bytes(self, job: ExportJob) -> int:
        return count_bytes(get_result(job).tensors) + SMALL_FILES

    def check(self, job: ExportJob) -> None:
        check_mergeable(job.source)
        result = get_result(job)
        source = job.source
        if not result.streamed:
            job.note(_("This adapter is merged with the whole model in memory, not shard by shard."))
        if source.adapter is not None and source.config.model.quantization != "none":
            job.note(
                _("It was trained over weights in {bits}; the export takes the base's original weights. "
                  "What that changes is measured and told in parity.json.",
                  bits=source.config.model.quantization)
            )  # fmt: skip

        if source.read_base_config().get("quantization_config"):
            job.note(
                _("The base model's files hold quantised weights; they are written as ordinary numbers, and "
                  "stay as coarse as they were.")
            )  # fmt: skip

    def write(self, job: ExportJob, folder: Path) -> None:
        write_whole_model(job, folder, job.options.shard_bytes)

    def prove(self, job: ExportJob, folder: Path) -> ParityReport:
        files = WeightFiles(folder)
        weights = sum(form.numbers for form in files.forms.values())
        return prove_with_transformers(job, folder, name_stored_type(files), weights)

    def describe_loading(self, job: ExportJob) -> tuple[str, str]:
        kind = job.source.task.auto_class
        return "python", (
            f"from transformers import AutoTokenizer, {kind}\n\n"
            f'tokenizer = AutoTokenizer.from_pretrained(".")\nmodel = {kind}.from_pretrained(".")\n'
        )


def get_result(job: ExportJob) -> Result:
    """Return the whole model of a job's source, opened once."""
    found = job.facts.get("_result")
    if found is None:
        found = job.facts["_result"] = open_result(job.source)
    assert isinstance(found, Result)
    return found


def write_whole_model(job: ExportJob, folder: Path, shard_bytes: int) -> None:
    """Write weights first, and last the files without which nobody takes the folder for a model."""
    result = get_result(job)
    said = _("writing weights")
    write_shards(
        result.tensors,
        folder,
        shard_bytes,
        lambda done, total: job.say(said, done, total, "bytes"),
        job.stop_if_asked,
    )
    result.write_small_files(folder)


def name_stored_type(files: TensorReader) -> str:
    """Return the coarsest type of weights, as a key of the bounds of parity."""
    kinds = {_TYPES.get(form.dtype, "float32") for form in files.forms.values()}
    return next((kind for kind in ("bfloat16", "float16") if kind in kinds), "float32")


TARGET = Merged("merged")
