"""The memory of a training step, traced through this program's own step and the installed libraries.

`answer` is for a process that does nothing else (`launch.operations`): it makes that one a GPU's stand-in.
Tensors are fake CPU tensors of full size, so large layers cost nothing.
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

POLL = 0.1  # seconds between two looks at whether the trace was cancelled
_prepared = False


def trace(request: dict[str, Any], layers: int) -> dict[str, Any]:
    """One step with so many trained layers.

    Args:
        request: `config` (of the model), `method` (its section of a run's config), `dtype`, `quantization`,
            `double_quant`, `rows` (tokens of each sequence), `supervised` (targets in all), `packing`,
            `compact` (logits at targets only), `chunk` (of so many at once; 0 is all), `eager`, `autocast`,
            `checkpointing` (its degree), `accumulate`, `quick` (whether it is made quick as a run on a GPU
            makes it), `frozen` (whether layers below the trained ones are frozen), `decides`, `outputs` and
            `new_pooler` (of a head that decides; see `Setup`).
        layers: Trained layers to build.

    Returns:
        `peaks`: bytes beyond the weights, by phase. `weights`: bytes of the weights, of `rest` (embeddings,
        head, norms), of a `trained` layer and a `frozen` one. `tensors`: [elements, bytes of an element] of
        each trained tensor outside of the layers, and in one of them.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    from tui_tuner.compute import chunked_loss
    from tui_tuner.compute.forward import switch_attention
    from tui_tuner.training.tracing.deciding import make_objective
    from tui_tuner.training.tracing.device import Tracker

    with FakeTensorMode(allow_non_fake_inputs=True):
        model = make_model(request, layers)
        micro, way = make_micro(request), make_way(request)
        objective = make_objective(request["decides"], model)
        objective.way = way
        chunked_loss.chunk_rows = lambda *_: request["chunk"]  # those of a GPU
        switch_attention(model, way, "sdpa")
        tracker = Tracker(request["supervised"])
        inputs = [micro.input_ids, micro.keep, micro.targets, micro.position_ids, micro.attention_mask]
        tracker.ignore([*_tensors(model), *(tensor for tensor in inputs if tensor is not None)])
        mark_layers(model, tracker, request["checkpointing"] == EVERY_SECOND)
        with tracker:
            for _unused in range(2 if request["accumulate"] else 1):
                tracker.phase = "forward"
                loss = objective.loss(model, micro)
                loss.backward()
                del loss
        tracker.peaks.pop("between", None)  # there is none in two layers
        return {"peaks": tracker.peaks, **_sizes(model)}


def make_model(request: dict[str, Any], layers: int) -> Any:
    """As a run makes it: built, quantised, with its method, checkpointed."""
    import torch
    import transformers
    from transformers import CONFIG_MAPPING

    from tui_tuner.config.schema import MethodSection
    from tui_tuner.methods import attach
    from tui_tuner.models.new_weights import note_all_random
    from tui_tuner.training.tracing.deciding import task_that_decides

    made = CONFIG_MAPPING[request["config"]["model_type"]]
    total = layers + bool(request["frozen"])
    values = _values(request["config"], made.attribute_map, total)
    task = task_that_decides(request["decides"])
    auto_class, peft_type = task.auto_class, task.peft_type
    if request["decides"]:
        values = {name: value for name, value in values.items() if name not in ("id2label", "label2id")}
        values["num_labels"] = request["outputs"]
        values.setdefault("pad_token_id", 0)  # without one, a decoder's head reads one text at a time
    config = made(**values)
    dtype = getattr(torch, request["dtype"])
    implementation = "eager" if request["eager"] else "sdpa"
    model = getattr(transformers, auto_class).from_config(
        config, attn_implementation=implementation, dtype=dtype
    )
    if request["new_pooler"]:
        note_all_random(model)
    if request["quantization"] != "none":
        from tui_tuner.training.tracing.quantised import quantise

        model = quantise(model, request["quantization"], request["double_quant"], dtype)
    section = MethodSection.model_validate(
        {**request["method"], "layers": layers if request["frozen"] else None}
    )
    if section.kind == "freeze":
        section.layers = layers
    run: Any = SimpleNamespace(method=section)  # all of a run's config that a method reads
    model = attach(model, run, peft_type)
    model.train()
    if request["quick"]:
        from tui_tuner.compute import low_rank
        from tui_tuner.training.tracing.device import TRACED, Tracker

        with Tracker():  # it calls the model once
            low_rank.quicken(model, TRACED)
        _install_kernels(model, request)
    _checkpoint(model, request["checkpointing"])
    return model


def _install_kernels(model: Any, request: dict[str, Any]) -> None:
    import torch

    from tui_tuner.compute.kernels.install import install_kernels
    from tui_tuner.training.tracing.device import TRACED

    autocast = torch.bfloat16 if request["autocast"] else None
    install_kernels(model, TRACED, autocast, request["checkpointing"] not in (False, "off"))


def _checkpoint(model: Any, degree: Any) -> None:
    from tui_tuner.compute import gradient_checkpointing

    gradient_checkpointing.host_like = _beside  # the host's memory is none of a GPU's
    gradient_checkpointing.checkpoint_layers(model, degree)


def _beside(tensor: Any) -> Any:
    """Room that counts nowhere."""
    import torch

    return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")


def _values(config: dict[str, Any], names: dict[str, str], layers: int) -> dict[str, Any]:
    """A config's values with so many layers: all of the kind that most of them are, or the model's own."""
    counted = names.get("num_hidden_layers", "num_hidden_layers")
    own = config.get(counted, config.get("num_hidden_layers")) == layers
    left_out = {"model_type", "architectures", "transformers_version", "auto_map", "layer_types"}
    left_out |= {"quantization_config", "max_window_layers", "num_hidden_layers"}
    left_out |= set() if own else {"mlp_only_layers", "decoder_sparse_step", "first_k_dense_replace"}
    values = {key: value for key, value in config.items() if key not in left_out}
    values[counted] = layers
    if "first_k_dense_replace" in config and not own:
        values["first_k_dense_replace"] = 0
    return values


def make_micro(request: dict[str, Any]) -> Any:
    """A forward pass of the shape asked for, without data."""
    import torch

    from tui_tuner.compute.forward import MicroBatch
    from tui_tuner.training.tracing.deciding import columns_of

    rows, numbers = request["rows"], list(range(len(request["rows"])))
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
        columns=columns_of(request["decides"], len(rows)),
    )


