"""The answers of an ONNX file by ONNX Runtime; runs in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tui_tuner.exporting.parity.answers import (
    Answers,
    PromptAnswer,
    flatten_head,
    read_answers,
    tokenize_for_head,
)

FILE = "model.onnx"


def answer_with_onnxruntime(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Load a folder as its users will, answer the same prompts, and keep the answers.

    Args:
        arguments: `export` (the folder), `follow` (the folder of the result's answers), `folder` (where
            answers are kept), `trust_remote_code`.
    """
    from importlib.metadata import version

    from transformers import AutoTokenizer

    follow = read_answers(Path(arguments["follow"]))
    export = Path(arguments["export"])
    tokenizer = AutoTokenizer.from_pretrained(export, trust_remote_code=bool(arguments["trust_remote_code"]))
    session = open_session(export / FILE)
    answers = []
    for prompt in follow.prompts:
        found = run_session(session, tokenize_for_head(tokenizer, prompt))
        answers.append(PromptAnswer(prompt.encode(tokenizer), logits=flatten_head(list(found.values()))))
    program = f"onnxruntime {version('onnxruntime')}"
    Answers(follow.prompts, answers, program, details={"dtype": "float32"}).save_to(Path(arguments["folder"]))
    return {"prompts": len(answers)}


def open_session(path: Path) -> Any:
    """Open an ONNX file on the processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_session(session: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the outputs by name, for inputs by name as a tokenizer gives them; all are tensors of torch."""
    import torch

    taken = {one.name: given[one.name].numpy() for one in session.get_inputs()}
    names = [one.name for one in session.get_outputs()]
    return {
        name: torch.from_numpy(value) for name, value in zip(names, session.run(names, taken), strict=True)
    }
