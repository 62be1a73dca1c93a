"""The lines of a model card that load an ONNX file and show what it says about a text."""

from __future__ import annotations

from tui_tuner.config.kinds.tasks import TaskKind

_OPEN = """import json

import numpy
import onnxruntime
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
"""
_READ = """given = tokenizer({texts}, return_tensors="np")
found = session.run(None, {{one.name: given[one.name] for one in session.get_inputs()}})
"""
_LABELS = 'labels = json.load(open("config.json", encoding="utf-8"))["id2label"]\n'
_TWO = '["A first text.", "A second text that is longer."], padding=True'

_CLASSES = "print([labels[str(best)] for best in found[0].argmax(-1)])\n"
_SEVERAL = "print([[labels[str(place)] for place in numpy.flatnonzero(row > 0)] for row in found[0]])\n"
_NUMBERS = "print(found[0][:, 0])\n"
_TAGS = """for ids, row in zip(given["input_ids"], found[0].argmax(-1)):
    print(list(zip(tokenizer.convert_ids_to_tokens(ids), (labels[str(best)] for best in row))))
"""
_SPAN = """start, end = found[0][0].argmax(), found[1][0].argmax()
print(tokenizer.decode(given["input_ids"][0][start : end + 1]))
"""
_MASK = """places = numpy.flatnonzero(given["input_ids"][0] == tokenizer.mask_token_id)
print(tokenizer.decode(found[0][0][places].argmax(-1)))
"""


def describe_onnx_loading(kind: TaskKind, problem: str) -> str:
    """Return Python that runs in the folder of the export.

    Args:
        problem: The `problem_type` of the model's config, such as `regression`.
    """
    if kind.hides:
        return _OPEN + "\n" + _READ.format(texts='f"A text with one {tokenizer.mask_token} word."') + _MASK
    if kind.question:
        return _OPEN + "\n" + _READ.format(texts='"Who sold the key?", "Ada Bell sold the old key."') + _SPAN
    if problem == "regression":
        return _OPEN + "\n" + _READ.format(texts=_TWO) + _NUMBERS
    shown = _TAGS if kind.decides == "token" else _SEVERAL if problem.startswith("multi") else _CLASSES
    return _OPEN + _LABELS + "\n" + _READ.format(texts=_TWO) + shown