def make_way(request: dict[str, Any]) -> Any:
    import torch

    from tui_tuner.compute.forward import ForwardWay

    return ForwardWay(
        packing=request["packing"],
        compact=request["compact"],
        segments=request["packing"] and not request["eager"],
        autocast=torch.bfloat16 if request["autocast"] else None,
        chunked=0 < request["chunk"] < request["supervised"],
    )


def mark_layers(model: Any, tracker: Any, every_second: bool = False) -> None:
    """Tell apart the layers' forward pass, what follows it, and the backward passes of the last, the first
    and the other layers: each grows on its own."""
    from tui_tuner.methods.weights import decoder_layers

    layers = [layer for layer in decoder_layers(model) if any(p.requires_grad for p in layer.parameters())]

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

    tops = 2 if every_second and len(layers) > 2 else 1  # of these, either may need most
    names = ["first", *["between"] * (len(layers) - 1 - tops), *["last"] * tops][: len(layers)]
    for layer, name in zip(layers, names, strict=True):
        layer.register_forward_hook(marking(name))


def _tensors(model: Any) -> list[Any]:
    from tui_tuner.training.tracing.quantised import quantised_bytes

    return [*model.parameters(), *model.buffers(), *quantised_bytes(model)]


def _sizes(model: Any) -> dict[str, Any]:
    """What lies in memory for good, and what is trained."""
    from tui_tuner.methods.weights import decoder_layers
    from tui_tuner.planning.memory.static import rounded

    def size(tensors: list[Any]) -> float:
        storages = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}
        return sum(rounded(nbytes) for nbytes in storages.values())

    def trained(module: Any) -> list[tuple[int, int]]:
        return [(p.numel(), p.element_size()) for p in module.parameters() if p.requires_grad]

    layers = list(decoder_layers(model))
    whole = size(_tensors(model))
    inside = [size(_tensors(layer)) for layer in layers]
    top = trained(layers[-1])
    outside = list(trained(model))
    for layer in layers:
        for tensor in trained(layer):
            outside.remove(tensor)
    return {
        "weights": {"rest": whole - sum(inside), "frozen": inside[0], "trained": inside[-1], "whole": whole},
        "tensors": {"rest": outside, "layer": top, "whole": trained(model)},
    }


