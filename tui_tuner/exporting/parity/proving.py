"""Prove an export: the result and the export answer the same prompts in new processes, and are compared."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_tuner.exporting.parity.answers import read_answers
from tui_tuner.exporting.parity.compare import BOUNDS, Bounds, compare_answers
from tui_tuner.exporting.parity.fresh_process import call_in_fresh_process
from tui_tuner.exporting.parity.report import ParityReport
from tui_tuner.locales import _
from tui_tuner.models.device import measure_free_memory
from tui_tuner.training.load_run import choose_load_device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tui_tuner.exporting.target import ExportJob

_ROOM = 0.7  # share of the free memory that weights may take in a comparison
_RESULT = "tui_tuner.exporting.parity.result_side:answer_as_result"
_TRANSFORMERS = "tui_tuner.exporting.parity.transformers_side:answer_with_transformers"
Ask = Callable[[Path, Path], dict[str, Any]]  # (result's answers, where the export's go) -> what it returned


def choose_dtype(job: ExportJob, weights: int) -> str:
    """Return the type that both sides compute in: float32 where it fits, so that only the export's own
    rounding is seen.

    Args:
        weights: How many numbers the model has.
    """
    device = choose_load_device(job.options.device)
    return "float32" if 4 * weights <= _ROOM * measure_free_memory(device) else "bfloat16"


@contextmanager
def open_result_answers(job: ExportJob, changes: dict[str, Any]) -> Iterator[Path]:
    """Compute the answers of the result; yields the folder that holds them."""
    job.say(_("comparing: the result answers"), 0, 0, "")
    with tempfile.TemporaryDirectory(prefix="tui-tuner-") as folder:
        place = Path(folder) / "result"
        found = call_in_fresh_process(
            _RESULT,
            {
                "origin": job.source.origin.list_origin_values(),
                "folder": str(place),
                "device": choose_load_device(job.options.device),
                "changes": changes,
            },
            job.cancelled,
        )
        job.facts["loss"] = found.get("loss")
        yield place


def prove_with(job: ExportJob, ask: Ask, bounds: Bounds, dtype: str, **details: Any) -> ParityReport:
    """Compare an export with its source.

    Args:
        ask: Makes the export answer: given the folder of the result's answers and one for its own, which it
            fills as `answers.Answers.save_to` does.
        bounds: How far the export may be from the result.
        dtype: The type in which the result computes.
        details: More values for `parity.json`.
    """
    changes: dict[str, Any] = {"model.dtype": dtype, "model.quantization": "none"}
    with open_result_answers(job, changes) as result:
        mine = result.with_name("export")
        job.say(_("comparing: the export answers"), 0, 0, "")
        ask(result, mine)
        report = compare_answers(
            read_answers(result), read_answers(mine), bounds, {"result_dtype": dtype, **details}
        )
        if not read_answers(mine).details.get("rendered_equal", True):
            told = _("its chat template renders chats differently.")
            report = replace(report, passed=False, problems=(*report.problems, told))
        return replace(report, costs=_measure_costs(job, result))


def prove_with_transformers(
    job: ExportJob,
    folder: Path,
    stored: str,
    weights: int,
    *,
    options: dict[str, Any] | None = None,
    base: Path | None = None,
    bounds: Bounds | None = None,
    **more: Any,
) -> ParityReport:
    """Compare a folder that transformers loads with its source.

    Args:
        stored: The type of its weights, a key of `compare.BOUNDS`.
        weights: How many numbers the model has.
        options: Given to `from_pretrained`, such as `gguf_file`.
        base: The base model of an adapter.
        more: More arguments of `transformers_side.answer_with_transformers`.
    """
    dtype = choose_dtype(job, weights)
    source = job.source

    def ask(result: Path, mine: Path) -> dict[str, Any]:
        found: dict[str, Any] = call_in_fresh_process(
            _TRANSFORMERS,
            {
                "export": str(folder),
                "follow": str(result),
                "folder": str(mine),
                "auto_class": source.task.auto_class,
                "writes": source.writes,
                "device": choose_load_device(job.options.device),
                "dtype": dtype,
                "options": options or {},
                "base": str(base) if base is not None else "",
                "trust_remote_code": source.config.model.trust_remote_code,
                **more,
            },
            job.cancelled,
        )
        return found

    # What both sides compute in rounds, too
    widest = max((BOUNDS[stored], BOUNDS[dtype]), key=lambda one: one.logits) if bounds is None else bounds
    return prove_with(job, ask, widest, dtype)


def _measure_costs(job: ExportJob, result: Path) -> dict[str, Any]:
    """Measure what it costs that a run trained over quantised weights is exported over the original ones."""
    config = job.source.config
    if job.source.adapter is None or config.model.quantization == "none":
        return {}
    job.say(_("comparing: the model as it was trained, over quantised weights"), 0, 0, "")
    trained = result.with_name("trained")
    found = call_in_fresh_process(
        _RESULT,
        {
            "origin": job.source.origin.list_origin_values(),
            "folder": str(trained),
            "device": choose_load_device(job.options.device),
            "follow": str(result),
        },
        job.cancelled,
    )
    report = compare_answers(read_answers(trained), read_answers(result), Bounds(float("inf"), float("inf")))
    return {
        "quantization": config.model.quantization,
        "held_out_prompts": sum(one.held_out for one in read_answers(result).prompts),
        "mean_kl": report.kl,
        "top_1_agreement": report.top_1,
        "largest_logit_difference": report.largest_difference,
        "loss_as_trained": found.get("loss"),
        "loss_as_exported": job.facts.get("loss"),
    }
