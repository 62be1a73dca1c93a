"""The model card of an export: that of the run, with what is true of the export alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tui_tuner.errors import TunerError
from tui_tuner.exporting.curve_picture import MOST_STEPS, PICTURE, draw_losses
from tui_tuner.exporting.parity.report import ParityReport
from tui_tuner.exporting.target import ExportJob, Target
from tui_tuner.locales import _
from tui_tuner.models.cards.model_card import read_card
from tui_tuner.models.cards.published import find_published_card
from tui_tuner.models.hub.place import is_model_path
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import one_line
from tui_tuner.training.keeping.model_card import (
    CARD,
    escape_markdown,
    find_last_path_part,
    format_inline_code,
)
from tui_tuner.verdicts.run_history import gather_journal_history

_LARGEST = 1 << 20  # bytes of a card that is read
_OURS = "tui-tuner"  # a tag of cards that this program wrote
_BASE_RELATIONS = {"adapter": "adapter", "gguf": "quantized", "ollama": "quantized"}
_LIBRARIES = {"gguf": "gguf", "ollama": "gguf", "onnx": "onnx"}


def write_export_card(job: ExportJob, target: Target, folder: Path, report: ParityReport) -> None:
    """Write the card of an export into its folder, and the picture of the run's curve beside it."""
    head, sections = _read_run_card(job.source.folder / CARD)
    licence = find_licence(job)
    before, after = _split_sections(sections)
    parts = [
        _format_head(job, head, licence),
        *(before or [f"# {escape_markdown(find_last_path_part(job.source.origin.name))}"]),
        _show_curve(job, folder),
        _describe_loading(job, target),
        _describe_parity(report),
        _describe_licence(job, licence),
        *after,
        _list_notes(job),
    ]
    (folder / CARD).write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")


def find_licence(job: ExportJob) -> str:
    """Return the licence of the base model by its card, or its published card; empty if unknown."""
    found = read_card(job.source.weights).licence
    if not found:
        card = find_published_card(job.source.base_name or job.source.origin.name)
        found = card.licence if card is not None else ""
    return one_line(found, 60)


def _read_run_card(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the head and the sections of a card that a run wrote; empty for others."""
    try:
        if path.stat().st_size > _LARGEST:
            return {}, []
        text = path.read_text(encoding="utf-8")
        found = re.match(r"---\n(.*?)\n---\n(.*)", text, re.DOTALL)
        head = yaml.safe_load(found[1]) if found else None
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}, []
    if found is None or not isinstance(head, dict) or _OURS not in (head.get("tags") or []):
        return {}, []
    text = re.sub(r"<!-- /?verdict -->\n?", "", found[2])
    return head, [part.strip() for part in re.split(r"(?m)^(?=## )", text) if part.strip()]


def _split_sections(sections: list[str]) -> tuple[list[str], list[str]]:
    """Return the sections before and after that on how to use the model, which is written anew."""
    use = f"## {_('How to use it')}"
    place = next((place for place, one in enumerate(sections) if one.startswith(use)), len(sections))
    return sections[:place], sections[place + 1 :]


def _format_head(job: ExportJob, head: dict[str, Any], licence: str) -> str:
    source, to = job.source, job.options.to
    merged = to != "adapter" and not (to == "hub" and source.adapter is not None and not job.options.merge)
    values = {name: value for name, value in head.items() if name not in ("library_name", "license")}
    if to in _LIBRARIES:
        values = {"library_name": _LIBRARIES[to], **values}
    else:
        values = {"library_name": "transformers" if merged else head.get("library_name", "peft"), **values}
    # A folder's name would be taken for a hub id, and might link to an unrelated model
    if source.base_name and not is_model_path(source.base_name):
        values["base_model"] = one_line(source.base_name, 200)
        values["base_model_relation"] = _BASE_RELATIONS.get(to, "finetune" if merged else "adapter")
    if licence:
        values["license"] = licence
    tags = [str(one) for one in values.pop("tags", None) or [_OURS]]
    values["tags"] = list(dict.fromkeys([*tags, to] if to != "hub" else tags))
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, default_flow_style=False, width=1000)
    return f"---\n{text}---"


def _show_curve(job: ExportJob, folder: Path) -> str:
    if job.source.origin.kind != "run":
        return ""
    try:
        history = gather_journal_history(RunFolder(Path(job.source.origin.path)).events_path, MOST_STEPS)
    except (TunerError, OSError):
        return ""
    picture = draw_losses(history)
    if not picture:
        return ""
    (folder / PICTURE).write_text(picture, encoding="utf-8")
    return f"![{_('Losses of the run')}]({PICTURE})"


def _describe_loading(job: ExportJob, target: Target) -> str:
    language, code = target.describe_loading(job)
    return f"## {_('How to use it')}\n\n```{language}\n{code.strip()}\n```" if code else ""


def _describe_parity(report: ParityReport) -> str:
    lines = [f"## {_('Compared with the result')}", ""]
    if not report.checked:
        return "\n".join([*lines, escape_markdown(report.describe())])
    lines.append(
        _("It was loaded with {program} and compared with the result on {count} prompts: {outcome}.",
          program=escape_markdown(report.program), count=len(report.prompts),
          outcome=escape_markdown(report.describe()))
    )  # fmt: skip
    costs = report.costs
    if costs:
        lines += [
            "",
            _("It was trained over weights in {bits} and is exported over the original ones. On {count} "
              "held-out prompts: KL {kl:.2g}, same top token at {share:.2%}.",
              bits=format_inline_code(costs["quantization"]), count=costs["held_out_prompts"],
              kl=costs["mean_kl"], share=costs["top_1_agreement"]),
        ]  # fmt: skip
        if costs.get("loss_as_trained") is not None and costs.get("loss_as_exported") is not None:
            lines.append(
                _("Loss of their answers: {before:.4f} as trained, {after:.4f} as exported.",
                  before=costs["loss_as_trained"], after=costs["loss_as_exported"])
            )  # fmt: skip
    return "\n".join(lines)


def _describe_licence(job: ExportJob, licence: str) -> str:
    said = (
        _(
            "The base model has the licence {licence}; it holds for this model, too.",
            licence=format_inline_code(licence),
        )
        if licence
        else _(
            "The licence of the base model is not known here. See its card before this is given to others."
        )
    )
    return f"## {_('Licence')}\n\n{said}"


def _list_notes(job: ExportJob) -> str:
    if not job.notes:
        return ""
    return "\n".join([f"## {_('Notes')}", "", *(f"- {escape_markdown(note)}" for note in job.notes)])
