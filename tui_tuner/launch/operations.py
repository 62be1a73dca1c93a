"""The operations of helper processes by name. Both processes import this, so it imports nothing heavy."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Answer = Callable[[dict[str, Any], Callable[[Any], None], Callable[[], bool]], Any]
ALONE = ""  # in a new process each time, which ends with the answer


@dataclass(frozen=True)
class Operation:
    """A function `(arguments, progress, cancelled) -> result`, and the process it runs in.

    Args:
        function: `module:name`; imported in the helper process at the first request.
        process: Operations with the same word share one warm process, including everything their modules keep
            between two requests, such as a loaded model. They are answered one after the other.
    """

    function: str
    process: str = "main"

    def import_function(self) -> Answer:
        """Import the operation's function."""
        module, _, name = self.function.partition(":")
        found: Answer = getattr(importlib.import_module(module), name)
        return found


OPERATIONS: dict[str, Operation] = {
    # Permanently makes torch pretend to have a GPU, and forks its process, which neither CUDA nor OpenMP
    # survives once it is in use. So nothing else may run in this process.
    "trace": Operation("tui_tuner.training.tracing.step:run_trace_operation", process="trace"),
    "launches": Operation("tui_tuner.training.tracing.launches:run_launches_operation", process="trace"),
    # Keeps the model that was asked last; in its own process, so that its memory can be freed.
    "ask": Operation("tui_tuner.inference.asking:run_ask_operation", process="ask"),
    # These keep the models of a chat
    "chat_open": Operation("tui_tuner.inference.chatting:load_chat_models", process="chat"),
    "chat_answer": Operation("tui_tuner.inference.chatting:answer_chat", process="chat"),
    "chat_tokens": Operation("tui_tuner.inference.chatting:list_chat_tokens", process="chat"),
    # Previews the inputs for the first rows of a file; loads no model
    "predict_look": Operation("tui_tuner.inference.predicting.operation:run_preview_operation"),
    # Predicts the rows of a file; its memory is freed when its process ends
    "predict": Operation("tui_tuner.inference.predicting.operation:run_predict_operation", process=ALONE),
    # What an export would take; reads headers of weights, and builds a model without data
    "export_look": Operation("tui_tuner.exporting.operation:run_look_operation", process="export_look"),
    # Exports a model; its memory is freed when its process ends
    "export": Operation("tui_tuner.exporting.operation:run_export_operation", process=ALONE),
    # Encodes the first rows; keeps the tokenizer of the last model
    "try_rows": Operation("tui_tuner.tasks.preview.trying:run_try_operation"),
    # Builds a model of any architecture without data
    "parameters": Operation("tui_tuner.training.tracing.built:run_parameters_operation", process=ALONE),
    # Trains; its GPU memory, including the CUDA context, is only freed when its process ends
    "range_test": Operation("tui_tuner.training.range_test:run_range_operation", process=ALONE),
}


def list_operations(also: str = "") -> Mapping[str, Operation]:
    """Return all operations, including those in `OPERATIONS` of the module `also`."""
    if not also:
        return OPERATIONS
    return {**OPERATIONS, **importlib.import_module(also).OPERATIONS}
