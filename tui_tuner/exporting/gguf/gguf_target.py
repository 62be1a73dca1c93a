"""The target `gguf`: one file for llama.cpp and the programs made of it."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tui_tuner.errors import ModelError, TunerError
from tui_tuner.exporting.gguf.llama_cpp import quantize_file, require_quantize
from tui_tuner.exporting.gguf.tensor_types import FILE_TYPES, FileType
from tui_tuner.exporting.gguf.writing import Draft, draft_file, write_file
from tui_tuner.exporting.merged import get_result
from tui_tuner.exporting.merging.result import check_mergeable
from tui_tuner.exporting.parity.answers import read_answers
from tui_tuner.exporting.parity.compare import BOUNDS, Bounds, compare_answers
from tui_tuner.exporting.parity.fresh_process import call_in_fresh_process
from tui_tuner.exporting.parity.proving import choose_dtype, prove_with
from tui_tuner.exporting.parity.report import ParityReport
from tui_tuner.exporting.target import ExportJob, Target
from tui_tuner.locales import _
from tui_tuner.text import one_line

FILE = "model.gguf"
_TRANSFORMERS = "tui_tuner.exporting.gguf.transformers_side:answer_with_gguf"
_LLAMA = "tui_tuner.exporting.gguf.llama_side:answer_with_llama"
# llama.cpp keeps keys and values in float16, and multiplies by rounded activations
_LLAMA_ROUNDS = "float16"


class Gguf(Target):
    """A GGUF file, read back by transformers, and by llama.cpp where that is installed."""

    def expect_bytes(self, job: ExportJob) -> int:
        kind, draft = get_file_type(job), get_draft(job)
        return draft.count_bytes(kind.word) if kind.direct else _count_packed(draft, kind)

    def needs_bytes(self, job: ExportJob) -> int:
        kind = get_file_type(job)
        written = 0 if kind.direct else get_draft(job).count_bytes(choose_plain_word(job))
        return self.expect_bytes(job) + written

    def check(self, job: ExportJob) -> None:
        source = job.source
        if not source.writes:
            raise ModelError(
                _("GGUF files are written of models that write text, and this one is for the task {task}.",
                  task=source.config.task),
                where=one_line(source.name),
                hint=_("`--to merged` exports every model."),
            )  # fmt: skip
        check_mergeable(source)
        kind = get_file_type(job)
        if not kind.direct:
            require_quantize(kind.word)
        for remark in get_draft(job).remarks:
            job.note(remark)
        if find_llama() is None:
            job.note(_("llama-cpp-python is not installed: the file is read back by transformers alone."))

    def write(self, job: ExportJob, folder: Path) -> None:
        kind, draft = get_file_type(job), get_draft(job)
        word = kind.word if kind.direct else choose_plain_word(job)
        said = _("writing {file} in {word}", file=FILE, word=word)
        path = folder / (FILE if kind.direct else f"plain-{FILE}")
        write_file(
            draft,
            get_result(job).tensors,
            word,
            path,
            lambda done, total: job.say(said, done, total, "bytes"),
            job.stop_if_asked,
        )
        if not kind.direct:
            job.say(_("packing in {word}", word=kind.word), 0, 0, "")
            quantize_file(path, folder / FILE, kind.word, job.cancelled)
            job.stop_if_asked()
            path.unlink()
        job.facts["tensors"] = len(draft.tensors)

    def prove(self, job: ExportJob, folder: Path) -> ParityReport:
        result, kind = get_result(job), get_file_type(job)
        dtype = choose_dtype(job, sum(form.numbers for form in result.tensors.forms.values()))
        bounds = max((BOUNDS[kind.bound], BOUNDS[dtype]), key=lambda one: one.logits)
        told: list[ParityReport] = []

        def ask(answers: Path, mine: Path) -> dict[str, Any]:
            given = {
                "file": str(folder / FILE),
                "follow": str(answers),
                "folder": str(mine),
                "dtype": dtype,
                "config": result.config,
                "prefix": get_draft(job).vocabulary.flags.get("add_space_prefix"),
                "trims": get_draft(job).vocabulary.trims,
            }
            found: dict[str, Any] = call_in_fresh_process(_TRANSFORMERS, given, job.cancelled)
            if find_llama() is not None:
                job.say(_("comparing: llama.cpp answers"), 0, 0, "")
                given["folder"] = str(mine.with_name("llama"))
                widest = max((bounds, BOUNDS[_LLAMA_ROUNDS]), key=lambda one: one.logits)
                told.append(_ask_llama(job, given, widest))
            return found

        report = prove_with(job, ask, bounds, dtype, quantize=kind.word)
        return fold_reports(report, told)

    def describe_loading(self, job: ExportJob) -> tuple[str, str]:
        return "bash", f"llama-server -m {FILE} --jinja\n"


def _ask_llama(job: ExportJob, given: dict[str, Any], bounds: Bounds) -> ParityReport:
    """Compare what llama.cpp answers; a file that it does not load has failed."""
    try:
        call_in_fresh_process(_LLAMA, given, job.cancelled)
    except TunerError as error:
        return ParityReport(checked=True, passed=False, program="llama.cpp", problems=(str(error),))
    return compare_answers(read_answers(Path(given["follow"])), read_answers(Path(given["folder"])), bounds)


def fold_reports(report: ParityReport, others: Sequence[ParityReport]) -> ParityReport:
    """Return the report of one program with those of others in its details; it fails if one of them does."""
    for other in others:
        problems = tuple(f"{other.program}: {problem}" for problem in other.problems)
        report = replace(
            report,
            passed=report.passed and other.passed,
            problems=(*report.problems, *problems),
            details={**report.details, other.program: other.list_report_values()},
        )
    return report


def get_file_type(job: ExportJob) -> FileType:
    """Return the number format that was asked for."""
    return FILE_TYPES[job.options.quantize or "f16"]


def get_draft(job: ExportJob) -> Draft:
    """Return what the file of a job will say, settled once."""
    found = job.facts.get("_draft")
    if found is None:
        found = job.facts["_draft"] = _draft_result(job)
    assert isinstance(found, Draft)
    return found


def _draft_result(job: ExportJob) -> Draft:
    from transformers import AutoTokenizer

    result, source = get_result(job), job.source
    trusts = source.config.model.trust_remote_code
    tokenizer = AutoTokenizer.from_pretrained(source.tokenizer_source, trust_remote_code=trusts)
    shapes = {name: form.shape for name, form in result.tensors.forms.items()}
    name = source.origin.name.rstrip("/").rpartition("/")[2]
    return draft_file(name, read_config(result.config, name), tokenizer, shapes, list_ends(job, tokenizer))


def read_config(values: dict[str, Any], where: str) -> Any:
    """Return transformers' config of a config.json's values.

    Raises:
        ModelError: transformers does not know the model by itself.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = str(values.get("model_type") or "")
    if kind not in CONFIG_MAPPING:
        raise ModelError(
            _(
                "GGUF files are not written of models with code of their own ({kind}).",
                kind=one_line(kind, 60),
            ),
            where=one_line(where),
            hint=_("`--to merged` exports every model."),
        )
    return CONFIG_MAPPING[kind].from_dict(dict(values))


def list_ends(job: ExportJob, tokenizer: Any) -> list[int]:
    """List the tokens that end generation, by the model's own files, else by its tokenizer."""
    result = get_result(job)
    for values in (result.generation, result.config):
        told = values.get("eos_token_id")
        if told is not None:
            return [int(one) for one in (told if isinstance(told, list) else [told])]
    return [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]


def choose_plain_word(job: ExportJob) -> str:
    """Return the format that llama.cpp packs from: that of most weights."""
    kinds = [form.dtype for form in get_result(job).tensors.forms.values()]
    return "bf16" if kinds.count("BF16") * 2 > len(kinds) else "f16"


def _count_packed(draft: Draft, kind: FileType) -> int:
    from math import prod

    plain = draft.count_bytes("f16")
    weights = sum(prod(tensor.shape) for tensor in draft.tensors if len(tensor.shape) > 1)
    return plain - 2 * weights + round(weights * kind.bits / 8)


def find_llama() -> Any:
    """Return where the package llama-cpp-python is; None if it is not installed."""
    return importlib.util.find_spec("llama_cpp")


TARGET = Gguf("gguf")
