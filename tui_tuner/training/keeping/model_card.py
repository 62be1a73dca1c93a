"""Write the `README.md` of a final model: its training, data and figures, and how to load it.

Its head is the metadata that the hub reads. Cards may be published, so files are named without their folders.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tui_tuner.compute.encoders import unwrap_model
from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.config.metrics import METRICS, find_current_metric_name
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.data.ledger import OUTCOMES
from tui_tuner.locales import _
from tui_tuner.methods import Method, count_model_parameters
from tui_tuner.methods.attached import count_virtual_tokens, find_model_method
from tui_tuner.text import one_line
from tui_tuner.training.keeping.usage import Usage, describe_usage

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
    "rouge1": "rouge",
    "rouge2": "rouge",
    "rougeL": "rouge",
    "bleu": "sacrebleu",
    "chrf": "chrf",
}


@dataclass(frozen=True)
class CardFacts:
    """The facts of a card that the model itself does not hold.

    Args:
        step: The step of the weights.
        total: All steps of the run.
        measured: `{step: {metric: value}}` on held-out rows: before training, if measured, and last.
        ledger: The fields of `data.ledger.Ledger.to_json`; empty if the run has none.
        revision: The commit of a base model from a hub.
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


def write_card(folder: Path, model: Any, tokenizer: Any, facts: CardFacts) -> None:
    """Write the card into a final model's folder, replacing the one that peft wrote."""
    config = facts.config
    usage = describe_usage(
        model, tokenizer, facts.peft_type, config.model.trust_remote_code, config.data.prefix or ""
    )
    parts = [
        _format_head(facts, usage, find_model_method(model)),
        f"# {escape_markdown(_format_title(facts))}",
        _describe_training(facts, model),
        _describe_data(facts),
        _list_figures(facts),
        _describe_loading(usage, model, facts.config),
        _list_settings(facts),
    ]
    (folder / CARD).write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")


def _format_head(facts: CardFacts, usage: Usage, method: Method) -> str:
    """Format the hub's metadata, between two lines of dashes."""
    config = facts.config
    values: dict[str, Any] = {"library_name": method.library}
    # A folder's name would be taken for a hub id, and might link to an unrelated model.
    if facts.origin == "hub":
        values["base_model"] = one_line(config.model.name, WIDEST)
        values["base_model_relation"] = "adapter" if method.has(Trait.ADAPTER) else "finetune"
    values["pipeline_tag"] = usage.pipeline
    values["tags"] = ["tui-tuner", config.method.kind.replace("_", "-"), config.task.replace("_", "-")]
    measured = facts.measured[max(facts.measured)] if facts.measured else {}
    names = list_hub_metrics(measured)
    if names:
        values["metrics"] = names
    # Wide enough that no name is folded onto a second line.
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, default_flow_style=False, width=1000)
    return f"---\n{text}---"


def list_hub_metrics(names: Iterable[str]) -> list[str]:
    """Return what the hub calls metrics, as far as it knows them, in order."""
    # Several of our metrics share a name on the hub: each is listed once.
    current = map(find_current_metric_name, names)
    return list(dict.fromkeys(HUB_METRICS[name] for name in current if name in HUB_METRICS))


def _format_title(facts: CardFacts) -> str:
    return _(
        "{model}: {task} with {method}",
        model=format_base_name(facts),
        task=_(facts.label).lower(),
        method=_(METHODS[facts.config.method.kind].label),
    )


def format_base_name(facts: CardFacts) -> str:
    """Return the name of the base model without its location: a hub id, or the name of a folder."""
    name = facts.config.model.name
    if facts.origin == "random":
        return str((facts.config.model.architecture or {}).get("model_type") or _("a new model"))
    return name if facts.origin in ("hub", "package") else find_last_path_part(name)


