"""Decoder layers compiled by PyTorch, each layer as a separate region.

All layers of a class share one compilation, because they are one function; the number of tokens is dynamic,
so new lengths compile nothing. Attention is not compiled: the lengths of the sequences, which differ in every
batch, bypass the compiler. Only passes with gradients are compiled. Evaluation and generation are not, and
neither is checkpointing, which wraps the region.

Before a compiled layer is used, its outputs and gradients are tested against the layer itself. A failure,
then or later, causes a warning, and the layer computes as before.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from tui_tuner.compute.forward import ForwardWay, MicroBatch, build_forward_inputs
from tui_tuner.compute.kernels.available_kernels import VARIANTS, find_compiler_problem
from tui_tuner.compute.kernels.chosen_kernel import ChosenKernel
from tui_tuner.compute.kernels.probe import (
    CLOSE,
    CLOSE_HALF,
    RandomDraws,
    are_results_close,
    compute_with_gradients,
    find_model_device,
)
from tui_tuner.locales import _
from tui_tuner.methods.cache_names import NEW, OLD
from tui_tuner.methods.layers import find_layers
from tui_tuner.models.device import Device
from tui_tuner.models.out_of_memory import is_out_of_memory
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from torch import Tensor

LENGTHS = (5, 7)  # tokens of the sequences in the test
_PLAIN = (bool, int, float, str, type(None), torch.Tensor)
_carried = threading.local()


def compile_layers(
    model: torch.nn.Module, device: Device, autocast: torch.dtype | None = None, backend: str = "inductor"
) -> ChosenKernel:
    """Compile the layers of a model; the result has no kernel name if they stay uncompiled.

    Args:
        autocast: The dtype of autocast; None without it.
        backend: The backend of `torch.compile`.
    """
    problem = find_compiler_problem(device) if backend == "inductor" else ""
    layers: list[Any] = []
    if not problem:
        try:
            layers = list(find_layers(model))
            problem = _compile_regions(model, layers, autocast, backend)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            problem = one_line(f"{type(error).__name__}: {error}", 300)
    if not problem:
        return ChosenKernel("compile", f"torch.compile ({backend})", "", len(layers))
    restore_layers(model)
    return ChosenKernel("compile", "", problem)


def restore_layers(model: torch.nn.Module) -> None:
    """Restore the own forward pass of every layer."""
    for module in model.modules():
        own = module.__dict__.get("forward")
        if isinstance(own, partial) and own.func is _forward_layer:
            del module.forward


def _compile_regions(
    model: torch.nn.Module, layers: list[torch.nn.Module], autocast: torch.dtype | None, backend: str
) -> str:
    """Compile the layers and test them; returns a problem, empty if there is none."""
    if any("forward" in layer.__dict__ for layer in layers):
        return _("the forward pass of the layers is already replaced")
    regions: dict[type, Region] = {}
    for layer in layers:
        region = regions.setdefault(type(layer), Region(type(layer), backend))
        layer.forward = partial(_forward_layer, layer, region)
    _make_opaque()
    tried: set[type] = set()
    # From the last one: if only some layers are trained, it is those, and gradients are tested too.
    for layer in reversed(layers):
        if type(layer) in tried:
            continue
        tried.add(type(layer))
        problem = _try_layer(model, layer, regions[type(layer)], autocast)
        if problem:
            return problem
    return ""


class Region:
    """The compiled forward pass of a class of layers.

    Attributes:
        checkpoints: The layer's own forward pass does the checkpointing, if that is enabled.
        broken: It failed, and is not used again.
    """

    def __init__(self, layer: type[torch.nn.Module], backend: str) -> None:
        # If checkpointing is wrapped around the forward pass, the compiler must get the function inside.
        function: Any = layer.forward
        self.plain: Callable[..., Any] = getattr(function, "__wrapped__", function)
        self.checkpoints = self.plain is not function  # else the `__call__` of the layer does that
        self.compiled = torch.compile(self.plain, dynamic=True, backend=backend)
        self.broken = False

    def __call__(self, layer: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Compute a layer; `kwargs` that are neither tensors nor plain values bypass the compiler."""
        if self.broken:
            return self.plain(layer, *args, **kwargs)
        _allow_variants()
        past = {name: value for name, value in kwargs.items() if not _is_plain(value)}
        seen = {name: value for name, value in kwargs.items() if name not in past}
        try:
            with _carry_options(past):
                return self.compiled(layer, *args, **seen)
        except torch._dynamo.exc.TorchDynamoException as error:
            self.broken = True
            warnings.warn(
                _("A layer could not be compiled: {problem}", problem=one_line(error, 200)), stacklevel=2
            )
            return self.plain(layer, *args, **kwargs)

    def __deepcopy__(self, memo: Any) -> Region:
        # A copied layer shares it: the compiled code serves all layers of the class.
        return self


def _allow_variants() -> None:
    """Raise PyTorch's limit of compiled variants, once per thread."""
    # Newer versions keep settings by thread, and layers are recomputed in autograd's threads.
    if not getattr(_carried, "allowed", False):
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, VARIANTS)
        _carried.allowed = True


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_is_plain(one) for one in value)
    return isinstance(value, _PLAIN)


