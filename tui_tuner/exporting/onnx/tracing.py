"""A whole model traced into an ONNX graph by transformers; runs in a process of its own.

`transformers.exporters` patches torch while it traces, and holds the model twice: a process that ends gives
all of it back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tui_tuner.errors import ModelError
from tui_tuner.exporting.onnx.runtime_side import FILE, open_session, run_session
from tui_tuner.exporting.parity.answers import HEADS
from tui_tuner.exporting.parity.compare import measure_range
from tui_tuner.exporting.parity.prompts import NEUTRAL
from tui_tuner.locales import _
from tui_tuner.text import one_line

DATA = "model.onnx.data"
# protobuf reads no more than 2 GB; beyond, the weights are in a file of their own
LARGEST = 2 * 10**9 - (64 << 20)
AXES = ("batch", "length")
_MOST_TOKENS = 48  # of a text that is traced with
# Texts of several lengths: a graph that keeps a number of what it was traced with shows it with others
_BATCHES = ((0, 1, 9), (7,), (4, 2))
_TRACED = (3, 8)


def trace_model(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Write `model.onnx` into a folder that has the tokenizer already.

    Args:
        arguments: `model` (the folder of the whole model), `export` (the folder), `auto_class`, `pairs`
            (whether it reads two texts), `compare` (whether batches are compared), `trust_remote_code`.

    Returns:
        `opset`, `inputs`, `outputs`, and `batches`: for each batch its rows, length, and the largest
        difference and the range of logits.

    Raises:
        ModelError: transformers cannot trace it, or fixes one of its axes.
    """
    import torch
    import transformers

    folder, trusts = Path(arguments["export"]), bool(arguments["trust_remote_code"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=trusts)
    kind = getattr(transformers, arguments["auto_class"])
    model = kind.from_pretrained(arguments["model"], dtype=torch.float32, trust_remote_code=trusts).eval()
    # What only those who write text ask for would become outputs of the graph
    for name in ("use_cache", "output_hidden_states", "output_attentions"):
        setattr(model.config, name, False)
    makes = _BatchMaker(model, tokenizer, bool(arguments["pairs"]))
    try:
        graph = _trace(model, makes.make_batch(_TRACED))
    # Whatever torch, onnxscript or transformers raise about an operation that they do not know
    except Exception as error:
        raise ModelError(
            _("transformers cannot trace this model for ONNX: {reason}", reason=one_line(error, 300)),
            hint=_("`--to merged` exports every model."),
        ) from error
    _write_graph(graph, folder)
    session = open_session(folder / FILE)
    _require_free_axes(session)
    batches = list(_compare_batches(model, session, makes)) if arguments["compare"] else []
    return {
        "opset": int(graph.opset_imports[""]),
        "inputs": [one.name for one in session.get_inputs()],
        "outputs": [one.name for one in session.get_outputs()],
        "batches": batches,
    }


class _BatchMaker:
    """Makes inputs of neutral texts as the tokenizer gives them, as far as the model takes them."""

    def __init__(self, model: Any, tokenizer: Any, pairs: bool) -> None:
        import inspect

        self._tokenizer, self._pairs = tokenizer, pairs
        self._names = set(inspect.signature(model.forward).parameters)

    def make_batch(self, places: tuple[int, ...]) -> dict[str, Any]:
        """Return the inputs of some of the neutral texts, padded to the longest."""
        texts = [NEUTRAL[place] for place in places]
        if self._tokenizer.pad_token_id is None:
            # Without padding all rows have one length
            texts = texts[:1] * len(texts)
        pair = ([NEUTRAL[-1]] * len(texts),) if self._pairs else ()
        most = min(int(self._tokenizer.model_max_length), _MOST_TOKENS)
        padded = self._tokenizer.pad_token_id is not None
        given = self._tokenizer(
            texts, *pair, padding=padded, truncation=True, max_length=most, return_tensors="pt"
        )
        return {name: value for name, value in given.items() if name in self._names}


def _trace(model: Any, given: dict[str, Any]) -> Any:
    """Return the graph (`onnx_ir.Model`) of a model, with the outputs of its head alone."""
    from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

    exported = OnnxExporter().export(model, given, config=OnnxConfig(dynamic=True))
    # Newer versions return an `ExportedModel` with the graph in `program`, older ones torch's `ONNXProgram`
    program = getattr(exported, "program", exported)
    found = getattr(program, "model", program)
    outputs = found.graph.outputs
    heads = [one for one in outputs if one.name in HEADS]
    outputs[:] = heads or list(outputs)[:1]
    _name_axes(found.graph)
    return found


def _name_axes(graph: Any) -> None:
    """Call the axes of all inputs `batch` and `length`, instead of the symbols that tracing gave them."""
    import onnx_ir

    names: dict[str, str] = {}
    for value in graph.inputs:
        for dim, name in zip(value.shape, AXES, strict=False):
            if not isinstance(dim, int):
                names[str(dim.value)] = name

    def rename(value: Any) -> None:
        if value is None or value.shape is None or value.is_initializer():
            return
        value.shape = onnx_ir.Shape([_rename_dim(dim, names) for dim in value.shape])

    for value in graph.inputs:
        rename(value)
    for node in graph.all_nodes():
        for value in node.outputs:
            rename(value)


def _rename_dim(dim: Any, names: Mapping[str, str]) -> Any:
    if isinstance(dim, int) or dim.value is None:
        return dim if isinstance(dim, int) else None
    return re.sub(r"\w+", lambda found: names.get(found[0], found[0]), str(dim.value))


def _write_graph(graph: Any, folder: Path) -> None:
    import onnx_ir

    size = sum(
        value.const_value.nbytes
        for value in graph.graph.initializers.values()
        if value.const_value is not None
    )
    onnx_ir.save(graph, folder / FILE, external_data=DATA if size > LARGEST else None)


def _require_free_axes(session: Any) -> None:
    """Raise `ModelError` where an input takes only the number of texts or tokens that was traced with."""
    for one in session.get_inputs():
        for size, axis in zip(one.shape, AXES, strict=False):
            if isinstance(size, int):
                raise ModelError(
                    _(
                        "its graph takes {size} as the {axis} of {name}, and nothing else.",
                        size=size,
                        axis=axis,
                        name=one_line(one.name, 40),
                    ),
                    hint=_("`--to merged` exports every model."),
                )


def _compare_batches(model: Any, session: Any, makes: _BatchMaker) -> Iterator[dict[str, Any]]:
    """Compare batches of several sizes with the model itself; padding's own outputs are left out."""
    import torch

    for places in _BATCHES:
        given = makes.make_batch(places)
        with torch.inference_mode():
            whole = model(**given)
        rows, length = given["input_ids"].shape
        kept = (
            given["attention_mask"].bool() if "attention_mask" in given else torch.ones(rows, length).bool()
        )
        difference = spread = 0.0
        for name, found in run_session(session, given).items():
            expected = whole[name] if name in whole else whole[0]
            if found.shape != expected.shape:
                difference = float("inf")
                continue
            if name not in HEADS[:1] or found.dim() > 2:
                found, expected = found[kept], expected[kept]
            difference = max(difference, float((found - expected).abs().max()))
            spread = max(spread, measure_range(expected))
        yield {"rows": rows, "length": length, "difference": difference, "range": spread}
