"""Trace the memory of a training step through this program's own step and the installed libraries.

`run_trace_operation` is for a process that does nothing else (`launch.operations`): it changes the process to
act like a GPU. Tensors are fake CPU tensors of full size, so large layers cost nothing.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from tui_tuner.config.sections.training import EVERY_SECOND
from tui_tuner.errors import RunError
from tui_tuner.locales import _
from tui_tuner.text import one_line

POLL = 0.1  # seconds between two checks whether the trace was cancelled
# Fields of a config.json that say nothing of the model's shape
_NAMES_ALONE = ("model_type", "architectures", "transformers_version", "auto_map", "quantization_config")
_prepared = False


def trace_step(request: dict[str, Any], layers: int) -> dict[str, Any]:
    """Trace the memory of one step.

    Args:
        request: `config` (of the model), `method` (its section of a run's config), `dtype`, `quantization`,
            `double_quant`, `rows` (tokens of each sequence), `supervised` (number of targets), `packing`,
            `compact` (logits at targets only), `chunk` (how many of them at once; 0 is all), `eager`,
            `autocast`, `checkpointing` (its degree), `accumulate`, `quick` (whether the kernels of a run on a
            GPU are installed), `frozen` (whether layers below the trained ones are frozen), `decides`,
            `outputs` and `new_pooler` (of a head that decides; see `Setup`), `hides` (whether the step
            guesses hidden tokens), `sources` (tokens that the encoder of an encoder-decoder reads of each
            sequence), `tops` (how many of the decoder's last layers are trained; 0 is all of both) and
            `untied` (whether the head of an encoder-decoder has weights of its own).
        layers: Trained layers to build. Encoder-decoders are built whole.

    Returns:
        `peaks`: bytes beyond the weights, by phase. `weights`: bytes of the weights: `rest` (embeddings,
        head, norms), one `trained` layer, one `frozen` layer, and `whole`. `tensors`: [elements, bytes of an
        element, shape, whether it is an embedding] of each trained tensor outside of the layers (`rest`), in
        one `layer`, and in the `whole`.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    from tui_tuner.compute import chunked_loss
    from tui_tuner.compute.forward import switch_attention
    from tui_tuner.training.tracing.device import Tracker
    from tui_tuner.training.tracing.task_choice import make_traced_objective

    with FakeTensorMode(allow_non_fake_inputs=True):
        model = make_traced_model(request, layers)
        micro, way = make_traced_micro(request), make_traced_way(request)
        objective = make_traced_objective(request, model)
        objective.way = way
        chunked_loss.count_chunk_rows = lambda *_: request["chunk"]  # those of a GPU
        switch_attention(model, way, "sdpa")
        tracker = Tracker(request["supervised"])
        inputs = [micro.input_ids, micro.keep, micro.targets, micro.position_ids, micro.attention_mask]
        inputs.append(micro.decoder_ids)
        tracker.ignore_tensors([*_list_tensors(model), *(tensor for tensor in inputs if tensor is not None)])
        mark_traced_layers(model, tracker, request["checkpointing"] == EVERY_SECOND)
        with tracker:
            # The second pass finds the gradients of the first in memory.
            for _unused in range(2 if request["accumulate"] else 1):
                tracker.phase = "forward"
                loss = objective.sum_losses(model, micro)
                loss.backward()
                del loss
        # A trace of two layers has no such phase.
        tracker.peaks.pop("between", None)
        return {"peaks": tracker.peaks, **_read_sizes(model)}


def make_traced_model(request: dict[str, Any], layers: int) -> Any:
    """Make the model as a run does: build it, quantise it, attach the method, checkpoint it."""
    import torch
    import transformers
    from transformers import CONFIG_MAPPING

    from tui_tuner.config.schema import MethodSection, ModelSection
    from tui_tuner.methods import attach
    from tui_tuner.methods.bottleneck import put_fusion
    from tui_tuner.models.new_weights import note_random_head
    from tui_tuner.training.tracing.task_choice import find_traced_task

    made = CONFIG_MAPPING[request["config"]["model_type"]]
    total = layers + bool(request["frozen"])
    sources = request.get("sources")
    values = {name: value for name, value in request["config"].items() if name not in _NAMES_ALONE}
    if not sources:
        values = _set_layer_count(request["config"], made.attribute_map, total)
    task = find_traced_task(request)
    auto_class, peft_type = task.auto_class, task.peft_type
    if request["decides"]:
        values = {name: value for name, value in values.items() if name not in ("id2label", "label2id")}
        values["num_labels"] = request["outputs"]
        # Without one, the head of a decoder accepts only one text at a time.
        values.setdefault("pad_token_id", 0)
    config = made(**values)
    dtype = getattr(torch, request["dtype"])
    implementation = "eager" if request["eager"] else "sdpa"
    model = getattr(transformers, auto_class).from_config(
        config, attn_implementation=implementation, dtype=dtype
    )
    if request["new_pooler"]:
        note_random_head(model)
    if request["quantization"] != "none":
        from tui_tuner.training.tracing.quantised_layers import quantise_traced_model

        model = quantise_traced_model(model, request["quantization"], request["double_quant"], dtype)
    tops = (request["tops"] or None) if sources else layers if request["frozen"] else None
    section = MethodSection.model_validate({**request["method"], "layers": tops})
    if sources and request["untied"]:  # as it is loaded from files that have both
        head = model.get_output_embeddings()
        head.weight = torch.nn.Parameter(torch.empty_like(head.weight))
    if section.needs_field("layers"):
        section.layers = layers  # 0 trains the head alone
    # all of a run's config that a method reads
    run: Any = SimpleNamespace(method=section, model=ModelSection())
    if request.get("fused"):  # a fusion of adapters that are nowhere saved
        style, sizes = request["fused"]
        model = put_fusion(model, style, sizes, peft_type)
    else:
        model = attach(model, run, peft_type)
    model.train()
    if request["quick"]:
        from tui_tuner.compute import low_rank
        from tui_tuner.training.tracing.device import TRACED, Tracker

        # This calls the model once, and only a tracker has stand-ins for GPU kernels.
        with Tracker():
            low_rank.quicken_lora(model, TRACED)
        _install_kernels(model, request)
    _checkpoint_layers(model, request["checkpointing"])
    return model


def _install_kernels(model: Any, request: dict[str, Any]) -> None:
    import torch

    from tui_tuner.compute.kernels.install import install_kernels
    from tui_tuner.training.tracing.device import TRACED

    autocast = torch.bfloat16 if request["autocast"] else None
    install_kernels(model, TRACED, autocast, request["checkpointing"] not in (False, "off"))


def _checkpoint_layers(model: Any, degree: Any) -> None:
    from tui_tuner.compute import gradient_checkpointing

    # Activations kept on the host take no memory of the GPU.
    gradient_checkpointing.allocate_on_host = _make_uncounted
    gradient_checkpointing.checkpoint_layers(model, degree)


def _make_uncounted(tensor: Any) -> Any:
    import torch

    # The tracker does not count tensors on `meta`.
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")


def _set_layer_count(config: dict[str, Any], names: dict[str, str], layers: int) -> dict[str, Any]:
    """Return a config's values with so many layers, all of the model's most frequent kind."""
    # Architectures have their own names for the number of layers.
    counted = names.get("num_hidden_layers", "num_hidden_layers")
    own = config.get(counted, config.get("num_hidden_layers")) == layers
    left_out = {*_NAMES_ALONE, "layer_types", "max_window_layers", "num_hidden_layers"}
    left_out |= set() if own else {"mlp_only_layers", "decoder_sparse_step", "first_k_dense_replace"}
    values = {key: value for key, value in config.items() if key not in left_out}
    values[counted] = layers
    if "first_k_dense_replace" in config and not own:
        values["first_k_dense_replace"] = 0
    return values


def make_traced_micro(request: dict[str, Any]) -> Any:
    """Make a forward pass of the requested shape, without data."""
    import torch

    from tui_tuner.compute.forward import MicroBatch
    from tui_tuner.training.tracing.task_choice import list_objective_columns

    rows, numbers = request["rows"], list(range(len(request["rows"])))
    sources = request.get("sources")
    if sources:
        source, target = (len(rows), max(sources)), (len(rows), max(rows))
        return MicroBatch(
            numbers,
            torch.zeros(source, dtype=torch.long),
            torch.zeros(target, dtype=torch.bool),
            torch.zeros(request["supervised"], dtype=torch.long),
            [one + other for one, other in zip(sources, rows, strict=True)],
            attention_mask=torch.ones(source, dtype=torch.long),
            columns={"source": torch.tensor(sources)},
            decoder_ids=torch.zeros(target, dtype=torch.long),
        )
    shape = (1, sum(rows)) if request["packing"] else (len(rows), max(rows))
    ids = torch.zeros(shape, dtype=torch.long)
    return MicroBatch(
        numbers,
        ids,
        torch.zeros(shape, dtype=torch.bool),
        torch.zeros(request["supervised"], dtype=torch.long),
        list(rows),
        position_ids=torch.zeros(shape, dtype=torch.long) if request["packing"] else None,
        attention_mask=None if request["packing"] else torch.ones(shape, dtype=torch.long),
        columns=list_objective_columns(request["decides"], len(rows)),
    )


def make_traced_way(request: dict[str, Any]) -> Any:
    import torch

    from tui_tuner.compute.forward import ForwardWay

    return ForwardWay(
        packing=request["packing"],
        compact=request["compact"],
        segments=request["packing"] and not request["eager"],
        autocast=torch.bfloat16 if request["autocast"] else None,
        chunked=0 < request["chunk"] < request["supervised"],
    )


def mark_traced_layers(model: Any, tracker: Any, every_second: bool = False) -> None:
    """Set the tracker's phase during a step.

    The phases are the layers' forward pass, the loss, and the backward passes of the last, the first and the
    other layers, because the memory of each grows with other things.
    """
    from tui_tuner.methods.layers import find_stacks

    *encoder, stack = find_stacks(model)
    layers = [layer for layer in stack if any(p.requires_grad for p in layer.parameters())]

    def marking(phase: str) -> Callable[..., None]:
        def arrived(_unused: Any) -> None:
            tracker.phase = phase

        def hook(module: Any, inputs: Any, output: Any) -> None:
            hidden = output[0] if isinstance(output, tuple) else output
            if hidden.requires_grad:
                hidden.register_hook(arrived)
            if module is layers[-1]:
                tracker.phase = "loss"

        return hook

    # With every second layer checkpointed, either of the last two may need the most.
    tops = 2 if every_second and len(layers) > 2 else 1
    names = ["first", *["between"] * (len(layers) - 1 - tops), *["last"] * tops][: len(layers)]
    if encoder:
        names = ["decoder"] * len(layers)
        layers, names = [*encoder[0], *layers], [*["encoder"] * len(encoder[0]), *names]
    for layer, name in zip(layers, names, strict=True):
        layer.register_forward_hook(marking(name))


def _list_tensors(model: Any) -> list[Any]:
    from tui_tuner.training.tracing.quantised_layers import list_quantisation_constants

    return [*model.parameters(), *model.buffers(), *list_quantisation_constants(model)]


def _read_sizes(model: Any) -> dict[str, Any]:
    """Read the sizes of the weights, which stay in memory, and of the trained tensors."""
    import torch

    from tui_tuner.methods.layers import find_layers
    from tui_tuner.planning.optimizer_states import round_up

    def size(tensors: list[Any]) -> float:
        # By storage, so that tied weights count once; rounded up as the allocator does.
        storages = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}
        return sum(round_up(nbytes) for nbytes in storages.values())

    tables = {id(one.weight) for one in model.modules() if isinstance(one, torch.nn.Embedding)}

    def trained(module: Any) -> list[tuple[int, int, tuple[int, ...], bool]]:
        weights = [one for one in module.parameters() if one.requires_grad]
        return [(one.numel(), one.element_size(), tuple(one.shape), id(one) in tables) for one in weights]

    layers = list(find_layers(model))
    whole = size(_list_tensors(model))
    inside = [size(_list_tensors(layer)) for layer in layers]
    top = trained(layers[-1])
    outside = list(trained(model))
    for layer in layers:
        for tensor in trained(layer):
            outside.remove(tensor)
    return {
        "weights": {"rest": whole - sum(inside), "frozen": inside[0], "trained": inside[-1], "whole": whole},
        "tensors": {"rest": outside, "layer": top, "whole": trained(model)},
    }


def prepare_trace_process() -> None:
    """Import the modules that a trace needs, and make this process act like a GPU."""
    # All imports happen here: code that runs at import must not meet tensors without data.
    import bitsandbytes  # noqa: F401
    import peft.tuners.lora  # noqa: F401
    import torch
    from transformers import BitsAndBytesConfig, masking_utils  # noqa: F401
    from transformers.integrations import bitsandbytes as _quantising  # noqa: F401

    from tui_tuner.compute import attention, low_rank  # noqa: F401
    from tui_tuner.compute.gradient_checkpointing import checkpoint_layers  # noqa: F401
    from tui_tuner.compute.kernels.install import install_kernels  # noqa: F401
    from tui_tuner.methods import attach  # noqa: F401
    from tui_tuner.methods.bottlenecks import tuner  # noqa: F401
    from tui_tuner.training.tracing import task_choice  # noqa: F401
    from tui_tuner.training.tracing.device import imitate_gpu, imitate_gpu_attention

    # Only checks of kernels compute anything, and they are too small to divide among threads.
    torch.set_num_threads(1)
    imitate_gpu()
    attention.register_attention(imitate_gpu_attention)
    # transformers takes fake tensors for a graph trace, and builds a mask that real tensors do not need.
    masking_utils.is_tracing = lambda *_: False
    # Tensors without data cannot show it, but some token of a padded row is padding.
    masking_utils.fast_all = lambda *_: False
    masking_utils._ignore_bidirectional_mask_sdpa = lambda *_, **__: False
    masking_utils.find_packed_sequence_indices = lambda *_: None


def run_trace_operation(
    arguments: dict[str, Any], progress: Any, cancelled: Callable[[], bool]
) -> dict[str, Any]:
    """Carry out the operation `trace` of a helper process.

    Each request is traced in a copy of this process if the system can fork. Tensors without data now and then
    crash a process that has made many, so each trace starts in a fresh copy, without importing anything
    again, and is tried twice.

    Returns:
        What `trace_step` returns, by the numbers of layers in `layers`.

    Raises:
        RunError: it failed, in the libraries' words.
    """
    return trace_layers_apart(trace_step, arguments, cancelled)


def trace_layers_apart(
    measure: Callable[[dict[str, Any], int], dict[str, Any]],
    arguments: dict[str, Any],
    cancelled: Callable[[], bool],
) -> dict[str, Any]:
    """Return what `measure` finds for each requested number of layers, in a copy of this process.

    Raises:
        RunError: it failed, in the libraries' words.
    """
    global _prepared
    if not _prepared:
        prepare_trace_process()
        _prepared = True
    if not hasattr(os, "fork"):
        return _read_reply(_format_reply(measure, arguments))
    code = 0
    for _unused in range(2):
        reply, code = _answer_in_copy(measure, arguments, cancelled)
        if reply or cancelled():
            return _read_reply(reply)
    if code < 0:
        raise _format_failure(_("the process was ended by signal {signal}", signal=-code))
    raise _format_failure(_("the process ended with code {code}", code=code))


def _answer_in_copy(
    measure: Any, arguments: dict[str, Any], cancelled: Callable[[], bool]
) -> tuple[str, int]:
    """Return the reply of a copy of this process, empty if there is none, and the copy's exit code."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        # Else the copy now and then ends by signal 11, at a storage of a tensor without data.
        gc.disable()
        try:
            with os.fdopen(writing, "w", encoding="utf-8") as pipe:
                pipe.write(_format_reply(measure, arguments))
        # The copy must not return into the code of its parent, nor run its exit handlers.
        except BaseException:
            os._exit(1)
        os._exit(0)
    # As long as this end is open, the pipe does not end when the copy does.
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        while not select.select([pipe], [], [], POLL)[0]:
            if cancelled():
                os.kill(child, signal.SIGKILL)
        reply = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return ("" if code else reply), code


def _format_reply(measure: Any, arguments: dict[str, Any]) -> str:
    """Return what is measured, or the error, as JSON."""
    try:
        found: dict[str, Any] = {
            "traces": {str(count): measure(arguments, count) for count in arguments["layers"]}
        }
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    return json.dumps(found)


def _read_reply(reply: str) -> dict[str, Any]:
    found = json.loads(reply or "{}")
    if "error" in found:
        raise _format_failure(found["error"])
    return dict(found.get("traces", {}))


def _format_failure(why: str) -> RunError:
    return RunError(_("the trace failed: {why}.", why=one_line(why, 200)), where="memory")
