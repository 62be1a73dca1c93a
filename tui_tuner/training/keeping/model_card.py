"""`README.md` of a final model: what was done, on what, with which figures, and how it is loaded.

Its head is what the hub reads as metadata. Nothing of it is private: files are named without their folders.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tui_tuner.compute.encoders import plain_model
from tui_tuner.config.kinds import METHODS, QUANTISABLE
from tui_tuner.config.metrics import METRICS, canonical
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.data.ledger import OUTCOMES
from tui_tuner.locales import _
from tui_tuner.methods import trainable_parameters
from tui_tuner.methods.prompts import virtual_tokens
from tui_tuner.text import one_line
from tui_tuner.training.keeping.usage import Usage, usage_of

CARD = "README.md"
WIDEST = 200  # characters of a name

# Names of metrics on the hub, where it has one
HUB_METRICS = {
    "accuracy": "accuracy",
    "f1": "f1",
    "f1_macro": "f1",
    "mcc": "matthews_correlation",
    "pearson": "pearsonr",
    "precision": "precision",
    "recall": "recall",
    "exact_match": "exact_match",
    "perplexity": "perplexity",
}


@dataclass(frozen=True)
class Facts:
    """What a card tells beside what the model itself knows.

    Args:
        step: Of the weights.
        total: Steps of the run.
        measured: `{step: {metric: value}}` on held-out rows: before training where it was measured, and last.
        ledger: The fields of `data.ledger.Ledger.to_json`; empty where the run has none.
        revision: The commit of the base model, if it is of a hub.
        origin: `hub`, `folder`, `package` or `random` (no weights were loaded).
    """

    config: ResolvedConfig
    label: str
    peft_type: str
    step: int
    total: int
    measured: Mapping[int, Mapping[str, float | None]] = field(default_factory=dict)
    ledger: Mapping[str, Any] = field(default_factory=dict)
    revision: str = ""
    origin: str = "folder"
    device: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


def write_card(folder: Path, model: Any, tokenizer: Any, facts: Facts) -> None:
    """Write the card into a final model's folder, in place of what peft wrote."""
    usage = usage_of(model, tokenizer, facts.peft_type, facts.config.model.trust_remote_code)
    parts = [
        _head(facts, usage, hasattr(model, "peft_config")),
        f"# {escaped(_title(facts))}",
        _done(facts, model),
        _data(facts),
        _figures(facts),
        _loading(usage, model, facts.config),
        _settings(facts),
    ]
    (folder / CARD).write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")


def _head(facts: Facts, usage: Usage, adapter: bool) -> str:
    """The metadata of the hub, between two lines of dashes."""
    config = facts.config
    values: dict[str, Any] = {"library_name": "peft" if adapter else "transformers"}
    if facts.origin == "hub":
        values["base_model"] = one_line(config.model.name, WIDEST)
        values["base_model_relation"] = "adapter" if adapter else "finetune"
    values["pipeline_tag"] = usage.pipeline
    values["tags"] = ["tui-tuner", config.method.kind.replace("_", "-"), config.task.replace("_", "-")]
    measured = facts.measured[max(facts.measured)] if facts.measured else {}
    names = dict.fromkeys(HUB_METRICS[name] for name in map(canonical, measured) if name in HUB_METRICS)
    if names:
        values["metrics"] = list(names)
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, default_flow_style=False, width=1000)
    return f"---\n{text}---"


def _title(facts: Facts) -> str:
    return _(
        "{model}: {task} with {method}",
        model=base_name(facts),
        task=_(facts.label).lower(),
        method=_(METHODS[facts.config.method.kind].label),
    )


def base_name(facts: Facts) -> str:
    """The base model without where it lies: the id of a hub, or the name of a folder."""
    name = facts.config.model.name
    if facts.origin == "random":
        return str((facts.config.model.architecture or {}).get("model_type") or _("a new model"))
    return name if facts.origin in ("hub", "package") else file_name(name)


def file_name(path: str) -> str:
    """The last part of a path; a name without one stays as it is."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1] or path


def _done(facts: Facts, model: Any) -> str:
    """Task, method, base model and how much was trained."""
    trained, total = trainable_parameters(model)
    config = facts.config
    said = {
        "task": _(facts.label),
        "method": _(METHODS[config.method.kind].label),
        "model": code(base_name(facts)),
        "trained": trained,
        "total": total,
        "share": trained / total,
    }
    lines = [
        _(
            "{task} with {method} on {model}: {trained:,} of {total:,} parameters were trained "
            "({share:.4%}).",
            **said,
        )
    ]
    if facts.revision:
        lines.append(_("The base model is that of revision {revision}.", revision=code(facts.revision)))
    if config.method.kind in QUANTISABLE and config.model.quantization != "none":
        lines.append(_("Its weights were read as {bits}.", bits=code(config.model.quantization)))
    classes = _classes(model)
    if classes:
        lines.append(_("Its classes are {classes}.", classes=", ".join(code(name) for name in classes)))
    return " ".join(lines)


def _classes(model: Any) -> list[str]:
    """The names of the classes that the model's config has; none for a task without."""
    base = plain_model(model)
    names = getattr(base.config, "id2label", None) or {}
    if "Classification" not in type(base).__name__ or len(names) < 2:
        return []
    shown = [one_line(names[number], 80) for number in sorted(names)]
    return shown if len(shown) <= 50 else [*shown[:50], "…"]


