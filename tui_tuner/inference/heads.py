"""What a folder of a model or an adapter says of its task and its head, where no run does."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tui_tuner.errors import ModelError
from tui_tuner.locales import _
from tui_tuner.text import one_line

_LARGEST = 64 << 20  # bytes of a JSON file or header
_HEADS = {
    "ForSequenceClassification": "classification",
    "ForTokenClassification": "token_classification",
    "ForQuestionAnswering": "question_answering",
}
_TYPES = {
    "SEQ_CLS": "classification",
    "TOKEN_CLS": "token_classification",
    "QUESTION_ANS": "question_answering",
    "CAUSAL_LM": "sft",
}
_PROBLEMS = {
    "single_label_classification": "single",
    "multi_label_classification": "multi",
    "regression": "regression",
}
_OUTPUTS = ("weight", "out_proj.weight", "dense.weight")  # ends of the names of what gives a head's scores


def task_of_model(folder: Path) -> str:
    """The task that the head of a model is for: its class of transformers says it.

    Raises:
        ModelError: it neither writes text nor has a head that one of the tasks is for.
    """
    values = read_json(folder / "config.json")
    names = [str(name) for name in values.get("architectures") or [] if isinstance(name, str)]
    for ending, task in _HEADS.items():
        if any(name.endswith(ending) for name in names):
            return task
    if not names or any(_writes(name) for name in names):
        return "sft"
    raise ModelError(
        _("is a {kind}, which neither writes text nor finds things in one.", kind=one_line(names[0], 80)),
        where=one_line(folder, 300),
        hint=_("It is a model to begin a training with: its head for a task has yet to be learnt."),
    )


def _writes(name: str) -> bool:
    """Whether a class of transformers may have a head that writes, as far as its name tells."""
    return not name.endswith(("ForMaskedLM", "ForPreTraining", "EncoderModel")) and not _bare_encoder(name)


def _bare_encoder(name: str) -> bool:
    return name in ("BertModel", "RobertaModel", "DistilBertModel", "XLMRobertaModel", "MPNetModel")


def task_of_adapter(folder: Path) -> str:
    """The task of an adapter of peft: it says so itself, or the config that lies beside it for its head."""
    kind = read_json(folder / "adapter_config.json").get("task_type")
    if isinstance(kind, str) and kind in _TYPES:
        return _TYPES[kind]
    if (folder / "config.json").is_file():
        return task_of_model(folder)
    return "sft"


def head_values(folder: Path, modules: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a model's config has to say for the head that an adapter brings: its classes, by number.

    Args:
        modules: Names that the head may have; where no config names its classes, its weights count them.
    """
    values = read_json(folder / "config.json")
    names = values.get("id2label")
    kept = {name: values[name] for name in ("problem_type",) if values.get(name)}
    if isinstance(names, Mapping) and names:
        try:
            named = {int(number): str(name) for number, name in names.items()}
        except (ValueError, TypeError):
            named = {}
        if sorted(named) == list(range(len(named))):
            return {
                "id2label": named,
                "label2id": {name: number for number, name in named.items()},
                **kept,
            }
    count = _count_outputs(folder / "adapter_model.safetensors", modules)
    return {"num_labels": count, **kept} if count else kept


def problem_of(values: Mapping[str, Any]) -> str:
    """What a label is for a model with such a config, as `data.problem` calls it."""
    kind = values.get("problem_type")
    if isinstance(kind, str) and kind in _PROBLEMS:
        return _PROBLEMS[kind]
    names = values.get("id2label")
    count = len(names) if isinstance(names, Mapping) and names else values.get("num_labels", 2)
    return "regression" if count == 1 else "single"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file of a model; nothing where it cannot be read, which loading will say."""
    try:
        if path.stat().st_size > _LARGEST:
            return {}
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _count_outputs(weights: Path, modules: tuple[str, ...]) -> int:
    """The scores that the head in an adapter's file gives; 0 where it has none."""
    try:
        with weights.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, _LARGEST)))
        shapes = {str(name): told["shape"] for name, told in header.items() if "shape" in told}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError):
        return 0
    found = [
        int(shape[0])
        for name, shape in shapes.items()
        for module in modules
        for end in _OUTPUTS
        if name.endswith(f".{module}.{end}") and len(shape) == 2
    ]
    return min(found, default=0)