def prepare() -> None:
    """Import what a trace needs, and make this process a GPU's stand-in."""
    import bitsandbytes  # noqa: F401  # code that runs at import must not meet tensors without data
    import peft.tuners.lora  # noqa: F401
    import torch
    from transformers import BitsAndBytesConfig, masking_utils  # noqa: F401
    from transformers.integrations import bitsandbytes as _quantising  # noqa: F401

    from tui_tuner.compute import attention, low_rank  # noqa: F401
    from tui_tuner.compute.gradient_checkpointing import checkpoint_layers  # noqa: F401
    from tui_tuner.compute.kernels.install import install_kernels  # noqa: F401
    from tui_tuner.methods import attach  # noqa: F401
    from tui_tuner.training.tracing import deciding  # noqa: F401
    from tui_tuner.training.tracing.device import attend_like_a_gpu, behave_like_a_gpu

    torch.set_num_threads(1)  # all that is computed, to prove kernels, is too small to share out
    behave_like_a_gpu()
    attention.register(attend_like_a_gpu)
    masking_utils.is_tracing = lambda *_: False  # else fake tensors get a mask that real ones do without
    masking_utils.fast_all = lambda *_: False  # some token of a padded row is padding
    masking_utils._ignore_bidirectional_mask_sdpa = lambda *_, **__: False
    masking_utils.find_packed_sequence_indices = lambda *_: None


def answer(arguments: dict[str, Any], progress: Any, cancelled: Callable[[], bool]) -> dict[str, Any]:
    """The operation `trace` of a helper process: what `trace` returns, by the numbers of layers in `layers`.

    Each request is traced in a copy of this process where the system makes copies. Tensors without data now
    and then end a process that made many; so each trace begins anew, without importing anything again, and is
    tried twice.

    Raises:
        RunError: it failed, in the libraries' words.
    """
    return answer_apart(trace, arguments, cancelled)


def answer_apart(
    measure: Callable[[dict[str, Any], int], dict[str, Any]],
    arguments: dict[str, Any],
    cancelled: Callable[[], bool],
) -> dict[str, Any]:
    """What `measure` finds for each of the numbers of layers asked for, each time in a copy of this process.

    Raises:
        RunError: it failed, in the libraries' words.
    """
    global _prepared
    if not _prepared:
        prepare()
        _prepared = True
    if not hasattr(os, "fork"):
        return _found(_reply(measure, arguments))
    code = 0
    for _unused in range(2):
        reply, code = _apart(measure, arguments, cancelled)
        if reply or cancelled():
            return _found(reply)
    if code < 0:
        raise _failed(_("the process ended by signal {signal}", signal=-code))
    raise _failed(_("the process ended with code {code}", code=code))


def _apart(measure: Any, arguments: dict[str, Any], cancelled: Callable[[], bool]) -> tuple[str, int]:
    """The answer of a copy of this process, empty if it has none, and the copy's exit code."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        gc.disable()  # else the copy now and then ends by signal 11, at a storage of a tensor without data
        try:
            with os.fdopen(writing, "w", encoding="utf-8") as pipe:
                pipe.write(_reply(measure, arguments))
        except BaseException:  # nothing may leave the copy by another way than this
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        while not select.select([pipe], [], [], POLL)[0]:
            if cancelled():
                os.kill(child, signal.SIGKILL)
        reply = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return ("" if code else reply), code


def _reply(measure: Any, arguments: dict[str, Any]) -> str:
    """What is measured, or an error, as JSON."""
    try:
        found: dict[str, Any] = {
            "traces": {str(count): measure(arguments, count) for count in arguments["layers"]}
        }
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    return json.dumps(found)


def _found(reply: str) -> dict[str, Any]:
    found = json.loads(reply or "{}")
    if "error" in found:
        raise _failed(found["error"])
    return dict(found.get("traces", {}))


def _failed(why: str) -> RunError:
    return RunError(_("the trace failed: {why}.", why=one_line(why, 200)), where="memory")