def find_last_path_part(path: str) -> str:
    """Return the last part of a path of any system; a bare name stays as it is."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1] or path


def _describe_training(facts: CardFacts, model: Any) -> str:
    """Describe the task, method, base model and how much was trained."""
    trained, total = count_model_parameters(model)
    config = facts.config
    said = {
        "task": _(facts.label),
        "method": _(METHODS[config.method.kind].label),
        "model": format_inline_code(format_base_name(facts)),
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
        lines.append(
            _("The base model is at revision {revision}.", revision=format_inline_code(facts.revision))
        )
    if config.method.has_trait(Trait.QUANTISABLE) and config.model.quantization != "none":
        lines.append(
            _("Its weights were loaded as {bits}.", bits=format_inline_code(config.model.quantization))
        )
    classes = _describe_classes(model)
    if classes:
        lines.append(
            _("Its classes are {classes}.", classes=", ".join(format_inline_code(name) for name in classes))
        )
    return " ".join(lines)


def _describe_classes(model: Any) -> list[str]:
    """Return the names of the model's classes; empty for other tasks."""
    base = unwrap_model(model)
    names = getattr(base.config, "id2label", None) or {}
    # Every config of transformers has an `id2label`, with two made-up names unless a task sets others.
    if "Classification" not in type(base).__name__ or len(names) < 2:
        return []
    shown = [one_line(names[number], 80) for number in sorted(names)]
    return shown if len(shown) <= 50 else [*shown[:50], "…"]


def _describe_data(facts: CardFacts) -> str:
    """Describe the files and the outcomes of their rows."""
    data = facts.config.data
    paths = [data.path] if isinstance(data.path, str) else list(data.path)
    names = [find_last_path_part(one if isinstance(one, str) else one.path) for one in paths]
    lines = [f"## {_('Data')}", ""]
    lines.append(_("It was trained on {files}.", files=", ".join(format_inline_code(name) for name in names)))
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
        lines.append(
            _(
                "The held-out rows come from {file}.",
                file=format_inline_code(find_last_path_part(data.validation)),
            )
        )
    return "\n".join(lines)


def _list_figures(facts: CardFacts) -> str:
    """List the figures measured on held-out rows."""
    if not facts.measured:
        return ""
    steps = sorted(facts.measured)
    names = list(dict.fromkeys(name for step in steps for name in facts.measured[step]))
    heads = [_("before") if step == 0 else _("step {step}", step=step) for step in steps]
    lines = [f"## {_('Measured on held-out rows')}", ""]
    lines.append("| | " + " | ".join(heads) + " |")
    lines.append("|-|" + "-:|" * len(heads))
    for name in names:
        # Checkpoints of older versions hold older names of metrics.
        known = METRICS.get(find_current_metric_name(name))
        label = _(known.label) if known is not None else name
        values = [facts.measured[step].get(name) for step in steps]
        shown = ["" if value is None else f"{value:.4f}" for value in values]
        lines.append(f"| {escape_markdown(label)} ({format_inline_code(name)}) | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def _describe_loading(usage: Usage, model: Any, config: ResolvedConfig) -> str:
    """Format the section with a snippet and commands, which run in the card's folder."""
    lines = [f"## {_('How to use it')}", "", "```python", usage.code.strip(), "```"]
    if usage.one_by_one:
        lines += [
            "",
            _(
                "Read one text at a time: with {virtual} virtual tokens before it, peft takes the last "
                "position of a padded row for the end of its text.",
                virtual=count_virtual_tokens(model),
            ),
        ]
    lines += ["", _("In a terminal, from this folder:"), "", "```bash", *_list_commands(config), "```"]
    return "\n".join(lines)


def _list_commands(config: ResolvedConfig) -> list[str]:
    """Return the commands of this program that use the model."""
    kind = config.task_kind
    question = " --question 'WORDS'" if kind.question else ""
    first = "tui-tuner chat ." if kind.talks else f"tui-tuner ask . --text FILE{question}"
    return [first, "tui-tuner predict . FILE -o OUT.jsonl"]


def _list_settings(facts: CardFacts) -> str:
    """Format a table of steps, rate, hardware and versions."""
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
    lines += [f"| {label} | {escape_markdown(value)} |" for label, value in rows if value]
    return "\n".join(lines)


def escape_markdown(text: object) -> str:
    """Escape foreign text so that Markdown shows it unchanged, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>|#~!])", r"\\\1", one_line(text, 2 * WIDEST))


def format_inline_code(text: object) -> str:
    """Format foreign text as inline code, in which Markdown has no effect."""
    # A vertical bar would end the cell of a table, even inside code.
    shown = one_line(text, WIDEST).replace("|", "\u00a6")
    # Code ends only at as many backticks as it began with (CommonMark, code spans), so one more than any
    # run in the text is safe. The spaces keep backticks at its ends apart from the fence.
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    space = " " if longest else ""
    return f"{fence}{space}{shown}{space}{fence}"


def read_card_ledger(path: Path) -> dict[str, Any]:
    """Read the row ledger of a run folder; empty if it is missing or unreadable."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
