"""What a helper process can do, by name. Both ends of the pipe read this, so it imports nothing heavy."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Answer = Callable[[dict[str, Any], Callable[[Any], None], Callable[[], bool]], Any]
ALONE = ""  # in a process of its own each time, which ends with the answer


@dataclass(frozen=True)
class Operation:
    """A function `(arguments, progress, cancelled) -> result`, and the process it runs in.

    Args:
        function: `module:name`; imported in the helper process, at the first request.
        process: Operations with the same word share one warm process, and so whatever their modules keep
            between two requests, such as a loaded model. They are answered one after the other.
    """

    function: str
    process: str = "main"

    def load(self) -> Answer:
        """Import it."""
        module, _, name = self.function.partition(":")
        found: Answer = getattr(importlib.import_module(module), name)
        return found


OPERATIONS: dict[str, Operation] = {
    # Makes torch behave like a GPU's for good, and copies its process by fork, which neither CUDA nor
    # OpenMP survives once it is in use. So nothing else may run there.
    "trace": Operation("tui_tuner.training.tracing.step:answer", process="trace"),
    "launches": Operation("tui_tuner.training.tracing.launches:answer", process="trace"),
    # Keeps the model of the run that was asked last. In a process of its own, so that it can be let go.
    "ask": Operation("tui_tuner.inference.asking:answer", process="ask"),
    # Keep the models of a chat.
    "chat_open": Operation("tui_tuner.inference.chatting:open_chat", process="chat"),
    "chat_answer": Operation("tui_tuner.inference.chatting:answer_chat", process="chat"),
    "chat_tokens": Operation("tui_tuner.inference.chatting:chat_tokens", process="chat"),
    # Reads the first rows of a file, and says what would be asked about them; loads no model.
    "predict_look": Operation("tui_tuner.inference.predicting.operation:look_at"),
    # Predicts the rows of a file. What it holds of memory is free again when its process has ended.
    "predict": Operation("tui_tuner.inference.predicting.operation:answer", process=ALONE),
    # Encodes the first rows; keeps the tokenizer of the model that was asked last.
    "try_rows": Operation("tui_tuner.tasks.preview.trying:answer"),
    # Builds a model without data, of any architecture.
    "parameters": Operation("tui_tuner.training.tracing.built:answer", process=ALONE),
    # Trains. Its GPU memory, the CUDA context with it, is only free again when its process has ended.
    "range_test": Operation("tui_tuner.training.range_test:answer", process=ALONE),
}


def known(also: str = "") -> Mapping[str, Operation]:
    """All operations; with those that the module `also` lists under the name `OPERATIONS`."""
    if not also:
        return OPERATIONS
    return {**OPERATIONS, **importlib.import_module(also).OPERATIONS}