def _forward_layer(layer: torch.nn.Module, region: Region, *args: Any, **kwargs: Any) -> Any:
    """Compute a layer: compiled if gradients are needed in training, else by its own class."""
    cached = any(kwargs.get(name) is not None for name in (OLD, NEW)) or kwargs.get("use_cache")
    if cached or not layer.training or not torch.is_grad_enabled():
        return type(layer).forward(layer, *args, **kwargs)
    if region.checkpoints and getattr(layer, "gradient_checkpointing", False):
        return layer._gradient_checkpointing_func(partial(region, layer, **kwargs), *args)
    return region(layer, *args, **kwargs)


@contextlib.contextmanager
def _carry_options(options: Mapping[str, Any]) -> Iterator[None]:
    """Pass options to attention, invisible to the compiler."""
    # By thread, because layers are recomputed in autograd's threads.
    before = getattr(_carried, "options", {})
    _carried.options = options
    try:
        yield
    finally:
        _carried.options = before


def _make_opaque() -> None:
    """Exclude our attention from compilation, and give it the options that bypass the compiler."""
    from transformers import AttentionInterface
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    from tui_tuner.compute.attention import NAME

    stock = ALL_ATTENTION_FUNCTIONS[NAME]
    if getattr(stock, "carries", False):
        return

    def attend(
        module: torch.nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        **options: Any,
    ) -> Any:
        return stock(module, query, key, value, mask, **getattr(_carried, "options", {}), **options)

    opaque: Any = torch.compiler.disable(attend)
    opaque.carries = True
    AttentionInterface.register(NAME, opaque)


# ---- the test ---------------------------------------------------------------------------------------------


def _try_layer(
    model: torch.nn.Module, layer: torch.nn.Module, region: Region, autocast: torch.dtype | None
) -> str:
    """Describe the fault of a compiled layer; empty if it gives the layer's own outputs and gradients."""
    # Tested as training calls it, so that everything is compiled by then: with the attention of flat rows,
    # and with inputs both with and without a gradient, as that of the first layer may be.
    from tui_tuner.compute.attention import NAME

    stock, training = model.config._attn_implementation, layer.training
    exact = autocast is None and all(one.dtype == torch.float32 for one in layer.parameters())
    try:
        model.set_attn_implementation(NAME)
        args, kwargs = _catch_call(model, layer)
        layer.train()
        with _without_dropout(layer):
            for graded in (True, False):
                found, truth = (
                    _compute_results(one, layer, graded, autocast, args, kwargs)
                    for one in (region, region.plain)
                )
                if region.broken:
                    return _("a layer could not be compiled")
                close = CLOSE if exact else CLOSE_HALF
                if not all(
                    are_results_close(one, other, close) for one, other in zip(found, truth, strict=True)
                ):
                    return _("a compiled layer does not give the same results as the layer itself")
    finally:
        layer.train(training)
        model.set_attn_implementation(stock)
    return ""


def _compute_results(
    compute: Callable[..., Any],
    layer: torch.nn.Module,
    graded: bool,
    autocast: torch.dtype | None,
    args: Any,
    kwargs: Any,
) -> list[Tensor]:
    """Compute the output and gradients of a layer for a random input."""
    hidden = (
        RandomDraws(find_model_device(layer))
        .draw_normal(*args[0].shape)
        .to(args[0].dtype)
        .requires_grad_(graded)
    )
    leaves = [hidden] if graded else []
    leaves += [one for one in layer.parameters() if one.requires_grad]

    def outputs() -> list[Tensor]:
        with torch.autocast(hidden.device.type, dtype=autocast, enabled=autocast is not None):
            found = compute(layer, hidden, *args[1:], **kwargs)
        return [found[0] if isinstance(found, tuple) else found]

    return compute_with_gradients(outputs, leaves) if leaves else []


class _CallFound(Exception):
    """Ends a forward pass once the call of a layer was recorded."""


def _catch_call(model: torch.nn.Module, layer: torch.nn.Module) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Record the arguments of a layer in a pass over a flat row of a few sequences."""
    found: list[Any] = []

    def note(_module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        found.append((args, kwargs))
        raise _CallFound

    place = find_model_device(model)
    positions = torch.cat([torch.arange(length) for length in LENGTHS])[None].to(place)
    ids = torch.zeros_like(positions)
    micro = MicroBatch(
        list(range(len(LENGTHS))), ids, ids.bool(), ids[:0], list(LENGTHS), position_ids=positions
    )
    handle = layer.register_forward_pre_hook(note, with_kwargs=True)
    try:
        way = ForwardWay(packing=True, compact=False, segments=True)
        with contextlib.suppress(_CallFound), torch.no_grad():
            model(**build_forward_inputs(model, micro, way), use_cache=False)
    finally:
        handle.remove()
    args, kwargs = found[0]
    return args, kwargs


@contextlib.contextmanager
def _without_dropout(layer: torch.nn.Module) -> Iterator[None]:
    dropouts = [(one, one.p) for one in layer.modules() if isinstance(one, torch.nn.Dropout) and one.p]
    try:
        for one, _p in dropouts:
            one.p = 0.0
        yield
    finally:
        for one, before in dropouts:
            one.p = before


__all__ = ["compile_layers", "restore_layers"]
