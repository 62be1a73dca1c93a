"""Reads task and head of a model or adapter that no run made, from the files in its folder."""

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
    "ForMaskedLM": "masked_lm",
    "ForPreTraining": "masked_lm",
}
_TYPES = {
    "SEQ_CLS": "classification",
    "TOKEN_CLS": "token_classification",
    "QUESTION_ANS": "question_answering",
    "CAUSAL_LM": "sft",
    "SEQ_2_SEQ_LM": "seq2seq",
    # PEFT has no name for models that fill in masks
    "FEATURE_EXTRACTION": "masked_lm",
}
_PROBLEMS = {
    "single_label_classification": "single",
    "multi_label_classification": "multi",
    "regression": "regression",
}
_OUTPUTS = ("weight", "out_proj.weight", "dense.weight")  # endings of the names of a head's last layer


def read_model_task(folder: Path) -> str:
    """Derive a model's task from the transformers classes named in its config.

    Raises:
        ModelError: it neither writes text nor has the head of a supported task.
    """
    values = read_model_json(folder / "config.json")
    names = [str(name) for name in values.get("architectures") or [] if isinstance(name, str)]
    for ending, task in _HEADS.items():
        if any(name.endswith(ending) for name in names):
            return task
    # BART and Marian are saved under names that say nothing of their two halves
    if values.get("is_encoder_decoder") is True and any(map(_may_rewrite, names)):
        return "seq2seq"
    # A config without a class is taken for a model that writes, by far the most frequent kind
    if not names or any(_may_write(name) for name in names):
        return "sft"
    raise ModelError(
        _("is a {kind}, which can neither write nor analyse text.", kind=one_line(names[0], 80)),
        where=one_line(folder, 300),
        hint=_("It is a base model: train a head for a task first."),
    )


def _may_write(name: str) -> bool:
    """Return whether a transformers class may generate text, judging by its name."""
    other = ("EncoderModel", "ForMultipleChoice", "ForNextSentencePrediction", "ForPreTraining")
    return not name.endswith(other) and not _is_bare_encoder(name)


def _may_rewrite(name: str) -> bool:
    """Return whether a transformers class of an encoder and a decoder has a head that writes."""
    return name.endswith(("ForConditionalGeneration", "MTModel", "LMHeadModel", "EncoderDecoderModel"))


def _is_bare_encoder(name: str) -> bool:
    return name in ("BertModel", "RobertaModel", "DistilBertModel", "XLMRobertaModel", "MPNetModel")


def read_adapter_task(folder: Path) -> str:
    """Read the task of a PEFT adapter from its own config, or from the model config next to it."""
    kind = read_model_json(folder / "adapter_config.json").get("task_type")
    if isinstance(kind, str) and kind in _TYPES:
        return _TYPES[kind]
    if (folder / "config.json").is_file():
        return read_model_task(folder)
    return "sft"


def read_head_values(folder: Path, modules: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the model config values for the head of an adapter: its classes by number.

    Args:
        modules: Possible names of the head; its weights give the number of classes if no config names them.
    """
    values = read_model_json(folder / "config.json")
    names = values.get("id2label")
    kept = {name: values[name] for name in ("problem_type",) if values.get(name)}
    if isinstance(names, Mapping) and names:
        try:
            named = {int(number): str(name) for number, name in names.items()}
        except (ValueError, TypeError):
            named = {}
        # Gaps in the numbers would leave outputs of the head without a class
        if sorted(named) == list(range(len(named))):
            return {
                "id2label": named,
                "label2id": {name: number for number, name in named.items()},
                **kept,
            }
    count = _count_outputs(folder / "adapter_model.safetensors", modules)
    return {"num_labels": count, **kept} if count else kept


def find_head_label_problem(values: Mapping[str, Any]) -> str:
    """Return the kind of labels of a model config, as a value of `data.problem`."""
    kind = values.get("problem_type")
    if isinstance(kind, str) and kind in _PROBLEMS:
        return _PROBLEMS[kind]
    names = values.get("id2label")
    count = len(names) if isinstance(names, Mapping) and names else values.get("num_labels", 2)
    # transformers' own rule: a head with one output is a regression
    return "regression" if count == 1 else "single"


def read_model_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of a model; empty if it cannot be read, which loading will report."""
    try:
        # A folder of unknown origin must not fill the memory
        if path.stat().st_size > _LARGEST:
            return {}
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _count_outputs(weights: Path, modules: tuple[str, ...]) -> int:
    """Return the number of outputs of the head in an adapter's file; 0 if it has none."""
    try:
        with weights.open("rb") as file:
            # A safetensors file begins with the length of its JSON header, so no weights need to be read
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
    # Of several layers in a head, the last one has the fewest outputs
    return min(found, default=0)
