"""The target `adapter`: a folder of peft, as vLLM and peft itself put it onto the base model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.errors import ModelError
from tui_tuner.exporting.merging.result import write_tokenizer
from tui_tuner.exporting.merging.weight_files import WeightFiles
from tui_tuner.exporting.parity.compare import BOUNDS
from tui_tuner.exporting.parity.proving import choose_dtype, prove_with, prove_with_transformers
from tui_tuner.exporting.parity.report import ParityReport
from tui_tuner.exporting.source import Source
from tui_tuner.exporting.target import ExportJob, Target
from tui_tuner.locales import N_, _
from tui_tuner.methods.peft_method import PeftMethod
from tui_tuner.methods.stored import CONFIG, WEIGHTS
from tui_tuner.text import join_sentence_items, one_line
from tui_tuner.training.base_model import RECORD

SMALL_FILES = 32 << 20  # bytes of a tokenizer, configs and a card
# Rank above which vLLM takes no adapter (`--max-lora-rank`)
VLLM_RANK = 512
_PROGRAM = "load_adapter.py"  # loads an adapter that peft does not know, without this program
_COPIED = (WEIGHTS, RECORD, "config.json", _PROGRAM)


class Adapter(Target):
    """An adapter, without its base model."""

    def expect_bytes(self, job: ExportJob) -> int:
        return (require_adapter(job.source) / WEIGHTS).stat().st_size + SMALL_FILES

    def check(self, job: ExportJob) -> None:
        source = job.source
        require_adapter(source)
        if source.below:
            raise ModelError(
                _("stands on other adapters, and other programs load one alone."),
                where=one_line(source.name),
                hint=_("Export the model with all of them: --to merged."),
            )
        reasons = list_vllm_reasons(source)
        job.facts["vllm"] = {"loads": not reasons, "reasons": reasons}
        if reasons:
            job.note(
                _("vLLM does not load this adapter: {reasons}. For vLLM: --to merged.",
                  reasons=join_sentence_items(reasons))
            )  # fmt: skip
        if not isinstance(source.method, PeftMethod):
            job.note(_("peft does not know this method: tui-tuner loads it, or load_adapter.py beside it."))

    def write(self, job: ExportJob, folder: Path) -> None:
        source = job.source
        place = require_adapter(source)
        write_tokenizer(source, folder)
        for name in _COPIED:
            if (place / name).is_file():
                job.stop_if_asked()
                shutil.copyfile(place / name, folder / name)
        # Last, as nobody takes a folder without it for an adapter
        settings = json.loads((place / CONFIG).read_text(encoding="utf-8"))
        settings["base_model_name_or_path"] = source.base_name
        settings["revision"] = source.base_revision or None
        settings["inference_mode"] = True
        (folder / CONFIG).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    def prove(self, job: ExportJob, folder: Path) -> ParityReport:
        source = job.source
        weights = sum(form.numbers for form in WeightFiles(source.weights).forms.values())
        if not isinstance(source.method, PeftMethod):
            return _prove_by_ourselves(job, folder, weights)
        stored = source.stored
        return prove_with_transformers(
            job,
            folder,
            "float32",
            weights,
            base=source.weights,
            rows=stored.embedding_rows if stored is not None else 0,
            config=_list_head_values(source),
            virtual=_count_virtual(source),
        )

    def describe_loading(self, job: ExportJob) -> tuple[str, str]:
        source = job.source
        if not isinstance(source.method, PeftMethod):
            return "bash", "tui-tuner chat . \n"
        kind = source.task.auto_class
        base = source.base_name if not Path(source.base_name).is_absolute() else Path(source.base_name).name
        lines = [
            "from peft import PeftModel",
            f"from transformers import AutoTokenizer, {kind}",
            "",
            'tokenizer = AutoTokenizer.from_pretrained(".")',
            f"base = {kind}.from_pretrained({base!r})",
            'model = PeftModel.from_pretrained(base, ".")',
        ]
        told = job.facts.get("vllm")
        if isinstance(told, Mapping) and told.get("loads") and source.writes:
            lines += ["", f"# vllm serve {base} --enable-lora --lora-modules result=. --max-lora-rank 512"]
        return "python", "\n".join(lines) + "\n"


def require_adapter(source: Source) -> Path:
    """Return the folder of a source's adapter.

    Raises:
        ModelError: it is a whole model.
    """
    if source.adapter is None:
        raise ModelError(
            _("is a whole model: it has no adapter."),
            where=one_line(source.name),
            hint=_("Export it with --to merged, or what it changed with --to delta."),
        )
    return source.adapter


def list_vllm_reasons(source: Source) -> list[str]:
    """List what vLLM does not carry of an adapter; empty if it loads it.

    From its `PEFTHelper`, which reads `r`, `lora_alpha`, `use_rslora` and nothing of single layers.
    """
    told = source.stored.settings if source.stored is not None else {}
    if str(told.get("peft_type") or "").upper() != "LORA":
        method = source.method
        name = _(method.kind.label) if method is not None else str(told.get("peft_type"))
        return [_("it is {method}, not LoRA", method=name)]
    found = [
        _(reason) for reason, there in (
            (N_("DoRA"), told.get("use_dora")),
            (N_("modules that are trained whole (modules_to_save)"), told.get("modules_to_save")),
            (N_("embeddings of its own"), source.stored is not None and source.stored.whole_tensors),
            (N_("ranks or alphas of single layers"), told.get("rank_pattern") or told.get("alpha_pattern")),
            (N_("trained biases"), told.get("bias") not in (None, "none") or told.get("lora_bias")),
            (N_("adapters of fused experts"), told.get("target_parameters")),
            (N_("single trained tokens"), told.get("trainable_token_indices")),
        ) if there
    ]  # fmt: skip
    rank = told.get("r")
    if isinstance(rank, int) and rank > VLLM_RANK:
        found.append(_("a rank of {rank}, above {most}", rank=rank, most=VLLM_RANK))
    if not source.writes:
        found.append(_("the head of another task"))
    return found


def _list_head_values(source: Source) -> dict[str, Any]:
    """Return what the config of the base must say so that it has the adapter's head."""
    return {**source.task.model_values(source.config, source.learned), **source.head}


def _count_virtual(source: Source) -> int:
    """Return how many positions a model of peft gives logits for before those of the text."""
    method, stored = source.method, source.stored
    if method is None or stored is None or not method.has(Trait.VIRTUAL_TOKENS) or method.has(Trait.PREFIX):
        return 0
    return int(stored.settings.get("num_virtual_tokens") or 0)


def _prove_by_ourselves(job: ExportJob, folder: Path, weights: int) -> ParityReport:
    """Compare an adapter that only this program loads: its folder, opened as any adapter."""
    from tui_tuner.exporting.parity.fresh_process import call_in_fresh_process
    from tui_tuner.inference.origin import Origin
    from tui_tuner.training.load_run import choose_load_device

    dtype = choose_dtype(job, weights)
    own = Origin(
        "adapter",
        str(folder),
        str(folder),
        task=job.source.config.task,
        base=str(job.source.weights),
        any_base=True,
    )

    def ask(result: Path, mine: Path) -> dict[str, Any]:
        found: dict[str, Any] = call_in_fresh_process(
            "tui_tuner.exporting.parity.result_side:answer_as_result",
            {
                "origin": own.list_origin_values(),
                "folder": str(mine),
                "follow": str(result),
                "device": choose_load_device(job.options.device),
                "changes": {"model.dtype": dtype},
            },
            job.cancelled,
        )
        return found

    return prove_with(job, ask, BOUNDS[dtype], dtype)


TARGET = Adapter("adapter")