def _data(facts: Facts) -> str:
    """Files, rows and what became of them."""
    data = facts.config.data
    paths = [data.path] if isinstance(data.path, str) else list(data.path)
    names = [file_name(one if isinstance(one, str) else one.path) for one in paths]
    lines = [f"## {_('Data')}", ""]
    lines.append(_("It learnt from {files}.", files=", ".join(code(name) for name in names)))
    ledger = facts.ledger
    if ledger:
        ends = [
            f"{_(outcome)} {int(ledger['outcomes'][outcome]):,}"
            for outcome in OUTCOMES
            if ledger.get("outcomes", {}).get(outcome)
        ]
        lines.append(
            _("{read:,} rows were read: {ends}.", read=int(ledger.get("read", 0)), ends=", ".join(ends))
        )
        splits = ledger.get("splits") or {}
        if splits:
            lines.append(
                _(
                    "{trained:,} examples were trained on, {held:,} held out.",
                    trained=int(splits.get("training_pieces", 0)),
                    held=int(splits.get("validation_pieces", 0)),
                )
            )
    if isinstance(data.validation, str):
        lines.append(_("The held-out rows are of {file}.", file=code(file_name(data.validation))))
    return "\n".join(lines)


def _figures(facts: Facts) -> str:
    """What was measured on held-out rows."""
    if not facts.measured:
        return ""
    steps = sorted(facts.measured)
    names = list(dict.fromkeys(name for step in steps for name in facts.measured[step]))
    heads = [_("before") if step == 0 else _("step {step}", step=step) for step in steps]
    lines = [f"## {_('Measured on held-out rows')}", ""]
    lines.append("| | " + " | ".join(heads) + " |")
    lines.append("|-|" + "-:|" * len(heads))
    for name in names:
        known = METRICS.get(canonical(name))
        label = _(known.label) if known is not None else name
        values = [facts.measured[step].get(name) for step in steps]
        shown = ["" if value is None else f"{value:.4f}" for value in values]
        lines.append(f"| {escaped(label)} ({code(name)}) | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def _loading(usage: Usage, model: Any, config: ResolvedConfig) -> str:
    """A snippet that runs beside this file."""
    lines = [f"## {_('How to use it')}", "", "```python", usage.code.strip(), "```"]
    if usage.one_by_one:
        lines += [
            "",
            _(
                "Read one text at a time: with {virtual} virtual tokens before it, peft takes the last "
                "position of a padded row for the end of its text.",
                virtual=virtual_tokens(model),
            ),
        ]
    lines += ["", _("In a terminal, from this folder:"), "", "```bash", *_commands(config), "```"]
    return "\n".join(lines)


def _commands(config: ResolvedConfig) -> list[str]:
    """What is typed to use the model with this program."""
    kind = config.task_kind
    question = " --question 'WORDS'" if kind.question else ""
    first = "tui-tuner chat ." if kind.writes else f"tui-tuner ask . --text FILE{question}"
    return [first, "tui-tuner predict . FILE -o OUT.jsonl"]


def _settings(facts: Facts) -> str:
    """Steps, rate, hardware and versions."""
    training, config = facts.config.training, facts.config
    rows = [
        (_("Steps"), f"{facts.step:,} / {facts.total:,}"),
        (_("Learning rate"), f"{training.learning_rate:g}, {training.schedule}"),
        (_("Batch size"), f"{training.batch_size}"),
        (_("Optimizer"), str(training.optimizer)),
        (_("Longest example in tokens"), f"{config.data.max_length:,}"),
        (_("Seed"), f"{training.seed}"),
        (_("Hardware"), facts.device),
        (_("Versions"), ", ".join(f"{name} {version}" for name, version in facts.versions.items())),
    ]
    lines = [f"## {_('Training')}", "", "| | |", "|-|-|"]
    lines += [f"| {label} | {escaped(value)} |" for label, value in rows if value]
    return "\n".join(lines)


def escaped(text: object) -> str:
    """Text of others on one line of Markdown, read as it is."""
    return re.sub(r"([\\`*_{}\[\]<>|#~!])", r"\\\1", one_line(text, 2 * WIDEST))


def code(text: object) -> str:
    """Text of others as code: no mark of Markdown is read in it."""
    shown = one_line(text, WIDEST).replace("|", "\u00a6")
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    space = " " if longest else ""
    return f"{fence}{space}{shown}{space}{fence}"


def read_ledger(path: Path) -> dict[str, Any]:
    """The row ledger of a run folder; empty where there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
